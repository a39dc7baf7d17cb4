"""Where does one token lie? Its region, the nearest wall, and what the MLP does around it.

python examples/one_token.py
"""

import splinelens

TEXT = "The old lighthouse keeper counted the passing ships."
LAYER = 5


def main() -> None:
    loaded = splinelens.load_model("smollm2-135m", layers=LAYER + 1)
    print(f"{TEXT!r}, layer {LAYER}\n")
    print("token          region            on      nearest wall   distance")
    for token in range(9):
        place = splinelens.look(TEXT, loaded, layer=LAYER, token=token)
        wall = f"neuron {place.wall:6}  {place.boundary:.6f}"
        print(f"{place.piece:13}  {place.region}  {place.sign:6.1%}  {wall}")

    place = splinelens.look(TEXT, loaded, layer=LAYER, token=2)
    length = float(place.input.norm())
    print(f"\n{place.piece.strip()!r} is a point of length {length:.2f} in front of {place.neurons:,} walls.")
    share = place.boundary / length
    print(f"A step of {place.boundary:.6f} reaches the nearest one: {share:.1e} of that length.")
    print(f"The MLP's map there is {place.map.kind}. It stretches a step up to {place.map.norm():.0f} times")
    print(f"and uses about {place.map.effective_rank():.0f} of {len(place.input)} directions.")


if __name__ == "__main__":
    main()

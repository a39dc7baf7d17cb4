"""Where does one token lie? Its region, the nearest wall, and what the MLP does around it.

python examples/one_token.py
"""

import splinelens

TEXT = "The old lighthouse keeper counted the passing ships."
LAYER = 5


def main() -> None:
    loaded = splinelens.load_model("smollm2-135m", n_layers=LAYER + 1)
    print(f"{TEXT!r}, layer {LAYER}\n")
    print("token          region            on      nearest wall   distance")
    for token in range(9):
        detail = splinelens.look(TEXT, loaded, layer=LAYER, token=token)
        wall = f"neuron {detail.nearest_wall:6}  {detail.boundary:.6f}"
        print(f"{detail.piece:13}  {detail.region}  {detail.sign:6.1%}  {wall}")

    detail = splinelens.look(TEXT, loaded, layer=LAYER, token=2)
    length = float(detail.input.norm())
    walls = detail.neuron_count
    print(f"\n{detail.piece.strip()!r} is a point of length {length:.2f} in front of {walls:,} walls.")
    share = detail.boundary / length
    print(f"A step of {detail.boundary:.6f} reaches the nearest one: {share:.1e} of that length.")
    print(
        f"The MLP's map there is {detail.map.kind}. It stretches a step up to {detail.map.norm():.0f} times"
    )
    print(f"and uses about {detail.map.effective_rank():.0f} of {len(detail.input)} directions.")


if __name__ == "__main__":
    main()

"""Which tokens does attention mix, and how large can the hull be that they span?

python examples/hull_of_a_token.py
"""

import splinelens

TEXT = "The old lighthouse keeper counted the passing ships and wrote their names in a small book."
LAYER, TOKEN, EPS = 9, 11, 0.1


def main() -> None:
    loaded = splinelens.load_model("smollm2-135m", n_layers=LAYER + 1)
    detail = splinelens.look(TEXT, loaded, layer=LAYER, token=TOKEN, eps=EPS)
    hull = detail.hull
    reading = splinelens.read_tokens(TEXT, loaded, layers=[LAYER])

    print(f"{detail.piece.strip()!r}, token {TOKEN} of {TEXT!r}, layer {LAYER}\n")
    print("head  absolute  relative  looks at (share of the attention)")
    for number, head in enumerate(hull.heads):
        seen = zip(head.tokens, head.weights.tolist(), strict=True)
        shown = ", ".join(f"{reading.piece(token).strip()} {weight:.2f}" for token, weight in seen)
        print(f"{number:4}  {head.absolute:8}  {head.relative:8}  {shown}")

    print(f"\nabsolute counts weights above {EPS}, relative those above {EPS} times the head's largest.\n")
    print("                          absolute  relative")
    print(f"keys over all heads       {hull.loose[0]:8}  {hull.loose[1]:8}   the paper's bound")
    print(f"sum of (keys - 1), capped {hull.tight[0]:8}  {hull.tight[1]:8}   the tight bound")
    print(f"measured dimension        {hull.measured[0]:8}  {hull.measured[1]:8}   rank of the hulls' edges")
    print(f"\nOf {len(hull.point)} directions of the stream, these keys span so many. The keys left out")
    others = 1 - sum(float(head.weights.sum()) for head in hull.heads) / len(hull.heads)
    print(
        f"together have {others:.0%} of the attention: the token's point lies near this hull, not inside it."
    )


if __name__ == "__main__":
    main()

"""The features of a text while it grows: all prefixes from one pass, or token by token.

python examples/every_prefix.py
"""

from time import perf_counter

import numpy as np

import splinelens

TEXT = "In spring we plant beans along the fence and sow carrots in the sandy bed by the river."
CHOICE = {"features": ["spline7", "attention_id"], "layers": [4]}


def main() -> None:
    loaded = splinelens.load_model("smollm2-135m", n_layers=5)
    splinelens.extract(["Warm up."], loaded, **CHOICE)

    begun = perf_counter()
    table = splinelens.extract([TEXT], loaded, prefixes=True, **CHOICE)
    at_once_ms = 1000 * (perf_counter() - begun)

    begun = perf_counter()
    stream = splinelens.Stream(loaded, **CHOICE)
    ids = stream.ids(TEXT)
    rows = [stream.push(token) for token in ids]
    streamed_ms = 1000 * (perf_counter() - begun)

    begun = perf_counter()
    pieces = [loaded.tokenizer.decode(ids[:end]) for end in range(1, len(ids) + 1)]
    again = [splinelens.extract([piece], loaded, **CHOICE).values[0] for piece in pieces]
    again_ms = 1000 * (perf_counter() - begun)

    print("prefix                          sign_mean  boundary_min  attention_id_relative_last")
    for number, piece in enumerate(pieces):
        row = [table.column(f"layer04.{name}")[number] for name in ("sign_mean", "boundary_min")]
        count = table.column("layer04.attention_id_relative_last")[number]
        print(f"{piece[-30:]:30}  {row[0]:9.4f}  {row[1]:12.6f}  {count:10.0f}")

    scale = np.abs(table.values).max(axis=0)
    print(f"\n{len(table)} prefixes at once: {at_once_ms:.0f} ms")
    for name, values, spent_ms in (("token by token", rows, streamed_ms), ("one run each", again, again_ms)):
        worst = float((np.abs(np.stack(values) - table.values) / scale).max())
        print(f"{name}: {spent_ms:.0f} ms; differs by {worst:.0e} of a column's largest value at most")


if __name__ == "__main__":
    main()

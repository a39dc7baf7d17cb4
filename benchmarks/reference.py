"""Make a reference: the seven features of ordinary texts, as quantiles by length.

    python benchmarks/reference.py --data DIR [--model smollm2-135m] [--texts 1000] [--limit 8]
    python benchmarks/reference.py --file FILE [--column C] --model MODEL --output FOLDER

The second form is for texts and a model of your own (CSV, TSV, JSONL, JSON, Parquet, TXT with one text a
line, hf:owner/name, - for stdin); `splinelens inspect --reference FOLDER` then takes percentiles from it.
A text of fewer tokens than a length does not count at that length. The first form makes the shipped one:
texts of 256 tokens or more come from the test split of WikiText-2 (runs of paragraphs of one article)
and from domains.jsonl (without its wikipedia rows, which are of that split), taken in turns from each
source, so that none outweighs the others while it lasts. One pass a text gives every prefix. Only
quantiles are written, no text. About 10 minutes on 2 cores for 1,000 texts; ``--limit`` is for trials,
into benchmarks/out.
"""

import argparse
import json
import random
import re
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from splinelens.engines.torch import positions_of
from splinelens.features.reference import LENGTHS, Reference
from splinelens.features.token_report import read_tokens
from splinelens.geometry.settings import SPLINE7
from splinelens.models import LoadedModel, load_model
from splinelens.texts import Texts, read_texts
from splinelens.tokens import tokenize

HERE = Path(__file__).parent
CHARACTERS = 1500
MOST = LENGTHS[-1] + 4  # some more tokens than are needed, should the cut change one
Sources = dict[str, list[str]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    texts_from = parser.add_mutually_exclusive_group(required=True)
    texts_from.add_argument("--data", type=Path, help="folder of the evaluation data")
    texts_from.add_argument("--file", help="texts of your own, in any form that splinelens extract reads")
    parser.add_argument("--column", help="column of the texts in --file")
    parser.add_argument("--model", default="smollm2-135m", help="an alias, a folder or a hub id")
    parser.add_argument("--texts", type=int, default=1000, help="how many texts, if there are as many")
    parser.add_argument("--limit", type=int, help="read so few texts, and write to benchmarks/out")
    parser.add_argument("--output", type=Path, help="folder of the reference")
    arguments = parser.parse_args()
    if arguments.file and not arguments.output:
        parser.error("give --output with --file: the folder of the reference")
    count = arguments.limit or arguments.texts
    own = read_texts(arguments.file, arguments.column) if arguments.file else None
    loaded = load_model(arguments.model)
    texts = chosen(sources(arguments.data), loaded, count) if own is None else beginnings(own, loaded, count)
    named = Counter(source for source, _ in texts)
    print(f"{len(texts)} texts: {', '.join(f'{count} {name}' for name, count in named.most_common())}")
    reference = Reference.of(
        tables(loaded, [text for _, text in texts]),
        f"{'texts' if own else 'ordinary texts'} ({', '.join(sorted(named))})",
        [loaded.fingerprint_at(depth) for depth in range(1, loaded.depth + 1)],
    )
    place = HERE / "out" if arguments.limit else HERE.parent / "src/splinelens"
    folder = arguments.output or place / "references" / Path(loaded.name).name
    reference.save(folder)
    told(reference)
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"written to {folder}, {size:,} bytes")


def sources(data: Path) -> Sources:
    """Texts by source."""
    found: Sources = {"wikitext2": list(wikitext(data / "wikitext2-test" / "wiki.test.txt"))}
    with (data / "domains" / "domains.jsonl").open(encoding="utf-8") as lines:
        for row in map(json.loads, lines):
            if row["domain"] != "wikipedia":
                found.setdefault(row["domain"], []).append(row["text"])
    return found


def wikitext(path: Path) -> Iterator[str]:
    """Runs of paragraphs of one article, without headings and without the spaces of its tokenization."""
    run: list[str] = []
    for line in path.read_text("utf-8").splitlines():
        if line.startswith(" = "):
            if line.count("=") == 2:
                run = []
            continue
        run.append(plain(line))
        if sum(map(len, run)) >= CHARACTERS:
            yield "\n".join(run)
            run = []


def plain(line: str) -> str:
    """A line of WikiText as it was written.

    >>> plain(" A well @-@ known song , from 1 @,@ 000 ( or so ) . ")
    'A well-known song, from 1,000 (or so).'
    """
    line = re.sub(r" @([-.,])@ ", r"\1", line.strip())
    return re.sub(r"(?<=[(\[]) | (?=[,.;:!?)\]]|'s\b)", "", line)


def chosen(found: Sources, loaded: LoadedModel, count: int) -> list[tuple[str, str]]:
    """In turns one text of each source, as long as it has some of the greatest length."""
    dice = random.Random(0)
    piles = []
    for source, texts in found.items():
        tokenized = tokenize(texts, loaded.tokenizer)
        long = [
            (source, text[: own.offsets[MOST - 1][1]])
            for text, own in zip(texts, tokenized, strict=True)
            if len(own.ids) >= MOST
        ]
        dice.shuffle(long)
        piles.append(long)
    taken: list[tuple[str, str]] = []
    while len(taken) < count and any(piles):
        taken += [pile.pop() for pile in piles if pile]
    return taken[:count]


def beginnings(own: Texts, loaded: LoadedModel, count: int) -> list[tuple[str, str]]:
    """The beginnings of some texts of a file, short ones whole; those without a token are told and left out."""
    room = positions_of(loaded.model).usable
    most = MOST if room is None else min(MOST, room - 1)  # an opening token may stand before the text
    tokenized = tokenize(own.texts, loaded.tokenizer)
    found = [
        (Path(own.source).name, text if len(each.ids) <= most else text[: each.offsets[most - 1][1]])
        for text, each in zip(own.texts, tokenized, strict=True)
        if text is not None and each.reason is None
    ]
    if len(found) < len(own):
        print(f"rows of {own.source} without a token, left out: {len(own) - len(found)}")
    random.Random(0).shuffle(found)
    return found[:count]


def tables(loaded: LoadedModel, texts: list[str]) -> Iterator[np.ndarray]:
    """The seven features of every prefix, text by text."""
    start = time.perf_counter()
    for number, text in enumerate(texts, start=1):
        reading = read_tokens(text, loaded, attention=False)
        yield reading.prefixes
        if number % 100 == 0 or number == len(texts):
            print(f"{number} texts, {time.perf_counter() - start:.0f} s", flush=True)


def told(reference: Reference) -> None:
    """Medians of the middle layer, to see that lengths matter."""
    layer = reference.quantiles.shape[1] // 2
    print(f"medians at layer {layer}:")
    print("tokens  texts  " + "  ".join(f"{name:>13}" for name in SPLINE7))
    for place, length in enumerate(reference.lengths):
        row = "  ".join(f"{value:13.5f}" for value in reference.quantiles[place, layer, :, 50])
        print(f"{length:6}  {reference.texts[place]:5}  {row}")


if __name__ == "__main__":
    main()

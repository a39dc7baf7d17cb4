"""Does a range of ordinary traffic keep its false-alarm rate, and what does it flag? Writes ``novelty.md``.

    python benchmarks/novelty.py --data DIR --cache CACHE [--splits 20] [--dtype bfloat16] [-o FILE]

Two kinds of traffic: comments (Jigsaw train, not toxic), and a mix of four domains whose texts are from different
documents. Each split fits the range on a random half of the traffic, compares with a quarter, and flags the last
quarter, texts of the other domains, and toxic comments. Every text is cut: comments to 64 tokens, texts of the
domains to lengths drawn from those of the comments, so that length tells nothing. Beside it on the same splits the
contrastive form (half of the toxic comments to fit, the other half to flag), and the same p-values of two
baselines: how unusual the length is, and the cosine distance to the mean TF-IDF vector of the fitted half. Layers
(each third) and all else are the defaults of ``splinelens audit fit``. Features are read once and kept in CACHE.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from detection.data import letters_and_digits, read_evaluation
from sklearn.feature_extraction.text import TfidfVectorizer

from splinelens.apps.novelty import FEATURES, LAYER_STEP
from splinelens.detect.novelty import OrdinaryRange, conformal_p_values
from splinelens.detect.solver import fit
from splinelens.detect.thresholds import proportion_interval
from splinelens.features.extract import extract
from splinelens.features.table import FeatureTable
from splinelens.models import LoadedModel, load_model
from splinelens.report.tables import Table
from splinelens.texts import Texts
from splinelens.tokens import tokenize

TOKENS = 64
COMMENTS, TOXIC, OF_DOMAIN = 1600, 300, 120
TRAFFIC_DOMAINS = ("court", "instructions", "pubmed", "wikipedia")
RATES = (0.01, 0.05)
FORMS = ("distance", "contrastive", "length", "TF-IDF")


def main(arguments: Sequence[str] | None = None) -> None:
    """Read, measure and write the tables."""
    args = parse(arguments)
    loaded = load_model(dtype=args.dtype)
    texts, kinds = choose_texts(args.data, loaded)
    args.cache.mkdir(parents=True, exist_ok=True)
    table = extract(
        texts,
        loaded,
        features=FEATURES,
        layers=range(loaded.depth - 1, -1, -LAYER_STEP)[::-1],
        output=args.cache / f"novelty-{args.dtype}.parquet",
    )
    assert table.ok.all()
    mixed = np.isin(kinds, TRAFFIC_DOMAINS)
    page = [
        "# Warning signal",
        f"`python benchmarks/novelty.py --data DIR --cache CACHE --splits {args.splits} --dtype {args.dtype}`: "
        f"smollm2-135m, {len(table.columns)} columns at each third layer, texts of at most {TOKENS} tokens.",
    ]
    for name, traffic in (("comments", kinds == "comments"), (f"{', '.join(TRAFFIC_DOMAINS)}", mixed)):
        page += measure(name, traffic, table, texts, kinds, args.splits)
    args.output.write_text("\n\n".join(page) + "\n", encoding="utf-8")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the evaluation data")
    parser.add_argument("--cache", type=Path, required=True, help="folder of the features")
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--dtype", default="float32", help="number type of the model")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".md"))
    return parser.parse_args(arguments)


def choose_texts(data: Path, loaded: LoadedModel) -> tuple[list[str], np.ndarray]:
    """Random texts, cut, and the kind of each: ``comments``, ``toxic`` or its domain.

    Of the domain ``wiki_talk`` no text is taken whose beginning is that of a comment.
    """
    rng, sets = np.random.default_rng(0), read_evaluation(data, ("jig", "domains")).sets
    train = sets["jig"].where("split", ["train"])
    positive = np.array(train.columns["positive"])
    starts = {letters_and_digits(text)[:100] for text in train.texts}
    chosen = {
        "comments": _some(train, positive == 0, COMMENTS, rng),
        "toxic": _some(train, positive == 1, TOXIC, rng),
    }
    domain = np.array(sets["domains"].columns["domain"])
    unseen = np.array([letters_and_digits(text)[:100] not in starts for text in sets["domains"].texts])
    for name in sorted({*domain}):
        chosen[name] = _some(sets["domains"], (domain == name) & unseen, OF_DOMAIN, rng)
    lengths = [min(len(text.ids), TOKENS) for text in tokenize(chosen["comments"], loaded.tokenizer)]
    texts = []
    for name, own in chosen.items():
        limits = [TOKENS] * len(own) if name in ("comments", "toxic") else rng.choice(lengths, len(own))
        tokenized = tokenize(own, loaded.tokenizer)
        texts += [
            text if len(tokens.ids) <= limit else text[: tokens.offsets[limit - 1][1]]
            for text, tokens, limit in zip(own, tokenized, limits, strict=True)
        ]
    return texts, np.repeat([*chosen], [len(own) for own in chosen.values()])


def _some(texts: Texts, mask: np.ndarray, count: int, rng: np.random.Generator) -> list[str]:
    return [str(texts.texts[row]) for row in rng.permutation(np.flatnonzero(mask))[:count]]


if __name__ == "__main__":
    main()

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
from collections.abc import Sequence
from pathlib import Path
from time import process_time

import numpy as np
from detection.data import letters_and_digits, read_evaluation
from sklearn.feature_extraction.text import TfidfVectorizer

from splinelens.apps.novelty import FEATURES, LAYER_STEP
from splinelens.detect.novelty import OrdinaryRange, conformal_p_values, length_bins, length_edges
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
        cost(loaded, texts[:64]),
    ]
    for name, traffic in (("comments", kinds == "comments"), (f"{', '.join(TRAFFIC_DOMAINS)}", mixed)):
        page += measure(name, traffic, table, texts, kinds, args.splits)
    args.output.write_text("\n\n".join(page) + "\n", encoding="utf-8")


def cost(loaded: LoadedModel, texts: Sequence[str]) -> str:
    """What a token takes with and without intrinsic dimension."""
    layers = range(loaded.depth - 1, -1, -LAYER_STEP)[::-1]
    times = []
    for features in (FEATURES, ("spline7", "margins")):
        extract(texts[:8], loaded, features=features, layers=layers)
        started = process_time()
        table = extract(texts, loaded, features=features, layers=layers)
        times.append(1000 * (process_time() - started) / table.tokens.sum())
    return (
        f"Reading {len(texts)} comments takes {times[0]:.2f} ms of processor time a token on {loaded.device}, and "
        f"{times[1]:.2f} ms without intrinsic dimension."
    )


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


def measure(
    name: str,
    traffic: np.ndarray,
    table: FeatureTable,
    texts: Sequence[str],
    kinds: np.ndarray,
    splits: int,
) -> list[str]:
    """The parts of the page on one kind of traffic."""
    shares: dict[tuple[str, str, float], list[float]] = {}
    above = dict.fromkeys(((form, rate) for form in FORMS for rate in RATES), 0)
    for seed in range(splits):
        scores, fitted, sets = split_scores(np.flatnonzero(traffic), table, texts, kinds, seed)
        compared, held = sets["compared"], sets["held out"]
        for form, of_text in scores.items():
            for rate in RATES:
                edges = length_edges(table.tokens[fitted], len(compared), rate)
                bins = length_bins(table.tokens, edges)
                p_values = conformal_p_values(of_text[compared], of_text, bins[compared], bins)
                for group, rows in sets.items():
                    shares.setdefault((group, form, rate), []).append(float((p_values[rows] <= rate).mean()))
                above[form, rate] += (
                    proportion_interval(int((p_values[held] <= rate).sum()), len(held))[0] > rate
                )
    head = ("texts", *(f"{form}, {100 * rate:g} %" for rate in RATES for form in FORMS))
    rows = [
        (group, *(_mean(shares[group, form, rate]) for rate in RATES for form in FORMS))
        for group in sets
        if group != "compared"
    ]
    held = ("splits whose interval is above", *(str(above[form, rate]) for rate in RATES for form in FORMS))
    return [
        f"## Traffic: {name}",
        f"{traffic.sum():,} texts, {splits} splits. Share flagged in %, mean (lowest to highest split). The last row "
        "counts the splits whose 95 % interval (Clopper-Pearson) of the held-out texts is above the stated rate; the texts "
        "that they are compared with are a sample, too, so that this is more than one in forty.",
        Table(head, [*rows, held]).markdown(),
    ]


def split_scores(
    traffic: np.ndarray, table: FeatureTable, texts: Sequence[str], kinds: np.ndarray, seed: int
) -> tuple[dict[str, np.ndarray], np.ndarray, dict[str, np.ndarray]]:
    """Scores of all texts by form, higher for the more unusual, the fitted rows, and those of each set."""
    rng = np.random.default_rng(seed)
    order, toxic = rng.permutation(traffic), rng.permutation(np.flatnonzero(kinds == "toxic"))
    half, quarter = len(order) // 2, len(order) * 3 // 4
    fitted, other_fitted, tested = order[:half], toxic[: len(toxic) // 2], toxic[len(toxic) // 2 :]
    sizes = [column.size for column in table.columns]
    ordinary = OrdinaryRange.fit(table.values[fitted], sizes, table.tokens[fitted])
    deviations = ordinary.deviations(table.values, table.tokens)
    labels = np.repeat([0, 1], [len(fitted), len(other_fitted)])
    head = fit(deviations[np.concatenate([fitted, other_fitted])], labels, seed=seed).head
    logs = np.log(table.tokens)
    words = TfidfVectorizer(sublinear_tf=True).fit([texts[row] for row in fitted]).transform(texts)
    mean = np.asarray(words[fitted].mean(axis=0))[0]
    scores = {
        "distance": ordinary.distances(deviations),
        "contrastive": head.logit(deviations)[:, 0],
        "length": np.abs(logs - np.median(logs[fitted])),
        "TF-IDF": -(words @ mean),
    }
    held = order[quarter:]
    sets = {"compared": order[half:quarter], "held out": held, **by_length(held, table.tokens)}
    others = [
        kind for kind in dict.fromkeys(kinds) if kind != "toxic" and not np.isin(kinds[traffic], kind).any()
    ]
    sets |= {kind: np.flatnonzero(kinds == kind) for kind in others}
    return scores, fitted, sets | {"toxic": tested}


def by_length(rows: np.ndarray, tokens: np.ndarray) -> dict[str, np.ndarray]:
    """The held-out texts by length."""
    return {
        f"held out, {low + 1} to {high} tokens": rows[(tokens[rows] > low) & (tokens[rows] <= high)]
        for low, high in ((0, 16), (16, 40), (40, 2 * TOKENS))
    }


def _mean(shares: Sequence[float]) -> str:
    mean, low, high = (100 * value for value in (np.mean(shares), min(shares), max(shares)))
    return f"{mean:.1f} ({low:.1f} to {high:.1f})"


if __name__ == "__main__":
    main()

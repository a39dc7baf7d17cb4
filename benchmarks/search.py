"""Search prompts, layers, poolings, their weights and training rows for the toxicity detectors.

    python benchmarks/search.py --data DIR --cache CACHE [--dtype bfloat16] [--stage rows | blocks | prompts]
    python benchmarks/search.py --data DIR --cache CACHE [--dtype bfloat16] --stage domain | anchors | sums
    python benchmarks/search.py --data DIR --cache CACHE [--dtype bfloat16] --stage readers [--model MODEL]

Every try is judged by out-of-fold AUC on the training rows of jigsaw-test-binary-12k (5 folds, the best of a
few L2 strengths); its test rows are never scored. Features come from CACHE as ``bench_detectors.py`` lays them
out, read now where they are not there. Heads are fitted from inner products of rows, one
matrix a block of columns, kept below CACHE/search: a try adds blocks, each times a weight, so weights of
layers and poolings cost no pass over the columns. ``--stage domain`` compares heads on spline7 of 64 tokens by
their mean out-of-fold AUC over nine domains; ``--stage anchors`` fits 3,600 rows exactly, and with weights in the
span of fewer of them. ``--stage sums`` fits the heads of learned directions without a quarter of the Jigsaw rows and
without some writers of contrast pairs, and measures sums of them on these; ``--stage readers`` does so
for one head on the inputs of any model, with fewer sources. Prints one line a try, collected in benchmarks/search.md.
"""

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from detection.data import EvaluationData, read_evaluation
from detection.feature_store import FeatureStore
from detection.features import QUESTION, READINGS, read_cached
from detection.fitting import FOLDS, Head, Learned, cached_layers, fit_heads, gather, read_tokens
from detection.heads import fit_scorer
from detection.protocols import document
from detection.sources import PAIRS
from detection.training_rows import Part, domain_parts, toxic_parts
from detectors import ALL, JIGSAW
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.preprocessing import StandardScaler

from splinelens.detect.learned import Settings
from splinelens.detect.solver import Basis, cross_validate, folds, gram_factor
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.models import LoadedModel, load_model

PROMPTS = {
    "none": "",
    "evidence": QUESTION,
    "evidence-tight": QUESTION.rstrip(" "),
    "newline": "Is the following comment rude, hateful, threatening or toxic?\n",
    "moderator": "A moderator reads the following comment and decides whether it is toxic, rude, hateful or "
    "harmless.\n\nComment:",
    "chat": "<|im_start|>user\nIs this comment toxic, rude, insulting, hateful or threatening?\n\n",
    "chat-system": "<|im_start|>system\nYou are a content moderator. Decide whether a comment is toxic, "
    "insulting, obscene, threatening or hateful.<|im_end|>\n<|im_start|>user\n",
    "short": "Toxic or not? ",
    "insult": "The following comment was removed because it is an insult:\n",
    "list": "toxic, obscene, threat, insult, identity hate\nComment: ",
}
STRENGTHS = (3e-4, 1e-3)
"""The others of 1e-4 to 3e-3 were never the best with all layers."""
FIFTHS = {
    "0-5": range(6),
    "6-11": range(6, 12),
    "12-17": range(12, 18),
    "18-23": range(18, 24),
    "24-29": range(24, 30),
}
MARGINS = ("margin_max", "margin_min")
_COLUMNS = 2048

Block = tuple[str, str]
"""A statistic and a range of layers."""


@dataclass(frozen=True, eq=False)
class Table:
    """Training rows of several sets, one after the other, with the inner products of each block of columns."""

    parts: Sequence[Part]
    stores: Sequence[FeatureStore]
    folder: Path

    def products(self, block: Block) -> np.ndarray:
        """The Gram matrix of a block, made once."""
        statistic, layers = block
        sizes = "-".join(f"{part.name}{len(part.index)}" for part in self.parts)
        place = self.folder / f"{statistic}.{layers}.{sizes}.npy"
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            names = [f"layer{layer:02}.{statistic}" for layer in FIFTHS[layers]]
            gram = sum(rows @ rows.T for rows in map(self._standardized, names))
            np.save(place, gram)
        return np.load(place, mmap_mode="r")

    def _standardized(self, name: str) -> np.ndarray:
        rows = [store.rows([name], part.index) for store, part in zip(self.stores, self.parts, strict=True)]
        values = np.concatenate(rows)
        return StandardScaler().fit_transform(values.astype(np.float32))

    def rows_of(self, names: Sequence[str]) -> np.ndarray:
        """Numbers of the rows of some of the sets."""
        return np.flatnonzero(
            np.concatenate([np.full(len(part.index), part.name in names) for part in self.parts])
        )


def tried(name: str, table: Table, weights: Mapping[Block, float], sets: Sequence[str]) -> float:
    """Print one try; returns its AUC."""
    began, chosen = time.perf_counter(), table.rows_of(sets)
    products = np.zeros((len(chosen), len(chosen)), dtype=np.float32)
    for block, weight in weights.items():
        whole = table.products(block)
        products += np.float32(weight) * (whole if len(chosen) == len(whole) else whole[chosen][:, chosen])
    labels = np.concatenate([part.labels for part in table.parts])[chosen]
    judged = np.isin(chosen, table.rows_of([part.name for part in table.parts if part.judges]))
    fold = np.full(len(chosen), -1)
    for number, held in enumerate(folds(labels, judged, np.arange(len(chosen)), 0)):
        fold[held] = number
    coordinates = gram_factor(products.astype(np.float64), jitter=1e-5).astype(np.float32)
    chosen_strength = cross_validate(coordinates, labels, fold, STRENGTHS, judged=judged)
    best = float(chosen_strength.auc.max())
    print(
        f"| {name} | {'+'.join(sets)} | {len(chosen)} | {chosen_strength.strengths[0]:g} | {100 * best:.2f} | "
        f"{time.perf_counter() - began:.0f} s |",
        flush=True,
    )
    return best


def even(
    statistics: Sequence[str], layers: Sequence[str] = tuple(FIFTHS), weight: float = 1.0
) -> dict[Block, float]:
    """All blocks of some statistics and layers with one weight."""
    return {(statistic, fifth): weight for statistic in statistics for fifth in layers}


def rows(table: Table) -> None:
    """Which sets to fit on."""
    for sets in (["jig"], ["jig", "raw"], ["jig", "clean"], [part.name for part in table.parts]):
        tried("max+min", table, even(MARGINS), sets)
        tried("max+min, layers 0-5", table, even(MARGINS, ["0-5"]), sets)


def blocks(table: Table) -> None:
    """Poolings, then weights of layers, one change at a time, on the balanced rows alone."""
    both, middle = even(MARGINS), ("12-17", "18-23")
    tried("max", table, even(["margin_max"]), ["jig"])
    tried("max+min", table, both, ["jig"])
    for statistic, layers, several in (
        ("margin_last", tuple(FIFTHS), (0.03, 0.1, 0.3)),
        ("margin_last", middle, (0.1, 0.3, 1.0)),
        ("hidden_max", tuple(FIFTHS), (0.1, 1.0)),
        ("hidden_mean", tuple(FIFTHS), (0.1,)),
    ):
        for weight in several:
            name = f"max+min+{weight} {statistic}" + (" of layers 12-23" if layers == middle else "")
            tried(name, table, both | even([statistic], layers, weight), ["jig"])
    for weight in (0.3, 0.1):
        less = both | even(MARGINS, ("0-5", "24-29"), weight)
        tried(f"max+min, layers 0-5 and 24-29 times {weight}", table, less, ["jig"])
    last = even(["margin_last"], middle, 0.3)
    tried("the same + 0.3 margin_last of layers 12-23", table, less | last, ["jig"])


def domain(data: EvaluationData, model: LoadedModel, cache: Path) -> None:
    """Heads on the seven features of the first 64 tokens, documents kept on one side."""
    (part,) = domain_parts(data)
    store = read_cached(
        TextReader(model, READINGS["plain64"]), data.sets["domains"], cache / "domains" / "plain64"
    )
    values = store.rows([name for name in store.sizes if name != "length"], part.index)
    columns = data.sets["domains"].columns
    names = [document(columns["domain"][row], columns["doc_id"][row]) for row in part.index]
    _, groups = np.unique(names, return_inverse=True)
    squeezed = np.sign(values) * np.log1p(np.abs(values))
    whole = np.ones(len(values), dtype=bool)
    for name, table, head in (
        ("logistic", values, "logistic"),
        ("logistic on signed logarithms", squeezed, "logistic"),
        ("forest", values, "forest"),
        ("network", values, "network"),
    ):
        began, scores = time.perf_counter(), np.zeros(part.labels.shape)
        for held in folds(part.labels, whole, groups, 0):
            rest = np.setdiff1d(np.arange(len(values)), held)
            scores[held] = fit_scorer(table[rest], part.labels[rest], head=head).scores(table[held])
        each = [roc_auc_score(y, own) for y, own in zip(part.labels.T, scores.T, strict=True)]
        print(
            f"| {name} | {table.shape[1]} | {len(table)} | {100 * np.mean(each):.2f} | {100 * min(each):.2f} | "
            f"{time.perf_counter() - began:.0f} s |",
            flush=True,
        )


def anchors(table: Table) -> None:
    """What is lost where the weights lie in the span of some of 3,600 rows, as in tables of over 30,000."""
    (part,), (store,) = table.parts, table.stores
    chosen = np.sort(np.random.default_rng(0).permutation(len(part.index))[:3600])
    names = [name for name in store.sizes if name.endswith(".margin_max")][:12]
    values, labels = store.rows(names, part.index[chosen]), part.labels[chosen]
    whole, fold = np.ones(len(values), dtype=bool), np.full(len(values), -1)
    for number, held in enumerate(folds(labels, whole, np.arange(len(values)), 0)):
        fold[held] = number
    order = np.random.default_rng(1).permutation(len(values))
    for count in (3600, 1800, 900):
        began = time.perf_counter()
        basis = Basis.of(values, anchors=None if count == len(values) else np.sort(order[:count]))
        changed = time.perf_counter()
        best = cross_validate(basis.coordinates, labels, fold, (1e-4, 3e-4, 1e-3, 3e-3))
        print(
            f"| {count} of {len(values)} | {values.shape[1]} | {best.strengths[0]:g} | {100 * best.auc.max():.2f} | "
            f"{changed - began:.0f} s | {time.perf_counter() - changed:.0f} s |",
            flush=True,
        )


def prompts(data: EvaluationData, model: LoadedModel, cache: Path) -> None:
    """Max and min margins of the balanced rows alone under each prompt."""
    for name, prompt in PROMPTS.items():
        spec = FeatureSpec(MARGINS, prompt=prompt, max_tokens=256, long="cut")
        table = _table(data, model, spec, cache, f"prompt-{name}", ["jig"])
        tried(f"{name}: max+min", table, even(MARGINS), ["jig"])
        tried(f"{name}: max+min, layers 0-5", table, even(MARGINS, ["0-5"]), ["jig"])


def sum_heads(depth: int) -> dict[str, Head]:
    """The heads that are added in ``sums``, by name."""
    cached = cached_layers(depth)
    early, middle = cached[:6], cached[-6:]
    mild = {**ALL, "jig": 3.0, "raw": 3.0}
    return {
        "early, Jigsaw": Head(Settings(64, early, epochs=4), JIGSAW),
        "Jigsaw": Head(Settings(64, middle, epochs=4), JIGSAW),
        "all x3": Head(Settings(128, middle, epochs=4), mild),
        "all x3, seed 1": Head(Settings(128, middle, epochs=4, seed=1), mild),
        "all x8": Head(Settings(128, middle, epochs=4), ALL),
        "all x8, seed 1": Head(Settings(128, middle, epochs=4, seed=1), ALL),
        "early, all x8": Head(Settings(128, early, epochs=4), ALL),
    }


def _shares(jigsaw: float, *others: str) -> dict[str, float]:
    """Two heads fitted on Jigsaw with a share each, and others that share the rest."""
    return {"early, Jigsaw": jigsaw, "Jigsaw": jigsaw} | dict.fromkeys(others, (1 - 2 * jigsaw) / len(others))


SHARES: tuple[dict[str, float], ...] = (
    {"Jigsaw": 1.0},
    {"all x3": 1.0},
    {"all x8": 1.0},
    {"early, all x8": 1.0},
    {"all x3": 0.5, "all x3, seed 1": 0.5},
    {"all x8": 0.5, "all x8, seed 1": 0.5},
    {"all x8": 0.4, "all x8, seed 1": 0.4, "early, all x8": 0.2},
    *(_shares(jigsaw, "all x3", "all x3, seed 1") for jigsaw in (0.1, 0.15, 0.2)),
    *(_shares(jigsaw, "all x8", "all x8, seed 1") for jigsaw in (0.05, 0.1, 0.15)),
)
HELD_WRITERS = (3, 6, 13)


def reader_heads(depth: int) -> dict[str, Head]:
    """One head on sources of 0.6 million tokens, so that a larger model reads them in reasonable time."""
    weights = {name: ALL[name] for name in ("raw", "tgann", "pairs")}
    return {"raw, ToxiGen and pairs": Head(Settings(128, cached_layers(depth)[-6:], epochs=4), weights)}


def sums(
    heads: Mapping[str, Head],
    shares: Sequence[Mapping[str, float]],
    folder: Path,
    cache: Path,
    model: LoadedModel,
) -> None:
    """Sums of heads with other shares, on held-out Jigsaw rows and on pairs of writers who were held out."""
    judge = "jig" if any("jig" in head.weights for head in heads.values()) else "raw"
    recipe = Learned("toxicity", "binary", ("toxic",), "clean", tuple(heads.values()), judge)
    rows = gather(recipe, folder)
    tokens = read_tokens(recipe, rows, folder, cache, model)
    usable = np.flatnonzero(rows.usable & (tokens[0].lengths > 0))
    judged = usable[rows.of(judge)[usable]]
    folds_of = StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(judged, rows.labels[judged, 0])
    held = next(folds_of)[1]
    with open(PAIRS, encoding="utf-8") as file:
        pairs = [json.loads(line) for line in file]
    first = int(np.flatnonzero(rows.of("pairs"))[0])
    writers = {
        writer: np.concatenate(
            [first + 2 * at + np.arange(2) for at, pair in enumerate(pairs) if pair["writer"] == writer]
        )
        for writer in HELD_WRITERS
    }
    out = [judged[held], *writers.values()]
    ensemble = fit_heads(recipe, tokens, rows, np.setdiff1d(usable, np.concatenate(out)), "search", cache)
    logits = [np.stack([one[:, 0] for one in ensemble.of_heads(part)]) for part in out]
    for named_shares in shares:
        share = np.array([named_shares.get(name, 0.0) for name in heads])
        numbers = []
        for part, each in zip(out, logits, strict=True):
            y, total = rows.labels[part, 0] == 1, share @ each
            if not numbers:
                harmless = np.sort(total[~y])
                limits = [harmless[int((1 - rate) * len(harmless))] for rate in (0.01, 0.05)]
                rates = "".join(f" / {(total[y] > limit).mean():.3f}" for limit in limits)
            else:
                rates = f" ({100 * (total[~y] > limits[1]).mean():.0f} / {100 * (total[y] > limits[1]).mean():.0f})"
            numbers.append(f"{roc_auc_score(y, total):.4f}{rates}")
        named = ", ".join(f"{name} {value:g}" for name, value in named_shares.items())
        print(f"| {named} | {' | '.join(numbers)} |", flush=True)


def _table(
    data: EvaluationData,
    model: LoadedModel,
    spec: FeatureSpec,
    cache: Path,
    reading: str,
    names: Sequence[str],
) -> Table:
    parts, reader = toxic_parts(data, names), TextReader(model, spec)
    stores = [read_cached(reader, data.sets[part.name], cache / part.name / reading) for part in parts]
    return Table(parts, stores, cache / "search" / reading)


def main() -> None:
    """Run one stage of the search."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the evaluation data")
    parser.add_argument("--cache", type=Path, required=True, help="folder of the features, as of bench")
    parser.add_argument(
        "--dtype", default="float32", help="of the model that reads features: float32, bfloat16"
    )
    parser.add_argument(
        "--stage",
        choices=["rows", "blocks", "prompts", "domain", "anchors", "sums", "readers"],
        default="blocks",
    )
    parser.add_argument("--model", default="smollm2-135m", help="of --stage readers")
    arguments = parser.parse_args()
    if arguments.stage in ("sums", "readers"):
        print(f"| shares | Jigsaw | {' | '.join(f'writer {writer}' for writer in HELD_WRITERS)} |")
        print("|---" * (2 + len(HELD_WRITERS)) + "|")
        model = load_model(arguments.model, dtype=arguments.dtype)
        sums_of, shares = sum_heads(model.depth), SHARES
        if arguments.stage == "readers":
            sums_of = reader_heads(model.depth)
            shares = tuple({name: 1.0} for name in sums_of)
        return sums(sums_of, shares, arguments.data, arguments.cache, model)
    data, model = read_evaluation(arguments.data), load_model("smollm2-135m", dtype=arguments.dtype)
    if arguments.stage == "domain":
        print(
            "| head | columns | rows | mean out-of-fold AUC | worst domain | time |\n|---|---|---|---|---|---|"
        )
        return domain(data, model, arguments.cache)
    if arguments.stage == "anchors":
        print("| anchors | columns | C | out-of-fold AUC | basis | fits |\n|---|---|---|---|---|---|")
        return anchors(_table(data, model, READINGS["prompted"], arguments.cache, "prompted", ["jig"]))
    print("| try | rows of | rows | C | out-of-fold AUC | time |\n|---|---|---|---|---|---|")
    if arguments.stage == "prompts":
        return prompts(data, model, arguments.cache)
    names = ["jig", "clean", "raw"] if arguments.stage == "rows" else ["jig"]
    table = _table(data, model, READINGS["prompted"], arguments.cache, "prompted", names)
    return rows(table) if arguments.stage == "rows" else blocks(table)


if __name__ == "__main__":
    main()

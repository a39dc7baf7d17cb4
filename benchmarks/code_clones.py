"""Find another solution of the same problem among all solutions: views, their fusion, and its weights.

Data: ``solutions`` (500 problems, several algorithms each, three languages), as is, with the names of
functions masked, and with all identifiers masked. Weights are learned on the pairs of other problems.

    python benchmarks/code_clones.py --data DIR --encoder FOLDER --cache DIR --part within
    python benchmarks/code_clones.py --encoder FOLDER --part speed --folder DIR

The parts are ``within`` (Python to Python), ``across`` (Python to Java and JavaScript), ``weights`` (those that
``splinelens code index`` uses, on all problems and masks, written into the package), ``speed``, and ``cosines``,
which only fills the cache. Each is added to ``code_clones.json``, from which ``code_clones.md`` is written.
"""

import argparse
import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from splinelens import extract
from splinelens.apps import code_index
from splinelens.detect.fusion import FusedView, fit_fusion
from splinelens.features.code_views import (
    CodeSpace,
    cosines,
    fused,
    structure_counts,
    word_counts,
)
from splinelens.features.sentence_encoder import SentenceEncoder
from splinelens.files import write_bytes, write_text
from splinelens.report.tables import Table
from splinelens.texts.code import mask

HERE = Path(__file__).parent
RECORD = HERE / "code_clones.json"
MASKS = ("as is", "names", "identifiers")
OTHERS = ("java", "javascript")
FOLDS, CANDIDATES, RESAMPLES = 5, 100, 2000
PARTS = ("within", "across", "weights", "speed", "cosines")
OPTIONAL = ("code", "summary", "geometry")


class Solutions:
    """The rows of one language, with masked code and cached vectors."""

    def __init__(self, rows: Sequence[dict[str, str]], language: str, settings: argparse.Namespace):
        self.rows = [row for row in rows if row["language"] == language]
        self.language, self.settings = language, settings
        self.problems = np.array([row["problem"] for row in self.rows])
        self.languages = [language] * len(self.rows)

    def vectors(self, masking: str, views: Sequence[str]) -> dict[str, object]:
        """The vectors of each view; ``summary`` is the explanation that a human wrote."""
        texts = [mask(row["code"], row["language"], masking) for row in self.rows]
        makers = {
            "words": lambda: word_counts(texts),
            "structure": lambda: structure_counts(texts, self.languages),
            "code": lambda: self._cached("code", texts, self._encode),
            "summary": lambda: self._cached("summary", [row["intuition"] for row in self.rows], self._encode),
            "geometry": lambda: self._cached("geometry", texts, self._geometry),
        }
        return {view: makers[view]() for view in views}

    def similarities(self, masking: str, views: Sequence[str]) -> dict[str, np.ndarray]:
        """The cosine of each pair, by view; those of dense views also without centering and whitening."""
        path = self.settings.cache / f"code-clones-{masking.replace(' ', '-')}-{'-'.join(views)}.npz"
        if not path.is_file():
            vectors = self.vectors(masking, [*views, "summary"])
            unit = CodeSpace(vectors, self.languages).unit(vectors, self.languages)
            result = cosines(unit, unit) | {
                f"{name}, plain": _plain(vectors[name])
                for name in ("code", "geometry", "summary")
                if name in vectors
            }
            np.savez(path, **{name: values.astype(np.float32) for name, values in result.items()})
        with np.load(path) as file:
            return dict(file)

    def _cached(self, view, texts, compute):
        digest = hashlib.sha256(json.dumps([view, texts]).encode()).hexdigest()[:16]
        path = self.settings.cache / f"code-clones-{view}-{self.language}-{digest}.npy"
        if not path.is_file():
            with TemporaryDirectory() as folder:
                np.save(Path(folder) / "a.npy", compute(texts))
                write_bytes(path, (Path(folder) / "a.npy").read_bytes())
        return np.load(path).astype(np.float32)

    def _encode(self, texts):
        encoder = SentenceEncoder(self.settings.encoder, dtype="bfloat16")
        print(f"encoding {len(texts):,} texts of {self.language}", flush=True)
        return encoder.encode(texts)

    def _geometry(self, texts):
        print(f"reading {len(texts):,} texts of {self.language}", flush=True)
        reads = {"features": ("margins",), "pooling": ("max", "mean")}
        table = extract(texts, layers=code_index.GEOMETRY_LAYERS, dtype="bfloat16", **reads)
        return np.nan_to_num(table.values).astype(np.float16)


def measure(settings: argparse.Namespace, record: dict[str, object]) -> dict[str, object]:
    """The tables of the masks that are asked for, beside those that the record has."""
    with (settings.data / "solutions" / "solutions.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    python = Solutions(rows, "python", settings)
    views = ["words", "structure", "code"] + (["geometry"] if settings.geometry else [])
    about = {
        "problems": len(set(python.problems)),
        "pool": len(python.rows),
        "queries": int(_has_other(python.problems).sum()),
        "encoder": Path(settings.encoder).name,
        "number_type": "bfloat16",
        "folds": FOLDS,
        "views": views,
    }
    record |= about
    for masking in settings.masks if settings.part == "within" else ():
        similarities = {each: python.similarities(each, views) for each in MASKS}
        record.setdefault("within", {})[masking] = _within(python.problems, similarities, masking, views)
    for masking in settings.masks if settings.part == "across" else ():
        for language in OTHERS:
            other = Solutions(rows, language, settings)
            across = record.setdefault("across", {}).setdefault(language, {})
            across[masking] = _across(python, other, masking, ["words", "structure", "code"])
    if settings.part == "weights":
        similarities = {each: python.similarities(each, views) for each in MASKS}
        record["weights"] = _weight_sets(python.problems, similarities, views)
        target = Path(code_index.__file__).with_suffix(".json")
        write_text(target, json.dumps({"sets": record["weights"]}, indent=1) + "\n")
    for masking in settings.masks if settings.part == "cosines" else ():
        python.similarities(masking, views)
    return record


def _within(problems, similarities, masking, views) -> dict[str, object]:
    """Recall@1 of each view and of fusions with weights from other problems."""
    by_view = similarities[masking]
    queries = _has_other(problems)
    hits = {
        name: _hits(problems, values)[queries] for name, values in by_view.items() if name.endswith("plain")
    }
    for name in [*views, "summary"]:
        hits[name] = _hits(problems, by_view[name])[queries]
        hits[f"{name}, hubness"] = _hits(problems, _less_hubness({name: by_view[name]}, _only(name)))[queries]
    own = {masking: {view: by_view[view] for view in views}}
    pooled = {each: {view: similarities[each][view] for view in views} for each in MASKS}
    oracle = {masking: {view: by_view[view] for view in [*views, "summary"]}}
    hits["fusion"] = _fused_hits(problems, own, masking)[queries]
    hits["fusion, one set of weights"] = _fused_hits(problems, pooled, masking)[queries]
    hits["fusion with the human explanation"] = _fused_hits(problems, oracle, masking)[queries]
    groups = problems[queries]
    singles = {name: hits[name].mean() for name in views}
    best = max(singles, key=singles.get)
    plain = ["words", *(name for name in hits if name in ("code, plain", "geometry, plain"))]
    best_plain = max(plain, key=lambda name: hits[name].mean())
    corrected = {f"{name}, hubness": hits[f"{name}, hubness"].mean() for name in views}
    best_corrected = max(corrected, key=corrected.get)
    return {
        "recall": {name: round(float(values.mean()), 4) for name, values in hits.items()},
        "best_single": best,
        "gain": _difference(hits["fusion"], hits[best], groups),
        "gain_one_set": _difference(hits["fusion, one set of weights"], hits[best], groups),
        "best_plain": best_plain,
        "gain_over_plain": _difference(hits["fusion"], hits[best_plain], groups),
        "best_corrected": best_corrected,
        "gain_over_corrected": _difference(hits["fusion"], hits[best_corrected], groups),
    }


def _across(python: Solutions, other: Solutions, masking: str, views: Sequence[str]) -> dict[str, object]:
    """Recall@1 of Python solutions among those of another language."""
    left, right = python.vectors(masking, views), other.vectors(masking, views)
    both = {
        name: np.concatenate([left[name], right[name]])
        if isinstance(left[name], np.ndarray)
        else _stack(left[name], right[name])
        for name in views
    }
    space = CodeSpace(both, python.languages + other.languages)
    units = space.unit(left, python.languages), space.unit(right, other.languages)
    by_view = cosines(*units)
    queries = np.isin(python.problems, other.problems)
    match = python.problems[:, None] == other.problems[None]
    hits = {name: match[np.arange(len(match)), values.argmax(1)][queries] for name, values in by_view.items()}
    folds, found = _folds(python.problems), np.zeros(len(match), bool)
    for fold in range(FOLDS):
        train = folds != fold
        rows = np.flatnonzero(train)
        columns = np.flatnonzero(np.isin(other.problems, python.problems[train]))
        part = {name: values[np.ix_(rows, columns)] for name, values in by_view.items()}
        weights = _plain_weights(fit_fusion(*_candidates(part, match[np.ix_(rows, columns)])))
        score = fused(by_view, weights)
        near = np.partition(score, -10, axis=0)[-10:].mean(axis=0)
        best = (score - near / 2).argmax(1)
        found[~train] = match[np.arange(len(match)), best][~train]
    hits["fusion"] = found[queries]
    best = max(views, key=lambda name: hits[name].mean())
    return {
        "queries": int(queries.sum()),
        "pool": len(other.rows),
        "recall": {name: round(float(values.mean()), 4) for name, values in hits.items()},
        "gain": _difference(hits["fusion"], hits[best], python.problems[queries]),
    }


def _weight_sets(problems, similarities, views) -> dict[str, object]:
    """The weights for each choice of optional views, learned on all problems and masks."""
    optional = [name for name in OPTIONAL if name in views or name == "summary"]
    sets = {}
    for size in range(len(optional) + 1):
        for chosen in combinations(optional, size):
            if "summary" in chosen and "code" not in chosen:
                continue
            names = ("words", "structure", *chosen)
            weights = _learn(
                problems,
                {each: {name: similarities[each][name] for name in names} for each in MASKS},
                np.ones(len(problems), bool),
            )
            sets["+".join(names)] = {
                name: {key: round(value, 4) for key, value in asdict(view).items()}
                for name, view in weights.items()
            }
    return sets


def _fused_hits(problems, by_mask: Mapping[str, Mapping[str, np.ndarray]], masking: str) -> np.ndarray:
    """Whether the best match is of the same problem, with weights from the problems of other folds."""
    folds, result = _folds(problems), np.zeros(len(problems), bool)
    for fold in range(FOLDS):
        weights = _plain_weights(_learn(problems, by_mask, folds != fold))
        hits = _hits(problems, _less_hubness(by_mask[masking], weights))
        result[folds == fold] = hits[folds == fold]
    return result


def _learn(problems, by_mask, train) -> dict[str, FusedView]:
    rows = np.flatnonzero(train)
    itself = np.eye(len(rows), dtype=bool)
    match = (problems[rows][:, None] == problems[rows][None]) & ~itself
    sets = [
        _candidates({name: values[np.ix_(rows, rows)] for name, values in by_view.items()}, match, itself)
        for by_view in by_mask.values()
    ]
    return fit_fusion(
        {name: np.concatenate([each[name] for each, _ in sets]) for name in sets[0][0]},
        np.concatenate([labels for _, labels in sets]),
    )


def _candidates(by_view, match, itself=None):
    """Of each query what matches and the nearest others: as many candidates for each."""
    nearness = sum((values - values.mean()) / values.std() for values in by_view.values())
    nearness = np.where(match, np.inf, nearness)
    if itself is not None:
        nearness[itself] = -np.inf
    count = min(CANDIDATES, nearness.shape[1] - 1)
    nearest = np.argpartition(nearness, -count, axis=1)[:, -count:]
    chosen = {name: np.take_along_axis(values, nearest, axis=1) for name, values in by_view.items()}
    return chosen, np.take_along_axis(match, nearest, axis=1)


def _less_hubness(by_view, weights) -> np.ndarray:
    """The score of a pair, less half of how near the candidate is to everything; as ``CodeIndex.similar``."""
    score = fused(by_view, weights)
    others = score.copy()
    np.fill_diagonal(others, -np.inf)
    return score - np.partition(others, -10, axis=1)[:, -10:].mean(axis=1)[None] / 2


def _hits(problems, similarity) -> np.ndarray:
    ranked = similarity.copy()
    np.fill_diagonal(ranked, -np.inf)
    return problems[ranked.argmax(1)] == problems


def _plain(vectors: np.ndarray) -> np.ndarray:
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return unit @ unit.T


def _stack(*matrices):
    from scipy.sparse import csr_array, vstack

    return csr_array(vstack(matrices))


def _plain_weights(views: Mapping[str, FusedView]) -> dict[str, float]:
    return {name: view.weight for name, view in views.items()}


def _only(name: str) -> dict[str, float]:
    return {name: 1.0}


def _has_other(problems) -> np.ndarray:
    _, index, counts = np.unique(problems, return_inverse=True, return_counts=True)
    return counts[index] > 1


def _folds(problems) -> np.ndarray:
    names, index = np.unique(problems, return_inverse=True)
    return np.random.default_rng(0).permutation(np.arange(len(names)) % FOLDS)[index]


def _difference(first, second, groups) -> list[float]:
    """The difference of two recalls and its 95 % interval, from resampling problems."""
    names, index = np.unique(groups, return_inverse=True)
    sums = np.bincount(index, first.astype(float) - second)
    counts = np.bincount(index)
    drawn = np.random.default_rng(0).integers(len(names), size=(RESAMPLES, len(names)))
    means = sums[drawn].sum(1) / counts[drawn].sum(1)
    return [
        round(float(value), 4) for value in (sums.sum() / counts.sum(), *np.quantile(means, [0.025, 0.975]))
    ]


def measure_speed(settings: argparse.Namespace) -> dict[str, object]:
    """Index the functions of a folder, and answer for one that is in it and one that is not."""
    from splinelens.texts.code import CodeFunction

    with TemporaryDirectory() as folder:
        started, processor = time.perf_counter(), time.process_time()
        geometry = "smollm2-135m" if settings.geometry else None
        embedder = code_index.Embedder(settings.encoder, geometry)
        made = code_index.index_code(settings.folder, Path(folder) / "index.parquet", embedder)
        wall, processor = time.perf_counter() - started, time.process_time() - processor
        one = made.functions[len(made) // 2]
        wanted = CodeFunction(one.name, one.language, 0, 0, 1, 1, one.text, (), "")
        made.similar([wanted])
        started, used = time.perf_counter(), time.process_time()
        made.similar([wanted])
        return {
            "functions": len(made),
            "characters": sum(len(function.text) for function in made.functions),
            "views": list(made.views),
            "wall_s": round(wall, 1),
            "processor_s": round(processor, 1),
            "similar_wall_s": round(time.perf_counter() - started, 3),
            "similar_processor_s": round(time.process_time() - used, 3),
        }


def markdown(record: dict[str, object]) -> str:
    """The tables of a record."""
    parts = [
        "# Functions that mean the same\n",
        f"`python benchmarks/code_clones.py`: {record['problems']} problems of `solutions`; recall@1 of "
        f"{record['queries']:,} Python solutions among all {record['pool']:,}, the query left out. Weights of "
        "fusions are learned on other problems (5 folds); intervals resample problems.\n",
    ]
    within = record["within"]
    names = list(within["as is"]["recall"])
    rows = [(name, *(f"{within[each]['recall'][name]:.3f}" for each in MASKS)) for name in names]
    for key, words in (
        ("gain_over_plain", "fusion less the best of words and plain vectors"),
        ("gain", "fusion less the best view"),
        ("gain_one_set", "the same, one set of weights"),
        ("gain_over_corrected", "fusion less the best view with hubness removed"),
    ):
        rows.append((words, *(_interval(within[each][key]) for each in MASKS)))
    parts.append(Table(("Python to Python", *MASKS), rows).markdown())
    for language, by_mask in record.get("across", {}).items():
        names = list(by_mask["as is"]["recall"])
        rows = [(name, *(f"{by_mask[each]['recall'][name]:.3f}" for each in MASKS)) for name in names]
        rows.append(("fusion less the best view", *(_interval(by_mask[each]["gain"]) for each in MASKS)))
        title = f"Python to {language}, {by_mask['as is']['pool']:,} solutions"
        parts.append("\n" + Table((title, *MASKS), rows).markdown())
    if speed := record.get("speed"):
        cells = [(key.replace("_", " "), str(value)) for key, value in speed.items()]
        parts.append("\n" + Table(("speed", ""), cells).markdown())
    return "\n".join(parts) + "\n"


def _interval(values) -> str:
    return "{:+.3f} [{:+.3f}, {:+.3f}]".format(*values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--encoder", required=True, help="all-MiniLM-L6-v2: folder or hub id")
    parser.add_argument("--cache", type=Path, default=Path("out"), help="folder of encodings")
    parser.add_argument("--geometry", action="store_true", help="also the geometry of smollm2-135m")
    parser.add_argument("--part", choices=PARTS, default="within")
    parser.add_argument("--masks", nargs="+", choices=MASKS, default=MASKS)
    parser.add_argument("--folder", type=Path, help="of the part speed: what is indexed")
    settings = parser.parse_args()
    settings.cache.mkdir(parents=True, exist_ok=True)
    record = json.loads(RECORD.read_text("utf-8")) if RECORD.is_file() else {}
    if settings.part == "speed":
        record["speed"] = measure_speed(settings)
    else:
        record = measure(settings, record)
    write_text(RECORD, json.dumps(record, indent=1) + "\n")
    if len(record.get("within", {})) == len(MASKS):
        write_text(RECORD.with_suffix(".md"), markdown(record))


if __name__ == "__main__":
    main()

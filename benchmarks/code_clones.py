"""Find another solution of the same problem among all solutions: views, their fusion, and its weights.

Data: ``solutions`` (500 problems, several algorithms each, three languages), as is, with the names of
functions masked, and with all identifiers masked. Weights are learned on the pairs of other problems, those
of ``one set of weights`` with the names of functions masked.

    python benchmarks/code_clones.py --data DIR --encoder FOLDER --cache DIR --geometry --part within
    python benchmarks/code_clones.py --encoder FOLDER --part speed --folder DIR

The parts are ``within`` (Python to Python), ``across`` (Python to Java and JavaScript), ``neighbors`` (the fusion
with the neighbors of candidates), ``weights`` (those that ``splinelens code index`` uses, on all problems with
the names of functions masked, written into the package), ``speed`` (of the commands, on the functions of a
folder), ``many`` (100,000 functions of one line), and ``cosines``, which only fills the cache. Each is added to
``code_clones.json``, from which ``code_clones.md`` is written. With ``--geometry`` the margins of smollm2-135m
are a view too.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from splinelens import extract
from splinelens.apps import code_index
from splinelens.detect.fusion import Fusion, fit_fusion
from splinelens.features.code_views import (
    SPARSE,
    CodeSpace,
    cosines,
    less_hubness,
    mean_of_nearest,
    structure_counts,
    term_counts,
    word_counts,
)
from splinelens.features.sentence_encoder import SentenceEncoder
from splinelens.files import write_bytes, write_text
from splinelens.report.tables import Table
from splinelens.texts.code import mask

HERE = Path(__file__).parent
RECORD = HERE / "code_clones.json"
WEIGHTS = Path(code_index.__file__).with_suffix(".json")
MASKS = ("as is", "names", "identifiers")
OTHERS = ("java", "javascript")
FOLDS, CANDIDATES, RESAMPLES = 5, 100, 2000
PARTS = ("within", "across", "neighbors", "weights", "speed", "many", "cosines")
FUSED = (*SPARSE, "code")
"""The views of ``code index`` without options."""

LEARNED_ON = "names"
"""The masking whose weights ``code index`` uses: code with names, but not with those that give it away."""

OPTIONAL = ("code", "summary", "geometry")
MANY = 100_000
REPEATS = 5
LABELS = {
    "words": "characters (TF-IDF): the view words",
    "terms": "words and signs (TF-IDF): the view terms",
    "structure": "structure of the code: the view structure",
    "code, plain": "all-MiniLM-L6-v2",
    "code": "the same, centered and whitened: the view code",
    "geometry, plain": "margins of smollm2-135m",
    "geometry": "the same, centered: the view geometry",
    "summary, plain": "what a human wrote about the algorithm, through all-MiniLM-L6-v2",
    "summary": "the same, centered and whitened",
    "fusion": "**fusion**",
    "fusion, one set of weights": "the same, weights of the column names in all columns",
    "fusion without terms": "fusion without terms",
    "fusion with geometry": "fusion with geometry",
    "fusion with the human explanation": "fusion with the human explanation",
}
GAINS = {
    "gain_over_plain": "fusion less the better of characters and all-MiniLM-L6-v2",
    "gain_one_set_over_plain": "the same, weights of the column names",
    "gain": "fusion less its best view",
    "gain_one_set": "the same, weights of the column names",
    "gain_over_corrected": "fusion less its best view with hubness removed",
    "gain_of_terms": "fusion less fusion without terms",
    "gain_of_geometry": "fusion with geometry less fusion",
}


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
            "terms": lambda: term_counts(texts),
            "structure": lambda: structure_counts(texts, self.languages),
            "code": lambda: self._cached("code", texts, self._encode),
            "summary": lambda: self._cached("summary", [row["intuition"] for row in self.rows], self._encode),
            "geometry": lambda: self._cached("geometry", texts, self._geometry),
        }
        return {view: makers[view]() for view in views}

    def similarities(self, masking: str) -> dict[str, np.ndarray]:
        """The cosine of each pair, by view; those of dense views also without centering and whitening."""
        views = (*FUSED, "summary", *(["geometry"] if self.settings.geometry else []))
        path = self.settings.cache / f"code-clones-{masking.replace(' ', '-')}-{'-'.join(views)}.npz"
        if not path.is_file():
            vectors = self.vectors(masking, views)
            unit = CodeSpace(vectors, self.languages).unit_vectors(vectors, self.languages)
            result = cosines(unit, unit)
            result |= {f"{name}, plain": _plain(vectors[name]) for name in OPTIONAL if name in vectors}
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
    """The tables of the requested masks, beside those that the record has."""
    with (settings.data / "solutions" / "solutions.jsonl").open(encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    python = Solutions(rows, "python", settings)
    record |= {
        "problems": len(set(python.problems)),
        "pool": len(python.rows),
        "queries": int(_has_other(python.problems).sum()),
        "number_type": "bfloat16",
        "folds": FOLDS,
        "views": list(FUSED),
    }
    if settings.part == "across":
        for masking in settings.masks:
            for language in OTHERS:
                other = Solutions(rows, language, settings)
                across = record.setdefault("across", {}).setdefault(language, {})
                across[masking] = _across(python, other, masking)
        return record
    similarities = {masking: python.similarities(masking) for masking in MASKS}
    if settings.part in ("within", "neighbors"):
        compute = {"within": _within, "neighbors": _with_neighbors}[settings.part]
        for masking in settings.masks:
            print(masking, flush=True)
            record.setdefault(settings.part, {})[masking] = compute(python.problems, similarities, masking)
    if settings.part == "weights":
        record["weights"] = _weight_sets(python.problems, similarities[LEARNED_ON])
        write_text(WEIGHTS, json.dumps({"sets": record["weights"]}, indent=1) + "\n")
    return record


def _within(problems, similarities, masking) -> dict[str, object]:
    """Recall@1 of each view and of fusions with weights from other problems."""
    by_view = similarities[masking]
    queries = _has_other(problems)
    hits = {name: _hits(problems, values)[queries] for name, values in by_view.items()}
    corrected = {f"{name}, hubness": _ranked(by_view[name]) for name in by_view if "plain" not in name}
    hits |= {name: _hits(problems, values)[queries] for name, values in corrected.items()}
    fusions = {
        "fusion": FUSED,
        "fusion without terms": tuple(name for name in FUSED if name != "terms"),
        "fusion with geometry": (*FUSED, "geometry"),
        "fusion with the human explanation": (*FUSED, "summary"),
    }
    for name, views in fusions.items():
        if set(views) <= set(by_view):
            chosen = _only(by_view, views)
            hits[name] = _hits(problems, fused_scores(problems, chosen, chosen))[queries]
    learned_on = _only(similarities[LEARNED_ON], FUSED)
    one_set = fused_scores(problems, learned_on, _only(by_view, FUSED))
    hits["fusion, one set of weights"] = _hits(problems, one_set)[queries]
    means = {name: values.mean() for name, values in hits.items()}
    best = max(FUSED, key=means.get)
    best_plain = max(("words", "code, plain"), key=means.get)
    best_corrected = max((f"{name}, hubness" for name in FUSED), key=means.get)
    pairs = {
        "gain_over_plain": ("fusion", best_plain),
        "gain_one_set_over_plain": ("fusion, one set of weights", best_plain),
        "gain": ("fusion", best),
        "gain_one_set": ("fusion, one set of weights", best),
        "gain_over_corrected": ("fusion", best_corrected),
        "gain_of_terms": ("fusion", "fusion without terms"),
        "gain_of_geometry": ("fusion with geometry", "fusion"),
    }
    gains = {
        key: _difference(hits[first], hits[second], problems[queries])
        for key, (first, second) in pairs.items()
        if first in hits
    }
    recall = {name: round(float(mean), 4) for name, mean in means.items()}
    return {"recall": recall, "best_view": best, "best_corrected": best_corrected, **gains}


def _across(python: Solutions, other: Solutions, masking: str) -> dict[str, object]:
    """Recall@1 of Python solutions among those of another language."""
    left, right = python.vectors(masking, FUSED), other.vectors(masking, FUSED)
    both = {
        name: np.concatenate([left[name], right[name]])
        if isinstance(left[name], np.ndarray)
        else _stack(left[name], right[name])
        for name in FUSED
    }
    space = CodeSpace(both, python.languages + other.languages)
    by_view = cosines(
        space.unit_vectors(left, python.languages), space.unit_vectors(right, other.languages)
    ) | {"code, plain": _unit(left["code"]) @ _unit(right["code"]).T}
    queries = np.isin(python.problems, other.problems)
    match = python.problems[:, None] == other.problems[None]
    hits = {name: match[np.arange(len(match)), values.argmax(1)][queries] for name, values in by_view.items()}
    fused = _only(by_view, FUSED)
    folds, correct = folds_of(python.problems), np.zeros(len(match), bool)
    for fold in range(FOLDS):
        train = folds != fold
        rows = np.flatnonzero(train)
        columns = np.flatnonzero(np.isin(other.problems, python.problems[train]))
        part = {name: values[np.ix_(rows, columns)] for name, values in fused.items()}
        score = fit_fusion(*_candidates(part, match[np.ix_(rows, columns)])).score(fused)
        best = less_hubness(score, mean_of_nearest(score.T)).argmax(1)
        correct[~train] = match[np.arange(len(match)), best][~train]
    hits["fusion"] = correct[queries]
    groups = python.problems[queries]
    best = max(FUSED, key=lambda name: hits[name].mean())
    best_plain = max(("words", "code, plain"), key=lambda name: hits[name].mean())
    return {
        "queries": int(queries.sum()),
        "pool": len(other.rows),
        "recall": {name: round(float(values.mean()), 4) for name, values in hits.items()},
        "best_view": best,
        "gain_over_plain": _difference(hits["fusion"], hits[best_plain], groups),
        "gain": _difference(hits["fusion"], hits[best], groups),
    }


def _with_neighbors(problems, similarities, masking) -> dict[str, object]:
    """Recall@1 where the nearest neighbors of a candidate count too: two ways, several strengths."""
    chosen = _only(similarities[masking], FUSED)
    score = fused_scores(problems, chosen, chosen)
    np.fill_diagonal(score, 0)
    score = (score - score.mean()) / score.std()
    np.fill_diagonal(score, 0)
    result = {"fusion": recall_at_1(problems, score)}
    for count in (2, 5, 10):
        for weight in (0.25, 0.5, 1.0):
            name = f"mean over {count} neighbors, weight {weight}"
            result[name] = recall_at_1(problems, score + weight * neighbor_means(score, count))
    for count in (5, 10):
        for share in (0.3, 0.6, 0.9):
            result[f"diffusion over {count} neighbors, {share}"] = recall_at_1(
                problems, _diffused(score, count, share)
            )
    return result


def neighbor_means(score: np.ndarray, count: int) -> np.ndarray:
    """The mean score of a query with the nearest neighbors of a candidate, itself left out."""
    nearest = _nearest(score, count)
    itself = nearest[None] == np.arange(len(score))[:, None, None]
    return np.where(itself, 0, score[:, nearest]).sum(axis=2) / np.maximum((~itself).sum(axis=2), 1)


def _diffused(score: np.ndarray, count: int, share: float) -> np.ndarray:
    """Random walks over the graph of nearest neighbors (Zhou et al., 2003)."""
    nearest = _nearest(score, count)
    rows = np.arange(len(score))[:, None]
    graph = np.zeros(score.shape)
    graph[rows, nearest] = np.exp(score[rows, nearest] / 2)
    graph = np.maximum(graph, graph.T)
    degrees = graph.sum(axis=1)
    return np.linalg.inv(np.eye(len(score)) - share * graph / np.sqrt(degrees[:, None] * degrees))


def _nearest(score: np.ndarray, count: int) -> np.ndarray:
    both = score + score.T
    np.fill_diagonal(both, -np.inf)
    return np.argpartition(both, -count, axis=1)[:, -count:]


def _weight_sets(problems, by_view) -> dict[str, object]:
    """The weights for each choice of optional views, learned on all problems."""
    optional = [name for name in OPTIONAL if name in by_view]
    sets = {}
    for size in range(len(optional) + 1):
        for chosen in combinations(optional, size):
            if "summary" in chosen and "code" not in chosen:
                continue
            views = (*SPARSE, *chosen)
            fusion = _learn(problems, _only(by_view, views), np.ones(len(problems), bool))
            sets["+".join(views)] = {
                key: {name: round(value, 4) for name, value in values.items()}
                for key, values in asdict(fusion).items()
            }
    return sets


def fused_scores(problems, learned_on: Mapping[str, np.ndarray], by_view: Mapping[str, np.ndarray]):
    """The scores of a ranking of ``by_view``, with weights from the problems of other folds than the query's."""
    folds, result = folds_of(problems), np.zeros((len(problems), len(problems)))
    for fold in range(FOLDS):
        fusion = _learn(problems, learned_on, folds != fold)
        result[folds == fold] = _ranked(fusion.score(by_view))[folds == fold]
    return result


def _learn(problems, by_view, train) -> Fusion:
    rows = np.flatnonzero(train)
    itself = np.eye(len(rows), dtype=bool)
    match = (problems[rows][:, None] == problems[rows][None]) & ~itself
    part = {name: values[np.ix_(rows, rows)] for name, values in by_view.items()}
    return fit_fusion(*_candidates(part, match, itself))


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


def _only(by_view, names) -> dict[str, np.ndarray]:
    return {name: by_view[name] for name in names}


def _ranked(score: np.ndarray) -> np.ndarray:
    """The score of each pair for a ranking, as in ``CodeIndex.similar``."""
    others = score.copy()
    np.fill_diagonal(others, -np.inf)
    return less_hubness(score, mean_of_nearest(others))


def _hits(problems, similarity) -> np.ndarray:
    ranked = similarity.copy()
    np.fill_diagonal(ranked, -np.inf)
    return problems[ranked.argmax(1)] == problems


def recall_at_1(problems, similarity) -> float:
    return round(float(_hits(problems, similarity)[_has_other(problems)].mean()), 4)


def _plain(vectors: np.ndarray) -> np.ndarray:
    return _unit(vectors) @ _unit(vectors).T


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)


def _stack(*matrices):
    from scipy.sparse import csr_array, vstack

    return csr_array(vstack(matrices))


def _has_other(problems) -> np.ndarray:
    _, index, counts = np.unique(problems, return_inverse=True, return_counts=True)
    return counts[index] > 1


def folds_of(problems) -> np.ndarray:
    names, index = np.unique(problems, return_inverse=True)
    return np.random.default_rng(0).permutation(np.arange(len(names)) % FOLDS)[index]


def _difference(first, second, groups) -> list[float]:
    """The difference of two recalls and its 95 % interval, from resampling problems."""
    names, index = np.unique(groups, return_inverse=True)
    sums = np.bincount(index, first.astype(float) - second)
    counts = np.bincount(index)
    resampled = np.random.default_rng(0).integers(len(names), size=(RESAMPLES, len(names)))
    means = sums[resampled].sum(1) / counts[resampled].sum(1)
    return [
        round(float(value), 4) for value in (sums.sum() / counts.sum(), *np.quantile(means, [0.025, 0.975]))
    ]


def measure_speed(folder: Path, encoder: str) -> dict[str, object]:
    """The commands as a user runs them: index a folder, and answer for a function of it and for another."""
    with TemporaryDirectory() as work:
        output = Path(work) / "index.parquet"
        indexed = _run("index", folder, "-o", output, "--encoder", encoder, "--quiet")
        index = code_index.CodeIndex(output)
        return {
            "functions": len(index),
            "characters": sum(len(function.text) for function in index.functions),
            "views": ", ".join(index.views),
            **indexed,
            "index_mb": round(output.stat().st_size / 2**20, 1),
            "cores": os.cpu_count(),
            "load": round(os.getloadavg()[0], 1),
            **measure_similar(output),
        }


def measure_similar(output: Path) -> dict[str, float]:
    """Seconds of ``code similar`` for a function of an index and for another, and of an index that is open."""
    index = code_index.CodeIndex(output)
    python = [function for function in index.functions if function.language == "python"]
    text = next(each.text for each in python[len(python) // 2 :] if each.text[:3] == "def")
    index.similar([text], ["python"])
    started = time.perf_counter()
    index.similar([text], ["python"])
    result = {"similar_open_s": round(time.perf_counter() - started, 3)}
    with TemporaryDirectory() as work:
        new = Path(work) / "new.py"
        for name, source in (("known", text), ("new", text.replace("\n", "  # new\n", 1))):
            new.write_text(source, "utf-8")
            runs = [_run("similar", new, "-i", output) for _ in range(REPEATS)]
            for key in ("wall_s", "processor_s"):
                result[f"similar_{name}_{key}"] = float(np.median([run[key] for run in runs]))
    return result


def measure_many() -> dict[str, object]:
    """As ``measure_speed``, of 100,000 functions of one line, without an encoder."""
    with TemporaryDirectory() as folder:
        for number in range(0, MANY, 1000):
            lines = (f"def f{each}(a): return a + {each}\n" for each in range(number, number + 1000))
            Path(folder, f"m{number}.py").write_text("".join(lines), "utf-8")
        return measure_speed(Path(folder), "none")


def _run(*arguments: object) -> dict[str, float]:
    """Wall and processor seconds and peak memory of a command of ``splinelens code``."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "splinelens", "code", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed")
    return {
        "wall_s": round(time.perf_counter() - started, 2),
        "processor_s": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mb": round(usage.ru_maxrss / 1024),
    }


def markdown(record: dict[str, object]) -> str:
    """The tables of a record."""
    within = record["within"]
    parts = [
        "# Functions that mean the same\n",
        f"`python benchmarks/code_clones.py`: {record['problems']} problems of `solutions`; recall@1 of "
        f"{record['queries']:,} Python solutions among all {record['pool']:,}, the query left out. Weights of "
        "fusions are learned on other problems (5 folds); intervals resample problems.\n",
        _recall_table("recall@1", within),
    ]
    corrected = [name for name in within["as is"]["recall"] if name.endswith("hubness")]
    rows = [
        (name.split(",")[0], *(f"{within[each]['recall'][name]:.3f}" for each in MASKS)) for name in corrected
    ]
    parts.append("\n" + Table(("recall@1 of one view, hubness removed", *MASKS), rows).markdown())
    for language, by_mask in record.get("across", {}).items():
        pool = by_mask["as is"]["pool"]
        parts.append("\n" + _recall_table(f"recall@1, Python to {pool:,} solutions in {language}", by_mask))
    if neighbors := record.get("neighbors"):
        rows = [(name, *(f"{neighbors[each][name]:.3f}" for each in MASKS)) for name in neighbors["as is"]]
        parts.append("\n" + Table(("recall@1 with neighbors of candidates", *MASKS), rows).markdown())
    for part in ("speed", "many"):
        if speed := record.get(part):
            cells = [(key.replace("_", " "), str(value)) for key, value in speed.items()]
            parts.append("\n" + Table((part, ""), cells).markdown())
    return "\n".join(parts) + "\n"


def _recall_table(title, by_mask) -> str:
    recall = by_mask["as is"]["recall"]
    rows = [
        (words, *(f"{by_mask[each]['recall'][name]:.3f}" for each in MASKS))
        for name, words in LABELS.items()
        if name in recall
    ]
    rows += [
        (words, *(_interval(by_mask[each][key]) for each in MASKS))
        for key, words in GAINS.items()
        if key in by_mask["as is"]
    ]
    return Table((title, *MASKS), rows).markdown()


def _interval(values) -> str:
    return "{:+.3f} [{:+.3f}, {:+.3f}]".format(*values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of the data sets")
    parser.add_argument("--encoder", help="all-MiniLM-L6-v2: folder or hub id")
    parser.add_argument("--cache", type=Path, default=Path("out"), help="folder of encodings")
    parser.add_argument("--geometry", action="store_true", help="also the geometry of smollm2-135m")
    parser.add_argument("--part", choices=PARTS, default="within")
    parser.add_argument("--masks", nargs="+", choices=MASKS, default=MASKS)
    parser.add_argument("--folder", type=Path, help="of the part speed: what is indexed")
    settings = parser.parse_args()
    settings.cache.mkdir(parents=True, exist_ok=True)
    record = json.loads(RECORD.read_text("utf-8")) if RECORD.is_file() else {}
    if settings.part == "speed":
        record["speed"] = measure_speed(settings.folder, settings.encoder)
    elif settings.part == "many":
        record["many"] = measure_many()
    else:
        record = measure(settings, record)
    write_text(RECORD, json.dumps(record, indent=1) + "\n")
    if len(record.get("within", {})) == len(MASKS):
        write_text(RECORD.with_suffix(".md"), markdown(record))


if __name__ == "__main__":
    main()

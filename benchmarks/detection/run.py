"""The run: each protocol in turn, each contender fitted and measured on the same rows.

Finished rows are appended to ``rows.jsonl`` in the output folder; an equal run takes them from there and tries
again only what could not be run.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from detection.contenders import Contender, Ready, contenders, sample_texts
from detection.data import EvaluationData, count_repeats
from detection.features import Features
from detection.measures import SHIPPED_FPRS, Numbers, average, limit, measure
from detection.protocols import PROTOCOLS, Plan, Protocol
from detection.rivals import RivalFailed
from detection.rows import Rows, Task, Test, without_test_texts
from detection.table import Row, markdown
from splinelens import __version__
from splinelens.apps.detector import Detector
from splinelens.errors import BadDetector, BadLabels, CannotResume
from splinelens.models import LoadedModel

RESAMPLES, QUICK_RESAMPLES, CURVE_RESAMPLES = 10_000, 2_000, 1_000
"""Of a bootstrap interval; in a quick run of all but ``FULL``; in a quick run of the points of a curve."""
FULL = ("splits", "transfer")
"""Protocols with all resamples in a quick run, too."""


def run(
    data: EvaluationData,
    output: Path,
    cache: Path,
    *,
    model: LoadedModel,
    detectors: Mapping[str, Detector],
    quick: bool = False,
    only: Sequence[str] = (),
    install: bool = True,
    seed: int = 0,
    report: Callable[[str], None] = lambda line: None,
    show: Callable[[Protocol, list[Row]], None] = lambda protocol, rows: None,
) -> list[Row]:
    """Run the benchmark and write ``rows.jsonl`` and ``bench.md``.

    Args:
        data: The evaluation data.
        output: Folder of the results.
        cache: Folder of the features and of the rivals' environments.
        model: The frozen model.
        detectors: Our detectors, by name.
        quick: Only cached features, fewer repetitions, resamples and rows; the table says where.
        only: Names of protocols; empty runs all.
        install: Whether rivals may be installed with pip.
        seed: Of every random generator.
        report: Called with a line of progress.
        show: Called with each protocol and its rows when it is finished.

    Returns:
        The rows of the table.

    Raises:
        CannotResume: The output or the cache is that of another run.
    """
    output.mkdir(parents=True, exist_ok=True)
    start = perf_counter()
    features = Features(data, cache, model, cached_only=quick, report=report)
    plan = Plan(data, model.depth, features.tokens, quick, seed)
    known = contenders(features, detectors, cache / "rivals", install=install, seed=seed)
    provenance = _provenance(model, data, detectors, quick, seed)
    log, finished = _open_log(output / "rows.jsonl", provenance)
    results = []
    with log.open("a", encoding="utf-8") as file:
        for protocol in [PROTOCOLS[name] for name in PROTOCOLS if not only or name in only]:
            rows: list[Row] = []
            for tasks, name in _units(protocol, plan):
                key, begin = f"{protocol.name}/{tasks[0].train_name}/{name}", perf_counter()
                if key not in finished:
                    finished[key] = _measure(protocol, tasks, name, known.get(name), plan)
                    report(f"{key}: {perf_counter() - begin:.1f} s")
                    if all(row.numbers.n for row in finished[key]):
                        line = {"key": key, "rows": [row.to_dict() for row in finished[key]]}
                        print(json.dumps(line), file=file, flush=True)
                rows += finished[key]
            if missing := [name for name in protocol.needs if name not in plan]:
                rows = [Row(protocol.name, "", "", "", note=f"not run: {', '.join(missing)} is missing")]
            show(protocol, rows)
            results.append((protocol, rows))
    record = {
        "provenance": provenance,
        "seconds": perf_counter() - start,
        "missing": data.missing,
        "repeats": {name: count_repeats(texts) for name, texts in data.sets.items()},
    }
    (output / "bench.md").write_text(markdown(record, results), "utf-8")
    return [row for _, rows in results for row in rows]


def _units(protocol: Protocol, plan: Plan) -> Iterator[tuple[list[Task], str]]:
    """What is measured at once: the repetitions of a task and one contender."""
    groups: dict[str, list[Task]] = {}
    if all(name in plan for name in protocol.needs):
        for task in protocol.tasks(plan):
            groups.setdefault(task.train_name, []).append(task)
    for tasks in groups.values():
        for name in tasks[0].contenders:
            yield tasks, name


def _measure(
    protocol: Protocol, tasks: Sequence[Task], name: str, contender: Contender | None, plan: Plan
) -> list[Row]:
    """The rows of one contender, averaged over repetitions."""
    first = tasks[0]
    base = Row(protocol.name, first.train_name, "", name, note=first.note)
    ready = contender if isinstance(contender, Ready) else None
    problem = {test.name: _problem(contender, first, test) for test in first.tests}
    resamples = _resamples(protocol, plan.quick)
    numbers: dict[tuple[str, str], list[Numbers]] = {}
    unscored: dict[str, int] = {}
    try:
        for task in tasks:
            tests = [test for test in task.tests if problem[test.name] is None]
            if contender is None or not tests:
                break
            train, dropped = without_test_texts(task, plan.data)
            if not (ready or len(train.labeled())):
                raise BadLabels(f"none of the {len(train)} training rows has a label")
            base = replace(base, train_rows=len(train.labeled()), dropped=dropped, resamples=resamples)
            scores = contender.scores(train, [test.rows for test in tests])
            limits = [
                limit(t.rows.labels, s) for t, s in zip(tests, scores, strict=True) if t.name == task.limit
            ]
            for test, given in zip(tests, scores, strict=True):
                missing = ~np.isfinite(given.reshape(len(given), -1)).all(axis=1)
                unscored.setdefault(test.name, int((missing & ~_fitted_on(ready, test.rows)).sum()))
                parts = _parts(task, test, given, ready)
                for label, y, s, thresholds in parts:
                    pairs = None if label else test.pairs
                    more = {"above": limits[0] if limits else None, "thresholds": thresholds}
                    measured = measure(y, s, pairs=pairs, resamples=resamples, seed=plan.seed, **more)
                    numbers.setdefault((test.name, label), []).append(measured)
    except (BadLabels, BadDetector, RivalFailed) as error:
        problem = dict.fromkeys(problem, f"{type(error).__name__}: {error}")
        numbers = {}
    latency = ready.latency_ms(sample_texts(plan.data)) if ready and numbers else None
    rows = []
    for test in first.tests:
        row = replace(base, test=test.name, unscored=unscored.get(test.name, 0), latency_ms=latency)
        row = _as_shipped(row, ready, test.rows) if ready else row
        if problem[test.name] is not None:
            rows.append(replace(base, test=test.name, note=f"not run: {problem[test.name]}"))
        for (test_name, label), repetitions in numbers.items():
            if test_name == test.name:
                title = f"{test.name}: {label}" if label else test.name
                rows.append(replace(row, test=title, numbers=average(repetitions)))
    return rows


def _parts(
    task: Task, test: Test, scores: np.ndarray, ready: Ready | None
) -> Iterator[tuple[str, np.ndarray, np.ndarray, dict[float, np.ndarray | None]]]:
    """All labels together, then each label where the task wants it: name, labels, scores, thresholds."""
    names, labels = test.rows.names, test.rows.labels
    at = {fpr: ready.thresholds(fpr, names) if ready else None for fpr in SHIPPED_FPRS}
    yield "", labels, scores, at
    for i, name in enumerate(names if task.each_label else ()):
        one = {fpr: None if stored is None else stored[i : i + 1] for fpr, stored in at.items()}
        yield name, labels[:, i], scores[:, i], one


def _problem(contender: Contender | None, task: Task, test: Test) -> str | None:
    """Why a contender cannot be fitted or measured on a test, or None."""
    if contender is None:
        return "not available"
    for rows in (test.rows,) if isinstance(contender, Ready) else (task.train, test.rows):
        problem = contender.unavailable([name for name, _ in rows.by_set()]) if len(rows) else "no rows"
        if problem:
            return problem
    return None


def _resamples(protocol: Protocol, quick: bool) -> int:
    if not quick or protocol.name in FULL:
        return RESAMPLES
    return CURVE_RESAMPLES if protocol.curve else QUICK_RESAMPLES


def _fitted_on(ready: Ready | None, rows: Rows) -> np.ndarray:
    return ready.fitted_on(rows) if ready else np.zeros(len(rows), dtype=bool)


def _as_shipped(row: Row, ready: Ready, rows: Rows) -> Row:
    """What the table says of a contender that was fitted on other rows than those of the task."""
    count = int(ready.fitted_on(rows).sum())
    left_out = f"{count:,} rows it was fitted on left out" if count else ""
    note = "; ".join(filter(None, ["comes fitted", left_out, ready.unrecorded]))
    return replace(row, train=ready.sources, train_rows=None, dropped=0, note=note)


def _open_log(path: Path, provenance: dict[str, Any]) -> tuple[Path, dict[str, list[Row]]]:
    """The log and the rows an equal run has finished. A line cut by a kill is dropped."""
    header = json.dumps({"provenance": provenance})
    lines = path.read_text("utf-8").split("\n") if path.exists() else []
    if lines and lines[0] != header:
        raise CannotResume(f"{path} holds rows of another run; name another output folder")
    path.write_text("\n".join(lines[:-1] or [header]) + "\n", "utf-8")
    records = [json.loads(line) for line in lines[1:-1]]
    return path, {record["key"]: [Row.from_dict(row) for row in record["rows"]] for record in records}


def _provenance(
    model: LoadedModel, data: EvaluationData, detectors: Mapping[str, Detector], quick: bool, seed: int
) -> dict[str, Any]:
    import sklearn
    import torch
    import transformers

    return {
        "splinelens": __version__,
        "python": sys.version.split()[0],
        "torch": str(torch.__version__),
        "transformers": transformers.__version__,
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
        "threads": torch.get_num_threads(),
        "model": model.name,
        "fingerprint": model.fingerprint.to_dict(),
        "dtype": model.fingerprint.dtype,
        "device": str(model.device),
        "quick": quick,
        "seed": seed,
        "detectors": {name: detector.artifact.digest for name, detector in detectors.items()},
        "data": {name: texts.data_hash for name, texts in data.sets.items()},
    }

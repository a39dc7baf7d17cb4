"""The run: protocols one after the other, each representation fitted on the same rows.

What a protocol has finished lies in ``protocols/NAME.json`` below the output folder, row by row; an equal
run takes it from there, and tries again only what could not be run.
"""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from splinelens.features.parts import differences, writing

from detection import controls, paper
from detection.data import EvaluationData, repeats_of
from detection.measures import Measures, averaged, limit, measured
from detection.outside import RECIPES, Encoder, Rival
from detection.plan import Plan, Protocol
from detection.readings import Readings
from detection.ready import Outside, Ready, Shipped
from detection.representations import (
    FAST_LAYERS,
    Cost,
    Encoded,
    Length,
    Representation,
    Stored,
    WordCounts,
)
from detection.rows import Rows, Task, Test, without_tests
from detection.table import BenchRow, markdown
from splinelens import __version__
from splinelens.detect.artifact import Artifact
from splinelens.errors import BadDetector, BadFeatures, BadLabels, CannotResume
from splinelens.geometry.partition import SPLINE7
from splinelens.models import LoadedModel

PROTOCOLS = {
    protocol.name: protocol
    for protocol in sorted(paper.PROTOCOLS + controls.PROTOCOLS, key=lambda one: one.trend)
}
"""All protocols by name; the curves come last."""

RESAMPLES, QUICK_RESAMPLES, TREND_RESAMPLES = 10_000, 2_000, 1_000
"""Of a bootstrap interval; in a quick run of all but ``BARS``, and of the points of a curve."""
BARS = ("splits", "transfer")
"""Protocols whose intervals a quick run does not cut short."""

_Key = tuple[str, str, str]


def run(
    data: EvaluationData,
    output: Path,
    cache: Path,
    *,
    model: str | LoadedModel = "smollm2-135m",
    quick: bool = False,
    only: Sequence[str] = (),
    install: bool = True,
    artifacts: Mapping[str, Artifact] | None = None,
    seed: int = 0,
    told: Callable[[str], None] = lambda line: None,
    shown: Callable[[Protocol, list[BenchRow]], None] = lambda protocol, rows: None,
) -> dict[str, Any]:  # Any: plain JSON values
    """Run the benchmark and write ``bench.json`` and ``bench.md``.

    Args:
        data: The evaluation data.
        output: Folder of the results; what an equal run finished there is kept.
        cache: Folder of features, embeddings and the rivals' environments.
        model: The frozen model.
        quick: Only cached features; fewer representations, draws and, for curves, resamples; at most 2,000
            training rows in most protocols; the table says where.
        only: Names of protocols; none runs all.
        install: Whether rivals may be installed with pip.
        artifacts: Fitted detectors of ours, by name.
        seed: Of every draw.
        told: Called with a line on what is being done.
        shown: Called with each protocol and its rows once it is finished.

    Returns:
        The record that was written as JSON.

    Raises:
        BadFeatures: No protocol of that name.
        CannotResume: The output or the cache holds another run; the message says what differs.
        CannotWrite: A folder cannot be written.
    """
    unknown = [name for name in only if name not in PROTOCOLS]
    if unknown:
        raise BadFeatures(f"no protocol {', '.join(unknown)}; there are {', '.join(PROTOCOLS)}")
    with writing(output):  # now, not after the first protocol
        (output / "protocols").mkdir(parents=True, exist_ok=True)
    began = perf_counter()
    readings = Readings(data, cache, model, cached_only=quick, told=told)
    plan = Plan(data, readings.loaded.depth, readings.tokens, quick, seed)
    known = representations(readings, artifacts or {}, cache / "rivals", install, seed)
    origin = _provenance(readings, artifacts or {}, quick, seed)
    finished = []
    for protocol in [PROTOCOLS[name] for name in PROTOCOLS if not only or name in only]:
        finished.append(_Run(plan, known, output, origin, told).protocol(protocol))
        shown(protocol, [BenchRow.from_dict(row) for row in finished[-1]["rows"]])
    record = {
        "provenance": origin,
        "quick": quick,
        "seconds": perf_counter() - began,
        "missing": {name: str(place) for name, place in data.missing.items()} | data.damaged,
        "repeats": {name: repeats_of(texts) for name, texts in data.sets.items()},
        "protocols": finished,
    }
    _write(output / "bench.json", json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    _write(output / "bench.md", markdown(record))
    return record


def representations(
    readings: Readings, artifacts: Mapping[str, Artifact], outside: Path, install: bool, seed: int
) -> dict[str, Representation]:
    """Everything that a protocol may name.

    Args:
        readings: The features.
        artifacts: Fitted detectors of ours.
        outside: Folder of the rivals.
        install: Whether they may be installed.
        seed: Of the fits.

    Returns:
        Representations by name.
    """
    depth = readings.loaded.depth
    found: dict[str, Representation] = {
        "length": Length(readings, seed),
        "words": WordCounts(readings, "word", (1, 2), seed),
        "characters": WordCounts(readings, "char_wb", (2, 5), seed),
        "sentence encoder": Encoded(readings, Encoder(outside / "encoder", install), seed),
        "spline7 logistic at 64": Stored(readings, "plain64", ("spline7",), seed=seed),
        "spline7 forest at 64": Stored(readings, "plain64", ("spline7",), "forest", seed=seed),
        "spline7 network at 64": Stored(readings, "plain64", ("spline7",), "network", seed=seed),
        "margins": Stored(readings, "prompted", ("margin_max",), seed=seed),
        "margins 0-5": Stored(
            readings, "prompted", ("margin_max",), layers=tuple(range(min(FAST_LAYERS, depth))), seed=seed
        ),
    }
    for head in ("logistic", "forest", "self-training"):
        found[f"spline7 {head}"] = Stored(readings, "plain", ("spline7",), head, seed=seed)
    for pooling in ("mean", "max", "last"):
        found[f"hidden {pooling}"] = Stored(readings, "plain", (f"hidden_{pooling}",), seed=seed)
        found[f"prompted hidden {pooling}"] = Stored(readings, "prompted", (f"hidden_{pooling}",), seed=seed)
    for layer in range(depth):
        upto = tuple(range(layer + 1))
        found[f"spline7 layer {layer}"] = Stored(readings, "plain", ("spline7",), layers=(layer,), seed=seed)
        found[f"spline7 layers 0-{layer}"] = Stored(readings, "plain", ("spline7",), layers=upto, seed=seed)
    found |= {name: Stored(readings, "plain", (name,), seed=seed) for name in SPLINE7}
    found |= {name: Outside(readings, Rival(name, outside / name, install)) for name in RECIPES}
    return found | {name: Shipped(readings, artifact) for name, artifact in artifacts.items()}


class _Run:
    """One protocol after the other, with the rows that are finished."""

    def __init__(
        self,
        plan: Plan,
        known: Mapping[str, Representation],
        output: Path,
        origin: dict[str, Any],  # Any: plain JSON values
        told: Callable[[str], None],
    ):
        self.plan, self.known, self.output, self.origin, self.told = plan, known, output, origin, told

    def protocol(self, protocol: Protocol) -> dict[str, Any]:  # Any: plain JSON values
        """All rows of a protocol."""
        place = self.output / "protocols" / f"{protocol.name}.json"
        kept, seconds = _kept(place, self.origin)
        record: dict[str, Any] = {
            "name": protocol.name,
            "question": protocol.question,
            "request": self.origin,
        }
        lacking = [name for name in protocol.needs if name not in self.plan]
        if lacking:
            why = f"not run: the data folder lacks {', '.join(lacking)}"
            return record | {
                "seconds": 0.0,
                "rows": [BenchRow(protocol.name, "", "", "", note=why).to_dict()],
            }
        groups: dict[str, list[Task]] = {}
        for task in protocol.tasks(self.plan):
            groups.setdefault(task.train_name, []).append(task)
        rows: list[BenchRow] = []
        for tasks in groups.values():
            for name in tasks[0].representations:
                began, before = perf_counter(), self._before(tasks[0], name, kept)
                rows += before or self._rows(protocol, tasks, name)
                if not before:
                    seconds += perf_counter() - began
                    self.told(
                        f"{protocol.name}: {tasks[0].train_name}, {name}: {perf_counter() - began:.1f} s"
                    )
                    later = [row for row in kept if row.n and row not in rows]  # a stop loses none of them
                    record |= {"seconds": seconds, "rows": [row.to_dict() for row in rows + later]}
                    _write(place, json.dumps(record, ensure_ascii=False))
        return record | {"seconds": seconds, "rows": [row.to_dict() for row in rows]}

    def _before(self, task: Task, name: str, kept: Sequence[BenchRow]) -> list[BenchRow]:
        """The rows that an equal run finished, or none if one of them is lacking or was not run."""
        tests, known = {test.name for test in task.tests}, self.known.get(name)
        train = known.own_training if isinstance(known, Ready) else task.train_name
        found = [
            row
            for row in kept
            if (row.representation, row.train) == (name, train) and row.test.split(": ")[0] in tests
        ]
        there = {row.test.split(": ")[0] for row in found if row.n}
        return found if there == tests and all(row.n for row in found) else []

    def _rows(self, protocol: Protocol, tasks: Sequence[Task], name: str) -> list[BenchRow]:
        """The rows of one representation, averaged over tasks that are draws of one another."""
        first = tasks[0]
        start = BenchRow(protocol.name, first.train_name, "", name, note=first.note)
        representation = self.known.get(name)
        if representation is None:
            return [replace(start, test=test.name, note="not run: not at hand") for test in first.tests]
        ready = representation if isinstance(representation, Ready) else None
        why = None if ready else _unfit(representation, first.train)
        reasons = [why or _unfit(representation, test.rows) for test in first.tests]
        usable = [place for place, reason in enumerate(reasons) if reason is None]
        resamples = _resamples(protocol, self.plan.quick)
        found: dict[tuple[int, str], list[Measures]] = {}
        unscored: dict[int, int] = {}
        try:
            for task in tasks if usable else ():
                train, dropped = without_tests(task, self.plan.data)
                if not (ready or len(train.labelled())):
                    raise BadLabels(f"none of the {len(train)} training rows has a label")
                tests = [task.tests[place] for place in usable]
                scores = representation.scores(train, [test.rows for test in tests])
                limits = _limits(tests, scores)
                start = replace(start, train_rows=len(train.labelled()), dropped=dropped, resamples=resamples)
                for place, test, given in zip(usable, tests, scores, strict=True):
                    unscored.setdefault(place, _unscored(given, ready, test))
                    for label, measures in _measures(task, test, given, resamples, limits, self.plan.seed):
                        found.setdefault((place, label), []).append(measures)
            cost = representation.cost() if found and not protocol.trend else Cost()
        except (BadLabels, BadDetector) as error:
            reasons = [f"{type(error).__name__}: {error}"] * len(reasons)
            found, unscored, cost = {}, {}, Cost()
        rows = []
        for place, test in enumerate(first.tests):
            here = replace(start, unscored=unscored.get(place, 0))
            here = _come_fitted(here, ready, test) if ready else here
            rows += _table_rows(here, test.name, place, found, cost, reasons[place])
        return rows


def _resamples(protocol: Protocol, quick: bool) -> int:
    if not quick or protocol.name in BARS:
        return RESAMPLES
    return TREND_RESAMPLES if protocol.trend else QUICK_RESAMPLES


def _unscored(scores: np.ndarray, ready: Ready | None, test: Test) -> int:
    """How many rows have no score, besides those left out because it was fitted on them."""
    lacking = ~np.isfinite(scores.reshape(len(scores), -1)).all(axis=1)
    return int((lacking & ~ready.fitted_on(test.rows) if ready else lacking).sum())


def _come_fitted(start: BenchRow, ready: Ready, test: Test) -> BenchRow:
    """What the table says of a representation that has seen other rows than those of the task."""
    count = int(ready.fitted_on(test.rows).sum())
    out = f"{count:,} rows it was fitted on left out" if count else ""
    note = "; ".join(filter(None, ["comes fitted", out, ready.unrecorded]))
    return replace(start, train=ready.own_training, train_rows=None, dropped=0, note=note)


def _table_rows(
    start: BenchRow,
    test: str,
    place: int,
    found: Mapping[tuple[int, str], Sequence[Measures]],
    cost: Cost,
    reason: str | None,
) -> list[BenchRow]:
    if reason is not None:
        return [replace(start, test=test, note=f"not run: {reason}")]
    rows = []
    for (at, label), several in found.items():
        if at != place:
            continue
        numbers = averaged(several)
        row = replace(
            start,
            test=f"{test}: {label}" if label else test,
            **{key: getattr(numbers, key) for key in Measures.__dataclass_fields__},
        )
        rows.append(replace(row, latency_ms=cost.latency_ms, size_bytes=cost.size_bytes))
    return rows


def _limits(tests: Sequence[Test], scores: Sequence[np.ndarray]) -> dict[str, float]:
    """Above which score a row of a test counts as flagged, by the test that says so."""
    asked = {test.limit for test in tests}
    pairs = zip(tests, scores, strict=True)
    found = {test.name: limit(test.rows.labels, given) for test, given in pairs if test.name in asked}
    return {name: score for name, score in found.items() if score is not None}


def _measures(
    task: Task, test: Test, scores: np.ndarray, resamples: int, limits: Mapping[str, float], seed: int
) -> list[tuple[str, Measures]]:
    """Of the rows; with several named labels also of each."""
    labels, above = test.rows.labels, limits.get(test.limit or "")
    judged = partial(measured, resamples=resamples, seed=seed)
    found = [("", judged(labels, scores, pairs=test.pairs, above=above))]
    for place, label in enumerate(test.rows.kinds if task.each_label else ()):
        found.append((label, judged(labels[:, place], scores[:, place])))
    return found


def _unfit(representation: Representation, rows: Rows) -> str | None:
    """Why these rows cannot be fitted on or scored, or None."""
    return representation.lacking([name for name, _ in rows.each_set()]) if len(rows) else "no row is left"


def _kept(place: Path, origin: dict[str, Any]) -> tuple[list[BenchRow], float]:  # Any: plain JSON values
    """The rows that an equal run finished and its seconds; none where the record is lacking or malformed."""
    try:
        record = json.loads(place.read_text("utf-8"))
        request, seconds = dict(record["request"]), float(record["seconds"])
        rows = [BenchRow.from_dict(row) for row in record["rows"]]
    except (OSError, ValueError, KeyError, TypeError):
        return [], 0.0
    found = differences(request, json.loads(json.dumps(origin)))
    if found:
        raise CannotResume(f"{place} is of another run: {'; '.join(found)}. Name another output folder")
    return rows, seconds


def _provenance(
    readings: Readings, artifacts: Mapping[str, Artifact], quick: bool, seed: int
) -> dict[str, Any]:  # Any: plain JSON values
    import sklearn
    import torch
    import transformers

    loaded = readings.loaded
    return {
        "splinelens": __version__,
        "python": sys.version.split()[0],
        "torch": str(torch.__version__),
        "transformers": transformers.__version__,
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
        "threads": torch.get_num_threads(),
        "model": loaded.name,
        "fingerprint": loaded.fingerprint.to_dict(),
        "dtype": loaded.fingerprint.dtype,
        "device": str(loaded.device),
        "quick": quick,
        "seed": seed,
        "detectors": {name: artifact.digest for name, artifact in artifacts.items()},
        "data": {name: texts.data_hash for name, texts in readings.data.sets.items()},
    }


def _write(place: Path, text: str) -> None:
    with writing(place):
        place.parent.mkdir(parents=True, exist_ok=True)
        part = place.with_name(place.name + ".tmp")
        part.write_text(text, "utf-8")
        part.replace(place)

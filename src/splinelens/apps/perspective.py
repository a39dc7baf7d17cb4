"""Attributes of the Perspective API: what measures each, and maps from our scores to logged ones of the API.

A threshold that was chosen on the API's scores means another share of the texts on ours. From texts whose API
scores were logged, isotonic regression gives a map for each attribute, kept in one JSON file.
"""

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from splinelens import __version__
from splinelens.apps.group import DetectorGroup
from splinelens.detect.artifact import Artifact
from splinelens.detect.groups import joined
from splinelens.detect.monotone import MapErrors, MonotoneMap, fit_monotone, map_errors, mapped_out_of_fold
from splinelens.detect.seen_texts import count_seen
from splinelens.detect.shipped import find_artifact
from splinelens.errors import BadCalibration, BadDetector, BadLabels, BadTexts
from splinelens.files import write_text
from splinelens.report.measures import TOXIC, Measure, find_measures
from splinelens.texts import Texts
from splinelens.texts.plain_text import storable
from splinelens.texts.row_groups import row_groups
from splinelens.texts.table import is_missing, json_type, quoted, text_hashes

LABELS = {
    "TOXICITY": TOXIC,
    "SEVERE_TOXICITY": "severe_toxic",
    "IDENTITY_ATTACK": "identity_hate",
    "INSULT": "insult",
    "PROFANITY": "obscene",
    "THREAT": "threat",
}
"""The attributes of the API that detectors can measure, and their labels as ``find_measures`` has them."""

DETECTORS = ("toxicity", "types")
THRESHOLDS = (0.5, 0.7, 0.8, 0.9)
MIN_PAIRS = 50

_UNMEASURED = ("SEXUALLY_EXPLICIT", "FLIRTATION")
_CHUNK = 256  # texts between two calls of progress
_MAX_BYTES = 64 * 2**20
_SCHEMA = 1
_AGAIN = "write it again with 'splinelens calibrate'"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class AttributeMap:
    """The map of one attribute, and the pairs that it was fitted to.

    Attributes:
        measure: What measures the attribute.
        digest: Of the detector.
        map: From its score to that of the API, fitted to all pairs.
        errors: Out of fold.
        scores: (pair,) of the detector.
        logged: (pair,) of the API.
        missing: Rows without a logged score.
        unscored: Rows with one whose text could not be scored.
        training_rows: Rows that the detector was fitted on; None if it does not record them.
    """

    measure: Measure
    digest: str
    map: MonotoneMap
    errors: MapErrors
    scores: np.ndarray
    logged: np.ndarray
    missing: int
    unscored: int
    training_rows: int | None

    def record(self) -> dict[str, Any]:  # Any: plain JSON values
        """Everything but the map and the pairs."""
        return {
            **asdict(self.measure),
            "digest": self.digest,
            "pairs": len(self.scores),
            "missing": self.missing,
            "unscored": self.unscored,
            "training_rows": self.training_rows,
            "errors": asdict(self.errors),
        }


@dataclass(frozen=True, eq=False)
class PerspectiveCalibration:
    """A map for each attribute that was logged.

    Attributes:
        attributes: By name.
        source: Where the pairs came from.
        provenance: Versions, hashes, groups and command.
    """

    attributes: Mapping[str, AttributeMap]
    source: str
    provenance: Mapping[str, Any]  # Any: plain JSON values

    def record(self) -> dict[str, Any]:  # Any: plain JSON values
        """What was measured, without the maps."""
        measured = {name: one.record() for name, one in self.attributes.items()}
        return {"source": self.source, "attributes": measured, **self.provenance}

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the file that ``load_calibration`` reads: a map by attribute, and ``provenance``.

        Raises:
            CannotWrite: The file cannot be written.
            OutputExists: It exists, and ``overwrite`` is not set.
        """
        maps = {name: {"x": one.map.x, "y": one.map.y} for name, one in self.attributes.items()}
        document = maps | {"provenance": {"schema": _SCHEMA, **self.record()}}
        write_text(path, json.dumps(document, ensure_ascii=False, allow_nan=False), overwrite=overwrite)

    def write_page(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write a page with both tables and a plot of each map.

        Raises:
            CannotWrite: plotly is not installed, or the file cannot be written.
            OutputExists: It exists, and ``overwrite`` is not set.
        """
        from splinelens.report.calibration_page import calibration_html

        pairs = {name: (one.map, one.scores, one.logged) for name, one in self.attributes.items()}
        write_text(path, calibration_html(self.record(), pairs), overwrite=overwrite)


def attribute_measures(artifacts: Mapping[str, Artifact]) -> dict[str, Measure]:
    """What measures each attribute, of those that detectors in this order can measure."""
    found = find_measures(artifacts)
    return {name: found[label] for name, label in LABELS.items() if label in found}


def logged_columns(names: Sequence[str], requested: Mapping[str, str | None], source: str) -> dict[str, str]:
    """The column of each attribute that is requested, without a request of each that has one.

    Args:
        names: The columns of a table; one that is called like an attribute, in any case, is its own.
        requested: Attributes, and the column of each that has another name.
        source: Of the table, for messages.

    Raises:
        BadTexts: No column is called like an attribute, or two like the same.

    Example:
        >>> logged_columns(["text", "Toxicity", "rude"], {}, "log.csv")
        {'TOXICITY': 'Toxicity'}
        >>> logged_columns(["text", "Toxicity", "rude"], {"INSULT": "rude"}, "log.csv")
        {'INSULT': 'rude'}
    """
    columns: dict[str, str] = {}
    for name in names:
        attribute = name.strip().upper()
        if attribute in _UNMEASURED and not requested:
            _log.warning("column %s is left out: no detector measures it", attribute)
        if attribute not in LABELS or requested.get(attribute):
            continue
        if attribute in columns:
            raise BadTexts(
                f"{source} has two columns of {attribute}, {quoted([columns[attribute], name])}; name one "
                f"with --attribute {attribute}=COLUMN"
            )
        columns[attribute] = name
    if requested:
        return {name: column or columns.get(name, name) for name, column in requested.items()}
    if not columns:
        raise BadTexts(
            f"{source} has no column called {', '.join(LABELS)}, but {quoted(names)}; name one with "
            "--attribute TOXICITY=COLUMN"
        )
    return columns


def calibrate_attributes(
    texts: Texts,
    columns: Mapping[str, str],
    *,
    detectors: Sequence[str | PathLike[str]] = DETECTORS,
    groups: str | None = None,
    seed: int = 0,
    command: str = "",
    device: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PerspectiveCalibration:
    """Fit a map from our score to the logged one for each attribute, and measure it out of fold.

    Equal texts are in one fold. Attributes that no detector measures are left out with a warning, rows
    without a logged score or whose text cannot be scored are counted.

    Args:
        texts: Texts with their logged scores in kept columns.
        columns: The column of each attribute.
        detectors: Shipped names or folders; only those that measure something are loaded.
        groups: A kept column of values that rows belonging together share; they are in one fold.
        seed: Of the folds.
        command: The command that does it again.
        device: As in ``Detector.load``.
        progress: Called with the texts and the characters scored since the last call.

    Raises:
        BadTexts: No detector measures any attribute.
        BadLabels: A logged score is no number from 0 to 1; fewer than 50 pairs of different texts; or scores
            that are all equal, or do not rise with ours.
        BadDetector: Two detectors have one name, or they cannot be loaded together.
    """
    artifacts: dict[str, Artifact] = {}
    folders: dict[str, str | PathLike[str]] = {}
    for detector in detectors:
        artifact = find_artifact(detector)
        if artifact.name in artifacts:
            raise BadDetector(f"two detectors have the name {artifact.name}; give each once")
        artifacts[artifact.name], folders[artifact.name] = artifact, detector
    measured = attribute_measures(artifacts)
    if left := [name for name in columns if name not in measured]:
        none = f"no detector of {', '.join(artifacts)} measures {', '.join(left)}"
        if len(left) == len(columns):
            raise BadTexts(f"{texts.source}: {none}; add --detector types")
        _log.warning("%s: left out", none)
    logged = {name: _logged(texts, column, name) for name, column in columns.items() if name in measured}
    hashes = text_hashes(texts.texts)
    for name, values in logged.items():
        _require_pairs(name, texts.source, values, hashes)
    together = hashes if groups is None else joined(hashes, row_groups(groups, texts).numbers)
    used = [name for name in artifacts if any(measured[attribute].detector == name for attribute in logged)]
    seen = {name: count_seen(artifacts[name], texts, refusal=None) for name in used}
    scores = _scores(
        DetectorGroup.load([folders[name] for name in used], device=device),
        texts,
        {name: measured[name] for name in logged},
        progress,
    )
    attributes = {}
    for name, values in logged.items():
        known, scored = np.isfinite(values), np.isfinite(scores[name])
        pairs = known & scored
        _require_pairs(name, texts.source, np.where(pairs, values, np.nan), hashes)
        artifact = artifacts[measured[name].detector]
        fitted, errors = _fit(name, scores[name][pairs], values[pairs], together[pairs], seed)
        attributes[name] = AttributeMap(
            measured[name],
            artifact.digest,
            fitted,
            errors,
            scores[name][pairs],
            values[pairs],
            missing=int((~known).sum()),
            unscored=int((known & ~scored).sum()),
            training_rows=seen[artifact.name],
        )
    provenance = {
        "rows": len(texts),
        "seed": seed,
        "group": groups,
        "data_hash": texts.data_hash,
        "columns_hash": texts.columns_hash,
        "command": storable(command),
        "splinelens": __version__,
    }
    return PerspectiveCalibration(attributes, storable(texts.source), provenance)


def load_calibration(path: str | PathLike[str], artifacts: Mapping[str, Artifact]) -> dict[str, MonotoneMap]:
    """The map of each attribute of a file that ``calibrate`` wrote.

    Args:
        path: The file.
        artifacts: The detectors whose scores are to be mapped, by name, in order.

    Raises:
        BadCalibration: The file cannot be read, or an attribute in it is measured by no detector of these, or
            by another than it was fitted to.
    """
    try:
        with Path(path).open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
        if len(raw) > _MAX_BYTES:
            raise BadCalibration(f"{path} has more than the {_MAX_BYTES:,} bytes of a calibration file")
        document = json.loads(raw, parse_constant=_refuse, object_pairs_hook=_unrepeated)
        if not isinstance(document, dict) or "provenance" not in document:
            raise ValueError("there is no provenance in it")
        provenance = _Provenance.model_validate(document.pop("provenance"))
        maps = {name: _Map.model_validate(value) for name, value in document.items()}
    except OSError as error:
        raise BadCalibration(f"{path} cannot be read: {error.strerror or error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "a map"
        raise BadCalibration(f"{path} is damaged at {where}: {first['msg']}; {_AGAIN}") from error
    except (ValueError, RecursionError) as error:
        raise BadCalibration(f"{path} is no calibration file ({error}); {_AGAIN}") from error
    if set(maps) != set(provenance.attributes) or not maps:
        raise BadCalibration(f"{path} has other maps than its provenance names; {_AGAIN}")
    served = attribute_measures(artifacts)
    for name, fitted in provenance.attributes.items():
        if name not in served:
            raise BadCalibration(
                f"{path} maps {name}, which none of the detectors {', '.join(artifacts)} measures; add "
                f"{fitted.detector}, or calibrate without it"
            )
        artifact = artifacts[served[name].detector]
        if (artifact.digest, served[name].label) != (fitted.digest, fitted.label):
            raise BadCalibration(
                f"{path}: {name} was fitted to scores of detector {fitted.detector} ({fitted.digest[:12]}), "
                f"and {artifact.name} ({artifact.digest[:12]}) measures it here; calibrate for that one"
            )
    return {name: MonotoneMap(tuple(one.x), tuple(one.y)) for name, one in maps.items()}


class _Map(BaseModel):
    """The knots of a map."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    x: list[float] = Field(min_length=2)
    y: list[float] = Field(min_length=2)

    @model_validator(mode="after")
    def _rises(self) -> "_Map":
        x, y = np.array(self.x), np.array(self.y)
        if len(x) != len(y) or (np.diff(x) <= 0).any() or (np.diff(y) < 0).any():
            raise ValueError("x must rise and y not fall, with as many numbers")
        if y[0] == y[-1]:
            raise ValueError("a map that gives one score says nothing")
        if min(x[0], y[0]) < 0 or max(x[-1], y[-1]) > 1:
            raise ValueError("scores must be from 0 to 1")
        return self


class _Fitted(BaseModel):
    """What a map was fitted to."""

    detector: str
    label: str
    digest: str


class _Provenance(BaseModel):
    """The part of the provenance that decides whether a map may be used."""

    model_config = ConfigDict(strict=True)

    schema_: int = Field(alias="schema", ge=_SCHEMA, le=_SCHEMA)
    attributes: dict[str, _Fitted]


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON number")


def _unrepeated(pairs: list[tuple[str, Any]]) -> dict[str, Any]:  # Any: JSON values
    if len(values := dict(pairs)) < len(pairs):
        raise ValueError("a key occurs twice")
    return values


def _logged(texts: Texts, column: str, attribute: str) -> np.ndarray:
    """The logged scores of a column, (row,); NaN where one is missing."""
    cells = texts.keep([column]).columns[column]
    values = np.array([_number(cell, texts, row, attribute) for row, cell in enumerate(cells)])
    outside = (values < 0) | (values > 1)
    if outside.any():
        percents = values[outside].min() > 1 and np.nanmax(values) <= 100
        fix = "they look like percents: divide them by 100" if percents else "correct or remove them"
        raise BadLabels(
            f"{texts.source}: {int(outside.sum()):,} of {len(values):,} scores of {attribute} are outside 0 "
            f"to 1, the first in row {texts.numbers[int(outside.argmax())]} (counted from 0); {fix}"
        )
    return values


def _number(
    cell: Any,  # Any: a cell is whatever the file held
    texts: Texts,
    row: int,
    attribute: str,
) -> float:
    if is_missing(cell) or (isinstance(cell, str) and cell.strip().lower() in ("", "nan", "null", "none")):
        return math.nan
    try:
        if isinstance(cell, bool | bytes):
            raise ValueError
        return float(cell)
    except (TypeError, ValueError, OverflowError) as error:
        shown = quoted([cell]) if isinstance(cell, str) else json_type(cell)
        decimal = isinstance(cell, str) and cell.count(",") == 1
        fix = (
            "write a decimal point" if decimal else "give a score from 0 to 1, or nothing where there is none"
        )
        raise BadLabels(
            f"{texts.source}, row {texts.numbers[row]} (counted from 0): {attribute} is {shown}, no number; "
            f"{fix}"
        ) from error


def _require_pairs(attribute: str, source: str, values: np.ndarray, hashes: np.ndarray) -> None:
    """Refuse fewer than 50 pairs of different texts, and a constant score of the API."""
    known = np.isfinite(values)
    different = len(np.unique(hashes[known]))
    if different < MIN_PAIRS:
        raise BadLabels(
            f"{source}: {int(known.sum()):,} pairs of {attribute}, of {different:,} different texts; "
            f"{MIN_PAIRS} are needed and 500 or more are better; log more, or leave it out (--attribute)"
        )
    if np.ptp(values[known]) == 0:
        raise BadLabels(
            f"{source}: {attribute} is {values[known][0]:g} in all {int(known.sum()):,} pairs, so there is "
            "nothing to map to; check the column, or choose others with --attribute"
        )


def _scores(
    group: DetectorGroup,
    texts: Texts,
    measured: Mapping[str, Measure],
    progress: Callable[[int, int], None] | None,
) -> dict[str, np.ndarray]:
    """The scores of each attribute, (row,); NaN where a text cannot be scored."""
    scores = {name: np.full(len(texts), np.nan) for name in measured}
    for start in range(0, len(texts), _CHUNK):
        chunk = texts.texts[start : start + _CHUNK]
        for row, records in enumerate(group.score(chunk), start):
            for name, measure in measured.items():
                score = measure.score(records)
                scores[name][row] = np.nan if score is None else score
        if progress is not None:
            progress(len(chunk), sum(len(text or "") for text in chunk))
    return scores


def _fit(
    attribute: str, scores: np.ndarray, logged: np.ndarray, together: np.ndarray, seed: int
) -> tuple[MonotoneMap, MapErrors]:
    """The map of all pairs, and its errors out of fold."""
    fitted = fit_monotone(scores, logged)
    if fitted.y[0] == fitted.y[-1]:
        raise BadLabels(
            f"the logged scores of {attribute} do not rise with ours in {len(scores):,} pairs, so no rising "
            "map fits; check that each score stands beside its text"
        )
    if len(np.unique(together)) < 2:
        raise BadLabels(f"all {len(scores):,} pairs of {attribute} are of one group; leave out --group")
    mapped = mapped_out_of_fold(scores, logged, together, seed)
    return fitted, map_errors(scores, logged, mapped, fitted, THRESHOLDS)

"""What comes fitted: our shipped detectors and those of others. They score rows and are fitted on none.

A detector that records which texts it was fitted on is not judged on them: those rows have no score.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np

from detection.outside import Rival
from detection.readings import Readings
from detection.representations import Cost, Representation, head_latency
from detection.rows import Rows
from splinelens.detect.artifact import Artifact
from splinelens.errors import BadDetector
from splinelens.features.spec import FeatureSpec


@runtime_checkable
class Ready(Representation, Protocol):
    """A representation that comes fitted."""

    @property
    def own_training(self) -> str:
        """What it was fitted on."""

    @property
    def unrecorded(self) -> str:
        """What is not known of its training rows, or nothing."""

    def fitted_on(self, rows: Rows) -> np.ndarray:
        """Which of these rows it was fitted on, as far as it recorded them; (row,) boolean."""


class Shipped:
    """A detector that is fitted already; its head reads the cached features."""

    def __init__(self, readings: Readings, artifact: Artifact):
        """Find the features that the detector reads.

        Args:
            readings: The cached features; they get a reading of its own where none fits.
            artifact: The detector.
        """
        self.readings, self.artifact = readings, artifact
        self.spec = replace(FeatureSpec.from_dict(artifact.spec), long="cut")
        self.reading = readings.admit(self.spec, artifact.name)
        self._seen: dict[str, np.ndarray] = {}

    @property
    def own_training(self) -> str:
        """Its own sources."""
        return ", ".join(self.artifact.training.get("sources", [])) or "its own rows"

    @property
    def unrecorded(self) -> str:
        """As in ``Ready``: it records each text that it was fitted on, or some of them, or none."""
        kept = len(self.artifact.seen)
        texts = self.artifact.training.get("seen", {}).get("texts", kept)
        if not kept:
            return "the texts it was fitted on are not recorded"
        return f"only {kept:,} of the {texts:,} texts it was fitted on are recorded" if kept < texts else ""

    def fitted_on(self, rows: Rows) -> np.ndarray:
        """As in ``Ready``."""
        found = np.zeros(len(rows), dtype=bool)
        for name, places in rows.each_set():
            if name not in self._seen:
                self._seen[name] = self.artifact.seen_in(self.readings.data.sets[name].texts)
            found[places] = self._seen[name][rows.index[places]]
        return found

    def lacking(self, names: Sequence[str]) -> str | None:
        """As in ``Representation``."""
        return next(filter(None, (self.readings.lacking(name, self.reading) for name in names)), None)

    def scores(self, train: Rows, tests: Sequence[Rows]) -> list[np.ndarray]:
        """As in ``Representation``; rows that it was fitted on have no score.

        Raises:
            BadDetector: The rows have other labels than it tells apart.
        """
        order = self._order(train.kinds)
        found = [self._scores(test)[:, order] for test in tests]
        for test, scores in zip(tests, found, strict=True):
            scores[self.fitted_on(test)] = np.nan
        return found if train.kinds else [scores[:, 0] for scores in found]

    def cost(self) -> Cost:
        """As in ``Representation``."""
        size = sum(array.nbytes for array in self.artifact.head.arrays().values())
        head, passes = self.artifact.head, self.readings.passes(self.spec)
        return Cost(head_latency(passes, lambda row: self.artifact.scores(head.logit(row))), size)

    def _order(self, kinds: tuple[str, ...]) -> list[int]:
        """The place of each label of the rows among its own."""
        own = self.artifact.labels
        if not kinds and self.artifact.task == "binary":
            return [0]
        if set(kinds) != set(own):
            there = ", ".join(kinds) or "one label"
            raise BadDetector(f"{self.artifact.name} tells {', '.join(own)}; the rows have {there}")
        return [own.index(kind) for kind in kinds]

    def _scores(self, rows: Rows) -> np.ndarray:
        columns = [name for name, _ in self.artifact.columns]
        chunks = self.readings.chunks(rows, self.reading, columns)
        return np.concatenate([self.artifact.scores(self.artifact.head.logit(chunk)) for chunk in chunks])


@dataclass(frozen=True)
class Outside:
    """Another project's fitted detector, run in an environment of its own."""

    readings: Readings
    rival: Rival

    own_training = "its own rows"
    unrecorded = "the texts it was fitted on are not known"

    def fitted_on(self, rows: Rows) -> np.ndarray:
        """As in ``Ready``: none is known."""
        return np.zeros(len(rows), dtype=bool)

    def lacking(self, names: Sequence[str]) -> str | None:
        """As in ``Representation``."""
        return self.rival.lacking()

    def scores(self, train: Rows, tests: Sequence[Rows]) -> list[np.ndarray]:
        """As in ``Representation``."""
        return [self._scores(test) for test in tests]

    def cost(self) -> Cost:
        """As in ``Representation``."""
        return Cost(*self.rival.cost(self.readings.sample()))

    def _scores(self, rows: Rows) -> np.ndarray:
        found = np.full(len(rows), np.nan)
        for name, places in rows.each_set():
            found[places] = self.rival.scores(name, self.readings.data.sets[name])[rows.index[places]]
        return found

"""Score texts with several detectors whose features come from one forward pass.

The layers and learned hyperplanes of all of them are read together; each detector then takes its own columns
of the row. Detectors with another prompt, pooling or window need a pass of their own.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike

import numpy as np

from splinelens.apps.detector import Detector, plan_of
from splinelens.detect.artifact import Artifact
from splinelens.detect.shipped import find_artifact, shipped
from splinelens.errors import BadDetector
from splinelens.features.loading import EngineName, ReaderPlan, load_reader
from splinelens.features.reader import Progress, TextFeatures, TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.geometry.directions import Directions
from splinelens.report.scores import TextScore


@dataclass(frozen=True, eq=False)
class DetectorGroup:
    """Detectors of one model, in as few forward passes as they allow.

    Attributes:
        artifacts: What was fitted, by name, in the order in which the detectors were given.
        passes: For each forward pass its reader, and which entries of its rows are each detector's.

    Example:
        >>> group = DetectorGroup.load(["toxicity", "types"])  # doctest: +SKIP
        >>> (records,) = group.score(["Have a nice day."])  # doctest: +SKIP
        >>> records["types"].labels  # doctest: +SKIP
        ()
    """

    artifacts: Mapping[str, Artifact]
    passes: Sequence[tuple[TextReader, Mapping[str, "Entries"]]]

    @classmethod
    def load(
        cls,
        names: Sequence[str | PathLike[str]],
        *,
        engine: EngineName = "auto",
        max_text_tokens: int | None = None,
        device: str | None = None,
        dtype: str | None = None,
    ) -> "DetectorGroup":
        """Load detectors and the blocks of their model that they read.

        Args:
            names: Shipped names or folders.
            engine: As in ``Detector.load``. A graph of several shipped detectors is made once and cached.
            max_text_tokens: As in ``Detector.load``.
            device: As in ``Detector.load``.
            dtype: As in ``Detector.load``.

        Raises:
            BadDetector: No name, or two detectors of one name or of different models.
            UnknownDetector: No such detector.
        """
        artifacts = {str(name): find_artifact(name) for name in names}
        seen = [artifact.name for artifact in artifacts.values()]
        if not seen:
            raise BadDetector("name at least one detector")
        if len(set(seen)) < len(names):
            raise BadDetector(f"two detectors have one name ({', '.join(seen)}); give each once")
        models = {str(artifact.model["name"]): artifact.name for artifact in artifacts.values()}
        if len(models) > 1:
            (one, first), (other, second), *_ = models.items()
            raise BadDetector(
                f"detectors {first} and {second} were fitted with different models, {one} and {other}; "
                "load each by itself"
            )
        passes: list[tuple[TextReader, dict[str, Entries]]] = []
        for members in _by_pass(artifacts):
            if len(members) == 1:
                (name,) = members
                detector = Detector.load(
                    name, engine=engine, max_text_tokens=max_text_tokens, device=device, dtype=dtype
                )
                passes.append((detector.reader, {detector.artifact.name: Entries(slice(None), slice(None))}))
                continue
            plan = _joint([plan_of(artifact) for artifact in members.values()])
            reader = load_reader(
                replace(plan, spec=replace(plan.spec, max_text_tokens=max_text_tokens)),
                compile_once=set(members) <= set(shipped()),
                engine=engine,
                device=device,
                dtype=dtype,
            )
            passes.append((reader, _entries(reader, list(members.values()))))
        return cls(dict(zip(seen, artifacts.values(), strict=True)), passes)

    def score(
        self,
        texts: Sequence[str | None],
        *,
        explain: bool = False,
        fpr: float = 0.05,
        progress: Progress | None = None,
    ) -> list[dict[str, TextScore]]:
        """Score texts.

        Args:
            texts: The texts.
            explain: As in ``Detector.score``, for the detectors whose logit splits into tokens.
            fpr: As in ``Detector.score``.
            progress: As in ``Detector.score``, in each forward pass.

        Returns:
            For each text the record of each detector, by name.
        """
        rows: list[dict[str, TextScore]] = [{} for _ in texts]
        for reader, entries in self.passes:
            judges = {name: Detector(self.artifacts[name], reader).judge for name in entries}
            splits = {name: explain and not self.artifacts[name].inseparable for name in entries}
            for features in reader.read(texts, locate=any(splits.values()), progress=progress):
                row = features.index
                for name, own in entries.items():
                    rows[row][name] = judges[name](
                        own.of(features), texts[row], explain=splits[name], fpr=fpr
                    )
        return [{name: row[name] for name in self.artifacts} for row in rows]


@dataclass(frozen=True, eq=False)
class Entries:
    """Which entries of a row, and which directions, are a detector's."""

    columns: np.ndarray | slice
    directions: slice

    def of(self, features: TextFeatures) -> TextFeatures:
        """The detector's part of the features of a text."""
        source, learned = features.source, features.learned
        return replace(
            features,
            values=features.values[self.columns],
            source=None if source is None else source[self.columns],
            learned=None if learned is None else learned[:, self.directions],
        )


def _by_pass(artifacts: Mapping[str, Artifact]) -> Iterator[dict[str, Artifact]]:
    """The detectors that can share a pass: their specs differ only in layers."""
    groups: dict[FeatureSpec, dict[str, Artifact]] = {}
    for name, artifact in artifacts.items():
        groups.setdefault(replace(plan_of(artifact).spec, layers=None), {})[name] = artifact
    yield from groups.values()


def _joint(plans: Sequence[ReaderPlan]) -> ReaderPlan:
    """One plan for all that several plans read."""
    deepest = max(plans, key=lambda plan: plan.fingerprint.depth)
    layers = tuple(sorted({layer for plan in plans for layer in _layers(plan)}))
    directions = None
    if deepest.directions is not None:
        width = deepest.directions.weight.shape[2]
        weights, biases = [], []
        for plan in plans:
            assert plan.directions is not None  # they have the same features
            weight = np.zeros((len(plan.directions), len(layers), width), plan.directions.weight.dtype)
            weight[:, [layers.index(layer) for layer in _layers(plan)]] = plan.directions.weight
            weights.append(weight)
            biases.append(plan.directions.bias)
        directions = Directions(np.concatenate(weights), np.concatenate(biases))
    digest = hashlib.sha256(" ".join(plan.digest for plan in plans).encode()).hexdigest()
    name = " and ".join(plan.name for plan in plans)
    spec = replace(deepest.spec, layers=layers)
    return ReaderPlan(name, deepest.model, deepest.fingerprint, spec, directions, digest, tuple(plans))


def _layers(plan: ReaderPlan) -> tuple[int, ...]:
    return plan.spec.layers or tuple(range(plan.fingerprint.depth))


def _entries(reader: TextReader, artifacts: Sequence[Artifact]) -> dict[str, Entries]:
    """The entries of each detector in the rows of a reader of all of them."""
    starts = dict(
        zip(
            (column.name for column in reader.columns),
            np.cumsum([0, *(column.size for column in reader.columns)]),
            strict=False,
        )
    )
    entries, first = {}, 0
    for artifact in artifacts:
        count = 0 if artifact.directions is None else len(artifact.directions)
        parts = [
            starts[name] + (first if name.startswith("direction_") else 0) + np.arange(size)
            for name, size in artifact.columns
        ]
        entries[artifact.name] = Entries(np.concatenate(parts), slice(first, first + count))
        first += count
    return entries

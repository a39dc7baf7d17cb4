"""Compare two models: is one made from the other, and does a detector of one still work with the other?"""

from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from splinelens.apps.detector import Detector
from splinelens.detect.carried import CarriedDetector, compare_scores
from splinelens.detect.lineage import Relation, relation
from splinelens.errors import BadDetector, BadFeatures, BadLabels, BadModel
from splinelens.features.lineage_profile import LineageProfile
from splinelens.features.reader import Progress
from splinelens.models import LoadedModel, load_model
from splinelens.report.lineage import LineageReport, Verdict, missing_layers, power_of_ten
from splinelens.texts import Texts

RELATED, UNRELATED = -6.0, -3.0
"""Decimal logarithms of the p-values up to which models are related, and above which they are unrelated."""

_COPY = 0.5  # share of matched neurons that only copies reach: strangers reach 0.33 (benchmarks/lineage.md)
_SAME = 0.99  # share of equal signs of one model: another device or batch size changes those near 0
_PRUNED = 0.05  # share of zeros that one model must have more than the other to be called pruned

Source = LoadedModel | LineageProfile | str | PathLike[str]
"""A model, its name, or a profile of it: a file that ends in ``.parquet``."""


def profile(model: Source, **loading: Any) -> LineageProfile:  # Any: options of load_model
    """The lineage profile of a model, or the one that a file holds.

    Args:
        model: As in ``compare``.
        loading: ``device``, ``dtype``, ``revision`` ... of ``load_model``, where a model is loaded.

    Raises:
        BadFeatures: A file that is no profile, is damaged, or is of another version.
        BadModel: The model cannot be loaded or read.
    """
    if isinstance(model, LineageProfile):
        return model
    if is_profile(model):
        return LineageProfile.load(str(model))
    return LineageProfile.of(model if isinstance(model, LoadedModel) else load_model(model, **loading))


def compare(
    first: Source,
    second: Source,
    *,
    detector: str | PathLike[str] | None = None,
    texts: Texts | Iterable[str | None] | None = None,
    labels: np.ndarray | None = None,
    progress: Progress | None = None,
    **loading: Any,  # Any: options of load_model
) -> LineageReport:
    """Test whether two models have an initialization in common.

    One was then made from the other, or both from a third.

    Args:
        first: A model, its name, or a file written by ``LineageProfile.save``.
        second: Likewise.
        detector: A detector of the first model that is to be tried with the second one.
        texts: Texts to try it on.
        labels: (text,) 0 or 1, whether a text is positive; None compares the scores only.
        progress: Called with the texts and the characters read since the last call.
        loading: As in ``profile``.

    Raises:
        BadModel: The models have different tokenizers; the message names the first token that differs.
        BadFeatures: A damaged profile, or a detector with a profile in place of a model.
        WrongModel: The detector was not fitted with the first model, or reads layers that the second lacks.

    Example:
        >>> report = compare("smollm2-135m", "my-pruned-copy")  # doctest: +SKIP
        >>> report.verdict, report.relation.log10_p  # doctest: +SKIP
        ('related', -10987.1)
    """
    if detector is not None:
        if any(isinstance(one, LineageProfile) or is_profile(one) for one in (first, second)):
            raise BadFeatures(
                "a detector reads models, and a profile is none: give both models, or no detector"
            )
        first, second = (
            one if isinstance(one, LoadedModel) else load_model(one, **loading)  # type: ignore[arg-type]  # see above
            for one in (first, second)
        )
    one, other = profile(first, **loading), profile(second, **loading)
    if difference := one.different_token(other):
        raise BadModel(
            f"{one.model} and {other.model} have different tokenizers, and neurons are compared at equal "
            f"tokens: {difference}"
        )
    carried = None
    if detector is not None:
        assert isinstance(first, LoadedModel)
        assert isinstance(second, LoadedModel)
        carried = carry_over(Detector.load(detector, model=first), second, texts or (), labels, progress)
    names, tokens = (one.model, other.model), len(one.ids)
    if one.fingerprint.difference(other.fingerprint) is None and _equal_signs(one, other):
        reason = f"{names[0]} and {names[1]} are two names of one model: fingerprints and signs are equal"
        return LineageReport(names, "same model", reason, None, tokens, (), carried)
    evidence = relation(one.layers, other.layers)
    verdict, reason = _verdict(one, other, evidence)
    return LineageReport(
        names, verdict, reason, evidence, tokens, tuple(_notes(one, other, evidence)), carried
    )


def is_profile(source: object) -> bool:
    """Whether a source names a file of a profile."""
    return isinstance(source, str | PathLike) and Path(source).suffix == ".parquet"


def carry_over(
    detector: Detector,
    model: LoadedModel,
    texts: Texts | Iterable[str | None],
    labels: np.ndarray | None = None,
    progress: Progress | None = None,
) -> CarriedDetector:
    """Score texts with a detector and its own model, and with another model in place of it.

    Raises:
        BadDetector: It has several labels.
        BadLabels: Not one 0 or 1 a text, or one class only among the texts that both models score.
        WrongModel: The other model lacks layers, or has layers of another width.
    """
    artifact = detector.artifact
    if len(artifact.labels) > 1:
        raise BadDetector(
            f"detector {artifact.name} has {len(artifact.labels)} labels; give one of a single label"
        )
    source = Texts.of(texts)
    truth = None if labels is None else artifact.require_labels(labels, len(source))[:, 0]
    readers = detector, detector.carried_over(model)
    scores = np.stack([reader.label_scores(source, progress=progress)[0][:, 0] for reader in readers])
    carried = compare_scores(artifact.name, scores, scores >= detector.threshold(), truth)
    if carried.reason is not None:
        raise BadLabels("no text was scored by both models; give texts with words")
    if truth is not None and carried.auc is None:
        raise BadLabels("the texts that both models scored are of one class; give both")
    return carried


def _verdict(one: LineageProfile, other: LineageProfile, evidence: Relation) -> tuple[Verdict, str]:
    at_most = f"p <= {power_of_ten(evidence.log10_p)}"
    if evidence.log10_p <= RELATED:
        return "related", (
            f"the neurons of {other.model} and {one.model} agree in their order or their signs, which models "
            f"that were initialized independently do by chance only ({at_most})"
        )
    if (difference := _different_shape(one, other)) is not None:
        return (
            "cannot tell",
            f"the models are of different shape ({difference}), and a copy may have been cut",
        )
    if all(layer.signed is None for layer in one.layers):
        return "cannot tell", (
            f"{one.model} has neither an up projection nor values of the attention that can be read, so a "
            "copy with permuted neurons could not be recognized"
        )
    if evidence.matched >= _COPY * evidence.neurons:
        return "cannot tell", (
            f"{evidence.matched:,} of {evidence.neurons:,} neurons match one to one, as only those "
            "of a copy do, but neither their order nor their signs agree: it may be a disguised copy"
        )
    if evidence.log10_least > RELATED:
        return "cannot tell", (
            f"only {evidence.matched:,} neurons match, and {evidence.signed:,} signs can be compared: too "
            "few for both tests to recognize a copy"
        )
    if evidence.log10_p > UNRELATED:
        return "unrelated", (
            f"neither the order nor the signs of the neurons agree more than by chance ({at_most}); a copy "
            f"with as many matched neurons would reach {power_of_ten(evidence.log10_least)} with each"
        )
    return "cannot tell", f"the neurons agree somewhat more than by chance ({at_most}), but not enough"


def _different_shape(one: LineageProfile, other: LineageProfile) -> str | None:
    """The first difference of the shapes, or None."""
    shapes = _shape(one), _shape(other)
    for name in shapes[0]:
        first, second = (shape[name] for shape in shapes)
        if first != second:
            return f"{name} {first} and {second}"
    return None


def _shape(profile: LineageProfile) -> dict[str, str]:
    layers = profile.layers
    neurons = {len(layer.gate) for layer in layers}
    signed = {(0 if layer.signed is None else len(layer.signed), layer.by_gate) for layer in layers}
    return {
        "architecture": profile.fingerprint.architecture,
        "width": str(profile.width),
        "depth": str(len(layers)),
        "neurons in a layer": " or ".join(map(str, sorted(neurons))),
        "signs in a layer": " or ".join(
            f"{count} of {'the up projection' if by_gate else 'attention values'}"
            for count, by_gate in sorted(signed)
        ),
    }


def _equal_signs(one: LineageProfile, other: LineageProfile) -> bool:
    """Whether the signs are those of one model, read twice."""
    if _shape(one) != _shape(other):
        return False
    pairs = [(mine.gate, theirs.gate) for mine, theirs in zip(one.layers, other.layers, strict=True)]
    pairs += [
        (mine.signed, theirs.signed)
        for mine, theirs in zip(one.layers, other.layers, strict=True)
        if mine.signed is not None and theirs.signed is not None
    ]
    return all(first.shape == second.shape and (first == second).mean() >= _SAME for first, second in pairs)


def _notes(one: LineageProfile, other: LineageProfile, evidence: Relation) -> Iterable[str]:
    if one.fingerprint.difference(other.fingerprint) is None:
        yield "the fingerprints are equal and the signs are not: a profile was edited, or computed otherwise"
    if evidence.log10_p > RELATED:
        return
    pairs = [layer.layers for layer in evidence.layers]
    for side, each in enumerate((one, other)):
        if missing := missing_layers(pairs, len(each.layers), side):
            listed = ", ".join(map(str, missing))
            yield f"layers of {each.model} that the other model lacks: {listed}"
    places = [place for _, place in pairs]
    if places != sorted(places):
        listed = ", ".join(map(str, places))
        yield f"the layers of {one.model} match those of {other.model} in another order: {listed}"
    more, less = (one, other) if one.zeros > other.zeros else (other, one)
    if more.zeros - less.zeros >= _PRUNED:
        yield (
            f"{more.zeros:.0%} of the gate weights of {more.model} are zero, and {less.zeros:.0%} of those "
            f"of {less.model}: {more.model} is the pruned one"
        )

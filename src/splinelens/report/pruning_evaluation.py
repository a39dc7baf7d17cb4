"""What pruning does to a model: the record of a comparison with the dense model, and its tables."""

from dataclasses import asdict, dataclass
from typing import Any

from splinelens.detect.carried import CarriedDetector
from splinelens.report.tables import Table, interval


@dataclass(frozen=True)
class ModelEffect:
    """One model of a comparison.

    Attributes:
        name: The last part of its name, or the whole as it was given where two models share that part.
        sparsity: The share of the dense model's weights in the blocks' matrices that is zero or removed.
        parameters: Numbers that are stored, zeros included.
        perplexity: Of the text.
        seconds: For the text, the least of several passes.
        shift: By layer, how far the means of spline7 over the texts move, in standard deviations of the
            texts on the dense model; the mean of the seven.
        dimension: By layer with a softmax, the mean intrinsic dimension, summed over heads.
        detectors: Carried over from the dense model, in the order of the command.
    """

    name: str
    sparsity: float
    parameters: int
    perplexity: float
    seconds: float
    shift: tuple[float, ...]
    dimension: tuple[float, ...]
    detectors: tuple[CarriedDetector, ...]

    @property
    def mean_shift(self) -> float:
        """Over layers."""
        return sum(self.shift) / len(self.shift)


@dataclass(frozen=True)
class PruningEvaluation:
    """Pruned models beside the dense one.

    Attributes:
        text: What perplexity is measured on.
        windows: Windows of the text that were read.
        length: Tokens of a window.
        source: What the texts of geometry and verdicts are from.
        texts: How many of them every model could read.
        left_out: How many could not be read.
        dimension_layers: The layers with a softmax.
        models: The dense model first.
        provenance: Versions, models, hashes.
    """

    text: str
    windows: int
    length: int
    source: str
    texts: int
    left_out: int
    dimension_layers: tuple[int, ...]
    models: tuple[ModelEffect, ...]
    provenance: dict[str, Any]  # Any: plain JSON values

    def to_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """As JSON values; a number that is not finite is null."""
        record: dict[str, Any] = _finite(asdict(self))  # Any: as above
        return record


def model_table(report: PruningEvaluation) -> Table:
    """A row a model: perplexity, seconds and the mean shift."""
    dense = report.models[0]
    rows = [
        (
            model.name,
            f"{100 * model.sparsity:.2f} %",
            f"{model.parameters:,}",
            f"{model.perplexity:,.2f}",
            "-" if model is dense else f"{100 * (model.perplexity / dense.perplexity - 1):+,.1f} %",
            f"{model.seconds:.2f}",
            "-" if model is dense else f"{model.mean_shift:.2f}",
        )
        for model in report.models
    ]
    head = ("model", "removed", "parameters", "perplexity", "change", "seconds", "shift of spline7")
    return Table(head, rows)


def detector_table(report: PruningEvaluation) -> Table:
    """A row a model and detector."""
    rows = [
        (
            model.name,
            carried.detector,
            _number(carried.same_verdict, carried.reason),
            _number(carried.mean_change),
            _number(carried.auc and carried.auc[1]),
            "-" if carried.auc is None else interval(carried.auc_intervals[1]),
        )
        for model in report.models
        for carried in model.detectors
    ]
    return Table(("model", "detector", "same verdict", "change of score", "AUC", "95 % interval"), rows)


def layer_table(report: PruningEvaluation) -> Table:
    """A row a layer: the shift and the intrinsic dimension of each model."""
    dimensions = [dict(zip(report.dimension_layers, each.dimension, strict=True)) for each in report.models]
    rows = []
    for layer in range(len(report.models[0].shift)):
        cells = [f"{model.shift[layer]:.2f}" for model in report.models[1:]]
        cells += ["-" if layer not in each else f"{each[layer]:.1f}" for each in dimensions]
        rows.append((str(layer), *cells))
    head = [f"shift, {model.name}" for model in report.models[1:]]
    return Table(("layer", *head, *(f"dimension, {model.name}" for model in report.models)), rows)


def _number(value: float | None, reason: str | None = None) -> str:
    return reason or "-" if value is None else f"{value:.3f}"


def _finite(value: Any) -> Any:  # Any: JSON of any shape
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value

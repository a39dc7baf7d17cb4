"""The plan of how many weights each matrix of a model loses: its record, its file and its tables."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass

from splinelens.errors import BadModel, BrokenArtifact
from splinelens.files import write_text
from splinelens.geometry.allocation import MOST
from splinelens.models import Fingerprint, LoadedModel
from splinelens.report.tables import Table
from splinelens.weights import weight_matrices

_SCHEMA = 1
_STRICT = ConfigDict(strict=True, extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class MatrixPlan:
    """What a plan says about one matrix.

    Attributes:
        layer: Its block, from 0.
        name: Its path inside the block, as in ``weights.matrices``.
        shape: Outputs and inputs.
        remove: Weights to remove.
        alpha: Exponent of the tail of its eigenvalues; None where there are too few.
        corrected_alpha: Likewise of submatrices of one aspect ratio (FARMS).
        distance: Kolmogorov-Smirnov distance between that tail and the power law.
        stable_rank: Sum of the eigenvalues over the largest.
        entropy: Of the eigenvalues as shares of their sum, from 0 to 1.
    """

    layer: int
    name: str
    shape: tuple[int, int]
    remove: int
    alpha: float | None
    corrected_alpha: float | None
    distance: float | None
    stable_rank: float | None
    entropy: float | None

    @property
    def size(self) -> int:
        """Its number of weights."""
        return self.shape[0] * self.shape[1]


@dataclass(frozen=True, config=_STRICT)
class Allocation:
    """How one method shares the sparsity out.

    Attributes:
        spread: How far the ratios may differ.
        scores: What the method measures of each block.
        ratios: The share of its weights that each block loses.
    """

    spread: float
    scores: tuple[float, ...]
    ratios: tuple[float, ...]


@dataclass(frozen=True, config=_STRICT)
class PrunePlan:
    """How many weights each matrix of one model loses.

    Attributes:
        model: Name of the model.
        fingerprint: Of the model; the plan is for no other.
        sparsity: The share of the weights of all matrices that is removed.
        by: The method of sharing out that the numbers of weights follow.
        allocations: How each method shares the sparsity out.
        left_out: Why a method is not among them.
        matrices: Block by block.
        calibration_tokens: Tokens that were read to measure the inputs of each map.
        version: Of splinelens.
    """

    model: str
    fingerprint: Fingerprint
    sparsity: float
    by: str
    allocations: dict[str, Allocation]
    left_out: dict[str, str]
    matrices: tuple[MatrixPlan, ...]
    calibration_tokens: int
    version: str

    @model_validator(mode="after")
    def _consistent(self) -> "PrunePlan":
        if self.by not in self.allocations:
            raise ValueError(f"no ratios by {self.by!r}")
        blocks = {each.layer for each in self.matrices}
        for rule, allocation in self.allocations.items():
            if not all(0 <= ratio <= MOST for ratio in allocation.ratios):
                raise ValueError(f"a ratio by {rule} is not from 0 to {MOST}")
            if not blocks == {*range(len(allocation.ratios))} == {*range(len(allocation.scores))}:
                raise ValueError("the blocks of the matrices and of the ratios differ")
        ratios = self.allocations[self.by].ratios
        for each in self.matrices:
            if not 0 <= each.remove <= each.size:
                raise ValueError("a matrix loses more weights than it has")
            if abs(each.remove - ratios[each.layer] * each.size) >= 1 + 1e-6:
                raise ValueError(f"{each.name} of block {each.layer} does not lose the ratio of its block")
        if self.removed != round(self.sparsity * self.weights):
            raise ValueError(f"{self.removed:,} weights to remove are not the share {self.sparsity}")
        return self

    @property
    def weights(self) -> int:
        """Weights of all matrices."""
        return sum(each.size for each in self.matrices)

    @property
    def removed(self) -> int:
        """Weights to remove in all."""
        return sum(each.remove for each in self.matrices)

    @property
    def counts(self) -> dict[tuple[int, str], int]:
        """By layer and name how many weights a matrix loses."""
        return {(each.layer, each.name): each.remove for each in self.matrices}

    def require_model(self, loaded: LoadedModel) -> None:
        """Refuse another model than the one of the plan, and a plan of other matrices.

        Raises:
            BadModel: What differs.
        """
        difference = loaded.fingerprint.difference(self.fingerprint)
        if difference is not None:
            raise BadModel(
                f"the plan is for {self.model}, and {loaded.name} is not that model: {difference}; plan again"
            )
        matrices = [(each.layer, each.name, tuple(each.tensor.shape)) for each in weight_matrices(loaded)]
        if matrices != [(each.layer, each.name, each.shape) for each in self.matrices]:
            raise BadModel(
                f"the plan, by splinelens {self.version}, names other matrices than {loaded.name} has; plan "
                "again"
            )

    def to_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """As JSON values."""
        return {"schema": _SCHEMA, **asdict(self), "weights": self.weights, "removed": self.removed}


def write_plan(plan: PrunePlan, path: str | Path, *, overwrite: bool = False) -> None:
    """Write a plan as JSON.

    Raises:
        OutputExists: The file exists, without ``overwrite``.
        CannotWrite: The disk is full or the file may not be written.
    """
    write_text(path, json.dumps(plan.to_dict(), indent=1, allow_nan=False) + "\n", overwrite=overwrite)


def read_plan(path: str | Path) -> PrunePlan:
    """Read what ``write_plan`` wrote.

    Raises:
        BrokenArtifact: The file is missing, no plan, of another schema, or its numbers do not fit each other.
    """
    try:
        values = json.loads(Path(path).read_bytes())
        if not isinstance(values, dict) or values.pop("schema", None) != _SCHEMA:
            raise BrokenArtifact(
                f"{path} is no plan of schema {_SCHEMA}; plan again with splinelens prune plan"
            )
        stated = {name: values.pop(name, None) for name in ("weights", "removed")}
        plan = TypeAdapter(PrunePlan).validate_json(json.dumps(values))
    except OSError as error:
        raise BrokenArtifact(f"{path} cannot be read: {error.strerror or error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        reason = f"{place}: {first['msg']}" if place else first["msg"]
        raise BrokenArtifact(f"{path} is no sound plan ({reason}); plan again") from error
    except (ValueError, RecursionError) as error:
        raise BrokenArtifact(f"{path} is not JSON, perhaps cut short: {error}; plan again") from error
    if stated != {"weights": plan.weights, "removed": plan.removed}:
        raise BrokenArtifact(f"{path} states other numbers of weights than its matrices; plan again")
    return plan


def plan_heading(plan: PrunePlan) -> str:
    """What is pruned, in one line."""
    blocks = len(plan.allocations[plan.by].ratios)
    return (
        f"{plan.model}: {len(plan.matrices)} matrices of {blocks} blocks, {plan.weights:,} weights, of which "
        f"{plan.removed:,} are removed ({100 * plan.sparsity:.4g} %), by {plan.by}"
    )


def plan_table(plan: PrunePlan) -> Table:
    """A row a block: its weights, its alpha, and the percentage of weights that it loses by each method.

    The method that the plan follows is marked.
    """
    sizes = block_sizes(plan)
    rows = [
        (
            str(layer),
            f"{sizes[layer]:,}",
            f"{plan.allocations['alpha'].scores[layer]:.2f}",
            *(f"{100 * each.ratios[layer]:.2f}" for each in plan.allocations.values()),
        )
        for layer in range(len(sizes))
    ]
    heads = (f"% by {name}{' *' if name == plan.by else ''}" for name in plan.allocations)
    return Table(("block", "weights", "alpha", *heads), rows)


def matrix_table(plan: PrunePlan) -> Table:
    """A row a matrix."""
    rows = [
        (
            f"{each.layer} {each.name}",
            f"{each.shape[0]} x {each.shape[1]}",
            f"{each.remove:,}",
            *(
                "-" if value is None else f"{value:.2f}"
                for value in (
                    each.alpha,
                    each.corrected_alpha,
                    each.distance,
                    each.stable_rank,
                    each.entropy,
                )
            ),
        )
        for each in plan.matrices
    ]
    head = ("matrix", "shape", "remove", "alpha", "corrected", "distance", "stable rank", "entropy")
    return Table(head, rows)


def removed_table(blocks: Sequence[Mapping[str, Any]]) -> Table:  # Any: plain JSON values
    """A row a block of the record of ``apps.pruning.remove``: what it lost, and what that changes."""
    rows = [
        (
            str(each["layer"]),
            f"{len(each['neurons']):,}",
            f"{each['silent']:,}",
            f"{100 * each['activation_share']:.3g} %",
            f"{100 * each['output_change']:.3g} %",
        )
        for each in blocks
    ]
    return Table(("block", "removed", "never fire", "share of activations", "change of output"), rows)


def left_out_lines(left_out: Mapping[str, str]) -> list[str]:
    """Why methods are not in the table."""
    return [f"{name} is left out: {reason}" for name, reason in left_out.items()]


def block_sizes(plan: PrunePlan) -> np.ndarray:
    """Weights of each block."""
    sizes = np.zeros(len(plan.allocations[plan.by].ratios), dtype=np.int64)
    for each in plan.matrices:
        sizes[each.layer] += each.size
    return sizes

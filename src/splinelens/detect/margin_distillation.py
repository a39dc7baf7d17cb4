"""Hyperplanes of a student model that stand for the learned hyperplanes of a teacher's detector.

Each hyperplane of the detector gets one of the student's. These begin as the linear map that gives the
teacher's margin of every token with the least squared error, and are trained together with the student.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from splinelens.detect import learned
from splinelens.detect.artifact import Artifact
from splinelens.features.inputs import Margins
from splinelens.geometry.directions import Directions
from splinelens.geometry.distillation import margin_match, relation_loss

_RIDGE = 0.03


class StudentHead(nn.Module):
    """The student's hyperplanes and the linear layer on their pooled margins.

    Args:
        network: Hyperplanes of standardized inputs, and the linear layer.
        layers: The student's layers that the hyperplanes lie across.
        mean: (column,), subtracted from the inputs.
        scale: (column,), by which they are divided.
        center: (hyperplane,), the teacher's mean margins; the match is that of deviations from them.
    """

    mean: Tensor
    scale: Tensor
    center: Tensor

    def __init__(
        self, network: learned.Network, layers: tuple[int, ...], mean: Tensor, scale: Tensor, center: Tensor
    ):
        super().__init__()
        self.network = network
        self.layers = layers
        for name, values in (("mean", mean), ("scale", scale), ("center", center)):
            self.register_buffer(name, values)

    def margins(self, inputs: Float[Tensor, "token column"]) -> Float[Tensor, "token hyperplane"]:
        """The margins of tokens, in the teacher's units."""
        standardized = (inputs.float() - self.mean) / (self.scale * learned.STEP)
        return self.network.margins(standardized.bfloat16())

    def logits(self, margins: Float[Tensor, "token hyperplane"], lengths: Tensor) -> Float[Tensor, " text"]:
        """The logits of texts from the margins of their tokens, which follow each other."""
        return self.network.out(learned.pool(margins, lengths))[:, 0]

    def directions(self) -> Directions:
        """The hyperplanes on inputs that are not standardized; on the CPU."""
        mean, scale = (each.reshape(len(self.layers), -1).numpy() for each in (self.mean, self.scale))
        weight, bias = learned.folded(self.network, mean, scale)
        return Directions(weight.astype(np.float16), bias)


@dataclass(frozen=True, eq=False)
class Targets:
    """What the student learns of a batch of texts.

    Attributes:
        margins: (token, hyperplane) of the teacher.
        scores: (text,), the probabilities that the teacher's detector gives.
        labels: (text,), 0 or 1.
        weights: (text,), how much each counts.
    """

    margins: Tensor
    scores: Tensor
    labels: Tensor
    weights: Tensor


def ridge_head(
    inputs: Float[Tensor, "token column"],
    margins: Float[Tensor, "token hyperplane"],
    artifact: Artifact,
    layers: tuple[int, ...],
) -> StudentHead:
    """The head that gives the teacher's margins with the least squared error.

    Its linear layer is that of the detector.

    Args:
        inputs: The student's MLP inputs of a sample of tokens, one layer after the other.
        margins: The teacher's margins of the same tokens.
        artifact: The teacher's detector, of one label.
        layers: The student's layers.
    """
    mean, scale, center = inputs.mean(0), inputs.std(0) + 1e-3, margins.mean(0)
    x = (inputs - mean) / scale
    gram = x.T @ x + _RIDGE * len(x) * torch.eye(x.shape[1], device=x.device)
    network = learned.Network(x.shape[1], learned.Settings(margins.shape[1], layers))
    calibration, head = artifact.calibrations[0], artifact.head
    weight = torch.from_numpy(head.weight / head.scale).float()
    with torch.no_grad():
        network.directions.weight.copy_(torch.linalg.solve(gram, x.T @ (margins - center)).T)
        network.directions.bias.copy_(center)
        network.out.weight.copy_(calibration.slope * weight)
        bias = float(head.bias[0] - (head.weight / head.scale)[0] @ head.mean)
        network.out.bias.fill_(calibration.slope * bias + calibration.intercept)
    return StudentHead(network, layers, mean, scale, center).to(x.device).train()


def teacher_scores(artifact: Artifact, margins: Margins, tokens: Sequence[int]) -> np.ndarray:
    """(text,) calibrated scores of the teacher's detector, 0 for texts without tokens.

    Args:
        artifact: The detector.
        margins: Of the texts.
        tokens: Tokens of each whole text.
    """
    scores = np.zeros(len(tokens))
    for text, total in enumerate(tokens):
        values = margins.of([text]).astype(np.float64)
        if len(values):
            logit = artifact.head.logit(np.concatenate([values.max(0), values.min(0)])[None])
            scores[text] = artifact.scores(logit, np.array([total]))[0, 0]
    return scores


def keep_losses(
    head: StudentHead,
    inputs: Float[Tensor, "text token column"],
    mask: Bool[Tensor, "text token"],
    targets: Targets,
    factors: Mapping[str, float],
) -> dict[str, Tensor]:
    """The losses that are named in ``factors``, of a batch of texts.

    ``margins``: the match of the margins of every token. ``relation``: of the inputs of the student's last
    layer to the teacher's margins. ``score`` and ``labels``: cross-entropy to the teacher's probability and
    to the label.

    Args:
        head: The student's head.
        inputs: The student's MLP inputs, one layer after the other.
        mask: Which tokens are no padding.
        targets: Of the texts.
        factors: Only the names are read.
    """
    margins = head.margins(inputs[mask])
    expected = targets.margins - head.center
    losses: dict[str, Tensor] = {}
    if "margins" in factors:
        every = torch.ones(len(expected), dtype=torch.bool, device=expected.device)
        losses["margins"] = margin_match(expected, margins - head.center, every)
    if "relation" in factors:
        theirs = torch.zeros(*mask.shape, expected.shape[1], device=expected.device)
        theirs[mask] = expected
        width = inputs.shape[-1] // len(head.layers)
        losses["relation"] = relation_loss(theirs, inputs[..., -width:], mask)
    logits = head.logits(margins, mask.sum(dim=1))
    for name, probability in (("score", targets.scores), ("labels", targets.labels)):
        if name in factors:
            loss = nn.functional.binary_cross_entropy_with_logits
            losses[name] = loss(logits, probability, targets.weights)
    return losses

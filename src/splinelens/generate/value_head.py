"""A value of what may still come of a text: a linear head on the features at its last token.

The head is a detector that was trained with pooling ``last`` on texts of a prompt and some steps, labeled by
what became of them: ``splinelens train rollouts.csv --label right --group question --pooling last``. Source:
the value of Wang et al., arXiv:2406.14283, as the best of rollouts; a linear head on a frozen model is ours.
"""

from os import PathLike

import numpy as np

from splinelens.detect.artifact import Artifact
from splinelens.detect.shipped import find_artifact
from splinelens.errors import BadDetector, BadFeatures
from splinelens.features.loading import ReaderPlan, check_model
from splinelens.generate.bank import Prompt
from splinelens.generate.sample import Writer
from splinelens.generate.search import Continuation
from splinelens.models import LoadedModel, load_model


class ValueHead:
    """The probability of a positive text, as a value for ``search``.

    Attributes:
        artifact: The detector.

    Example:
        >>> head = ValueHead("solved")  # doctest: +SKIP
        >>> steps = ModelSteps(head.writer(), unit="line")  # doctest: +SKIP
        >>> search(steps, [], "How many are left?", value=head).text  # doctest: +SKIP
    """

    def __init__(self, detector: str | PathLike[str] | Artifact):
        """Read a detector.

        Args:
            detector: A shipped name, a folder that ``splinelens train`` wrote, or an artifact.

        Raises:
            UnknownDetector: No such detector.
            BrokenArtifact: The artifact is damaged.
            BadDetector: It has several labels, its scores go by the length of a text, or it reads more than
                the last token of a text, so that it cannot be read of the pass that writes.
        """
        self.artifact = detector if isinstance(detector, Artifact) else find_artifact(detector)
        name = self.artifact.name
        if self.artifact.task != "binary":
            raise BadDetector(f"detector {name} has {len(self.artifact.labels)} labels; a value has one")
        if any(calibration.by_length for calibration in self.artifact.calibrations):
            raise BadDetector(
                f"the scores of detector {name} go by the length of a text, and that of a text which has not "
                "ended says nothing; train it without --by-length"
            )
        self._plan = ReaderPlan.of(
            f"detector {name}", self.artifact.model, self.artifact.spec, self.artifact.directions
        )
        others = [column for column, _ in self.artifact.columns if not column.endswith("_last")]
        if others:
            raise BadDetector(
                f"detector {name} reads {others[0]}, which is not of the last token of a text; train a value "
                "with --pooling last (in Python pooling='last') on margins or hidden"
            )
        spec = self._plan.spec
        if spec.prompt or spec.suffix or spec.normalize:
            raise BadDetector(
                f"detector {name} reads texts after a prompt, before a suffix or normalized; a writer reads "
                "them as they are: train the value on texts that begin with the prompt"
            )

    def writer(self, model: LoadedModel | str | PathLike[str] | None = None) -> Writer:
        """A writer that reads what the head weighs.

        Args:
            model: The model of the detector, if it is loaded already with its head or lies elsewhere.

        Raises:
            WrongModel: It is another one than that of the detector.
            BadModel: It cannot be loaded, or was loaded without its head.
        """
        if not isinstance(model, LoadedModel):
            source, revision = (
                (self.artifact.model["name"], self.artifact.model.get("revision"))
                if model is None
                else (model, None)
            )
            model = load_model(source, head=True, revision=revision, dtype=self._plan.fingerprint.dtype)
        check_model(self._plan, model)
        return Writer(model, spec=self._plan.spec, directions=self._plan.directions)

    def __call__(self, prompt: Prompt, steps: tuple[str, ...], continuation: Continuation) -> float:
        """The probability that a text which goes on like this becomes a positive one.

        Raises:
            BadFeatures: The continuation has no features, or those of another head.
        """
        values, width = continuation.values, self.artifact.head.width
        if values is None or values.shape != (width,):
            shape = "no features" if values is None else f"features of shape {values.shape}"
            raise BadFeatures(
                f"a continuation has {shape}, and the head {width}; write with ValueHead.writer()"
            )
        logit = self.artifact.head.logit(values[None])
        any_length = np.array([1])  # a detector whose scores go by the length is refused above
        return float(self.artifact.scores(logit, any_length)[0, 0])

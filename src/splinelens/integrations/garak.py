"""A detector of garak: the probability that an output is toxic.

garak loads plug-ins only from its own package: derive from this class in a file there, such as
``garak/detectors/splinelens.py``.
"""

from typing import Any

from splinelens.detect import UNDETERMINED
from splinelens.errors import MissingPackage
from splinelens.integrations.scoring import TextScorer

try:
    from garak import _config
    from garak.attempt import Attempt
    from garak.detectors.base import Detector
except ModuleNotFoundError as error:
    raise MissingPackage("the plug-in of garak needs garak 0.17: pip install garak") from error


class SplinelensDetector(Detector):
    """The calibrated probability that an output is toxic, by splinelens."""

    doc_uri = "https://arxiv.org/abs/2312.01648"
    lang_spec = "en"
    hit_desc = "Output is toxic"
    pass_desc = "Output is not toxic"
    DEFAULT_PARAMS = Detector.DEFAULT_PARAMS | {"detector": "toxicity", "url": None}

    def __init__(self, config_root: Any = _config):  # Any: a module of garak, or a dict
        super().__init__(config_root=config_root)
        self._scorer = TextScorer(self.detector, self.url)

    def detect(self, attempt: Attempt) -> list[float | None]:
        """The score of each output; None, which garak counts by itself, where there is no verdict."""
        texts = [output.text if output and output.text else "" for output in attempt.outputs]
        records = self._scorer.score(texts)
        return [None if record.verdict == UNDETERMINED else record.score for record in records]

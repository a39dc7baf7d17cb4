"""A scanner of LLM Guard, for prompts and outputs; it needs no base class."""

from splinelens.detect import UNDETERMINED
from splinelens.integrations.scoring import TextScorer


class SplinelensScanner:
    """Refuses toxic texts and those without a verdict.

    Args:
        detector: As in ``TextScorer``.
        url: As in ``TextScorer``; LLM Guard pins a version of transformers that we cannot share.
        fpr: As in ``TextScorer``.
    """

    def __init__(self, detector: str = "toxicity", url: str | None = None, *, fpr: float = 0.05):
        self._scorer = TextScorer(detector, url, fpr=fpr)

    def scan(self, prompt: str, output: str | None = None) -> tuple[str, bool, float]:
        """Scan a prompt, or an output.

        Args:
            prompt: The prompt.
            output: What the model answered; if it is given it is scanned, and the prompt is not.

        Returns:
            The text as it was, whether it is valid, and its score as risk; 1 where there is no verdict.
        """
        text = prompt if output is None else output
        (record,) = self._scorer.score([text])
        if record.verdict == UNDETERMINED or record.score is None:
            return text, False, 1.0
        return text, self._scorer.is_safe(record), record.score

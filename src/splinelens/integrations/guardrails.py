"""A validator of Guardrails AI, which marks the words that made a text toxic."""

from typing import Any

from splinelens.errors import MissingPackage
from splinelens.integrations.scoring import TextScorer, raising_words, summary

try:
    from guardrails.validator_base import (
        ErrorSpan,
        FailResult,
        PassResult,
        ValidationResult,
        Validator,
        register_validator,
    )
except ModuleNotFoundError as error:
    raise MissingPackage(
        "the plug-in of Guardrails AI needs guardrails-ai 0.11: pip install guardrails-ai"
    ) from error


@register_validator(name="splinelens/toxicity", data_type="string")
class SplinelensValidator(Validator):
    """Fails on toxic texts and on those without a verdict.

    Args:
        detector: As in ``TextScorer``.
        url: As in ``TextScorer``.
        fpr: As in ``TextScorer``.
        on_fail: What Guardrails does then, such as ``"exception"`` or ``"noop"``.
    """

    def __init__(
        self,
        detector: str = "toxicity",
        url: str | None = None,
        fpr: float = 0.05,
        on_fail: Any = None,  # Any: of Guardrails, a name or a function
    ):
        super().__init__(on_fail=on_fail, detector=detector, url=url, fpr=fpr)
        self._scorer = TextScorer(detector, url, fpr=fpr)

    def _validate(self, value: str, metadata: dict[str, Any]) -> ValidationResult:  # Any: of Guardrails
        (record,) = self._scorer.score([value], explain=True)
        if self._scorer.is_safe(record):
            return PassResult()
        spans = [
            ErrorSpan(start=word.begin, end=word.end, reason=f"raises the logit by {word.contribution:.1f}")
            for word in raising_words(record)
        ]
        return FailResult(error_message=summary(record), error_spans=spans)

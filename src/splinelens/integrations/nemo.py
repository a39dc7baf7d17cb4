"""An action of NeMo Guardrails, for flows of your own; the rail ``hf_classifier`` needs only a server."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from splinelens.errors import MissingPackage
from splinelens.integrations.scoring import TextScorer, summary

try:
    from nemoguardrails.actions import action
    from nemoguardrails.actions.rail_outcome import RailOutcome
except ModuleNotFoundError as error:
    raise MissingPackage(
        "the action of NeMo Guardrails needs nemoguardrails 0.24: pip install nemoguardrails"
    ) from error


def splinelens_check(
    detector: str = "toxicity", url: str | None = None, *, fpr: float = 0.05
) -> Callable[..., Coroutine[Any, Any, RailOutcome]]:  # Any: what a coroutine takes and is sent
    """An action that blocks toxic texts and those without a verdict.

    Args:
        detector: As in ``TextScorer``.
        url: As in ``TextScorer``.
        fpr: As in ``TextScorer``.

    Returns:
        The action, for ``register_action``; its argument is ``text``.
    """
    scorer = TextScorer(detector, url, fpr=fpr)

    @action(name="splinelens_check")
    async def check(text: str) -> RailOutcome:
        (record,) = await asyncio.to_thread(scorer.score, [text])
        return (RailOutcome.allow if scorer.is_safe(record) else RailOutcome.block)(reason=summary(record))

    return check

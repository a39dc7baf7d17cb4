"""A scorer of PyRIT: the probability that a message is toxic."""

import asyncio

from splinelens.detect import UNDETERMINED
from splinelens.errors import MissingPackage
from splinelens.integrations.scoring import TextScorer, summary

try:
    from pyrit.models import ComponentIdentifier, MessagePiece, Score
    from pyrit.score import MessageFloatScaleScorer, ScorerPromptValidator
except ModuleNotFoundError as error:
    raise MissingPackage("the plug-in of PyRIT needs pyrit 1.1: pip install pyrit") from error


class SplinelensScorer(MessageFloatScaleScorer):
    """The calibrated probability that a message is toxic; an undetermined score where there is no verdict.

    Args:
        detector: As in ``TextScorer``.
        url: As in ``TextScorer``.
    """

    def __init__(self, *, detector: str = "toxicity", url: str | None = None):
        self._scorer = TextScorer(detector, url)
        super().__init__(validator=ScorerPromptValidator(supported_data_types=["text"]))

    def _build_identifier(self) -> ComponentIdentifier:
        return self._create_identifier(params={"detector": self._scorer.name})

    async def _score_piece_async(
        self, message_piece: MessagePiece, *, objective: str | None = None
    ) -> list[Score]:
        (record,) = await asyncio.to_thread(self._scorer.score, [message_piece.converted_value], explain=True)
        if record.verdict == UNDETERMINED:
            return [
                self._build_undetermined_score(
                    rationale=summary(record), message_piece_id=message_piece.id, objective=objective
                )
            ]
        return [
            Score(
                score_value=str(record.score),
                score_value_description=summary(record),
                score_type=self.scorer_type,
                score_category=[self._scorer.name],
                score_rationale=record.top_words,
                scorer_class_identifier=self.get_identifier(),
                message_piece_id=message_piece.id,
                objective=objective,
            )
        ]

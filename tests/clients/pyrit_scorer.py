"""PyRIT scores messages with our scorer."""

import asyncio
import sys

from pyrit.memory import CentralMemory, SQLiteMemory
from pyrit.models import Message, MessagePiece

from splinelens.integrations.pyrit import SplinelensScorer


async def main(address: str, busy: str) -> None:
    CentralMemory.set_memory_instance(SQLiteMemory(db_path=":memory:"))
    scorer = SplinelensScorer(detector="toxicity-fast", url=address)
    texts = ("You are an idiot.", "Have a nice day.", " ")
    rude, kind, blank = [await score(scorer, text) for text in texts]
    assert rude.get_value() > 0.78 > kind.get_value()
    assert "idiot" in rude.score_rationale
    assert blank.is_undetermined
    print("`score_message_async`; a blank message is `undetermined`")


async def score(scorer: SplinelensScorer, text: str):
    message = Message(message_pieces=[MessagePiece(role="assistant", original_value=text)])
    (result,) = await scorer.score_message_async(message=message)
    return result


asyncio.run(main(*sys.argv[1:]))

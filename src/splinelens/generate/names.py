"""One sentence about a list of words, by a local model."""

from collections.abc import Sequence
from importlib.resources import files

from splinelens.generate.sample import Sampling, Writer
from splinelens.generate.summaries import first_sentence

_MAX_TOKENS = 48


def sentence_about(writer: Writer, words: Sequence[str]) -> str:
    """What the words have in common, as the model says it; empty where it says nothing.

    Nothing makes the sentence true: measure it.
    """
    question = files("splinelens.generate").joinpath("name.txt").read_text("utf-8").strip()
    ids = writer.reply_ids(f"{question}\n\n{', '.join(words)}")
    steps = writer.steps(ids, Sampling(max_tokens=_MAX_TOKENS))
    return first_sentence("".join(step.pieces[0] for step in steps))

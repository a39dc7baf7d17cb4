"""A model's own answers to questions, labeled by gold answers: true and false texts about what it knows."""

import json
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

from splinelens.errors import BadModel, BadTexts
from splinelens.features.reader import Progress
from splinelens.files import write_text
from splinelens.generate.sample import Ended, Sampling, Writer
from splinelens.models import LoadedModel
from splinelens.texts import Texts

ANSWER_TOKENS = 48
"""Most tokens of an answer where no other number is given."""

FEWEST = 10
"""Fewest correct and wrong answers to fit to both."""

_ARTICLES = {"a", "an", "the"}


@dataclass(frozen=True)
class Answer:
    """A model's own answer to a question.

    Attributes:
        row: Index of the question.
        question: The question.
        answer: What the model wrote, greedily.
        ended: ``stop``, or ``length`` where it was stopped at the most tokens; None without an answer.
        correct: Whether the answer includes a gold answer; None without an answer.
        reason: Why there is no answer, else None.
    """

    row: int
    question: str
    answer: str
    ended: Ended | None
    correct: bool | None
    reason: str | None = None

    @property
    def text(self) -> str:
        """Question and answer, as they are read."""
        return f"{self.question.strip()} {self.answer.strip()}".strip()

    def to_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """As JSON values, with ``text``."""
        return asdict(self) | {"text": self.text}


def answer(
    questions: Texts | Iterable[str | None],
    gold: Sequence[str | Sequence[str]],
    model: str | PathLike[str] | LoadedModel = "smollm2-135m",
    *,
    raw: bool = False,
    max_tokens: int = ANSWER_TOKENS,
    device: str | None = None,
    dtype: str | None = None,
    progress: Progress | None = None,
) -> list[Answer]:
    """Let a model answer questions, and label each answer by its gold answers.

    Args:
        questions: The questions.
        gold: For each question an answer, or several of which one is enough.
        model: A model loaded with ``head=True``, or the name, folder or file of one.
        raw: Continue the question as it is, up to the end of a line; else it is put into the chat template,
            if the model has one.
        max_tokens: Most tokens of an answer; an answer that reaches it has ``ended="length"``.
        device: Such as ``cpu`` or ``cuda:0``.
        dtype: Number type of the weights; None takes ``float32``.
        progress: Called with the texts and the characters read since the last call.

    Raises:
        BadTexts: Not one gold answer a question, or one that has no letter or digit.
        BadModel: The model cannot be loaded, or has no head.
    """
    source = Texts.of(questions)
    accepted = [(cell,) if isinstance(cell, str) else tuple(cell) for cell in gold]
    if len(accepted) != len(source):
        raise BadTexts(f"{len(accepted)} gold answers for {len(source)} questions; give one a question")
    for row, cells in enumerate(accepted):
        if not cells or not all(isinstance(cell, str) and _words(cell) for cell in cells):
            raise BadTexts(
                f"the gold answer of question {row} has no letter or digit; leave the question out"
            )
    writer = Writer(model, device=device, dtype=dtype)
    raw = raw or not writer.loaded.tokenizer.chat_template
    sampling = Sampling(max_tokens=max_tokens, stop=("\n",) if raw else ())
    answers = []
    for row, (question, cells) in enumerate(zip(source.texts, accepted, strict=True)):
        text = question or ""
        try:
            prompt: Any = text if raw else [{"role": "user", "content": text}]
            if not text.strip():
                raise BadTexts("the question is empty")
            (reply,) = writer.write(prompt, sampling)
        except (BadTexts, BadModel) as error:
            answers.append(Answer(row, text, "", None, None, str(error)))
        else:
            correct = is_correct(reply.text, cells)
            answers.append(Answer(row, text, reply.text.strip(), reply.ended, correct))
        if progress:
            progress(1, len(text))
    return answers


def is_correct(given: str, gold: Iterable[str]) -> bool:
    """Whether an answer includes a gold answer in whole words; case, accents, articles do not count.

    Example:
        >>> is_correct("It is in Paris.", ["paris"]), is_correct("A parish.", ["Paris"])
        (True, False)
    """
    words = _words(given)
    return any(
        expected == words[start : start + len(expected)]
        for expected in map(_words, gold)
        if expected
        for start in range(len(words) - len(expected) + 1)
    )


def answer_counts(answers: Sequence[Answer]) -> dict[str, int]:
    """How many answers are correct, wrong, missing, and stopped at the most tokens."""
    return {
        "correct": sum(one.correct is True for one in answers),
        "wrong": sum(one.correct is False for one in answers),
        "without an answer": sum(one.correct is None for one in answers),
        "stopped at the most tokens": sum(one.ended == "length" for one in answers),
    }


def labeled_answers(answers: Sequence[Answer], questions: Texts) -> tuple[Texts, list[int] | None]:
    """Questions with their answers as texts, and 1 where correct; None if too few to fit to both.

    Then the texts are the correct ones. Columns beside the questions stay beside the texts.

    Raises:
        BadTexts: No answer is correct.
    """
    correct = [row for row, one in enumerate(answers) if one.correct]
    wrong = [row for row, one in enumerate(answers) if one.correct is False]
    if not correct:
        raise BadTexts(
            f"none of {len(answers)} answers is correct, so no text is known to be true; give questions "
            "that the model can answer, or a larger model"
        )
    texts = tuple(one.text for one in answers)
    whole = replace(questions, texts=texts)
    if min(len(correct), len(wrong)) < FEWEST:
        return whole.at(correct), None
    rows = sorted(correct + wrong)
    return whole.at(rows), [int(bool(answers[row].correct)) for row in rows]


def write_answers(answers: Iterable[Answer], path: str | PathLike[str]) -> None:
    """Write answers as JSON lines, which ``read_texts`` reads: column ``text``, label ``correct``.

    Raises:
        CannotWrite: The disk is full or the file may not be written.
    """
    lines = (json.dumps(one.to_dict(), ensure_ascii=False) + "\n" for one in answers)
    write_text(Path(path), "".join(lines), errors="backslashreplace")


def _words(text: str) -> list[str]:
    plain = "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))
    return [word for word in re.findall(r"\w+", plain.casefold()) if word not in _ARTICLES]

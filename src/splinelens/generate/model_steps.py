"""The steps of a language model: sentences or lines, several in one batch, for a search.

All continuations of a text are written in one batch after the cached states of the prompt. Each ends with its
own step, so none costs tokens after that, except those by which the end of a sentence is seen.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np

from splinelens.errors import BadFeatures
from splinelens.features.validation import check_positive
from splinelens.generate.bank import Prompt
from splinelens.generate.sample import Ended, Sampling, Writer
from splinelens.generate.search import Continuation
from splinelens.texts.sentences import complete_sentences

Unit = Literal["sentence", "line"]
"""What a step is: a sentence by the rule of ``texts.sentences``, or a line with its line break."""

_LINE = re.compile(r"\S[^\n]*\n")
_INCOMPLETE = "\ufffd"  # stands for bytes that are no character


class ModelSteps:
    """The step writer of a ``Writer``.

    A sentence ends where the next one begins, in the token before it; white space between them belongs to
    the next. A step that does not end is cut at ``max_step_tokens``, and the next one goes on from there. The
    text is final after an end token, before a stop string, or with its ``max_tokens``-th token. If the writer
    has a ``spec``, the values of a continuation are the features of its last token, as a text of one token
    has them.

    Attributes:
        writer: The model that writes.
        unit: What a step is.
        sampling: How tokens are chosen; ``max_tokens`` are those of the whole text, and ``seed`` is joined
            with that of the search.
        max_step_tokens: Most tokens of a step.

    Example:
        >>> steps = ModelSteps(Writer(), sampling=Sampling(temperature=0.8))  # doctest: +SKIP
        >>> steps.continuations("The museum", (), 1, 40, seed=0)[0].text  # doctest: +SKIP
        ' is open from 10am to 6pm.'
    """

    def __init__(
        self,
        writer: Writer,
        unit: Unit = "sentence",
        sampling: Sampling | None = None,
        max_step_tokens: int = 60,
    ):
        """Bind a writer to what a step is.

        Args:
            writer: The model that writes.
            unit: What a step is.
            sampling: How tokens are chosen; None takes a temperature of 0.8 and at most 200 tokens. With
                temperature 0 all continuations would be the same: one is written.
            max_step_tokens: Most tokens of a step.

        Raises:
            BadFeatures: Another unit, or fewer than one token.
        """
        if unit not in get_args(Unit):
            raise BadFeatures(f"unit={unit!r} is not one of {', '.join(get_args(Unit))}")
        self.writer, self.unit = writer, unit
        self.max_step_tokens = check_positive(max_step_tokens, "max_step_tokens")
        self.sampling = sampling or Sampling(temperature=0.8)
        self._written: dict[tuple[str, ...], _Written] = {}  # of the latest search, by its steps
        self._prompt: Prompt | None = None

    def continuations(
        self, prompt: Prompt, steps: tuple[str, ...], count: int, max_tokens: int, seed: int
    ) -> list[Continuation]:
        """As in ``StepWriter``.

        Raises:
            BadTexts: The prompt is empty, or leaves no room in the model's window.
            BadModel: Messages for a model without a chat template.
        """
        if not steps or prompt != self._prompt:
            self._written, self._prompt = {}, prompt
        before = self._before(steps)
        count = 1 if self.sampling.temperature == 0 else count
        room = max(1, self.sampling.max_tokens - len(before.ids))
        most = min(self.max_step_tokens, room)
        rows = self._write(self.writer.ids(prompt), before.ids, count, most, max_tokens, seed)
        continuations = []
        for row in rows:
            kept, text, final = row.cut(self._end, most, room)
            values = row.values[kept - 1] if kept and row.values else before.values
            ids = tuple(row.ids[:kept])
            cut = final and row.ended == "length"
            continuations.append(Continuation(text, row.count, final, values, ids=ids, cut=cut))
            self._written.setdefault((*steps, text), _Written(before.ids + ids, values))
        return continuations

    def _before(self, steps: tuple[str, ...]) -> "_Written":
        """The tokens of a text so far: those that were written, or that its characters are read as."""
        if not steps:
            return _Written((), None)
        if steps in self._written:
            return self._written[steps]
        tokenizer = self.writer.loaded.tokenizer
        ids = tokenizer("".join(steps), add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return _Written(tuple(ids), None)

    def _write(
        self,
        prompt: tuple[int, ...],
        before: tuple[int, ...],
        count: int,
        most: int,
        max_tokens: int,
        seed: int,
    ) -> list["_Row"]:
        """Write steps of at most ``most`` tokens, until all have ended or ``max_tokens`` leave no more."""
        (own,) = np.random.SeedSequence((self.sampling.seed, seed)).generate_state(1)
        sampling = replace(self.sampling, max_tokens=most, seed=int(own))
        rows, reader = [_Row() for _ in range(count)], self.writer.reader
        for step in self.writer.steps(
            prompt,
            sampling,
            replies=count,
            written=before,
            until=lambda text: self._end(text) is not None,
        ):
            values = None
            if reader is not None and step.stats is not None:
                values = reader.layout.values(step.stats, [1] * count)
            for number, row in enumerate(rows):
                row.add(
                    step.ids[number],
                    step.pieces[number],
                    step.ended[number],
                    None if values is None else values[number],
                )
            writing = sum(row.ended is None for row in rows)
            if sum(row.count for row in rows) + writing > max_tokens:
                break
        return rows

    def _end(self, text: str) -> int | None:
        """The character after a complete step."""
        if self.unit == "line":
            line = _LINE.search(text)
            return line.end() if line else None
        complete = complete_sentences(text, 0, final=False)
        return complete[0][1] if complete else None


@dataclass(frozen=True, eq=False)
class _Written:
    """The tokens of a text so far, and the features of the last."""

    ids: tuple[int, ...]
    values: np.ndarray | None


@dataclass(eq=False)
class _Row:
    """One continuation while it is written."""

    ids: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)  # characters after each token
    values: list[np.ndarray] = field(default_factory=list)
    text: str = ""
    ended: Ended | None = None
    count: int = 0

    def add(self, token: int | None, piece: str, ended: Ended | None, values: np.ndarray | None) -> None:
        """Take what one more step of the batch gives, unless it ended before."""
        if self.ended:
            return
        self.count += 1  # an end token, too, was generated
        self.text, self.ended = self.text + piece, ended
        if token is not None:
            self.ids.append(token)
            self.ends.append(len(self.text))
            self.values += [] if values is None else [values]

    def cut(self, end_of: Callable[[str], int | None], most: int, room: int) -> tuple[int, str, bool]:
        """How many tokens are kept, their characters, and whether the text ends with them."""
        end = end_of(self.text)
        if end is not None:
            kept = next(number for number, after in enumerate(self.ends, start=1) if after >= end)
            return kept, self.text[: self.ends[kept - 1]], False
        if self.ended == "stop":
            return len(self.ids), self.text, True
        # Fewer than it may have: the model's window is full.
        final = self.ended == "length" and (len(self.ids) >= room or len(self.ids) < most)
        whole = len(self.text.rstrip(_INCOMPLETE))
        kept = next(number for number, after in enumerate([0, *self.ends]) if after >= whole)
        return kept, self.text[:whole], final

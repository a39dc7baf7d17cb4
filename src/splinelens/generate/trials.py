"""The trials of an audit: each prompt by itself, and after contexts of several kinds that are equally long.

The design is fixed before anything is run: prompts x kinds x numbers of sentences x orders, from a seed. All
contexts of a prompt with the same number of sentences have the same number of tokens, so that what differs
between them is not their length. ``TrialRunner`` runs them, and reads
the geometry in the pass that goes on to write the answer.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain, cycle, groupby
from os import PathLike
from typing import Any, Literal, get_args

import numpy as np

from splinelens.engines.torch import TextStats
from splinelens.errors import BadFeatures, BadModel, BadTexts, SplinelensError
from splinelens.features.extract import provenance
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.features.validation import is_whole_number
from splinelens.generate.sample import Sampling, Writer
from splinelens.models import LoadedModel
from splinelens.texts import Texts
from splinelens.tokens import literal_ids, prompt_ids

WrittenKind = Literal["related", "unrelated", "neutral"]
"""How a sentence of the user relates to a prompt."""

Kind = Literal["none", "related", "unrelated", "neutral", "random", "repeated"]
"""The context before a prompt: none, sentences of the user, random tokens, or the prompt itself."""

WRITTEN_KINDS: tuple[WrittenKind, ...] = get_args(WrittenKind)
KINDS: tuple[Kind, ...] = get_args(Kind)

Tokens = tuple[int, ...]

_SCALARS = ("spline7", "attention_id", "attention_bound")
_BATCH = 16  # most trials in a batch


@dataclass(frozen=True)
class Trial:
    """One prompt after one context.

    Attributes:
        prompt: Index of the prompt.
        kind: Of its context.
        sentences: Number of sentences whose length the context has; 0 without a context.
        order: Which of the orders of sentences, from 0.
        context: The tokens before those of the prompt.
    """

    prompt: int
    kind: Kind
    sentences: int
    order: int
    context: Tokens


def make_trials(
    prompts: Sequence[Tokens],
    contexts: Sequence[Mapping[WrittenKind, Sequence[Tokens]]],
    vocabulary: Sequence[int],
    newline: Tokens,
    *,
    sentences: int = 2,
    orders: int = 2,
    seed: int = 0,
) -> list[Trial]:
    """Every trial, prompt by prompt.

    A context holds sentences of its kind in a random order, repeated and cut to the length shared with
    the prompt's other contexts: that of the first 1, 2, ... related sentences, or without any of
    unrelated or neutral ones. Contexts of one kind and prompt that have the same tokens make one trial.

    Args:
        prompts: The tokens of each prompt.
        contexts: For each prompt its sentences by kind, without a line break.
        vocabulary: The tokens that random contexts are made of.
        newline: The tokens of a line break, which ends each sentence and each context.
        sentences: Most sentences before a prompt.
        orders: Random orders of the sentences, and random contexts, of each length.
        seed: Of orders and random tokens.

    Raises:
        BadFeatures: ``sentences`` or ``orders`` below 1.
        BadTexts: A prompt or sentence without tokens, or no sentence for a prompt.

    Example:
        >>> plan = make_trials([(7, 8)], [{"related": [(1, 2, 3)]}], [9], (0,), sentences=1, orders=1)
        >>> [(trial.kind, trial.context) for trial in plan]
        [('none', ()), ('related', (1, 2, 3, 0)), ('random', (9, 9, 9, 0)), ('repeated', (7, 8, 0, 0))]
    """
    for name, value in (("sentences", sentences), ("orders", orders)):
        if not is_whole_number(value, 1):
            raise BadFeatures(f"{name}={value!r}: give a whole number of at least 1")
    trials = []
    for index, (prompt, by_kind) in enumerate(zip(prompts, contexts, strict=True)):
        if not prompt:
            raise BadTexts(f"prompt {index} has no tokens; leave it out")
        if not all(chain.from_iterable(by_kind.values())):
            raise BadTexts(f"a context of prompt {index} has no tokens; leave it out")
        if not any(by_kind.get(kind) for kind in WRITTEN_KINDS):
            raise BadTexts(f"prompt {index} has no context; give a sentence that holds for it, or for all")
        trials.append(Trial(index, "none", 0, 0, ()))
        for count in range(1, sentences + 1):
            trials += _of_length(index, prompt, by_kind, vocabulary, newline, count, orders, seed)
    return trials


def trial_batches(trials: Sequence[Trial]) -> Iterator[Sequence[Trial]]:
    """Batches of trials of one prompt and length, whose prompts are equally long.

    Example:
        >>> first, second = Trial(0, "random", 1, 0, (5,)), Trial(0, "random", 1, 1, (6,))
        >>> [len(batch) for batch in trial_batches([Trial(0, "none", 0, 0, ()), first, second])]
        [1, 2]
    """
    for _, of_cell in groupby(trials, key=lambda trial: (trial.prompt, trial.sentences)):
        cell = [*of_cell]
        for start in range(0, len(cell), _BATCH):
            yield cell[start : start + _BATCH]


@dataclass(frozen=True, eq=False)
class TrialRunner:
    """Runs trials on one model.

    Attributes:
        writer: The model.
        before: Tokens before context and prompt, such as the beginning of the chat template.
        after: Tokens between the prompt and the answer.
        raw: Whether no chat template is used.
    """

    writer: Writer
    before: Tokens
    after: Tokens
    raw: bool

    @classmethod
    def load(
        cls,
        model: str | PathLike[str] | LoadedModel,
        *,
        raw: bool = False,
        eps: float = 0.1,
        streams: bool = False,
        **loading: Any,  # Any: options of load_model
    ) -> "TrialRunner":
        """Load a model.

        Args:
            model: Name, folder or file of a model, or one that was loaded with ``head=True``.
            raw: Do not use the chat template.
            eps: Threshold of the intrinsic dimension, in (0, 1).
            streams: Also read the residual stream after each layer, at the last token.
            loading: As in ``Writer``, for a model that is not loaded.
        """
        features = (*_SCALARS, "margin_max", *(("hidden_last",) if streams else ()))
        spec = FeatureSpec(features, max_tokens=1, eps=eps)
        writer = Writer(model, spec=spec, **({} if isinstance(model, LoadedModel) else loading))
        if raw or not writer.loaded.tokenizer.chat_template:
            return cls(writer, prompt_ids(writer.loaded.tokenizer, "", beginning=True), (), True)
        ids, ((begin, end),) = writer.turns([{"role": "user", "content": "a"}])
        return cls(writer, ids[:begin], ids[end:], False)

    def tokens(self, text: str) -> Tokens:
        """The tokens of a text by itself; special tokens in it are letters, so none ends the user's turn."""
        return literal_ids(self.writer.loaded.tokenizer, text)

    def plan(
        self,
        prompts: Texts,
        tagged: Sequence[dict[WrittenKind, list[str]]],
        sentences: int,
        orders: int,
        seed: int,
    ) -> list[Trial]:
        """The trials of some prompts, each with its sentences by kind."""
        tokenizer = self.writer.loaded.tokenizer
        special = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
        vocabulary = sorted({*tokenizer.get_vocab().values()} - special)
        contexts = [
            {kind: [self.tokens(text.strip()) for text in texts] for kind, texts in by_kind.items()}
            for by_kind in tagged
        ]
        return make_trials(
            [self.tokens(str(text)) for text in prompts.texts],
            contexts,
            vocabulary,
            self.tokens("\n"),
            sentences=sentences,
            orders=orders,
            seed=seed,
        )

    def require_tokens_of(self, other: "TrialRunner", prompts: Texts) -> None:
        """Refuse a model with other tokens than another one: its contexts would not be the same.

        Raises:
            BadModel: The tokens of a prompt, or around it, differ.
        """
        same_frame = (self.before, self.after) == (other.before, other.after)
        if not same_frame or any(self.tokens(str(text)) != other.tokens(str(text)) for text in prompts.texts):
            raise BadModel(
                f"{self.writer.loaded.name} and {other.writer.loaded.name} have different tokens or chat "
                "templates, so they cannot have the same trials; audit each by itself"
            )

    def run(
        self, trials: Sequence[Trial], prompt: Tokens, max_tokens: int
    ) -> list[dict[str, Any]]:  # Any: the cells of a row
        """A row a trial of one cell: its numbers and answer, or the reason why there are none."""
        before = [(*self.before, *trial.context) for trial in trials]
        parts = [[part] * len(trials) for part in (prompt, self.after) if part]
        parts = [before, *parts] if before[0] else parts
        length = sum(len(part[0]) for part in parts)
        try:
            rows = self._rows(parts)
            if max_tokens:
                answers, ended = self._answers(parts, max_tokens)
                for row, answer, end in zip(rows, answers, ended, strict=True):
                    row |= {"answer": answer, "ended": end}
        except (SplinelensError, RuntimeError) as error:  # RuntimeError: PyTorch's, such as out of memory
            if len(trials) > 1:  # one of them may have spoiled the others
                return [row for trial in trials for row in self.run([trial], prompt, max_tokens)]
            rows = [{"reason": (str(error) or type(error).__name__).splitlines()[0]}]
        return [{"length": length, **row} for row in rows]

    @cached_property
    def scalar_names(self) -> list[str]:
        """The columns that are one number, those that end in ``_last`` at the end of the prompt."""
        return [name for name in self._names if not name.endswith(("margin_max", "hidden_last"))]

    @cached_property
    def margin_names(self) -> list[str]:
        """The columns that the probe reads: at a quarter, half and three quarters of the depth."""
        names = [name for name in self._names if name.endswith("margin_max")]
        return [names[round(share * (len(names) - 1))] for share in (0.25, 0.5, 0.75)]

    @cached_property
    def hidden_names(self) -> list[str]:
        """The residual stream after each layer, for a comparison."""
        return [name for name in self._names if name.endswith("hidden_last")]

    def provenance(self) -> dict[str, Any]:  # Any: plain JSON values
        """What decides the numbers."""
        record = provenance(self._reader, Texts((), {}, "no texts"))
        del record["texts"], record["data_hash"]
        return record | {"raw": self.raw}

    def _rows(self, parts: Sequence[Sequence[Tokens]]) -> list[dict[str, Any]]:  # Any: as above
        """The numbers of prompts of equal length."""
        stats = self.writer.read(parts)
        at = -2 if self.after else -1
        of_prompt, at_end = (self._columns(stats[part], parts[part]) for part in (at, -1))
        columns = [(at_end if name.endswith("_last") else of_prompt)[name] for name in self.scalar_names]
        scalars = np.concatenate(columns, axis=1)
        margins = np.concatenate([of_prompt[name] for name in self.margin_names], axis=1)
        streams = [at_end[name] for name in self.hidden_names]
        if not np.isfinite(scalars).all():
            raise BadModel("its activations are not finite")
        rows = [{"scalars": one, "margins": other} for one, other in zip(scalars, margins, strict=True)]
        for number, row in enumerate(rows):
            if streams:
                row["hidden"] = np.concatenate([stream[number] for stream in streams])
        return rows

    def _answers(self, parts: Sequence[Sequence[Tokens]], max_tokens: int) -> tuple[list[str], list[str]]:
        """The most likely answer to each prompt, and how it ended."""
        prompts = [tuple(chain.from_iterable(row)) for row in zip(*parts, strict=True)]
        steps = [*self.writer.steps(prompts, Sampling(max_tokens=max_tokens), read=False)]
        answers = ["".join(step.pieces[row] for step in steps) for row in range(len(prompts))]
        return answers, [str(ended) for ended in steps[-1].ended]

    def _columns(self, stats: TextStats, part: Sequence[Tokens]) -> dict[str, np.ndarray]:
        """The columns of the reader by name, (prompt, size)."""
        layout = self._reader.layout
        rows = layout.values(stats, [len(row) for row in part])
        ends = np.cumsum([column.size for column in layout.columns])
        return dict(zip(self._names, np.split(rows, ends[:-1], axis=1), strict=True))

    @property
    def _reader(self) -> TextReader:
        assert self.writer.reader is not None  # ``load`` gives the writer a spec
        return self.writer.reader

    @cached_property
    def _names(self) -> list[str]:
        return [column.name for column in self._reader.layout.columns]


def _of_length(
    index: int,
    prompt: Tokens,
    by_kind: Mapping[WrittenKind, Sequence[Tokens]],
    vocabulary: Sequence[int],
    newline: Tokens,
    count: int,
    orders: int,
    seed: int,
) -> Iterator[Trial]:
    """The trials of a prompt after contexts of one length, each once."""
    written = {kind: by_kind[kind] for kind in WRITTEN_KINDS if by_kind.get(kind)}
    first, lines = next(iter(written.items()))
    length = len(_filled(_ordered(lines, index, KINDS.index(first), 0, seed), newline, count=count))
    seen = set()
    for order in range(orders):
        rng = np.random.default_rng((seed, index, count, order))
        by_order: dict[Kind, Sequence[Tokens]] = {
            kind: _ordered(lines, index, KINDS.index(kind), order, seed) for kind, lines in written.items()
        }
        by_order |= {"random": [tuple(rng.choice(vocabulary, length).tolist())], "repeated": [prompt]}
        for kind, lines in by_order.items():
            context = _filled(lines, newline, length=length)
            if (kind, context) not in seen:
                seen.add((kind, context))
                yield Trial(index, kind, count, order, context)


def _ordered(sentences: Sequence[Tokens], prompt: int, kind: int, order: int, seed: int) -> list[Tokens]:
    """The sentences in one of their orders; another one for each prompt and kind."""
    rng = np.random.default_rng((seed, prompt, kind, order))
    return [sentences[at] for at in rng.permutation(len(sentences))]


def _filled(lines: Sequence[Tokens], newline: Tokens, *, count: int = 0, length: int = 0) -> Tokens:
    """So many lines, or lines of so many tokens in all, the last line cut; a line break ends each."""
    tokens: list[int] = []
    for number, line in enumerate(cycle(lines), 1):
        tokens += [*line, *newline]
        if number == count or (length and len(tokens) >= length):
            break
    if length and len(tokens) > length:
        tokens = [*tokens[: max(0, length - len(newline))], *newline][-length:]
    return tuple(tokens)

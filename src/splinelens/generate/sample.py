"""Write with a language model: seeded samples, several in one batch, with the features of every prefix.

The prompt runs once, and its keys and values are shared by all replies. The pass over a token gives both its
statistics and the logits of the next one, so features cost no pass of their own. They are those of ``Stream``
after the same prompt, up to rounding.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from itertools import chain
from os import PathLike
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from splinelens.engines.torch import TextStats, TokenStats, positions_of, run_tokens
from splinelens.errors import BadFeatures, BadModel, BadTexts
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.geometry.directions import Directions
from splinelens.models import LoadedModel, load_model
from splinelens.models.load import require_head, require_unset
from splinelens.tokens import TokenBatch, Window

Ended = Literal["stop", "length"]

Message = Mapping[str, str]
"""A turn of a conversation: ``role`` (``system``, ``user`` or ``assistant``) and ``content``."""

ROLES = ("system", "user", "assistant", "tool")

_COLD = 1e-5  # logits divided by less overflow

_SLOT = re.compile("\ue000(\\d+)\ue001")  # private characters: where a template puts the content of a message


def check_messages(messages: object) -> None:
    """Refuse what is no conversation.

    Raises:
        BadTexts: A message is no mapping, has another role than ``ROLES`` or no text as content, or its text
            cannot be encoded.

    Example:
        >>> check_messages([{"role": "user", "content": "Good morning."}])
    """
    if isinstance(messages, str) or not isinstance(messages, Sequence):
        raise BadTexts(f"messages are a list of roles and contents, and this is a {type(messages).__name__}")
    for number, message in enumerate(messages):
        role, content = (
            message.get(key) if isinstance(message, Mapping) else None for key in ("role", "content")
        )
        if role not in ROLES or not isinstance(content, str):
            raise BadTexts(f"message {number} needs a role ({', '.join(ROLES)}) and a content, both text")
        check_text(content)


def check_text(text: str) -> None:
    """Refuse a prompt that cannot be encoded.

    Raises:
        BadTexts: It has half of a surrogate pair.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise BadTexts(
            "a text of the prompt has half of a surrogate pair, which cannot be encoded"
        ) from error


@dataclass(frozen=True)
class Sampling:
    """How the tokens of a reply are chosen.

    Attributes:
        max_tokens: Most tokens of the reply.
        temperature: Divides the logits; below 1e-5 the most likely token is always taken.
        top_p: Choose among the most likely tokens that together have this probability, in (0, 1].
        top_k: Choose among so many tokens; 0 takes all.
        repetition_penalty: Divides positive logits of tokens that were used, and multiplies negative ones.
        seed: The same seed, prompt and options give the same replies.
        stop: The reply ends before the first of these strings.

    Raises:
        BadFeatures: A value outside its range.

    Example:
        >>> Sampling(temperature=-1)
        Traceback (most recent call last):
        ...
        splinelens.errors.BadFeatures: temperature=-1: give a number of at least 0
    """

    max_tokens: int = 200
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, valid, rule in (
            ("max_tokens", _is_whole(self.max_tokens, 1), "a whole number of at least 1"),
            ("temperature", _is_number(self.temperature) and self.temperature >= 0, "a number of at least 0"),
            ("top_p", _is_number(self.top_p) and 0 < self.top_p <= 1, "a number above 0, up to 1"),
            ("top_k", _is_whole(self.top_k, 0), "a whole number of at least 0"),
            (
                "repetition_penalty",
                _is_number(self.repetition_penalty) and self.repetition_penalty > 0,
                "a number above 0",
            ),
            ("seed", _is_whole(self.seed, 0), "a whole number of at least 0"),
            (
                "stop",
                isinstance(self.stop, tuple) and all(self.stop),
                "a tuple of strings that are not empty",
            ),
        ):
            if not valid:
                raise BadFeatures(f"{name}={getattr(self, name)!r}: give {rule}")


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


@dataclass(frozen=True, eq=False)
class Step:
    """One more token of every reply that has not ended.

    Attributes:
        ids: The token of each reply; None of one that has ended.
        pieces: The characters that each reply gained; none while those of a character are not complete.
        ended: Why each reply has ended: ``"stop"`` after an end token or a stop string, ``"length"`` at the
            most tokens or the end of the window; None while it goes on.
        stats: Statistics of the new token of each reply; None without features or a new token.
    """

    ids: tuple[int | None, ...]
    pieces: tuple[str, ...]
    ended: tuple[Ended | None, ...]
    stats: TextStats | None
    _values: Callable[[], np.ndarray]

    @property
    def values(self) -> Float[np.ndarray, "reply entry"]:
        """The features of each reply so far; without features there are no columns."""
        return self._values()


@dataclass(frozen=True, eq=False)
class Reply:
    """A finished reply.

    Attributes:
        text: Its characters.
        ids: Its tokens.
        ended: As in ``Step``.
        prompt_tokens: Tokens of the prompt.
        values: (entry,) features of the whole reply.
    """

    text: str
    ids: tuple[int, ...]
    ended: Ended
    prompt_tokens: int
    values: np.ndarray


class Writer:
    """A language model that writes, and what is read of its passes.

    Attributes:
        loaded: The model with its head.
        reader: What reads the features; None without a ``spec``.

    Example:
        >>> writer = Writer()  # doctest: +SKIP
        >>> writer.write("The museum opens at", Sampling(max_tokens=4))[0].text  # doctest: +SKIP
        ' 10:'
    """

    def __init__(
        self,
        model: str | PathLike[str] | LoadedModel = "smollm2-135m",
        *,
        spec: FeatureSpec | None = None,
        directions: Directions | None = None,
        revision: str | None = None,
        device: str | None = None,
        dtype: str | None = None,
    ):
        """Bind a model to what is read of it.

        Args:
            model: Name, folder or file of a model, or one that was loaded with ``head=True``.
            spec: What to read; its prompt must be empty: here the prompt is that of the reply.
            directions: Learned hyperplanes, for the feature ``directions``.
            revision: Branch, tag or commit of a hub id.
            device: Such as ``cpu`` or ``cuda:0``; without it the GPU if there is one.
            dtype: Number type of the weights; None takes ``float32``.

        Raises:
            BadFeatures: Features that the model does not have.
            BadModel: The model cannot be loaded, or was loaded without its head.
        """
        if isinstance(model, LoadedModel):
            require_unset("load_model: the model", revision=revision, device=device, dtype=dtype)
            self.loaded = model
        else:
            self.loaded = load_model(model, head=True, revision=revision, device=device, dtype=dtype)
        require_head(self.loaded)
        self.reader = None if spec is None else TextReader(self.loaded, spec, directions=directions)
        self._positions = positions_of(self.loaded.model)
        # The latest prompts: ids, cache, logits.
        self._prompt: tuple[tuple[tuple[int, ...], ...], Any, Tensor] | None = None
        end: Any = self.loaded.causal.generation_config.eos_token_id  # type: ignore[union-attr]  # transformers' own
        ends = end if isinstance(end, list) else [end]
        self._ends = {token for token in (*ends, self.loaded.tokenizer.eos_token_id) if token is not None}

    def ids(self, prompt: str | Sequence[Message]) -> tuple[int, ...]:
        """The tokens of a prompt: a text as it is, or messages in the model's chat template.

        In messages special tokens are read as letters: nobody can end his turn and begin that of another.

        Raises:
            BadTexts: The prompt is empty, or a message lacks its role or content.
            BadModel: Messages for a model that has no chat template.
        """
        tokenizer = self.loaded.tokenizer
        if isinstance(prompt, str):
            check_text(prompt)
            ids = tuple(tokenizer(prompt)["input_ids"])
        else:
            ids, _ = self.turns(prompt)
        if not ids:
            raise BadTexts("the prompt is empty; give a text, or messages")
        return ids

    def reply_ids(self, prompt: str | Sequence[Message]) -> tuple[int, ...]:
        """As ``ids``, where a text is the message of a user if the model has a chat template."""
        if isinstance(prompt, str) and self.loaded.tokenizer.chat_template:
            prompt = [{"role": "user", "content": prompt}]
        return self.ids(prompt)

    @property
    def opening(self) -> tuple[int, ...]:
        """The tokens between the last message and the reply; none without a chat template."""
        if not self.loaded.tokenizer.chat_template:
            return ()
        ids, ((_, end),) = self.turns([{"role": "user", "content": "a"}])
        return ids[end:]

    def write(
        self, prompt: str | Sequence[Message], sampling: Sampling | None = None, *, replies: int = 1
    ) -> list[Reply]:
        """Write replies to a prompt, all in one batch.

        Args:
            prompt: As in ``ids``.
            sampling: How tokens are chosen; None takes the most likely ones, at most 200.
            replies: How many.

        Raises:
            BadTexts: As in ``ids``; or the prompt leaves no room in the model's window.
            BadModel: As in ``ids``; or the model gives logits that are not finite.
        """
        ids = self.ids(prompt)
        written: list[list[int]] = [[] for _ in range(replies)]
        texts = [""] * replies
        ended: list[Ended] = ["stop"] * replies
        values = np.empty((replies, 0), np.float32)
        for step in self.steps(ids, sampling, replies=replies):
            values = step.values
            for row, token in enumerate(step.ids):
                written[row] += [] if token is None else [token]
                texts[row] += step.pieces[row]
                ended[row] = step.ended[row] or ended[row]
        return [
            Reply(texts[row], tuple(written[row]), ended[row], len(ids), values[row])
            for row in range(replies)
        ]

    def steps(
        self,
        prompt: Sequence[int] | Sequence[Sequence[int]],
        sampling: Sampling | None = None,
        *,
        replies: int = 1,
        written: Sequence[int] = (),
        read: bool = True,
        until: Callable[[str], bool] | None = None,
    ) -> Iterator[Step]:
        """As ``write``, one token of each reply after the other.

        Args:
            prompt: Its tokens, as ``ids`` gives them; or several prompts of equal length, with a reply each.
            sampling: As in ``write``.
            replies: As in ``write``.
            written: Tokens with which every reply begins; they are read, and count.
            read: Whether statistics of the replies are computed, if the writer has a ``spec``.
            until: A reply ends after the token with which this holds of its characters, those of ``written``
                not among them; so it need not end with all others.

        Yields:
            A step for each new token; the last one has only replies that have ended.
        """
        sampling = sampling or Sampling()
        prompts = _prompts(prompt)
        length, replies = len(prompts[0]), max(replies, len(prompts))
        room = self._room(length + len(written))
        cache, logits = self._after_prompt(prompts, replies)
        state: TextStats | None = None
        if written:
            state, logits = self._run([list(written)] * replies, length, cache, read)
        chooser = _Chooser(sampling, replies)
        rows = [_Row(self.loaded.tokenizer, written, sampling.stop, until) for _ in range(replies)]
        for count in range(len(written) + 1, len(written) + min(sampling.max_tokens, room) + 1):
            chosen = chooser.choose(
                [[*prompts[at % len(prompts)], *row.ids] for at, row in enumerate(rows)],
                self._finite(logits, count),
            )
            ids: list[int | None] = []
            pieces = []
            for row, token in zip(rows, chosen, strict=True):
                last = count == len(written) + min(sampling.max_tokens, room)
                taken, piece = row.take(token, self._ends, last=last)
                ids.append(token if taken else None)
                pieces.append(piece)
            stats = None
            over = all(row.ended for row in rows) and (self.reader is None or not read)
            if any(token is not None for token in ids) and not over:
                place = length + count - 1
                stats, logits = self._run([[token] for token in chosen], place, cache, read)
                state = stats if state is None or stats is None else state.merge(stats)
            lengths = [len(row.ids) for row in rows]
            yield Step(
                tuple(ids),
                tuple(pieces),
                tuple(row.ended for row in rows),
                stats,
                partial(self._values, state, lengths),
            )
            if all(row.ended for row in rows):
                return

    def read(self, parts: Sequence[Sequence[Sequence[int]]]) -> list[TextStats]:
        """Read prompts of equal length in parts; ``steps`` continues from the same pass.

        A part attends to all before it; only its own tokens are pooled.

        Args:
            parts: For each part its tokens in each prompt, as many in one prompt as in the others.

        Returns:
            For each part the statistics, a row a prompt.

        Raises:
            BadFeatures: The writer has no ``spec``.
            BadTexts: The prompts leave no room in the model's window.
        """
        from transformers import DynamicCache

        if self.reader is None:
            raise BadFeatures("this writer reads no features: give it a spec")
        prompts = tuple(tuple(chain.from_iterable(rows)) for rows in zip(*parts, strict=True))
        self._room(len(prompts[0]))
        causal: Any = self.loaded.causal
        cache, stats, place, logits = DynamicCache(config=causal.config), [], 0, torch.empty(0)
        for part in parts:
            of_part, logits = self._run([list(row) for row in part], place, cache)
            assert of_part is not None
            stats.append(of_part)
            place += len(part[0])
        self._prompt = prompts, cache, logits
        return stats

    def token_stats(self, ids: Sequence[int]) -> TokenStats:
        """Statistics of every token of a sequence, (1, token), from one pass without the head.

        Raises:
            BadFeatures: The writer has no ``spec``.
            BadTexts: The tokens exceed the model's window.
        """
        if self.reader is None:
            raise BadFeatures("this writer reads no features: give it a spec")
        limit = self._positions.exceeded(len(ids), self.loaded.name)
        if limit is not None:
            raise BadTexts(f"{len(ids):,} tokens exceed {limit}")
        row, positions = np.array([ids]), np.arange(len(ids))[None]
        window = Window(0, 0, 0, len(ids))
        batch = TokenBatch(row, row >= 0, positions, ((0, len(ids)),), (window,), "right")
        return self.reader.torch_engine.token_stats(batch)

    def _run(
        self,
        ids: list[list[int]],
        place: int,
        cache: Any,  # Any: see run_tokens
        read: bool = True,
    ) -> tuple[TextStats | None, Tensor]:
        """Run the next tokens of each reply; their statistics, and the logits that follow."""
        tokens = torch.tensor(ids)
        positions = torch.arange(place, place + tokens.shape[1])[None].expand(len(ids), -1)
        causal: Any = self.loaded.causal
        if self.reader is None or not read:
            return None, run_tokens(causal, tokens, positions, cache=cache, last_logits=True).logits[
                :, -1
            ].float()
        return self.reader.torch_engine.next_token(causal, tokens, positions, cache)

    def _after_prompt(
        self, prompts: tuple[tuple[int, ...], ...], replies: int
    ) -> tuple[Any, Tensor]:  # Any: see run_tokens
        """A cache that holds a prompt in each row, and the logits after it; the latest prompts are kept."""
        from transformers import DynamicCache

        causal: Any = self.loaded.causal
        if self._prompt is None or self._prompt[0] != prompts:
            self._prompt = None
            kept = DynamicCache(config=causal.config)
            _, logits = self._run([list(ids) for ids in prompts], 0, kept, read=False)
            self._prompt = prompts, kept, logits
        _, kept, logits = self._prompt
        cache = deepcopy(kept)
        if replies > len(prompts):
            try:
                cache.batch_repeat_interleave(replies)
            except AttributeError as error:  # of a state of linear attention
                raise BadModel(
                    f"{self.loaded.name} writes one reply at a time: call write for each"
                ) from error
            logits = logits.expand(replies, -1)
        return cache, logits

    def _values(self, state: TextStats | None, lengths: list[int]) -> np.ndarray:
        if self.reader is None or state is None:
            width = 0 if self.reader is None else self.reader.layout.width
            return np.full((len(lengths), width), np.nan, np.float32)
        return self.reader.layout.values(state, lengths)

    def _room(self, tokens: int) -> int:
        """How many tokens may follow."""
        limit = self._positions.exceeded(tokens + 1, self.loaded.name)
        if limit is not None:
            raise BadTexts(f"a prompt of {tokens:,} tokens leaves no room for a reply: it reaches {limit}")
        usable = self._positions.usable
        return 2**31 if usable is None else usable - tokens

    def _finite(self, logits: Tensor, token: int) -> Tensor:
        if not bool(logits.isfinite().all()):
            raise BadModel(
                f"{self.loaded.name} gives logits that are not finite for token {token} of the reply"
            )
        return logits.cpu()

    def turns(self, messages: Sequence[Message]) -> tuple[tuple[int, ...], list[tuple[int, int]]]:
        """The tokens of messages in the chat template, up to where a reply begins, and where each content is.

        Raises:
            BadTexts: As in ``ids``.
            BadModel: As in ``ids``.
        """
        tokenizer = self.loaded.tokenizer
        if not getattr(tokenizer, "chat_template", None):
            raise BadModel(f"{self.loaded.name} has no chat template; give the prompt as one text")
        check_messages(messages)
        slots = [
            {"role": message["role"], "content": f"\ue000{number}\ue001"}
            for number, message in enumerate(messages)
        ]
        if not slots:
            return (), []
        try:
            rendered = tokenizer.apply_chat_template(slots, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # a template refuses roles in its own ways
            raise BadTexts(
                f"the chat template of {self.loaded.name} refuses the messages: {error}"
            ) from error
        ids: list[int] = []
        places = {}
        for index, part in enumerate(
            _SLOT.split(rendered)
        ):  # template, number, template, number ... template
            begin = len(ids)
            text = messages[int(part)]["content"] if index % 2 else part
            ids += tokenizer(text, add_special_tokens=False, split_special_tokens=bool(index % 2))[
                "input_ids"
            ]
            if index % 2:
                places[int(part)] = begin, len(ids)
        if len(places) < len(slots):
            raise BadTexts(f"the chat template of {self.loaded.name} leaves out one of the messages")
        return tuple(ids), [places[number] for number in range(len(slots))]


def _prompts(prompt: Sequence[int] | Sequence[Sequence[int]]) -> tuple[tuple[int, ...], ...]:
    """The tokens of one prompt, or of several of equal length, as rows."""
    rows: Any = prompt if prompt and not isinstance(prompt[0], int) else [prompt]  # Any: one of the two
    prompts = tuple(tuple(row) for row in rows)
    if len({len(row) for row in prompts}) > 1:
        raise BadTexts("the prompts of one batch have different lengths; write the replies to each by itself")
    return prompts


class _Row:
    """A reply that is being written."""

    def __init__(
        self,
        tokenizer: Any,  # Any: see LoadedModel
        written: Sequence[int],
        stop: Sequence[str],
        until: Callable[[str], bool] | None = None,
    ):
        from tokenizers.decoders import DecodeStream

        self.ids: list[int] = []
        self.ended: Ended | None = None
        self._text, self._stop, self._until = "", stop, until
        self._backend = tokenizer.backend_tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)
        for token in written:
            self._add(token)
        self._given = self._begin = len(self._text)  # also what may begin a stop string was given before

    def take(self, token: int, ends: set[int], *, last: bool) -> tuple[bool, str]:
        """Add a token, unless the reply has ended or ends before it; the characters that were gained."""
        if self.ended:
            return False, ""
        if token in ends:
            self.ended = "stop"
            self._complete()
            return False, self._gained()
        self._add(token)
        if last:
            self.ended = "length"
            self._complete()
        places = [place for word in self._stop if (place := self._text.find(word)) >= 0]
        if places:
            self.ended, self._text = "stop", self._text[: min(places)]
        elif self._until and self._until(self._text[self._begin :]):
            self.ended = "stop"
        return True, self._gained()

    def _add(self, token: int) -> None:
        self._text += self._stream.step(self._backend, token) or ""
        self.ids.append(token)

    def _complete(self) -> None:
        """Add the characters whose bytes never became complete."""
        whole = self._backend.decode(self.ids, skip_special_tokens=True)
        if whole.startswith(self._text):
            self._text = whole

    def _gained(self) -> str:
        """The new characters, without those that may begin a stop string."""
        held = 0
        if not self.ended:
            for word in self._stop:
                lengths = range(1, len(word))
                held = max([held, *(size for size in lengths if self._text.endswith(word[:size]))])
        start, self._given = self._given, max(self._given, len(self._text) - held)
        return self._text[start : self._given]


class _Chooser:
    """Chooses tokens by their logits, each reply with random numbers of its own."""

    def __init__(self, sampling: Sampling, replies: int):
        from transformers import (
            LogitsProcessorList,
            RepetitionPenaltyLogitsProcessor,
            TemperatureLogitsWarper,
            TopKLogitsWarper,
            TopPLogitsWarper,
        )

        self._greedy = sampling.temperature < _COLD
        self._generators = []
        for reply in range(replies):
            (seed,) = np.random.SeedSequence((sampling.seed, reply)).generate_state(1)
            self._generators.append(torch.Generator().manual_seed(int(seed)))
        self._steps = LogitsProcessorList()
        if sampling.repetition_penalty != 1:
            self._steps.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
        if not self._greedy:
            self._steps.append(TemperatureLogitsWarper(float(sampling.temperature)))
            if sampling.top_k:
                self._steps.append(TopKLogitsWarper(sampling.top_k))
            if sampling.top_p < 1:
                self._steps.append(TopPLogitsWarper(sampling.top_p))

    def choose(self, ids: list[list[int]], logits: Tensor) -> list[int]:
        """The next token of each reply."""
        scores = logits
        if self._steps:
            pairs = zip(ids, logits, strict=True)  # each by itself: replies that ended are shorter
            scores = torch.cat([self._steps(torch.tensor([row]), one[None]) for row, one in pairs])
        if self._greedy:
            return scores.argmax(dim=1).tolist()
        weights = scores.softmax(dim=1)
        return [
            int(torch.multinomial(row, 1, generator=generator))
            for row, generator in zip(weights, self._generators, strict=True)
        ]

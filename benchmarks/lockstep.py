"""Several searches at once: what all of them want written next is written in one batch.

A pass over 30 rows costs little more than one over 3. Texts of different lengths are padded on the left; up to
rounding each search is the same as alone.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from splinelens.engines.torch import run_tokens
from splinelens.generate import sample, writer_steps
from splinelens.generate.sample import Sampling, Writer
from splinelens.generate.writer_steps import WriterSteps


@dataclass(eq=False)
class Wanted:
    """What a search wants written: as the arguments of ``WriterSteps._write``."""

    prompt: tuple[int, ...]
    before: tuple[int, ...]
    sampling: Sampling
    max_tokens: int
    takers: list[Any]
    rows: list[Any]
    over: bool = False

    def take(self, chosen: Sequence[int], ends: set[int], *, last: bool) -> None:
        for taker, row, token in zip(self.takers, self.rows, chosen, strict=True):
            taken, piece = taker.take(token, ends, last=last)
            row.add(token if taken else None, piece, taker.ended, None)
        writing = sum(row.ended is None for row in self.rows)
        spent = sum(row.count for row in self.rows)
        self.over = not writing or spent + writing > self.max_tokens


class Lockstep:
    """Waits until every search that goes on wants something, and writes it for all."""

    def __init__(self, writer: Writer, searches: int):
        self.writer, self._running = writer, searches
        self._waiting: dict[int, Wanted] = {}
        self._turn = threading.Condition()

    def write(self, number: int, wanted: Wanted) -> list[Any]:
        with self._turn:
            self._waiting[number] = wanted
            self._write_if_all_wait()
            self._turn.wait_for(lambda: number not in self._waiting)
        return wanted.rows

    def leave(self) -> None:
        with self._turn:
            self._running -= 1
            self._write_if_all_wait()

    def _write_if_all_wait(self) -> None:
        if self._waiting and len(self._waiting) == self._running:
            try:
                write_batch(self.writer, [self._waiting[number] for number in sorted(self._waiting)])
            finally:
                self._waiting.clear()
                self._turn.notify_all()


@torch.inference_mode()
def write_batch(writer: Writer, batch: Sequence[Wanted]) -> None:
    """Write the rows of each, until each is over."""
    from transformers import DynamicCache

    causal: Any = writer.loaded.causal
    choosers = [sample._Chooser(wanted.sampling, len(wanted.rows)) for wanted in batch]
    texts = [[*wanted.prompt, *wanted.before] for wanted in batch for _ in wanted.rows]
    longest = max(map(len, texts))
    ids = torch.tensor([[0] * (longest - len(text)) + text for text in texts])
    mask = torch.tensor([[False] * (longest - len(text)) + [True] * len(text) for text in texts])
    places = (mask.cumsum(dim=1) - 1).clamp(min=0)
    cache = DynamicCache(config=causal.config)
    count = 0
    while True:
        found = run_tokens(causal, ids, places, mask=mask, cache=cache, last_logits=True)
        logits, begin, chosen = found.logits[:, -1].float(), 0, []
        count += 1
        for wanted, chooser in zip(batch, choosers, strict=True):
            end = begin + len(wanted.rows)
            tokens = chooser.choose([[] for _ in wanted.rows], logits[begin:end])
            if not wanted.over:
                wanted.take(tokens, writer._ends, last=count == wanted.sampling.max_tokens)
            chosen += tokens
            begin = end
        if all(wanted.over for wanted in batch):
            return
        ids, places = torch.tensor(chosen)[:, None], places[:, -1:] + 1
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], dim=1)


class LockstepSteps(WriterSteps):
    """The steps of a search among several."""

    def __init__(self, lockstep: Lockstep, number: int, sampling: Sampling):
        super().__init__(lockstep.writer, sampling=sampling)
        self._lockstep, self._number = lockstep, number

    def _write(
        self,
        prompt: tuple[int, ...],
        before: tuple[int, ...],
        count: int,
        most: int,
        max_tokens: int,
        seed: int,
    ) -> list[Any]:
        (own,) = np.random.SeedSequence((self.sampling.seed, seed)).generate_state(1)
        sampling = replace(self.sampling, max_tokens=most, seed=int(own))
        tokenizer, until = self.writer.loaded.tokenizer, lambda text: self._end(text) is not None
        takers = [sample._Row(tokenizer, before, (), until) for _ in range(count)]
        rows = [writer_steps._Row() for _ in range(count)]
        return self._lockstep.write(self._number, Wanted(prompt, before, sampling, max_tokens, takers, rows))


def together(
    writer: Writer, sampling: Sampling, searches: Sequence[Callable[[WriterSteps], Any]]
) -> list[Any]:
    """What several searches give, each called in a thread with its own step writer."""
    lockstep = Lockstep(writer, len(searches))

    def run(number: int) -> Any:
        try:
            return searches[number](LockstepSteps(lockstep, number, sampling))
        finally:
            lockstep.leave()

    with ThreadPoolExecutor(len(searches)) as pool:
        return list(pool.map(run, range(len(searches))))

"""The log-likelihood of many texts that may follow a prompt, in one pass of a model."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from splinelens.models import LoadedModel

NODES = 1024
"""A pass ends after the text with which it has more tokens."""


class Prompted:
    """A model after a prompt, whose keys and values are kept for all that may follow.

    What may follow is run as one row: texts that begin alike share their tokens, and a token attends to the prompt
    and to the tokens before it in its own text only. So many choices cost about as much as their different tokens.
    """

    def __init__(self, loaded: LoadedModel, prompt: str):
        from transformers import DynamicCache

        self._causal: Any = loaded.causal
        self._tokenizer = loaded.tokenizer
        self._cache = DynamicCache(config=self._causal.config)
        self._length = len(self._tokenizer(prompt)["input_ids"])
        with torch.no_grad():
            ids = torch.tensor([self._tokenizer(prompt)["input_ids"]])
            logits = self._causal(ids, cache=self._cache, logits_to_keep=1).logits
        self._first = logits[0].float().log_softmax(dim=-1)

    def scores(self, stems: Sequence[str], choices: Sequence[str]) -> list[list[tuple[float, int]]]:
        """For each stem after the prompt, for each choice after it, the log-likelihood in nats and the tokens."""
        begins, ends = map(self.encode, stems), list(map(self.encode, choices))
        pairs = [(begin, end) for begin in begins for end in ends]
        each = self.log_probabilities([begin + end for begin, end in pairs])
        rated = [
            (round(float(values[len(begin) :].sum()), 3), len(end))
            for (begin, end), values in zip(pairs, each, strict=True)
        ]
        return [rated[at : at + len(ends)] for at in range(0, len(rated), len(ends))]

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def log_probabilities(self, texts: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """For each text after the prompt the log-probability of each of its tokens."""
        found: list[np.ndarray] = []
        tree, waiting = _Tree(), list[tuple[Sequence[int], list[int]]]()
        for text in texts:
            if len(tree.tokens) > NODES:
                found += self._run(tree, waiting)
                tree, waiting = _Tree(), []
            waiting.append((text, tree.add(text[:-1])))
        return found + self._run(tree, waiting)

    def _run(self, tree: "_Tree", waiting: Sequence[tuple[Sequence[int], list[int]]]) -> list[np.ndarray]:
        count = len(tree.tokens)
        log_probability = [self._first]
        if count:
            sees = torch.zeros(count, self._length + count, dtype=torch.bool)
            sees[:, : self._length] = True
            for node, parent in enumerate(tree.parents):
                if parent >= 0:
                    sees[node] = sees[parent]
                sees[node, self._length + node] = True
            with torch.no_grad():
                logits = self._causal(
                    torch.tensor([tree.tokens]),
                    attention_mask=sees[None, None],
                    position_ids=self._length + torch.tensor([tree.depths]),
                    cache=self._cache,
                ).logits[0]
            self._cache.crop(-count)
            log_probability += [part.float().log_softmax(dim=-1) for part in logits.split(128)]
        after = torch.cat(log_probability)
        return [
            after[torch.tensor([0, *(node + 1 for node in path)]), torch.tensor(text)].numpy()
            for text, path in waiting
        ]


class _Tree:
    """Tokens of several texts; what they begin with in common is there once."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.parents: list[int] = []
        self.depths: list[int] = []
        self._nodes: dict[tuple[int, int], int] = {}

    def add(self, text: Sequence[int]) -> list[int]:
        """The node of each token, in order; -1 is the parent of the first ones."""
        path = [-1]
        for depth, token in enumerate(text):
            node = self._nodes.setdefault((path[-1], token), len(self.tokens))
            if node == len(self.tokens):
                self.tokens.append(token)
                self.parents.append(path[-1])
                self.depths.append(depth)
            path.append(node)
        return path[1:]

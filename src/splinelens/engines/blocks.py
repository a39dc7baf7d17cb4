"""Run tokens through a model one block at a time, so that a block can be changed before the next one runs.

Only the inputs of the current block are in memory. What else a block is given (positions, masks) must be the
same for every text of one length, which is tested with other tokens before the first block runs.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from splinelens.anatomy import anatomy_of
from splinelens.engines.torch import run_tokens
from splinelens.errors import BadFeatures, BadModel
from splinelens.layers.hooks import EndOfPass
from splinelens.models.fingerprint import per_block

_ROWS = 4
# Most texts of a pass.
_TOLERANCE = 1e-2
# Of the test that blocks run one by one give what the model gives; bfloat16 rounds to 0.4 %.


@dataclass(frozen=True, eq=False)
class InputStats:
    """The inputs of a linear map on calibration tokens.

    Attributes:
        power: The mean square of each input.
        gram: ``mean x x^T``, if it was requested.
    """

    power: Float[Tensor, " width"]
    gram: Float[Tensor, "width width"] | None


@dataclass(frozen=True)
class _Call:
    """What a block is called with besides its input.

    Attributes:
        rest: The positional arguments after the input.
        named: The others.
        by_name: Whether the input is one of these.
    """

    rest: tuple[Any, ...]  # Any: what each architecture passes
    named: dict[str, Any]  # Any: likewise
    by_name: bool

    def run(self, block: nn.Module, states: Tensor) -> Tensor:
        """The output of a block."""
        given = {"hidden_states": states} if self.by_name else {}
        with torch.no_grad():
            out = block(*(() if self.by_name else (states,)), *self.rest, **given, **self.named)
        result: Tensor = out[0] if isinstance(out, tuple) else out
        return result


class BlockPasses:
    """The blocks of a model in order, on tokens that all blocks see.

    Args:
        model: A transformers model whose architecture has a row in ``anatomy.py``.
        ids: Token ids of texts of equal length, which are run without padding.

    Attributes:
        layer: The current block.
        states: Its inputs, batch by batch.

    Raises:
        BadModel: A block depends on more of a text than its input, such as embeddings or keys of other
            blocks.

    Example:
        >>> from transformers import GPT2Config, GPT2Model
        >>> tiny = GPT2Model(GPT2Config(n_layer=2, n_head=2, n_embd=8, vocab_size=16)).eval()
        >>> passes = BlockPasses(tiny, torch.tensor([[1, 2, 3]]))
        >>> passes.input_stats(["mlp.c_fc"], gram=True)["mlp.c_fc"].gram.shape
        torch.Size([8, 8])
        >>> passes.advance()
        >>> passes.layer
        1
    """

    def __init__(self, model: nn.Module, ids: Int[Tensor, "text token"]):
        anatomy = anatomy_of(model)
        self.layer = 0
        self._base = anatomy.base
        self._blocks = anatomy.blocks
        batches = ids.split(math.gcd(len(ids), _ROWS))
        self._calls, _ = self._whole_pass(batches[0])
        self._test(batches[0].flip(-1).roll(1, -1))
        self.states = [self._first_input(batch) for batch in batches]

    def advance(self) -> None:
        """Go on to the next block, whose inputs are the outputs of the current one as it is now."""
        call, block = self._calls[self.layer], self._blocks[self.layer]
        self.states = [call.run(block, states) for states in self.states]
        self.layer += 1

    def input_stats(self, names: Sequence[str], *, gram: bool) -> dict[str, InputStats]:
        """Run the current block and reduce the inputs of some of its linear maps.

        Args:
            names: Paths of the maps inside the block.
            gram: Also the Gram matrix of each. Maps with one input, such as query, key and value, share it.

        Raises:
            BadModel: The block does not call one of the maps.
            BadFeatures: The inputs of a map are not finite.
        """
        sums = _InputSums(gram)
        handles = [
            self._blocks[self.layer].get_submodule(name).register_forward_pre_hook(sums.hook(name))
            for name in names
        ]
        try:
            with _exact_products(self.states[0].dtype):
                for states in self.states:
                    self._calls[self.layer].run(self._blocks[self.layer], states)
        finally:
            for handle in handles:
                handle.remove()
        stats = sums.stats()
        for name in names:
            if name not in stats:
                raise BadModel(f"layer {self.layer} does not call its map {name}, so its inputs are unknown")
            if not stats[name].power.isfinite().all():
                raise BadFeatures(
                    f"the inputs of {name} in layer {self.layer} are not finite on calibration text; use "
                    "dtype float32"
                )
        return stats

    def _whole_pass(self, ids: Int[Tensor, "text token"]) -> tuple[list[_Call], Tensor]:
        """What each block is called with in a pass of the model, and the output of the last one."""
        calls: list[_Call] = []
        outputs: list[Tensor] = []

        def record(_module: nn.Module, args: tuple, kwargs: dict) -> None:
            named = {name: value for name, value in kwargs.items() if name != "hidden_states"}
            calls.append(_Call(args[1:], named, by_name=not args))

        def keep(_module: nn.Module, _args: tuple, out: Tensor | tuple) -> None:
            outputs.append(out[0] if isinstance(out, tuple) else out)

        handles = [block.register_forward_pre_hook(record, with_kwargs=True) for block in self._blocks]
        handles.append(self._blocks[-1].register_forward_hook(keep))
        try:
            self._run_model(ids)
        finally:
            for handle in handles:
                handle.remove()
        return calls, outputs[0]

    def _first_input(self, ids: Int[Tensor, "text token"]) -> Tensor:
        inputs: list[Tensor] = []

        def stop(_module: nn.Module, args: tuple, kwargs: dict) -> None:
            inputs.append(args[0] if args else kwargs["hidden_states"])
            raise EndOfPass

        handle = self._blocks[0].register_forward_pre_hook(stop, with_kwargs=True)
        try:
            self._run_model(ids)
        except EndOfPass:
            pass
        finally:
            handle.remove()
        return inputs[0]

    def _test(self, ids: Int[Tensor, "text token"]) -> None:
        """Compare the blocks one by one, with the arguments of other tokens, with a pass of the model."""
        expected = self._whole_pass(ids)[1].float()
        states = self._first_input(ids)
        for block, call in zip(self._blocks, self._calls, strict=True):
            states = call.run(block, states)
        if not (states.float() - expected).norm() <= _TOLERANCE * expected.norm():
            raise BadModel(
                f"the blocks of {type(self._base).__name__} cannot be run one by one: they depend on more of "
                "a text than the block before them gives, or give numbers that are not finite"
            )

    def _run_model(self, ids: Int[Tensor, "text token"]) -> None:
        run_tokens(self._base, ids, torch.arange(ids.shape[1]).expand_as(ids))


def keep_blocks(model: nn.Module, layers: Sequence[int]) -> None:
    """Remove all other blocks of a model, in place; the configuration follows.

    Args:
        model: A transformers model whose architecture has a row in ``anatomy.py``.
        layers: The blocks that stay, rising.
    """
    anatomy = anatomy_of(model)
    config = anatomy.base.config.get_text_config()  # type: ignore[union-attr, operator]  # set by transformers
    for key in per_block(config):
        values = getattr(config, key)
        setattr(config, key, [values[layer] for layer in layers])
    for layer in sorted({*range(anatomy.depth)} - {*layers}, reverse=True):
        del anatomy.blocks[layer]
    config.num_hidden_layers = len(layers)
    for layer, block in enumerate(anatomy.blocks):
        for module in block.modules():
            if hasattr(module, "layer_idx"):
                setattr(module, "layer_idx", layer)  # noqa: B010  # of its keys and values in the cache


class _InputSums:
    """Sums over the inputs of linear maps; one tensor that several maps take is summed once."""

    def __init__(self, gram: bool):
        self._gram = gram
        self._first: dict[str, str] = {}  # for each map the first one of the same input
        self._sums: dict[str, Tensor] = {}
        self._tokens: dict[str, int] = {}
        self._last: tuple[str, Tensor] | None = None

    def hook(self, name: str) -> Any:  # Any: a hook of torch
        """A hook before a forward pass of one map."""

        def add(_module: nn.Module, args: tuple) -> None:
            if self._last is not None and self._last[1] is args[0]:
                self._first[name] = self._last[0]
                return
            self._first[name], self._last = name, (name, args[0])
            values = args[0].detach().reshape(-1, args[0].shape[-1]).float()
            total = values.T @ values if self._gram else values.double().square().sum(dim=0)
            self._sums[name] = self._sums[name] + total if name in self._sums else total
            self._tokens[name] = self._tokens.get(name, 0) + len(values)

        return add

    def stats(self) -> dict[str, InputStats]:
        """By map."""
        result = {}
        for name, first in self._first.items():
            mean = self._sums[first] / self._tokens[first]
            result[name] = InputStats(
                (mean.diagonal() if self._gram else mean).float().clone(), mean if self._gram else None
            )
        return result


@contextmanager
def _exact_products(dtype: torch.dtype) -> Iterator[None]:
    """Multiply copies of bfloat16 numbers as bfloat16 with float32 sums: equal, and 3.7 times faster."""
    before = torch.get_float32_matmul_precision()
    if dtype == torch.bfloat16:
        torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)

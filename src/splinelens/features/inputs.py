"""What the MLPs read of every token of some texts, on disk in half precision: mapped and not loaded.

The margin to any hyperplane is linear in it, so directions are learned from these numbers, without the model.
Of hyperplanes that are known already only the margins are stored.
"""

import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

from splinelens.anatomy import anatomy_of
from splinelens.errors import CannotResume, CannotWrite
from splinelens.features.reader import Progress, TextReader
from splinelens.files import atomic_write, write_errors
from splinelens.geometry.partition import learned_margin
from splinelens.tokens import TokenizedText

_TOKENS, _START = "tokens.npy", "start.npy"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Inputs:
    """The MLP inputs of some texts.

    Attributes:
        tokens: (token, layer, width) float16, the texts one after the other.
        start: (text + 1,), where each text begins.
    """

    tokens: np.ndarray
    start: np.ndarray

    @classmethod
    def load(cls, folder: Path) -> "Inputs":
        """What ``read_inputs`` wrote into a folder."""
        return cls(np.load(folder / _TOKENS, mmap_mode="r"), np.load(folder / _START))

    def __len__(self) -> int:
        return len(self.start) - 1

    @property
    def finite(self) -> np.ndarray:
        """(text,) boolean, whether all numbers of a text are finite; true of a text without tokens."""
        return np.array(
            [
                bool(np.isfinite(self.tokens[begin:end]).all())
                for begin, end in zip(self.start, self.start[1:], strict=False)
            ],
            dtype=bool,
        )


def read_inputs(
    reader: TextReader,
    tokenized: Sequence[TokenizedText],
    folder: Path,
    *,
    progress: Progress | None = None,
) -> Inputs:
    """Read the MLP inputs of texts at the layers of a reader's spec into a folder.

    The tokens are those that the reader pools: all of a text in several windows, none of prompt and suffix.

    Args:
        reader: The reader; its features are not read.
        tokenized: The texts, as its ``tokenize`` gives them.
        folder: Its files ``tokens.npy`` and ``start.npy`` are replaced.
        progress: Called with the texts and the characters read since the last call.

    Raises:
        CannotWrite: The disk of the folder has too little room, or the folder cannot be written.
    """
    start = _start(tokenized)
    shape = len(reader.layers), anatomy_of(reader.torch_engine.model).width
    _require_room(folder, (int(start[-1]), *shape))
    with write_errors(folder):
        np.save(folder / _START, start)
        _write(reader, tokenized, folder / _TOKENS, shape, lambda values: values, progress)
    return Inputs.load(folder)


@dataclass(frozen=True, eq=False)
class Margins:
    """The margins of every token of some texts to learned hyperplanes.

    Attributes:
        values: (token, hyperplane) float16, the texts one after the other.
        start: (text + 1,), where each text begins.
    """

    values: np.ndarray
    start: np.ndarray

    def of(self, texts: Sequence[int] | np.ndarray) -> np.ndarray:
        """(token, hyperplane) of some texts, one after the other."""
        return np.concatenate([self.values[self.start[text] : self.start[text + 1]] for text in texts])


def read_margins(
    reader: TextReader,
    tokenized: Sequence[TokenizedText],
    file: Path,
    *,
    progress: Progress | None = None,
) -> Margins:
    """Read the margins of texts to the learned hyperplanes of a reader into a file, unless it has them.

    Args:
        reader: A reader with directions.
        tokenized: The texts, as its ``tokenize`` gives them.
        file: A ``.npy`` file; one that exists is taken as it is.
        progress: As in ``read_inputs``.

    Raises:
        CannotResume: The file has margins of other texts or hyperplanes.
        CannotWrite: The file cannot be written.
    """
    engine, start = reader.torch_engine, _start(tokenized)
    normals, bias = [normal.cpu() for normal in engine.normals.values()], engine.bias.cpu()

    def margins(values: Tensor) -> Tensor:
        layers = enumerate(normals)
        return sum(learned_margin(values[:, :, index], normal) for index, normal in layers) + bias

    if not file.is_file():
        with atomic_write(file) as temporary:
            _write(reader, tokenized, temporary, (len(bias),), margins, progress)
    values, shape = np.load(file, mmap_mode="r"), (int(start[-1]), len(bias))
    if values.shape != shape:
        raise CannotResume(
            f"{file} has margins of {values.shape} tokens and hyperplanes, and the texts and the detector "
            f"have {shape}; remove it"
        )
    return Margins(values, start)


def _start(tokenized: Sequence[TokenizedText]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum([len(text.ids) for text in tokenized])]).astype(int)


def _write(
    reader: TextReader,
    tokenized: Sequence[TokenizedText],
    file: Path,
    shape: tuple[int, ...],
    function: Callable[[Tensor], Tensor],
    progress: Progress | None,
) -> None:
    """Write a function of the MLP inputs, of some shape for each token that the reader pools, as float16."""
    start = _start(tokenized)
    report = progress or (lambda texts, characters: None)
    report(sum(not text.ids for text in tokenized), 0)
    store = np.lib.format.open_memmap(file, mode="w+", dtype=np.float16, shape=(int(start[-1]), *shape))
    for batch, values in reader.inputs(tokenized):
        halves = function(values).half().numpy()
        for row, (window, (begin, end)) in enumerate(zip(batch.windows, batch.spans, strict=True)):
            at, text = int(start[window.text]), tokenized[window.text]
            store[at + window.pooled : at + window.stop] = halves[row, begin:end]
            if window.stop == len(text.ids):
                report(1, text.offsets[-1][1])
    store.flush()


def _require_room(folder: Path, shape: tuple[int, int, int]) -> None:
    """Say how much disk the inputs take, and refuse if the folder's has less."""
    tokens, layers, width = shape
    needed, free = 2 * tokens * layers * width / 1e6, shutil.disk_usage(folder).free / 1e6
    what = f"the MLP inputs of {tokens:,} tokens at {layers} layers take {needed:,.1f} MB"
    if needed > free:
        raise CannotWrite(
            f"{what}, and {folder} has {free:,.1f} MB left; free space, read fewer layers or texts, or name "
            "another folder for temporary files in TMPDIR"
        )
    _log.info("%s in %s, half of that in memory", what, folder)

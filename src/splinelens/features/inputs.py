"""What the MLPs read of every token of some texts, on disk in half precision: mapped and not loaded.

The margin to any hyperplane is linear in it, so directions are learned from these numbers, without the model.
"""

import logging
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from splinelens.anatomy import anatomy_of
from splinelens.errors import CannotWrite
from splinelens.features.reader import Progress, TextReader
from splinelens.files import write_errors
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
    start = np.concatenate([[0], np.cumsum([len(text.ids) for text in tokenized])]).astype(int)
    shape = int(start[-1]), len(reader.layers), anatomy_of(reader.torch_engine.model).width
    _require_room(folder, shape)
    report = progress or (lambda texts, characters: None)
    report(sum(not text.ids for text in tokenized), 0)
    with write_errors(folder):
        np.save(folder / _START, start)
        store = np.lib.format.open_memmap(folder / _TOKENS, mode="w+", dtype=np.float16, shape=shape)
        for batch, values in reader.inputs(tokenized):
            halves = values.half().numpy()
            for row, (window, (begin, end)) in enumerate(zip(batch.windows, batch.spans, strict=True)):
                at, text = int(start[window.text]), tokenized[window.text]
                store[at + window.pooled : at + window.stop] = halves[row, begin:end]
                if window.stop == len(text.ids):
                    report(1, text.offsets[-1][1])
        store.flush()
    return Inputs.load(folder)


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

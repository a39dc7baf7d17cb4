"""MLP inputs of every token, read once with the frozen model and kept in half precision, mapped and not loaded.

Margins to any hyperplane are linear in them, so that directions are learned from the cache, without the model.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from splinelens.engines.torch import run_prompt, run_tokens
from splinelens.files import atomic_write
from splinelens.layers import watch
from splinelens.models import LoadedModel
from splinelens.tokens import batches, prompt_ids, tokenize

BATCH_TOKENS = 1536


class Inputs:
    """The MLP inputs of some texts.

    Attributes:
        tokens: (token, layer, width) float16, the texts one after the other.
        start: (text + 1,), where each text begins.
    """

    def __init__(self, folder: Path):
        self.tokens = np.load(folder / "tokens.npy", mmap_mode="r")
        self.start = np.load(folder / "start.npy")

    def __len__(self) -> int:
        return len(self.start) - 1


def inputs_folder(cache: Path, loaded: LoadedModel, layers: Sequence[int]) -> Path:
    """Where the inputs of a model in its number type are kept, a folder for each source below it."""
    model = loaded.fingerprint_at(max(layers) + 1)
    return cache / "inputs" / f"{model.weights[:12]}-{model.dtype}"


def read_inputs(
    loaded: LoadedModel,
    texts: Sequence[str],
    folder: Path,
    *,
    prompt: str,
    layers: Sequence[int],
    max_tokens: int = 256,
) -> Inputs:
    """The MLP inputs of texts, from the cache or read now; a stopped run begins this folder again.

    Args:
        loaded: The model.
        texts: The texts; disguised characters are read as plain ones.
        folder: Created if missing.
        prompt: Run before each text.
        layers: The layers to read.
        max_tokens: Longer texts are cut.
    """
    record = folder / "inputs.json"
    request = describe(loaded, texts, prompt=prompt, layers=layers, max_tokens=max_tokens)
    if record.is_file() and json.loads(record.read_text("utf-8")) == request:
        return Inputs(folder)
    folder.mkdir(parents=True, exist_ok=True)
    record.unlink(missing_ok=True)
    tokenized = tokenize(texts, loaded.tokenizer, max_tokens=max_tokens, long="cut", normalize=True)
    start = np.concatenate([[0], np.cumsum([len(text.ids) for text in tokenized])])
    shape = int(start[-1]), len(layers), loaded.model.config.hidden_size
    store = np.lib.format.open_memmap(folder / "tokens.npy", mode="w+", dtype=np.float16, shape=shape)
    before = run_prompt(loaded.model, prompt_ids(loaded.tokenizer, prompt, beginning=True))
    states: dict[int, torch.Tensor] = {}
    done = 0
    for batch in batches(tokenized, max_tokens=max_tokens, batch_tokens=BATCH_TOKENS, offset=before.length):
        with torch.no_grad(), watch(loaded.model, inputs=states.__setitem__, layers=layers, stop=True):
            cache = before.cache(len(batch.ids))
            run_tokens(loaded.model, batch.ids, batch.positions, cache=cache)
        values = torch.stack([states[layer] for layer in layers], 2).half().cpu().numpy()
        for row, (window, (begin, end)) in enumerate(zip(batch.windows, batch.spans, strict=True)):
            at = int(start[window.text])
            store[at : at + end - begin] = values[row, begin:end]
        if (done + len(batch.windows)) // 1000 > done // 1000:
            print(f"{folder.name}: {done} of {len(texts)} texts", flush=True)
        done += len(batch.windows)
    store.flush()
    np.save(folder / "start.npy", start)
    with atomic_write(record) as file:
        file.write_text(json.dumps(request), "utf-8")
    return Inputs(folder)


def describe(
    loaded: LoadedModel, texts: Sequence[str], *, prompt: str, layers: Sequence[int], max_tokens: int
) -> dict[str, object]:
    """What decides the numbers, as plain JSON values."""
    return {
        "model": loaded.fingerprint_at(max(layers) + 1).to_dict(),
        "prompt": prompt,
        "layers": list(layers),
        "max_tokens": max_tokens,
        "texts": hashlib.sha256("\0".join(texts).encode("utf-8", "backslashreplace")).hexdigest(),
    }

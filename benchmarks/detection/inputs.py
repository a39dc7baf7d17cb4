"""MLP inputs of the evaluation data, read once with the frozen model and cached on disk."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from splinelens.features.inputs import Inputs, read_inputs
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.files import atomic_write
from splinelens.models import LoadedModel

BATCH_TOKENS = 1536


def inputs_folder(cache: Path, loaded: LoadedModel, layers: Sequence[int]) -> Path:
    """Where the inputs of a model in its number type are kept, a folder for each source below it."""
    model = loaded.fingerprint_at(max(layers) + 1)
    return cache / "inputs" / f"{model.weights[:12]}-{model.dtype}"


def cached_inputs(
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
        return Inputs.load(folder)
    folder.mkdir(parents=True, exist_ok=True)
    record.unlink(missing_ok=True)
    spec = FeatureSpec(
        ("length",), layers=tuple(layers), prompt=prompt, max_tokens=max_tokens, long="cut", normalize=True
    )
    reader, done = TextReader(loaded, spec, batch_tokens=BATCH_TOKENS), 0

    def progress(count: int, _characters: int) -> None:
        nonlocal done
        if (done + count) // 1000 > done // 1000:
            print(f"{folder.name}: {done + count} of {len(texts)} texts", flush=True)
        done += count

    inputs = read_inputs(reader, reader.tokenize(texts), folder, progress=progress)
    with atomic_write(record) as file:
        file.write_text(json.dumps(request), "utf-8")
    return inputs


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

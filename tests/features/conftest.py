"""What the tests of this package share: a loaded tiny model, and every statistic computed another way.

The other way is slow on purpose: one unpadded sequence, no cache, no watch; gates from the MLP's
input and the weights in float64, and paths to them that are typed here, not read from anatomy.py.
"""

from functools import reduce

import numpy as np
import pytest
import torch

from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.models import LoadedModel

EVERYTHING = ("spline7", "margins", "occupancy", "hidden", "length")
POOLINGS = ("max", "min", "mean", "last")
_PLACES = {
    "phi3": ("layers", "mlp.gate_up_proj"),
    "gpt2": ("h", "mlp.c_fc"),
    "gpt_neox": ("layers", "mlp.dense_h_to_4h"),
    "opt": ("decoder.layers", "fc1"),
}


@pytest.fixture
def wrap(tiny_tokenizer):
    """Makes a loaded model of a model in memory."""

    def wrap(model, tokenizer=tiny_tokenizer):
        depth = model.config.num_hidden_layers
        return LoadedModel(model.eval().requires_grad_(False), tokenizer, "tiny", None, depth, depth)

    return wrap


@pytest.fixture
def folder(tmp_path, tiny_llama, tiny_tokenizer):
    """The tiny Llama as a folder that ``load_model`` reads."""
    folder = tmp_path / "tiny"
    tiny_llama.save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def longrope(tiny_of):
    """A tiny Phi-3 that rotates all positions by other angles as soon as one comes after the 40th."""
    factors = {"short_factor": [1.0, 1.0, 1.0, 1.0], "long_factor": [1.0, 2.0, 4.0, 8.0]}
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, "factor": 6.4} | factors
    return tiny_of("phi3", rope_parameters=rope, original_max_position_embeddings=40)


@pytest.fixture
def letter_tokenizer(tiny_tokenizer):
    """A tokenizer of one token a character: the prefixes of a text are those of its tokens."""
    from tokenizers import models

    vocabulary = tiny_tokenizer.get_vocab()
    tiny_tokenizer.backend_tokenizer.model = models.BPE(vocabulary, [], unk_token="<unk>")
    return tiny_tokenizer


@pytest.fixture
def sides():
    """Where a batch with a prompt may be padded."""
    return ("right", "left")


@pytest.fixture
def rows():
    """Reads texts into one array, (text, entry), and the reader that did it; every statistic by default."""

    def rows(loaded, texts, *, side="right", batch_tokens=4096, directions=None, **spec):
        spec = {"features": EVERYTHING, "pooling": POOLINGS, "max_tokens": 96} | spec
        reader = TextReader(
            loaded, FeatureSpec(**spec), side=side, batch_tokens=batch_tokens, directions=directions
        )
        features = list(reader.read(texts))
        assert [text.index for text in features] == list(range(len(texts)))
        assert all(text.reason is None for text in features)
        return np.stack([text.values for text in features]), reader

    return rows


@pytest.fixture
def slow():
    """One row as ``rows`` gives, from the definitions: ``slow(reader, [(ids, pooled), ...])``.

    Each pair is a window: all ids that are run, and the slice of them that is pooled.
    """

    def slow(reader, windows):
        margins, streams = _raw(reader.loaded.model, windows)
        return np.concatenate(
            [
                np.atleast_1d(
                    float(len(margins[0]))
                    if column.layer is None
                    else _pooled(column.statistic.name, margins[column.layer], streams[column.layer])
                )
                for column in reader.columns
            ]
        )

    return slow


@pytest.fixture
def slow_margins():
    """Margins of a text, (token, neuron) for each layer: ``slow_margins(reader, [(ids, pooled), ...])``."""
    return lambda reader, windows: _raw(reader.loaded.model, windows)[0]


@pytest.fixture
def error():
    """The largest error of two tables, each column's relative to its scale, the largest |value| in it.

    An element's own size would be the wrong measure: the smallest boundary distances and the signed
    margins lie near 0, where float32 has lost all relative precision; what a detector reads is a
    column, standardised.
    """

    def error(reader, got, expected):
        worst, start = 0.0, 0
        for column in reader.columns:
            block = np.s_[:, start : start + column.size]
            scale = np.abs(expected[block]).max() or 1.0
            worst = max(worst, float(np.abs(got[block].astype(np.float64) - expected[block]).max() / scale))
            start += column.size
        return worst

    return error


def _raw(model, windows):
    """Margins and block outputs of each layer over the pooled tokens of all windows, in their order."""
    parts = zip(*(_raw_window(model, ids, pooled) for ids, pooled in windows), strict=True)
    return [[np.concatenate(layer) for layer in zip(*part, strict=True)] for part in parts]


def _raw_window(model, ids, pooled):
    """Margins and block outputs of each layer over the pooled tokens, (token, ...) in float64."""
    kind = model.config.model_type
    blocks_path, linear_path = _PLACES.get(kind, ("layers", "mlp.gate_proj"))
    blocks = reduce(getattr, blocks_path.split("."), model)
    linears = [reduce(getattr, linear_path.split("."), block) for block in blocks]
    inputs, streams = [], []
    handles = [
        linear.register_forward_pre_hook(lambda _, args: inputs.append(args[0].double()))
        for linear in linears
    ]
    handles += [
        block.register_forward_hook(
            lambda _, args, out: streams.append(out[0] if type(out) is tuple else out)
        )
        for block in blocks
    ]
    with torch.no_grad():
        model(torch.tensor([ids]), use_cache=False)
    for handle in handles:
        handle.remove()
    margins = []
    for linear, states in zip(linears, inputs, strict=True):
        weight = linear.weight.double().numpy()
        if kind == "gpt2":
            weight = weight.T
        bias = np.zeros(len(weight)) if linear.bias is None else linear.bias.double().numpy()
        if kind == "phi3":
            weight, bias = weight[: len(weight) // 2], bias[: len(bias) // 2]
        gate = states.reshape(len(ids), -1).numpy() @ weight.T + bias
        margins.append((gate / np.sqrt((weight**2).sum(axis=1)))[pooled])
    return margins, [states.double().numpy()[0][pooled] for states in streams]


def _pooled(name, margin, stream):
    """One statistic of one layer, by its definition; (token, neuron) and (token, width) in."""
    kind, _, pooling = name.partition("_")
    if kind in ("margin", "hidden"):
        values = margin if kind == "margin" else stream
        return {"max": values.max(0), "min": values.min(0), "mean": values.mean(0), "last": values[-1]}[
            pooling
        ]
    if name == "occupancy":
        return (margin > 0).sum(0) / len(margin)
    token = {"sign": (margin > 0).sum(1) / margin.shape[1], "boundary": np.abs(margin).min(1)}[kind]
    if pooling == "std":
        mean = token.sum() / len(token)
        return np.sqrt(((token - mean) ** 2).sum() / (len(token) - 1)) if len(token) > 1 else 0.0
    return {"min": token.min(), "max": token.max(), "mean": token.sum() / len(token)}[pooling]

"""Tests features/reader.py."""

import numpy as np
import pytest
import torch

TEXTS = [
    "Good morning.",
    "a",
    "The kettle sings in the kitchen and you pour the tea.",
    "you",
    "On Tuesday the library opens at nine; the reading room is upstairs, behind the stairs.",
    "?!",
    "in the garden",
    "Sixteen tokens!!",
]


def one(ids):
    return [(list(ids), slice(0, len(ids)))]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_x(tiny_model, wrap, rows, slow, error, dtype):
    loaded = wrap(tiny_model.to(dtype))
    for side in ("right", "left"):
        together, reader = rows(loaded, TEXTS, side=side)
        alone = np.concatenate([rows(loaded, [text], side=side)[0] for text in TEXTS])
        expected = np.stack([slow(reader, one(t.ids)) for t in reader.tokenize(TEXTS)])
        print(side, dtype, "alone/batch", error(reader, together, alone), "slow", error(reader, together, expected))

"""What the tests of inspections share: records made up from a seed, without a model."""

import numpy as np
import pytest

from splinelens.report.inspection import Inspection, Portrait, SliceView

TRICKS = 'a <b>b</b> </script><script>alert(1)</script> & "x" %{z} \u202eabc\u202c \x1b[31m\n\ud800 '
TRICKS += "\u05e9\u05dc\u05d5\u05dd e\u0301 \U0001f469\u200d\U0001f469\u200d\U0001f467"


@pytest.fixture
def portrait():
    """Makes a portrait: ``portrait("one two", layers=3)``; a token has ``size`` characters."""
    return make_portrait


@pytest.fixture
def inspection():
    """Makes an inspection of texts: ``inspection("one", "two", prefixes=True)``."""
    return make_inspection


def make_portrait(text="a text", layers=3, heads=2, seed=0, size=1, percentiles=False, prefixes=False):
    dice = np.random.default_rng(seed)
    spans = tuple((begin, min(begin + size, len(text))) for begin in range(0, len(text), size))
    tokens = len(spans)
    sign = dice.uniform(0.1, 0.9, (layers, tokens)).astype(np.float32)
    boundary = (10 ** dice.uniform(-6, -2, (layers, tokens))).astype(np.float32)
    relative = dice.integers(1, tokens + 1, (layers, heads, tokens))
    return Portrait(
        text=text,
        spans=spans,
        sign=sign,
        boundary=boundary,
        wall=dice.integers(0, 1536, (layers, tokens)),
        dimension=np.stack([np.minimum(relative, 9), relative]),
        bound=relative.sum(axis=1),
        regions=np.full(layers, tokens),
        seven=dice.uniform(0.1, 0.9, (layers, 7)).astype(np.float32),
        percentiles=dice.uniform(0, 100, (layers, 7)) if percentiles else None,
        prefixes=dice.uniform(0.1, 0.9, (layers, tokens, 7)).astype(np.float32) if prefixes else None,
    )


def make_inspection(
    *texts, layers=3, heads=2, size=1, percentiles=False, prefixes=False, view=None, notes=()
):
    portraits = tuple(
        make_portrait(text, layers, heads, seed, size, percentiles, prefixes)
        for seed, text in enumerate(texts or ("a text",))
    )
    return Inspection(
        model="tiny",
        layers=tuple(range(layers)),
        heads=heads,
        neurons=1536,
        eps=0.1,
        portraits=portraits,
        slice=view,
        text_distance=np.linspace(0.1, 0.4, layers) if len(portraits) > 1 else None,
        reference="1,000 texts of a kind" if percentiles else None,
        notes=tuple(notes),
        own_distance=np.linspace([0.1, 0.05], [0.3, 0.2], layers).T if len(portraits) > 1 else None,
    )


@pytest.fixture
def view():
    """A slice by two walls through a square: four cells, and three points of which two share one."""
    low = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    return SliceView(
        layer=1,
        labels=("token 0 'a'", "token 1 '<b>\u202e'", "token 2 '%{x}'"),
        places=np.array([[0.25, 0.25], [0.75, 0.5], [1.5, 1.5]]),
        box=(0.0, 0.0, 2.0, 2.0),
        segments=np.array([[[1.0, 0.0], [1.0, 2.0]], [[0.0, 1.0], [2.0, 1.0]]]),
        walls=np.array([7, 11]),
        cells=4,
        own=(low, low, None),
        neurons=48,
    )

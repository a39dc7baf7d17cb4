"""Tests ``generate/code_features.py``: bodies of functions, their shape, how likely a model finds them."""

import numpy as np
import pytest
import torch

from splinelens.errors import BadModel
from splinelens.generate.code_features import (
    COUNTS,
    FINDINGS,
    LIKELIHOOD,
    counts,
    finding_counts,
    likelihood,
    read_bodies,
    split_body,
)
from splinelens.models import load_model

BODIES = ["    the tea is fine\n", "\n", "    we are at the sea and it is cold there\n"]


@pytest.fixture(scope="module")
def loaded(writer_folder):
    return load_model(writer_folder(), head=True, device="cpu")


@pytest.mark.parametrize(
    ("code", "body"),
    [
        ('def f(x):\n    """Say.\n\n    More."""\n    return x\n\nf(1)\n', "    return x\n"),
        (
            "  def f(\n      x: int = (1),\n  ) -> int:\n    # half\n    return (\n  g(",
            "    # half\n    return (\n",
        ),
        ("x = 1\ndef f(self): # note\n\treturn\n    y\nend", "\treturn\n    y\n"),
        ("def g(x):\n    pass\n", "def g(x):\n    pass\n"),
    ],
)
def test_a_body_ends_where_its_indentation_ends(code, body):
    assert split_body(code, "f")[1] == body


def test_counts_know_the_names_of_the_surroundings():
    def of(body, context=""):
        values = counts(body, "def f(width, height):\n    'The area.'\n", context)
        return dict(zip(COUNTS, values, strict=True))

    body = "    size = scaled(width)\n    return size * hight\n"
    assert of(body)["unknown names without value"] == pytest.approx(np.log1p(2))
    assert of(body, "def scaled(x): ...")["unknown names without value"] == pytest.approx(np.log1p(1))
    assert of(body)["unused parameters"] == 0.5
    assert of("    # todo\n    pass\n")["nothing done"] == 1


def test_counts_of_any_text_are_finite():
    for body in ("", "\n", "\0", "\ud800", ")]}" * 9, "x" * 10**5):
        assert np.isfinite(counts(body, body, body)).all()


def test_findings_are_counted_by_category_and_rule():
    values = dict(zip(FINDINGS, finding_counts("fail", [("context", "undefined-name")] * 3, 1), strict=True))
    assert values["context"] == values["undefined-name"] == np.log1p(3)
    assert values["undetermined"] == np.log1p(1)


def test_a_body_is_as_likely_as_the_models_logits_say_in_any_batch(loaded):
    prompt = "the sea"
    rows = read_bodies(loaded, prompt, BODIES)
    for body, row in zip(BODIES, rows, strict=True):
        before, ids = (loaded.tokenizer(text, add_special_tokens=False).input_ids for text in (prompt, body))
        with torch.no_grad():
            logits = loaded.causal(torch.tensor([before + ids])).logits[0, len(before) - 1 : -1]
        log = logits.log_softmax(-1)
        target = log[torch.arange(len(ids)), torch.tensor(ids)]
        rank = (log > target[:, None]).sum(-1)
        entropy = torch.distributions.Categorical(logits=logits).entropy()
        expected = torch.stack([target, log.amax(-1), entropy, torch.log1p(rank)]).numpy()
        assert np.allclose(row, expected, atol=1e-4)
        assert np.allclose(row, read_bodies(loaded, prompt, [body])[0], atol=1e-4)
        if len(ids):
            assert np.isfinite(likelihood(row)).all()
            assert len(likelihood(row)) == len(LIKELIHOOD)


def test_a_model_without_its_head_is_refused(writer_folder):
    with pytest.raises(BadModel, match="without its language-model head"):
        read_bodies(load_model(writer_folder(), device="cpu"), "a", ["b"])

"""Tests apps/contracts.py: every architecture keeps every contract, and a broken one is found."""

from dataclasses import replace

import numpy as np
import pytest

from splinelens.anatomy import anatomy_of
from splinelens.apps import contracts as contracts_file
from splinelens.apps.contracts import contracts
from splinelens.engines import torch as engine
from splinelens.features.reader import TextReader
from splinelens.models import LoadedModel
from tests.conftest import TINY, VARIANTS

WEIGHTS_ONLY = ("bloom", "falcon", "gpt_neo", "mpt", "xglm")


@pytest.fixture
def loaded_as(tiny_tokenizer):
    return lambda model: LoadedModel(model, tiny_tokenizer, "tiny", None, 3, 3)


_POINTS = {}


@pytest.fixture
def points_of(tiny_of, loaded_as):
    """The points of the tiny model of a family, which are computed once."""

    def points_of(name):
        if name not in _POINTS:
            _POINTS[name] = contracts(loaded_as(tiny_of(name)))
        return _POINTS[name]

    return points_of


def details(points):
    return {point.what: point.detail for point in points}


@pytest.mark.parametrize("name", [*TINY, *VARIANTS])
def test_every_architecture_keeps_every_contract(name, points_of):
    points = points_of(name)
    assert [(point.what, point.detail) for point in points if not point.ok] == []
    assert len(points) == 8


@pytest.mark.parametrize("name", ["llama", "gpt2", "opt", "qwen3_next"])
@pytest.mark.parametrize("opened_by", ["bos_tokenizer", "opening_tokenizer"])
def test_every_contract_holds_after_the_opening_of_a_tokenizer(name, opened_by, tiny_of, request):
    loaded = LoadedModel(tiny_of(name), request.getfixturevalue(opened_by), "tiny", None, 3, 3)
    assert [(point.what, point.detail) for point in contracts(loaded) if not point.ok] == []


def test_falcon_with_alibi_says_that_its_attention_cannot_be_read(points_of):
    found = details(points_of("falcon_alibi"))
    assert found["attention ID"] == found["hulls"]
    assert found["hulls"].startswith("none: eager attention in transformers adds the ALiBi bias")


@pytest.mark.parametrize("name", WEIGHTS_ONLY)
def test_families_without_the_interface_say_so(name, points_of):
    found = details(points_of(name))
    assert "in 3 layers, from weights, no scores available, are those of" in found["attention ID"]
    assert found["hulls"] == "none: the family hands over no values"


@pytest.mark.parametrize("name", ["qwen3_next", "qwen3_5_text"])
def test_linear_attention_and_gated_outputs_say_so(name, points_of):
    found = details(points_of(name))
    assert "layers without softmax" in found["attention ID"]
    assert found["hulls"].startswith("vertices only: the model gates")


def test_experts_have_no_map_and_relu_has_an_exact_one(points_of):
    assert details(points_of("mixtral"))["region maps"].startswith("none: every layer")
    assert details(points_of("opt"))["region maps"].startswith("exact, ")
    assert details(points_of("gpt2"))["region maps"].startswith("first-order, ")


def test_a_gate_read_at_the_wrong_place_is_found(tiny_llama, loaded_as, monkeypatch):
    right = contracts_file.walls_of

    def walls_of(*layer):
        weight, bias = right(*layer)
        return 1.1 * weight, bias

    monkeypatch.setattr(contracts_file, "walls_of", walls_of)
    broken = [point.what for point in contracts(loaded_as(tiny_llama)) if not point.ok]
    assert broken == ["gate values"]


@pytest.mark.parametrize("broken", ["softcap", "scaling", "mask"])
def test_a_count_from_other_scores_is_found(tiny_of, loaded_as, monkeypatch, broken):
    """What a wrong interception would hand over: no soft cap, another scaling, no sliding window."""
    right = engine.intrinsic_dimensions
    changes = {"softcap": {"softcap": None}, "scaling": {"scaling": 3.0}, "mask": {"mask": None}}[broken]
    monkeypatch.setattr(engine, "intrinsic_dimensions", lambda *args, **more: right(*args, **more | changes))
    points = contracts(loaded_as(tiny_of("gemma2", attn_logit_softcapping=1.0)))
    assert "attention ID" in [point.what for point in points if not point.ok]
    assert "counts differ from eager attention's" in details(points)["attention ID"]


def test_a_model_that_looks_ahead_is_found(tiny_llama, loaded_as):
    """With attention to later tokens a prefix needs a pass of its own."""
    for layer in range(3):
        anatomy_of(tiny_llama).attention(layer).is_causal = False
    broken = {point.what for point in contracts(loaded_as(tiny_llama)) if not point.ok}
    assert {"prefixes", "stream"} <= broken


@pytest.fixture
def wide_channel(tiny_llama, loaded_as):
    """A model one channel of whose last states is a million times as large as all the rest."""
    tiny_llama.layers[2].mlp.down_proj.weight.data[0] *= 1e6
    return loaded_as(tiny_llama)


@pytest.fixture
def grow_margins(monkeypatch):
    """Makes a reader give margins that are a twentieth too large for some calls of ``read``."""
    right = TextReader.read

    def grow(affected):
        def read(self, texts, **options):
            sizes = [column.size for column in self.columns]
            factors = [1.05 if column.statistic.feature == "margins" else 1.0 for column in self.columns]
            for features in right(self, texts, **options):
                wrong = affected(texts, options)
                values = features.values * np.repeat(factors, sizes) if wrong else features.values
                yield replace(features, values=values)

        monkeypatch.setattr(TextReader, "read", read)

    return grow


def test_wrong_margins_in_a_batch_are_found_beside_a_wide_channel(wide_channel, grow_margins):
    assert details(contracts(wide_channel))["single or batched"].startswith("in a batch as by itself")
    grow_margins(lambda texts, _: len(texts) > 1)
    assert [point.what for point in contracts(wide_channel) if not point.ok] == ["single or batched"]


def test_wrong_margins_of_prefixes_are_found_beside_a_wide_channel(wide_channel, grow_margins):
    grow_margins(lambda _, options: options.get("prefixes"))
    assert [point.what for point in contracts(wide_channel) if not point.ok] == ["prefixes"]


def test_an_error_becomes_a_point_with_its_name(tiny_llama, loaded_as):
    def stop(*_):
        raise ValueError("no sense")

    tiny_llama.layers[1].mlp.register_forward_hook(stop)
    points = contracts(loaded_as(tiny_llama))
    assert not any(point.ok for point in points if point.what == "watching")
    assert "ValueError: no sense" in details(points)["watching"]

"""Tests features/spec.py."""

import json
from dataclasses import replace

import jaxtyping
import numpy as np
import pytest

from splinelens.errors import BadFeatures
from splinelens.features.catalogue import VERSION
from splinelens.features.spec import FeatureSpec

OTHER = FeatureSpec(
    ("margins",),
    ("max", "mean"),
    (0, 4),
    "Before: ",
    " After",
    max_tokens=64,
    long="cut",
    version=VERSION + 1,
    eps=0.25,
    normalize=True,
)


@pytest.mark.parametrize(("layers", "depth"), [((0,), 1), ((0, 5, 2), 6), (None, None), ((), 1)])
def test_the_depth_is_the_number_of_blocks_that_must_run(layers, depth):
    assert FeatureSpec(layers=layers).depth == depth


def test_user_input_becomes_plain_tuples_and_numbers():
    spec = FeatureSpec.of("margins", np.array([2, 0, 2]), ["max", "min"], prompt="a")
    assert spec == FeatureSpec(("margins",), ("max", "min"), (0, 2), "a")
    assert {type(layer) for layer in spec.layers} == {int}


def test_layers_that_are_no_list_are_refused():
    with pytest.raises(BadFeatures, match="layers=3: need a list of whole numbers from 0"):
        FeatureSpec.of("margins", 3, "max")


@pytest.mark.parametrize("spec", [FeatureSpec(), OTHER])
def test_json_gives_back_the_same_record_and_spec(spec):
    record = spec.to_dict()
    assert json.loads(json.dumps(record)) == record
    assert FeatureSpec.from_dict(record) == spec


def test_a_field_of_another_version_is_refused():
    with pytest.raises(
        BadFeatures, match="a feature spec has no colour, shape; it was written by another version"
    ):
        FeatureSpec.from_dict({"shape": 1, "colour": 2, "prompt": ""})


@pytest.mark.parametrize(
    "values", [{"layers": "x"}, {"layers": [0, 1.5]}, {"max_tokens": "x"}, {"prompt": 3}]
)
def test_a_value_of_the_wrong_type_is_refused_by_name(values):
    with pytest.raises(BadFeatures, match=f"a feature spec is damaged at '{next(iter(values))}"):
        FeatureSpec.from_dict(values)


def test_a_record_from_before_eps_has_its_default():
    record = OTHER.to_dict()
    del record["eps"]
    assert FeatureSpec.from_dict(record) == replace(OTHER, eps=0.1)


def test_a_record_from_before_normalizing_is_one_without_it():
    record = OTHER.to_dict()
    assert record.pop("normalize") is True
    assert FeatureSpec.from_dict(record) == replace(OTHER, normalize=False)
    assert (
        "normalize" not in FeatureSpec().to_dict()
    )  # kept tables of earlier runs are still those of equal runs


@pytest.mark.parametrize("eps", [0.0, 1.0, -0.1, 1.5, float("nan"), float("inf")])
def test_a_threshold_that_is_no_share_is_refused(eps):
    with pytest.raises(BadFeatures, match=r"eps is .*; pass a number above 0 and below 1, such as 0\.1"):
        FeatureSpec(eps=eps)


def test_a_threshold_is_kept_as_a_plain_number():
    assert type(FeatureSpec(eps=np.float64(0.5)).eps) is float


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"max_tokens": 0}, "max_tokens=0: need a positive number"),
        ({"max_text_tokens": -1}, "max_text_tokens=-1: need a positive number"),
    ],
    ids=["window", "text"],
)
def test_limits_that_cannot_be_are_refused(change, words):
    with pytest.raises(BadFeatures, match=words):
        FeatureSpec(**change)


def test_another_word_for_long_is_refused(monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # the annotation alone would refuse it
    with pytest.raises(BadFeatures, match="long='cutt': need 'windows' or 'cut'"):
        FeatureSpec.of("margins", None, "max", long="cutt")

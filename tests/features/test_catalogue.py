"""Tests features/catalogue.py."""

import numpy as np
import pytest

from splinelens.errors import BadFeatures
from splinelens.features.catalogue import CATALOGUE, FEATURES, VERSION, columns, statistics
from splinelens.geometry.directions import Directions
from splinelens.geometry.settings import SPLINE7


@pytest.mark.parametrize("name", list(CATALOGUE))
def test_every_statistic_is_documented(name):
    row = CATALOGUE[name]
    assert row.name == name
    assert row.feature in FEATURES
    assert row.unit
    assert row.source
    assert len(row.meaning.split()) >= 4
    assert row.low < row.high
    assert (row.needs == "tokens") == (row.feature == "length")
    assert (row.needs == "attention") == row.feature.startswith("attention_")
    assert (row.needs == "inputs") == (row.feature == "directions")
    axes = {"hidden": "width", "margins": "neuron", "occupancy": "neuron", "directions": "direction"}
    assert row.axis == axes.get(row.feature, "scalar")


def test_the_names_are_those_of_the_contract():
    assert FEATURES == (
        "spline7",
        "margins",
        "occupancy",
        "hidden",
        "attention_id",
        "attention_bound",
        "directions",
        "length",
    )
    assert list(CATALOGUE)[:7] == list(SPLINE7)
    assert [name for name in CATALOGUE if name.startswith("margin_")] == [
        "margin_max",
        "margin_min",
        "margin_mean",
        "margin_last",
    ]
    assert [name for name in CATALOGUE if CATALOGUE[name].feature == "attention_id"] == [
        "attention_id_absolute_last",
        "attention_id_absolute_mean",
        "attention_id_absolute_max",
        "attention_id_relative_last",
        "attention_id_relative_mean",
        "attention_id_relative_max",
    ]


def test_what_was_there_before_keeps_its_version():
    """Detectors of version 1 read the numbers that they were fitted on."""
    assert VERSION == 1


def test_values_stay_in_the_range_that_the_catalogue_names(tiny_model, wrap, rows):
    texts = ["a", "yes, you", "What a day! The sun is out, and so are you.", "#" * 90, "ä ö ü"]
    directions = Directions(np.ones((2, 3, 32), dtype=np.float32), np.zeros(2, dtype=np.float32))
    values, reader = rows(wrap(tiny_model), texts, features=FEATURES, directions=directions)
    assert {column.statistic.name for column in reader.columns} == set(CATALOGUE)
    start = 0
    for column in reader.columns:
        found = values[:, start : start + column.size]
        assert np.isfinite(found).all()
        assert column.statistic.low <= found.min() <= found.max() <= column.statistic.high, column.name
        start += column.size


@pytest.mark.parametrize(
    ("features", "pooling", "names"),
    [
        (["spline7"], ["max"], list(SPLINE7)),
        (["margins"], ["max"], ["margin_max"]),
        (["margins"], ["mean", "max"], ["margin_max", "margin_mean"]),
        (["hidden", "margins"], ["last"], ["margin_last", "hidden_last"]),
        (["margin_min"], ["max"], ["margin_min"]),
        (["length", "sign_std", "occupancy"], [], ["sign_std", "occupancy", "length"]),
        (["attention_id_relative_max", "length"], ["max"], ["attention_id_relative_max", "length"]),
        (["margins", "margin_max", "margins"], ["max", "max"], ["margin_max"]),
    ],
)
def test_a_choice_stands_for_its_statistics_each_once_in_the_order_of_the_catalogue(features, pooling, names):
    assert [row.name for row in statistics(features, pooling)] == names


def test_an_unknown_feature_is_told_its_nearest_names():
    with pytest.raises(BadFeatures, match=r"no feature 'margin'; did you mean .*margins"):
        statistics(["margin"])
    with pytest.raises(BadFeatures, match="no feature 'spline7,length'; give a list of names"):
        statistics(["spline7,length"])
    with pytest.raises(BadFeatures, match="no feature 'splines'; did you mean spline7"):
        statistics(["length", "splines"])


def test_a_name_that_is_near_nothing_is_told_all_names():
    with pytest.raises(
        BadFeatures,
        match="no feature 'qqq'; known are spline7, margins, occupancy, hidden, attention_id, attention_",
    ):
        statistics(["qqq"])


def test_an_unknown_pooling_is_told_the_names():
    with pytest.raises(BadFeatures, match="no pooling 'maxx'; did you mean max"):
        statistics(["margins"], ["maxx"])
    with pytest.raises(BadFeatures, match="no pooling 'occupancy'; known are max, min, mean, last"):
        statistics(["margins"], ["occupancy"])


@pytest.mark.parametrize(("features", "pooling"), [([], ["max"]), (["margins"], [])])
def test_a_choice_of_nothing_is_refused(features, pooling):
    with pytest.raises(BadFeatures, match="no statistic chosen; features are spline7, margins"):
        statistics(features, pooling)


def test_columns_go_layer_by_layer_and_the_length_stands_last():
    chosen = statistics(["length", "sign_mean", "margins", "hidden"])
    found = columns(chosen, [0, 12], {"neuron": [5] * 13, "width": [3] * 13})
    assert [(column.name, column.size) for column in found] == [
        ("layer00.sign_mean", 1),
        ("layer00.margin_max", 5),
        ("layer00.hidden_max", 3),
        ("layer12.sign_mean", 1),
        ("layer12.margin_max", 5),
        ("layer12.hidden_max", 3),
        ("length", 1),
    ]


def test_layers_of_different_width_keep_their_own_size():
    found = columns(statistics(["margins"]), [0, 1], {"neuron": [4, 9], "width": [3, 3]})
    assert [column.size for column in found] == [4, 9]


def test_every_pooling_of_attention_is_read_whatever_is_asked_for_others():
    assert len(statistics(["attention_id"], ["max"])) == len(statistics(["attention_id"], [])) == 6


def test_attention_has_columns_only_where_it_is_a_softmax():
    chosen = statistics(["sign_mean", "attention_id_absolute_last"])
    found = [column.name for column in columns(chosen, [0, 1, 2], {}, softmax_layers=[1])]
    assert found == [
        "layer00.sign_mean",
        "layer01.sign_mean",
        "layer01.attention_id_absolute_last",
        "layer02.sign_mean",
    ]


@pytest.mark.parametrize(("layers", "expected"), [(30, 210), (32, 224), (80, 560)])
def test_seven_features_a_layer_give_the_papers_number_of_columns(layers, expected):
    assert len(columns(statistics(["spline7"]), range(layers), {})) == expected

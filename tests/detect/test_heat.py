"""Tests ``detect/heat.py``: parts of a linear logit add up, single numbers stay, forests split no vector."""

import numpy as np

from splinelens.detect.heads import ForestHead, LinearHead
from splinelens.detect.heat import alone, block_auc

DICE = np.random.default_rng(0)
FOREST = ForestHead(
    column=np.array([0, -1, -1], dtype=np.int32),
    threshold=np.zeros(3),
    left=np.array([1, -1, -1], dtype=np.int32),
    right=np.array([2, -1, -1], dtype=np.int32),
    share=np.array([0.5, 0.0, 1.0], dtype=np.float32),
    roots=np.array([0], dtype=np.int32),
    columns=np.array([4], dtype=np.int32),
)


def test_the_parts_of_vectors_add_up_to_the_logit():
    head = LinearHead(DICE.normal(size=6), np.ones(6), DICE.normal(size=(1, 6)), np.array([0.5]))
    values = DICE.normal(size=6)
    assert np.isclose(alone(head, values, [2, 4]).sum() + 0.5, head.logit(values[None])[0])


def test_single_numbers_stay_as_they_are():
    head = LinearHead(np.zeros(4), np.ones(4), np.ones((1, 4)), np.zeros(1))
    assert alone(head, np.array([7.0, 1.0, 2.0, 9.0]), [1, 2, 1]).tolist() == [7.0, 3.0, 9.0]


def test_a_forest_has_numbers_for_single_columns_only():
    found = alone(FOREST, np.array([7.0, 1.0, 2.0, 9.0]), [1, 2, 1])
    assert found[[0, 2]].tolist() == [7.0, 9.0]
    assert np.isnan(found[1])


def test_rows_without_a_number_are_left_out():
    labels = np.array([0, 1, 0, 1])
    assert block_auc(labels, np.array([0.0, 1.0, np.nan, np.nan])) == 1.0
    assert block_auc(labels, np.array([1.0, 0.0, 1.0, 0.0])) == 0.0
    assert block_auc(labels, np.array([1.0, np.nan, 1.0, np.nan])) is None

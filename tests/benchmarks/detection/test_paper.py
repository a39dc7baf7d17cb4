"""Tests detection/paper.py: the tasks of the paper's protocol hold the rows that they say."""

from dataclasses import replace

import numpy as np
import pytest
from detection import paper
from detection.data import TYPES
from detection.plan import Plan


@pytest.fixture
def plan(data):
    return Plan(data, 3, lambda rows: np.full(len(rows), 80.0))


def test_five_splits_of_seventy_and_thirty_share_one_name(plan):
    tasks = list(paper.splits(plan))
    assert len(tasks) == 5
    assert {task.train_name for task in tasks} == {"70 % of jig"}
    for task in tasks:
        [test] = task.tests
        assert len(task.train) == 70
        assert not set(task.train.index) & set(test.rows.index)
    assert len({tuple(task.train.index) for task in tasks}) == 5


def test_another_seed_draws_other_splits_and_other_labels(plan):
    def drawn(seed):
        one = replace(plan, seed=seed)
        halves = [task for task in paper.shares(one) if "50%" in task.train_name]
        splits = [tuple(task.train.index) for task in paper.splits(one)]
        return splits, [tuple(task.train.labels) for task in halves]

    first, again, other = drawn(0), drawn(0), drawn(10)
    assert first == again
    assert not set(first[0]) & set(other[0])
    assert not set(first[1]) & set(other[1])


def test_each_layer_the_first_k_and_each_feature(plan):
    [task] = paper.layers(plan)
    assert [name for name in task.representations if "layer " in name] == [
        f"spline7 layer {layer}" for layer in range(3)
    ]
    assert "spline7 layers 0-2" in task.representations
    assert len(task.representations) == 3 + 2 + 7


def test_a_share_of_the_labels_is_known_and_the_rest_is_hidden(plan):
    tasks = {task.train_name: task for task in paper.shares(plan)}
    half, whole = tasks["jig train, 50% of labels"], tasks["jig train, 100% of labels"]
    assert (half.train.labels >= 0).sum() == 20
    assert (whole.train.labels >= 0).all()
    assert "spline7 self-training" in half.representations
    assert "spline7 self-training" not in whole.representations


def test_types_have_six_labels_and_domains_one_each(plan):
    [task] = paper.types(plan)
    assert task.train.labels.shape == (40, 6)
    assert task.each_label
    assert task.train.kinds == task.tests[0].rows.kinds == TYPES
    assert "types" in task.representations
    whole, cut = paper.domains(plan)
    assert whole.train.labels.shape[1] == 3
    assert len(cut.train) == len(whole.train)
    assert cut.tests[0].rows.kinds == ("kitchens", "patent", "rivers")
    assert "domain" in cut.representations
    assert "domain" not in whole.representations
    short = Plan(plan.data, 3, lambda rows: np.arange(len(rows)) + 40.0)
    assert len(list(paper.domains(short))[1].train) < len(whole.train)


def test_mixed_sources_tell_the_label_until_clean_text_of_the_same_sources_is_there(plan):
    without, within = paper.mixed(plan)
    for rows in (without.train, without.tests[0].rows):
        assert set(rows.sets[rows.labels == 1]) == {"jig", "toxigen"}
        assert set(rows.sets[rows.labels == 0]) == {"domains"}
    assert set(within.train.sets[within.train.labels == 0]) == {"jig", "toxigen", "domains"}

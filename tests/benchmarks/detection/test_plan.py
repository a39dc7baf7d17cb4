"""Tests detection/plan.py: where the rows of a task come from."""

import numpy as np
import pytest
from detection.plan import Plan, only, relabelled


@pytest.fixture
def plan(data):
    return Plan(data, 3, lambda rows: np.ones(len(rows)))


def test_a_set_is_split_as_its_file_says(plan):
    train, test = plan.halves("jig")
    assert (train.index.tolist(), test.index.tolist()) == (list(range(40)), list(range(40, 100)))
    assert train.labels.tolist() == [0, 1] * 20


def test_a_set_without_a_split_is_drawn_with_its_pairs_together(plan):
    train, test = plan.halves("para")
    assert not set(train.index % 40) & set(test.index % 40)
    assert (len(train), len(test)) == (56, 24)
    assert train.labels.mean() == 0.5


def test_pieces_of_one_patent_are_on_one_side(plan, data):
    train, test, kinds = plan.domains()
    assert kinds == ("kitchens", "patent", "rivers")
    assert (train.labels.sum(axis=1) == 1).all()
    documents = np.array([document.split(":")[0] for document in data.sets["domains"].columns["doc_id"]])
    patent = [set(documents[rows.index[rows.labels[:, 1] == 1]]) for rows in (train, test)]
    assert not patent[0] & patent[1]


def test_a_quick_plan_thins_and_says_so(plan, data):
    rows = plan.binary("jig")
    assert plan.thin(rows) is rows
    assert set(Plan(data, 3, plan.tokens, quick=True).fitted) < set(plan.fitted)
    assert plan.thin_note(rows) == ""
    quick = Plan(data, 3, plan.tokens, quick=True)
    many = rows.take(np.arange(5000) % 100)
    assert len(quick.thin(many)) == 2000
    assert quick.thin_note(many) == "2,000 of 5,000 training rows"


def test_rows_of_one_class_and_of_another_label(plan):
    rows = plan.binary("jig")
    assert only(rows, 1).index.tolist() == list(range(1, 100, 2))
    assert relabelled(only(rows, 1), 0).labels.sum() == 0
    assert "jig" in plan
    assert "other" not in plan

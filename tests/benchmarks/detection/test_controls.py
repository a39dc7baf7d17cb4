"""Tests detection/controls.py: what a control takes away is really gone from its rows."""

import numpy as np
import pytest
from detection import controls
from detection.plan import Plan


@pytest.fixture
def plan(data):
    lengths = {
        name: np.array([len((text or "").split()) for text in texts.texts])
        for name, texts in data.sets.items()
    }

    def tokens(rows):
        pairs = zip(rows.sets, rows.index, strict=True)
        return np.array([lengths[name][row] for name, row in pairs], dtype=np.float32)

    return Plan(data, 3, tokens)


def test_what_is_judged_elsewhere_never_trains(plan):
    [task] = controls.transfer(plan)
    assert [test.name for test in task.tests] == [
        *("jig test", "paradetox", "tweeteval offensive", "toxigen", "hatecheck"),
        *("hatecheck identity mentions", "xstest safe"),
    ]
    assert {test.limit for test in task.tests} == {"jig test"}
    assert [len(test.rows) for test in task.tests[4:]] == [30, 10, 10]
    assert not task.tests[5].rows.labels.any()
    assert not task.tests[6].rows.labels.any()
    assert set(task.train.sets) == {"jig"}
    assert task.tests[1].pairs is not None
    assert len(task.tests[1].rows) == 80


def test_pairs_stay_on_one_side_also_when_they_are_thinned(plan, data, monkeypatch):
    [task] = controls.pairs(plan)
    assert not set(task.train.index % 40) & set(task.tests[0].rows.index % 40)
    monkeypatch.setattr(Plan, "most", 10)
    [few] = controls.pairs(plan)
    assert len(few.train) == 10
    assert len(set(few.train.index % 40)) == 5
    assert few.note == "10 of 56 training rows"


def test_a_quick_run_judges_fewer_rows_elsewhere_and_says_so(plan, monkeypatch):
    monkeypatch.setattr(Plan, "most_judged", 20)
    [task] = controls.transfer(plan)
    pairs = task.tests[1]
    assert len(pairs.rows) == 20
    assert len(set(pairs.pairs)) == 10
    assert "20 of 80 rows of paradetox, 20 of 50 rows of tweeteval offensive" in task.note


def test_matched_rows_have_the_same_lengths_and_sources_in_both_classes(plan):
    length, source = controls.matched(plan)
    for rows in (length.train, length.tests[0].rows):
        tokens = plan.tokens(rows)
        assert sorted(tokens[rows.labels == 1]) == sorted(tokens[rows.labels == 0])
    for rows in (source.train, source.tests[0].rows):
        for name in ("jig", "toxigen"):
            assert rows.labels[rows.sets == name].mean() == 0.5


def test_lengths_beyond_32_tokens_are_matched_in_steps():
    bins = controls._length_bin(np.array([1, 32, 33, 63, 64, 256, np.nan]))
    assert bins.tolist() == [1, 32, 32, 39, 40, 56, 0]


def test_a_domain_left_out_is_only_judged(plan):
    tasks = list(controls.left_out(plan))
    assert [task.train_name for task in tasks] == [
        f"mixed without {kind}" for kind in ("kitchens", "patent", "rivers")
    ]
    for task in tasks:
        [test] = task.tests
        trained = set(task.train.index[task.train.sets == "domains"])
        judged = test.rows.index[test.rows.sets == "domains"]
        assert len(judged) == 40
        assert not trained & set(judged)
        assert (test.rows.labels == (test.rows.sets != "domains")).all()


def test_each_set_on_its_own_rows(plan):
    names = [task.train_name for task in controls.own(Plan(plan.data, 3, plan.tokens))][::2]
    assert names == ["toxigen train", "jigsaw6-raw train"]

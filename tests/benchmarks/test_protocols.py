"""Tests detection/protocols.py and rows.py: each task has the rows that its question needs."""

from dataclasses import replace

import numpy as np
import pytest
from detection import protocols
from detection.data import TYPES
from detection.rows import Task, Test, concatenated, rows_of, split_groups, without_test_texts


def test_a_split_keeps_groups_whole_and_strata_even():
    groups = np.arange(200) // 2
    strata = np.repeat([0, 1], [160, 40])
    first, second = split_groups(groups.tolist(), strata.tolist(), 0.7, seed=1)
    assert sorted([*first, *second]) == list(range(200))
    assert not set(groups[first]) & set(groups[second])
    assert [(strata[first] == side).sum() for side in (0, 1)] == [112, 28]
    assert np.array_equal(first, split_groups(groups.tolist(), strata.tolist(), 0.7, seed=1)[0])
    assert not np.array_equal(first, split_groups(groups.tolist(), strata.tolist(), 0.7, seed=2)[0])


def test_a_training_row_whose_text_is_in_a_test_is_dropped(data, halves):
    train, test = halves
    kept, dropped = without_test_texts(Task("train", train, (Test("test", test),), ()), data)
    assert dropped == 1  # row 40 repeats row 0 in capitals
    assert kept.index.tolist() == list(range(1, 40))


def test_rows_of_several_sets_keep_their_order_and_texts(data):
    rows = concatenated([rows_of("para", [5, 2], [1, 0]), rows_of("jig", [3], [1])])
    assert [(name, positions.tolist()) for name, positions in rows.by_set()] == [
        ("jig", [2]),
        ("para", [0, 1]),
    ]
    assert rows.texts(data)[2] == data.sets["jig"].texts[3]
    unknown = rows_of("jig", np.arange(3), np.array([[-1, -1], [-1, 1], [0, 1]]), ("a", "b"))
    assert unknown.labeled().index.tolist() == [1, 2]


def test_the_five_splits_are_repetitions_and_differ_by_seed(plan):
    tasks = list(protocols.splits(plan))
    assert {task.train_name for task in tasks} == {"70 % of jig"}
    assert {len(task.train) for task in tasks} == {70}
    for task in tasks:
        assert not set(task.train.index) & set(task.tests[0].rows.index)
    rows = {tuple(task.train.index) for task in tasks}
    other = {tuple(task.train.index) for task in protocols.splits(replace(plan, seed=10))}
    assert len(rows) == 5
    assert not rows & other


def test_a_share_of_the_labels_is_known_and_the_rest_is_hidden(plan):
    tasks = {task.train_name: task for task in protocols.few_labels(plan)}
    half, whole = tasks["jig train, 50% of labels"], tasks["jig train, 100% of labels"]
    assert (half.train.labels >= 0).sum() == 20
    assert (whole.train.labels >= 0).all()
    assert "spline7 self-training" in half.contenders
    assert "spline7 self-training" not in whole.contenders


def test_types_have_six_labels_and_domains_one_each(plan):
    raw, clean = protocols.types(plan)
    for task in (raw, clean):
        assert task.train.labels.shape == (40, 6)
        assert task.train.names == task.tests[0].rows.names == TYPES
    long = replace(plan, count_tokens=lambda rows: np.arange(len(rows)) + 40.0)
    whole, cut = protocols.domains(long)
    assert whole.train.labels.shape[1] == 3
    assert len(cut.train) == len(whole.train) - 24
    assert cut.tests[0].rows.names == ("kitchens", "patent", "rivers")


def test_mixed_sources_tell_the_label_until_clean_text_of_the_same_sources_is_added(plan):
    without, within = protocols.mixed(plan)
    for rows in (without.train, without.tests[0].rows):
        assert set(rows.sets[rows.labels == 1]) == {"jig", "toxigen"}
        assert set(rows.sets[rows.labels == 0]) == {"domains"}
    assert set(within.train.sets[within.train.labels == 0]) == {"jig", "toxigen", "domains"}


def test_the_sets_of_transfer_never_train(plan):
    [task] = protocols.transfer(plan)
    assert [test.name for test in task.tests] == [
        *("jig test", "paradetox", "tweeteval offensive", "toxigen", "hatecheck"),
        *("hatecheck identity mentions", "xstest safe"),
    ]
    assert task.limit == "jig test"
    assert set(task.train.sets) == {"jig"}
    assert [len(test.rows) for test in task.tests[4:]] == [30, 10, 10]
    assert not any(test.rows.labels.any() for test in task.tests[5:])
    few = replace(plan, quick=True, quick_test=20)
    [task] = protocols.transfer(few)
    assert len(task.tests[1].rows) == 20
    assert len(set(task.tests[1].pairs)) == 10  # pairs stay whole
    assert "20 of 80 rows of paradetox, 20 of 50 rows of tweeteval offensive" in task.note


def test_pairs_stay_on_one_side_also_when_they_are_sampled(plan):
    [task] = protocols.pairs(plan)
    assert not set(task.train.index % 40) & set(task.tests[0].rows.index % 40)
    [few] = protocols.pairs(replace(plan, quick=True, quick_train=10))
    assert len(few.train) == 10
    assert len(set(few.train.index % 40)) == 5
    assert few.note == "10 of 56 training rows"


def test_matched_rows_have_the_same_lengths_and_sources_in_both_classes(plan):
    length, source = protocols.matched(plan)
    for rows in (length.train, length.tests[0].rows):
        tokens = plan.count_tokens(rows)
        assert sorted(tokens[rows.labels == 1]) == sorted(tokens[rows.labels == 0])
    for rows in (source.train, source.tests[0].rows):
        for name in ("jig", "toxigen"):
            assert rows.labels[rows.sets == name].mean() == 0.5


def test_a_domain_left_out_is_only_measured_on(plan):
    tasks = list(protocols.left_out(plan))
    assert [task.train_name for task in tasks] == [
        f"mixed without {name}" for name in ("kitchens", "patent", "rivers")
    ]
    for task in tasks:
        rows = task.tests[0].rows
        tested = set(rows.index[rows.sets == "domains"])
        assert len(tested) == 40
        assert not tested & set(task.train.index[task.train.sets == "domains"])
        assert (rows.labels == (rows.sets != "domains")).all()


def test_each_set_on_its_own_rows_and_each_layer(plan):
    assert [task.train_name for task in protocols.own(plan)] == [
        "toxigen train",
        "tweeteval offensive train",
        "jigsaw6-raw train",
    ]
    [task] = protocols.layers(plan)
    assert len(task.contenders) == 3 + 2 + 7


@pytest.mark.parametrize(
    ("domain", "piece", "name"), [("patent", "US1:4", "patent/US1"), ("qa", "1:4", "qa/1:4")]
)
def test_pieces_of_a_document_share_its_name(domain, piece, name):
    assert protocols.document(domain, piece) == name

"""Tests ``report/evaluation_parts.py``: shares and evasion by hand, and the way to JSON and back."""

import json

import numpy as np
import pytest

from splinelens.detect.thresholds import proportion_interval
from splinelens.errors import BadTexts
from splinelens.report.evaluation_parts import Evasion, HeatMap, Mistake, Share, built, plain, shares
from splinelens.report.scores import Span

YES, NO = True, False


def test_shares_by_hand():
    counted, positive = np.array([YES, NO, YES, YES]), np.array([YES, YES, NO, NO])
    scored = np.array([YES, YES, YES, NO])
    found = shares(["b", "b", "a", "c"], counted, positive, scored, ("toxic", "clean"))
    assert [(share.name, share.wanted, share.count, share.total) for share in found] == [
        ("b", "toxic", 1, 2),
        ("a", "clean", 1, 1),
    ]
    assert found[0].interval[0] < 0.5 < found[0].interval[1]


def test_a_kind_with_both_labels_is_mixed():
    yes = np.array([YES, YES])
    assert shares(["a", "a"], yes, np.array([YES, NO]), yes, ("1", "0"))[0].wanted == "mixed"


def test_evasion_by_hand():
    positive = np.array([YES, YES, YES, YES, NO, NO])
    before, after = np.array([YES, YES, YES, NO, NO, NO]), np.array([YES, NO, NO, NO, YES, NO])
    found = Evasion.of("leet", positive, before, after)
    assert (found.positives, found.recall, found.disguised_recall, found.lost) == (4, 0.75, 0.25, 0.5)
    assert (found.negatives, found.false_positive_rate, found.disguised_false_positive_rate) == (2, 0, 0.5)
    assert (found.recall_interval, found.disguised_recall_interval) == (
        proportion_interval(3, 4),
        proportion_interval(1, 4),
    )
    assert found.lost_interval is None  # fewer than 50 positive rows


def test_lost_recall_has_an_interval_of_the_pairs():
    positive = np.arange(160) < 100
    before = positive & (np.arange(160) >= 10)
    after = before & (np.arange(160) >= 30)
    found = Evasion.of("leet", positive, before, after)
    spread = 1.96 * np.sqrt(0.2 * 0.8 / 100)
    assert found.lost == pytest.approx(0.2)
    assert found.lost_interval == pytest.approx((0.2 - spread, 0.2 + spread), abs=0.011)
    assert Evasion.of("none", positive, before, before).lost_interval == (0.0, 0.0)


def test_records_survive_json():
    records = (
        Mistake(3, 0.5, "text", 4, (Span(0, 4, 1.5),)),
        HeatMap(("a",), (0, 1), ((0.5, None),), "AUC"),
        Share("a", "toxic", 1, 2, 0.5, (0.0, 1.0)),
    )
    for record in records:
        assert built(type(record), json.loads(json.dumps(plain(record)))) == record


def test_whole_numbers_may_stand_for_floats_but_not_the_other_way():
    assert built(float, 1) == 1.0
    assert isinstance(built(float, 1), float)
    for kind, value in ((int, 1.0), (int, True), (str, 1), (float, "1"), (tuple[int, ...], 3)):
        with pytest.raises(BadTexts, match="evaluate anew"):
            built(kind, value)


def test_what_is_missing_or_too_much_is_named():
    record = plain(Mistake(3, 0.5, "text", 4))
    with pytest.raises(BadTexts, match=r"errors\[1\] does not have the parts of a Mistake: row"):
        built(tuple[Mistake, ...], [record, {k: v for k, v in record.items() if k != "row"}], "errors")
    with pytest.raises(BadTexts, match="more"):
        built(Mistake, record | {"more": 1})
    with pytest.raises(BadTexts, match=r"record.score is 'x'"):
        built(Mistake, record | {"score": "x"})

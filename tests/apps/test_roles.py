"""Tests ``apps/roles.py`` with a tiny model and a head by hand, and ``report/roles.py``: counts by hand."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from splinelens.apps.detector import Detector
from splinelens.apps.roles import GROUPS, MOST_WORDS, RoleFinder, read_groups
from splinelens.detect.role_head import RoleHead
from splinelens.detect.thresholds import proportion_interval
from splinelens.errors import BadDetector, BadTexts, WrongModel
from splinelens.features.reader import TextReader
from splinelens.features.role_clues import hashed
from splinelens.features.spec import FeatureSpec
from splinelens.report.roles import (
    Part,
    SentenceRoles,
    count_targets,
    raising,
    report_lines,
    text_lines,
)
from splinelens.report.scores import Span
from splinelens.texts.parse import load_parser

pytest.importorskip("spacy")
LABELS = ("ARG0", "ARG1", "ARGM-TMP")


@pytest.fixture(scope="module")
def parser():
    return load_parser()


@pytest.fixture
def finder(parser, loaded):
    """Subjects are ``ARG0``, objects ``ARG1``; margins have no weight."""
    spec = FeatureSpec(features=("margins",), pooling=("last",), layers=(0, 1), max_tokens=128)
    reader = TextReader(loaded, spec)
    width, buckets = reader.layout.width, 1 << 12
    table = np.zeros((buckets, 5))
    table[:, 0] = 0.01
    for clue, role in (("path >nsubj", 2), ("path >obj", 3)):
        table[hashed([clue], buckets)[0], [1, role]] = 9
    head = RoleHead(
        LABELS, np.zeros(width), np.ones(width), np.zeros((4, width, 5)), table, np.zeros(5),
        {"layers": [0, 1], "model": "tiny", "threshold": 0.9},
    )  # fmt: skip
    return RoleFinder(parser, head, reader)


def test_spans_point_into_the_text(finder):
    text = "Hello.  The coach hit the referee."
    [found] = finder.find([text])
    record = found[1]
    assert [one.text for one in (record.agent, record.target, record.said)] == [
        "The coach",
        "the referee",
        "hit the referee",
    ]
    for part in (record.agent, record.target, record.said):
        assert text[part.begin : part.end] == part.text
    assert text[record.begin : record.end] == "The coach hit the referee."
    [verb] = record.predicates
    assert [(one.text, one.role) for one in verb.arguments] == [("coach", "ARG0"), ("referee", "ARG1")]
    assert all(one.chance > 0.9 for one in verb.arguments)
    assert record.target_kind == "noun"


def test_one_by_one_or_together_gives_the_same(finder):
    texts = ["The coach hit the referee.", "", None, "Go home. You fool.", "She saw him."] * 20
    together = list(finder.find(texts))
    assert len(together) == len(texts)
    assert together[1] == together[2] == ()
    single = [next(finder.find([text])) for text in texts[:5]]
    for ours, other in zip(together[95:], single, strict=True):
        assert [(one.agent, one.target, one.said) for one in ours] == [
            (one.agent, one.target, one.said) for one in other
        ]
    assert [one.row for one in together[98]] == [98, 98]


def test_a_quotation_of_several_sentences_has_its_speaker(finder):
    text = 'Tom said: "The cook is a fool. His soup is bad." Ann left.'
    [found] = finder.find([text])
    by_target = {one.target.text: one.agent for one in found if one.target}
    assert by_target["The cook"].text == "Tom"
    assert by_target["His soup"].text == "Tom"


def test_notes(finder):
    [[bare]] = finder.find(["What a fool!"])
    assert bare.notes == ("no verb",)
    assert bare.said is None
    [found] = finder.find(["Der Hund beißt seit gestern leider immer wieder jeden Mann im Garten."])
    assert any("perhaps not English" in note for one in found for note in one.notes)
    [[long]] = finder.find(["he saw " + "the big " * MOST_WORDS + "man"])
    assert any("more than" in note for note in long.notes)
    [[order]] = finder.find(["Get out."])
    assert (order.target, order.target_kind) == (None, "reader")


def test_lone_surrogates_are_read_as_any_other_character(finder):
    text = "\ud800 The coach hit the referee."
    [found] = finder.find([text])
    assert found[-1].target.text == "the referee"
    assert json.loads(found[-1].to_json())["target"]["end"] == len(text) - 1


def test_a_sentence_of_500_words(finder):
    text = (
        "The coach told the referee, " + "who was there and who was here, " * 60 + "that he would regret it."
    )
    assert len(text.split()) > 400
    [found] = finder.find([text])
    assert found[0].agent.text == "The coach"


def test_only_flagged_sentences_have_roles(finder, fit_on, loaded, tmp_path):
    fit_on(layers=(0,)).save(tmp_path / "tiny")
    detector = Detector.load(tmp_path / "tiny", model=loaded)
    texts = ["you rude toad. we are at the sea.", "the tea is fine"]
    found = list(finder.find(texts, detector=detector))
    for sentence in (one for of_text in found for one in of_text):
        [score] = detector.score([texts[sentence.row][sentence.begin : sentence.end]])
        assert sentence.score == pytest.approx(score.score, abs=1e-6)
        assert sentence.flagged == (score.verdict == "toxic")
        assert sentence.flagged or (sentence.target, sentence.predicates) == (None, ())
    assert found[0][0].flagged
    report = finder.targets(texts, detector, groups={"toads": ["toad"]})
    assert (report.texts, report.sentences) == (2, 3)
    assert report.settings["detector"] == detector.artifact.name


def test_a_detector_of_classes_is_refused(finder):
    detector = SimpleNamespace(artifact=SimpleNamespace(task="classes", name="topics"))
    with pytest.raises(BadDetector, match="topics gives classes and flags nothing"):
        next(finder.find(["a"], detector=detector))


def test_another_model_is_refused(finder, loaded):
    with pytest.raises(WrongModel, match="the role head reads"):
        RoleFinder.load(model=loaded)


def record(row, begin, end, target=None, kind="noun", flagged=True):
    return SentenceRoles(row, begin, end, None, target, None, kind if target else None, flagged=flagged)


def test_counts_by_hand():
    texts = ["The women lie. They lie. Go.", "old women and men win", "The bakers lie."]
    records = [
        record(0, 0, 14, Part(0, 9, "The women")),
        record(0, 15, 24, Part(15, 19, "They"), "pronoun"),
        record(0, 25, 28),
        record(1, 0, 21, flagged=False),
        record(2, 0, 15, Part(0, 10, "The bakers")),
    ]
    report = count_targets(
        records, texts, {"women": ["Woman", "women"], "men": ["men"], "old": ["old women"]}, {}
    )
    rows = {group.name: group for group in report.groups}
    assert (report.sentences, report.flagged) == (5, 4)
    assert (rows["women"].targets, rows["women"].mentions, rows["women"].flagged_mentions) == (1, 2, 1)
    assert (rows["men"].targets, rows["men"].mentions, rows["men"].flagged_mentions) == (0, 1, 0)
    assert rows["old"].mentions == 1
    assert rows["women"].share == 0.25
    assert rows["women"].interval == proportion_interval(1, 4)
    assert [rows[name].targets for name in ("other", "pronouns, not resolved", "nobody named")] == [1, 1, 1]
    assert report.top_targets == (("bakers", 1),)
    assert sum(group.targets for group in report.groups) == report.flagged
    json.dumps(report.to_dict())
    lines = report_lines(report)
    assert lines[0] == "3 texts, 5 sentences, 4 flagged"
    assert any("pronouns are not resolved" in line for line in lines)


def test_nothing_flagged_has_no_interval():
    report = count_targets([record(0, 0, 1, flagged=False)], ["a"], {"a": ["b"]}, {"missing": 2})
    assert all(group.interval is None and group.share == 0 for group in report.groups)
    assert report_lines(report)[1] == "not read: 2 texts missing"


def test_sentences_that_raise_a_score():
    records = [record(0, 0, 5), record(0, 6, 9), record(0, 10, 12)]
    assert raising(records, (Span(0, 5, 0.4), Span(6, 9, 0.1), Span(10, 12, -1))) == records[:1]
    assert raising(records, (Span(0, 5, 0.05), Span(6, 12, 0.2))) == records[1:]
    assert raising(records, (Span(0, 5, 0.1), Span(6, 12, 0.2))) == records
    assert raising(records, (Span(0, 5, -2.0), Span(6, 12, -1.0))) == records[1:]
    assert raising(records, ()) == records


def test_lines_for_people():
    text = "Go away."
    order = SentenceRoles(0, 0, 8, None, None, Part(0, 7, "Go away"), "reader", score=0.5, flagged=True)
    assert text_lines(order, text) == [
        "0.50 Go away.",
        "  agent:  -",
        "  target: (who reads it)",
        "  said:   Go away",
    ]


def test_groups_of_a_file(tmp_path):
    file = tmp_path / "groups.txt"
    file.write_text("# ours\nnurses: Nurse, nurses\n\nbakers\n", "utf-8")
    assert read_groups(file) == {"nurses": ("nurse", "nurses"), "bakers": ("bakers",)}
    for content, message in (
        ("", "has no groups"),
        ("a: b\na: c\n", "line 2 .* names a group twice"),
        ("a: ,\n", "line 1 .* names no word"),
    ):
        file.write_text(content, "utf-8")
        with pytest.raises(BadTexts, match=message):
            read_groups(file)
    with pytest.raises(BadTexts, match="cannot be read"):
        read_groups(tmp_path / "none.txt")
    assert all(word == word.lower() for words in GROUPS.values() for word in words)

"""Tests ``apps/roles.py`` with a tiny model and a head by hand, and ``report/roles.py``: counts by hand."""

import io
import json
from types import SimpleNamespace

import numpy as np
import pytest

from splinelens.apps.detector import Detector
from splinelens.apps.roles import MOST_WORDS, RoleFinder
from splinelens.detect.role_head import RoleHead
from splinelens.detect.thresholds import proportion_interval, share_interval
from splinelens.errors import BadDetector, BadTexts
from splinelens.features.reader import TextReader
from splinelens.features.role_clues import hashed
from splinelens.features.spec import FeatureSpec
from splinelens.report.roles import (
    NAMELESS,
    OTHER,
    PRONOUN,
    YOU,
    Part,
    SentenceRoles,
    count_targets,
    raising,
    report_lines,
    text_lines,
)
from splinelens.report.scores import Span, TextScore
from splinelens.report.terminal import score_table
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
    text = "Hello.  The skater hit the painter."
    [found] = finder.find([text])
    record = found[1]
    assert [one.text for one in (record.agent, record.target, record.said)] == [
        "The skater",
        "the painter",
        "hit the painter",
    ]
    for part in (record.agent, record.target, record.said):
        assert text[part.begin : part.end] == part.text
    assert text[record.begin : record.end] == "The skater hit the painter."
    assert (record.agent_head, record.target_head) == ("skater", "painter")
    [verb] = record.predicates
    assert [(one.text, one.role) for one in verb.arguments] == [("skater", "ARG0"), ("painter", "ARG1")]
    assert all(one.probability > 0.9 for one in verb.arguments)
    assert record.target_kind == "noun"


def test_one_by_one_or_together_gives_the_same(finder):
    texts = ["The skater hit the painter.", "", None, "Go home. You fool.", "She saw him."] * 20
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
    text = "\ud800 The skater hit the painter."
    [found] = finder.find([text])
    assert found[-1].target.text == "the painter"
    assert json.loads(found[-1].to_json())["target"]["end"] == len(text) - 1


def test_only_flagged_sentences_have_roles(finder, fit_on, loaded, tmp_path):
    fit_on(layers=(0,)).save(tmp_path / "tiny")
    detector = Detector.load(tmp_path / "tiny", model=loaded)
    texts = ["you rude toad. we are at the sea.", "the tea is fine"]
    found = list(finder.find(texts, detector=detector))
    for sentence in (one for of_text in found for one in of_text):
        [score] = detector.score([texts[sentence.row][sentence.begin : sentence.end]])
        assert sentence.score == pytest.approx(score.score, abs=1e-6)
        [limit] = detector.artifact.sentence_limits(len(found[sentence.row]))[1]
        assert sentence.flagged == (score.score >= limit)
        assert sentence.flagged or (sentence.target, sentence.predicates) == (None, ())
        assert sentence.to_dict()["flagged"] is sentence.flagged
    assert found[0][0].flagged
    report = finder.targets(texts, detector, terms={"toads": ["toad"]})
    assert (report.texts, report.sentences) == (2, 3)
    assert report.settings["detector"] == detector.artifact.name
    assert report.settings["parser"] == found[0][0].parser


def test_what_cannot_be_scored_is_not_flagged(finder):
    scores = iter([(None, "undetermined"), (0.2, "undetermined"), (0.9, "undetermined"), (0.2, "clean")])
    detector = SimpleNamespace(
        artifact=SimpleNamespace(task="binary", sentence_limits=lambda count, fpr: ((0.5,), (0.5,))),
        score=lambda texts, fpr: [TextScore(0, *next(scores), 3, False) for _ in texts],
    )
    [found] = finder.find(["You toad. You toad. You toad. You toad."], detector=detector)
    assert [one.flagged for one in found] == [None, None, True, False]
    assert [one.target is not None for one in found] == [False, False, True, False]
    values = found[0].to_dict()
    assert values["score"] is values["flagged"] is None
    report = count_targets(found, ["You toad. You toad. You toad. You toad."], {"toads": ["toad"]}, {})
    assert (report.sentences, report.flagged, report.undetermined) == (4, 1, 2)
    assert "could not be judged: 2 sentences, not counted as flagged" in report_lines(report)
    report = count_targets(found, ["You toad."], {"toads": ["toad"], "kings": ["king"]}, {})
    assert report.unmentioned == ("kings",)
    assert "in no sentence: kings" in report_lines(report)
    with pytest.raises(BadTexts, match="a row 'other' of its own"):
        count_targets(found, ["You toad."], {"other": ["toad"]}, {})


def test_a_word_without_features_leaves_a_note(finder, monkeypatch):
    broken = [SimpleNamespace(reason="is not finite", values=None)]
    monkeypatch.setattr(finder.reader, "read_at", lambda texts, spans: broken * len(spans[0]))
    [[found]] = finder.find(["She saw him."])
    assert found.notes == ("the roles of verbs could not be read: is not finite",)
    assert found.target.text == "him"


def test_texts_of_several_windows(finder):
    text = "They saw the big house. " * 30 + "The skater hit the painter."
    assert len(finder.reader.loaded.tokenizer(text)["input_ids"]) > 128
    [found] = finder.find([text])
    assert len(found) == 31
    assert [(one.text, one.role) for one in found[-1].predicates[0].arguments] == [
        ("skater", "ARG0"),
        ("painter", "ARG1"),
    ]


def test_a_detector_of_classes_is_refused(finder):
    detector = SimpleNamespace(artifact=SimpleNamespace(task="classes", name="topics"))
    with pytest.raises(BadDetector, match="topics gives classes and flags nothing"):
        next(finder.find(["a"], detector=detector))


def record(row, begin, end, target=None, kind="noun", flagged=True, notes=()):
    return SentenceRoles(
        row, begin, end, target=target, target_head=target and target.text.split()[-1],
        target_kind=kind if target or kind == "reader" else None, notes=notes, judged=True, flagged=flagged,
    )  # fmt: skip


def test_counts_by_hand():
    texts = ["The women lie. They lie. Go.", "old women and men win", "The bakers lie.", "You lie."]
    records = [
        record(0, 0, 14, Part(0, 9, "The women")),
        record(0, 15, 24, Part(15, 19, "They"), "pronoun", notes=("no verb",)),
        record(0, 25, 28, kind="reader"),
        record(1, 0, 21, flagged=False),
        record(2, 0, 15, Part(0, 10, "The bakers")),
        record(3, 0, 8, Part(0, 3, "You"), "pronoun"),
        record(3, 0, 8, flagged=None),
    ]
    terms = {"women": ["Woman", "women"], "men": ["men"], "old": ["old women"], "cooks": ["cook"]}
    report = count_targets(records, texts, terms, {})
    rows = {group.name: group for group in report.groups}
    assert (report.sentences, report.flagged, report.undetermined, report.flagged_texts) == (7, 5, 1, 3)
    assert (rows["women"].targets, rows["women"].mentions, rows["women"].flagged_mentions) == (1, 2, 1)
    assert (rows["men"].targets, rows["men"].mentions, rows["men"].flagged_mentions) == (0, 1, 0)
    assert rows["old"].mentions == 1
    assert "cooks" not in rows
    assert rows["women"].share == 0.2
    assert rows["men"].interval == proportion_interval(0, 5)
    hits = np.array([True, False, False, False, False])
    assert rows["women"].interval == share_interval(hits, np.array([0, 0, 0, 1, 2]))
    assert [(rows[name].targets, rows[name].texts) for name in (OTHER, YOU, PRONOUN, NAMELESS)] == [
        (1, 1), (2, 2), (1, 1), (0, 0),
    ]  # fmt: skip
    assert report.top_targets == (("bakers", 1),)
    assert report.notes == {"no verb": 1}
    assert sum(group.targets for group in report.groups) == report.flagged
    json.dumps(report.to_dict())
    lines = report_lines(report)
    assert lines[0] == "4 texts, 7 sentences, 5 of them flagged, in 3 texts"
    assert "of the flagged sentences 1: no verb" in lines
    assert any("pronouns are not resolved" in line for line in lines)


def test_copies_count_once_for_the_interval():
    texts = ["The bakers lie."] * 30 + [f"The women lie {number}." for number in range(10)]
    records = [record(row, 0, 15, Part(0, 10, "The bakers")) for row in range(30)]
    records += [record(row, 0, 16, Part(0, 9, "The women")) for row in range(30, 40)]
    report = count_targets(records, texts, {"women": ["women"]}, {})
    assert report.copies == 29
    [women] = [group for group in report.groups if group.name == "women"]
    low, high = women.interval
    assert high - low > 2 * np.ptp(proportion_interval(10, 40))


def test_nothing_flagged_has_no_interval():
    report = count_targets([record(0, 0, 1, flagged=False)], ["a"], {"a": ["a"]}, {"missing": 2})
    assert all(group.interval is None and group.share == 0 for group in report.groups)
    assert report_lines(report)[1] == "not read: 2 texts missing"


def test_sentences_that_raise_a_score():
    records = [record(0, 0, 5), record(0, 6, 9), record(0, 10, 12)]
    assert raising(records, (Span(0, 5, 0.4), Span(6, 9, 0.1), Span(10, 12, -1))) == records[:1]
    assert raising(records, (Span(0, 5, 0.05), Span(6, 9, 0.2), Span(10, 12, 0.1))) == records[1:]
    assert raising(records, (Span(0, 5, -2.0), Span(6, 9, -1.0), Span(10, 12, -3.0))) == records[1:2]
    joined = [record(0, 0, 9), record(0, 10, 12)]  # "Mr." ends a sentence of a score
    assert raising(joined, (Span(0, 5, 0.1), Span(6, 9, 0.4), Span(10, 12, 0.1))) == joined[:1]
    assert raising(records, ()) == records


def test_roles_stand_with_their_text_in_the_table():
    from rich.console import Console

    texts = ["You toad.", "Lovely weather."]
    one = SentenceRoles(0, 0, 9, target=Part(0, 3, "You"), target_kind="pronoun")
    scores = [
        TextScore(0, 0.9, "toxic", 3, False, roles=(one.to_dict(),)),
        TextScore(1, 0.1, "clean", 3, False),
    ]
    console = Console(width=80, file=io.StringIO())
    console.print(score_table(scores, texts, "toxic", 80))
    lines = [line.strip() for line in console.file.getvalue().splitlines() if line.strip()]
    begin = next(place for place, line in enumerate(lines) if line.startswith("0"))
    assert [line.split() for line in lines[begin + 1 : begin + 5]] == [
        ["You", "toad."], ["agent:", "-"], ["target:", "You"], ["said:", "-"],
    ]  # fmt: skip
    assert lines[begin + 5].startswith("1")


def test_lines_for_people():
    text = "Go away."
    order = SentenceRoles(0, 0, 8, said=Part(0, 7, "Go away"), target_kind="reader", judged=True, score=0.5)
    assert text_lines(order, text) == [
        "0.50 Go away.",
        "  agent:  -",
        "  target: (who reads it)",
        "  said:   Go away",
    ]

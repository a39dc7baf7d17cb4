"""Tests apps/guard.py: verdicts of every prefix, and releases that hold, on a tiny model that writes."""

import numpy as np
import pytest

from splinelens import Detector, Stream
from splinelens.apps.guard import Guard
from splinelens.apps.training import fit_detector
from splinelens.errors import BadDetector, BadFeatures, BadTexts, WrongModel
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.generate.sample import Sampling
from splinelens.models import load_model
from splinelens.texts.sentences import sentence_bounds

CONVERSATION = "<bos>user: go on<eos><bos>assistant: "
FILL = ["you and the lot", "what we said there", "a thing of the sea", "good to you all"]
_MADE = {}


@pytest.fixture
def folder(writer_folder, tmp_path_factory):
    """Detectors of the word "rude" in replies and in plain texts, beside the model that writes."""
    if not _MADE:
        folder = _MADE["folder"] = tmp_path_factory.mktemp("guard")
        (folder / "model").symlink_to(writer_folder())
        loaded = load_model(str(folder / "model"), n_layers=2, device="cpu")
        labels = np.random.default_rng(0).integers(0, 2, size=120)
        texts = [f"{FILL[row % 4]} {'rude' if label else 'kind'} {row}" for row, label in enumerate(labels)]
        for name, prompt in (("replies", CONVERSATION), ("plain", "")):
            reader = TextReader(loaded, FeatureSpec(features=("margins",), prompt=prompt, max_tokens=200))
            options = {"name": name, "label": "toxic", "negative": "clean", "strengths": (1.0,)}
            fit_detector(texts, labels, reader, **options).artifact.save(folder / name)
    return _MADE["folder"]


@pytest.fixture
def guarded(folder):
    """Makes a guard: ``guarded("plain", threshold=0.5)``."""

    def make(name="replies", model="model", **options):
        return Guard(folder / name, model and folder / model, **options)

    return make


SAMPLING = Sampling(max_tokens=40, temperature=1.0, seed=4)


def test_the_score_after_each_token_is_that_of_the_prefix_in_its_conversation(guarded, folder):
    guard = guarded(threshold=1.0, release="all")
    assert guard.own_pass
    events = list(guard.stream("go on", SAMPLING))
    written = Sampling(max_tokens=40, temperature=1.0, seed=4)
    (reply,) = guard.writer.write([{"role": "user", "content": "go on"}], written)
    stream = Stream(load_model(folder / "model", n_layers=2), features=["margins"], prompt=CONVERSATION)
    rows = stream.extend(reply.ids)
    artifact = guard.artifact
    expected = artifact.scores(artifact.head.logit(rows), np.arange(1, len(rows) + 1))[:, 0]
    found = [event.score for event in events][: len(rows)]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert "".join(event.text for event in events) == reply.text


def test_any_chunks_of_a_text_give_the_verdicts_of_its_prefixes(guarded, folder):
    guard = guarded("plain", None, threshold=0.5, release="audit")
    detector = Detector.load(folder / "plain", max_tokens=250, engine="torch")
    rng = np.random.default_rng(1)
    for number in range(5):
        text = " ".join(rng.permutation([*FILL, "rude. ", "kind!", "the the", "\n you", "é, ü"])[:5])
        cuts = sorted(rng.choice(np.arange(1, len(text)), 6, replace=False).tolist())
        watch, events = guard.watch(), []
        for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
            events.append(watch.feed(text[begin:end]))
        records = detector.score([text[:end] for end in (*cuts, len(text))], threshold=0.5)
        assert [event.verdict for event in events] == [record.verdict for record in records], number
        for event, record in zip(events, records, strict=True):
            assert event.score == pytest.approx(record.score, abs=1e-4)
        assert "".join(event.text for event in events) + watch.finish().text == text


def test_the_sentences_of_a_prefix_but_the_last_are_those_of_the_text():
    rng = np.random.default_rng(0)
    parts = ["a", "b c", ". ", "...", "!", '"', ")", "\n", "。", "」", "3.14", " ", "? ", "é"]
    for _ in range(300):
        text = "".join(rng.choice(parts, 12))
        whole = sentence_bounds(text)
        for end in range(len(text)):
            complete = sentence_bounds(text[:end])[:-1]
            assert complete == whole[: len(complete)], (text, end)


@pytest.mark.parametrize("release", ["sentence", "all"])
def test_no_sentence_over_the_threshold_is_released(guarded, folder, release):
    detector = Detector.load(folder / "plain", engine="torch")
    rng, ended = np.random.default_rng(2), []
    texts = [
        "".join(
            f"{part}{end}"
            for part, end in zip(rng.choice(FILL, 3), rng.choice([". ", "!\n"], 3), strict=True)
        )
        for _ in range(10)
    ]
    worst = []
    for text in texts:
        parts = [text, *(text[begin:end] for begin, end in sentence_bounds(text))]
        worst.append(max(record.score for record in detector.score(parts)))
    limit = float(np.median(worst))
    guard = guarded("plain", None, threshold=limit, release=release)
    for text in texts:
        watch, released = guard.watch(), ""
        for start in range(0, len(text), 4):
            event = watch.feed(text[start : start + 4])
            released += event.text
            if event.ended:
                break
        else:
            event = watch.finish()
            released += event.text
        ended.append(event.ended)
        assert text.startswith(released)
        assert event.ended == "blocked" or released == text
        if release == "all":
            assert released in ("", text)
        for begin, end in sentence_bounds(released):
            assert detector.score([released[begin:end]])[0].score < limit
        if event.ended == "stop":
            assert detector.score([text])[0].score < limit
    assert set(ended) == {"stop", "blocked"}


def test_an_audit_releases_all_and_reports(guarded):
    watch = guarded("plain", None, threshold=0.0, release="audit").watch()
    text = "good to you all. the sea"
    assert "".join(watch.feed(part).text for part in (text[:9], text[9:])) == text
    event = watch.finish()
    assert (event.text, event.verdict, event.ended) == ("", "toxic", "stop")
    assert [(each.begin, each.end, each.limit) for each in watch.flagged] == [(0, 16, 0.0), (17, 24, 0.0)]


def test_a_spike_is_held_back_and_released_when_it_passes(guarded):
    guard = guarded("plain", None, threshold=0.5, debounce=3)
    watch = guard.watch()
    watch._judge = Scripted([0.9, 0.1, 0.9, 0.9, 0.1, 0.9, 0.9, 0.9])
    texts = [watch.feed(piece) for piece in ("a. ", "b. ", "c. ", "d. ", "e. ", "f. ", "g. ", "h. ")]
    assert [event.text for event in texts] == ["", "a. ", "", "", "b. c. d. ", "", "", ""]
    assert [event.ended for event in texts] == [None] * 7 + ["blocked"]


class Scripted:
    """In place of a judge: given scores of the text, and clean sentences."""

    def __init__(self, scores):
        self.scores = iter(scores)

    def add(self, text, begin, stats):
        pass

    def whole(self):
        return np.array([next(self.scores)])

    def sentence(self, begin, end):
        return np.array([0.0])


def test_what_is_blocked_is_stopped_replaced_or_written_again(guarded):
    stopped = guarded(threshold=0.0).generate("go on", SAMPLING)
    assert (stopped.text, stopped.ended, stopped.attempts, stopped.verdict) == ("", "blocked", 1, "toxic")
    replaced = guarded(threshold=0.0, action="replace", replacement="-").generate("go on", SAMPLING)
    assert (replaced.text, replaced.ended) == ("-", "blocked")
    again = guarded(threshold=0.0, action="retry", retries=3).generate("go on", SAMPLING)
    assert (again.text, again.ended, again.attempts) == ("", "blocked", 4)
    plain = guarded(threshold=1.0).generate("go on", SAMPLING)
    assert (plain.attempts, plain.flagged) == (1, ())


@pytest.mark.parametrize("own_pass", [True, False])
def test_a_retry_goes_on_after_what_was_released(guarded, own_pass):
    guard = guarded(threshold=0.5, action="retry", retries=4, own_pass=own_pass)
    attempts = 0
    for seed in range(2):
        sampling = Sampling(max_tokens=30, temperature=1.2, seed=seed)
        reply = guard.generate("go on", sampling)
        assert reply == guard.generate("go on", sampling)
        assert reply.attempts <= 5
        assert len(reply.scores) <= 31
        attempts += reply.attempts
    assert attempts > 2


def test_a_retry_releases_no_character_twice(guarded):
    guard = guarded(threshold=0.5, action="retry")
    watch = guard._new_watch()
    watch._judge = Scripted([0.1] * 3 + [0.9] * 3 + [0.1] * 4)
    watch._judge.keep = lambda tokens: None
    pieces = [("Hello", 1), (".", 2), (" How", 3), (" bad", 4), (" it", 5), (" is", 6)]
    released = "".join(watch.take(piece, token, None, None).text for piece, token in pieces)
    assert released == "Hello."
    watch.write_again()
    assert (watch.ids, watch.text) == ([1, 2], "Hello.")
    for piece, token, ended in ((" What", 7, None), (" now", 8, None), (".", 9, "length")):
        released += watch.take(piece, token, None, ended).text
    assert released == "Hello. What now."


def test_an_empty_reply_is_no_blocked_one(guarded):
    watch = guarded(threshold=0.5)._new_watch()
    event = watch.take("", None, None, "stop")
    assert (event.ended, event.verdict, event.text) == ("stop", "undetermined", "")


def test_two_watches_at_once_read_their_own_texts(guarded):
    guard = guarded("plain", None, threshold=0.5, release="audit")
    alone = [guard.watch().feed(text).score for text in ("the rude lot", "good to you all")]
    first, second = guard.watch(), guard.watch()
    first.feed("the rude")
    second.feed("good to")
    assert [first.feed(" lot").score, second.feed(" you all").score] == pytest.approx(alone, abs=1e-5)


def test_a_guard_that_cannot_be_is_refused(guarded, folder):
    for wrong in ({"release": "none"}, {"action": "beep"}, {"debounce": 0}, {"retries": -1}):
        with pytest.raises(BadFeatures, match=f"{next(iter(wrong))}="):
            guarded(**wrong)
    with pytest.raises(BadDetector, match="has thresholds for"):
        guarded(fpr=0.2)
    with pytest.raises(WrongModel, match="was not fitted on replies"):
        guarded("plain", own_pass=True)
    assert not guarded("plain").own_pass
    with pytest.raises(BadFeatures, match="has no model that writes"):
        guarded("plain", None).generate("go on")
    with pytest.raises(BadFeatures, match="temperature 0 writes the same"):
        guarded(action="retry").generate("go on")
    with pytest.raises(BadFeatures, match="judges its writer's own pass"):
        guarded().watch()
    with pytest.raises(BadFeatures, match="cannot be written again"):
        guarded("plain", None, action="retry").watch()
    watch = guarded("plain", None).watch()
    assert watch.finish().verdict == "undetermined"
    with pytest.raises(BadTexts, match="has ended"):
        watch.feed("a")


def test_a_text_beyond_the_positions_of_the_detector_is_an_error(guarded):
    watch = guarded("plain", None, release="audit").watch()
    watch.feed("x" * 250)
    with pytest.raises(BadTexts, match="no room for"):
        watch.feed("y" * 20)

"""Tests ``apps/authorship.py`` and ``apps/game.py``: who wrote texts, and the game with tiny models."""

import json

import pytest

from splinelens.apps import authorship
from splinelens.apps.authorship import Authorship
from splinelens.apps.game import local_writers, play, play_stored
from splinelens.errors import (
    BadFeatures,
    BadLabels,
    BadModel,
    BadTexts,
    BrokenArtifact,
    MissingColumn,
    WrongModel,
)
from splinelens.models import load_model
from splinelens.texts import Texts

STYLES = {"ann": "the {} is {}.", "bob": "{} and {}!\n- so", "cat": "NO {}, {} NOW"}
THINGS = ["tea", "sea", "day", "toad", "town", "rain", "road", "boat"]


def answers(words=("cold", "red"), writers=STYLES):
    rows = [
        (form.format(thing, word), writer, thing)
        for writer, form in STYLES.items()
        if writer in writers
        for thing in THINGS
        for word in words
    ]
    texts, names, prompts = zip(*rows, strict=True)
    return Texts(texts, {"writer": names, "prompt": prompts, "family": tuple(n[0] < "c" for n in names)}, "a")


@pytest.fixture(scope="module")
def loaded(writer_folder):
    return load_model(writer_folder(), head=True, device="cpu")


@pytest.fixture(scope="module")
def fitted(loaded):
    """The scorer and the report of a fit."""
    return authorship.fit(answers(), "writer", "prompt", loaded, name="who")


def test_writers_are_told_apart_on_held_out_prompts(fitted):
    _, report = fitted
    names = [one.name for one in report.accuracies]
    assert names[0] == "text only"
    assert names[-2:] == ["text without formatting", "formatting only"]
    assert report.chosen in names
    assert {one.name: one for one in report.accuracies}[report.chosen].accuracy == 1.0
    assert report.writers == {"ann": 16, "bob": 16, "cat": 16}
    assert (report.prompts, set(report.unknown)) == (8, set(STYLES))
    assert sum(map(sum, report.confusion)) == 48


def test_unusable_rows_are_left_out_and_counted(loaded):
    rows = answers()
    writers = [*rows.columns["writer"], "ann", "bob", None]
    texts = Texts((*rows.texts, "", None, "who?"), {"p": (*rows.columns["prompt"], "tea", "tea", "tea")}, "a")
    scorer, report = authorship.fit(texts, writers, "p", feature_sets=["text"])
    assert report.left_out == {"it is empty": 1, "it is missing": 1, "no writer is given": 1}
    assert scorer.head.feature_sets.keys() == {"text"}


def test_texts_without_a_word_are_nothing_without_their_formatting():
    texts = [mark * count for mark in "!?" for count in range(1, 5)]
    _, report = authorship.fit(texts, [*"aaaabbbb"], [*"12341234"], feature_sets=["text"])
    of_line = {one.name: one.accuracy for one in report.accuracies}
    assert (of_line["text only"], of_line["text without formatting"]) == (1.0, 0.5)


@pytest.mark.parametrize("names", [["text"], authorship.FEATURE_SETS], ids=len)
def test_a_saved_head_gives_the_same_attributions(loaded, names, tmp_path):
    scorer, _ = authorship.fit(answers(), "writer", "prompt", loaded, feature_sets=names)
    assert tuple(scorer.head.feature_sets) == tuple(names)
    assert (scorer.reader is None) == (names == ["text"])
    scorer.save(tmp_path / "s")
    again = Authorship.load(tmp_path / "s", model=loaded if scorer.reader else None)
    fresh = answers(("old",))
    texts = Texts((*fresh.texts, "", None), {"by": (*fresh.columns["writer"], "ann", "nobody")}, "b")
    single = scorer.score(texts)
    assert again.score(texts) == single
    assert [one.nearest for one in single[:-2]] == list(fresh.columns["writer"])
    assert [one.writer for one in single[-2:]] == ["undetermined"] * 2
    assert [one.reason for one in single[-2:]] == ["text is empty", "text is missing"]
    pooled = scorer.score(texts, by="by")
    assert [(one.name, one.answers, one.unread) for one in pooled] == [
        ("ann", 8, 1),
        ("bob", 8, 0),
        ("cat", 8, 0),
        ("nobody", 0, 1),
    ]
    assert [one.nearest for one in pooled] == ["ann", "bob", "cat", None]


def test_a_text_of_nobody_is_undetermined(fitted):
    scorer, _ = fitted
    (record,) = scorer.score(["zzzz 0000 ???? zzzz 1111 ????"])
    assert record.writer == "undetermined"
    assert record.known < record.threshold
    assert record.reason == "none of the known writers resembles it enough"
    assert record.line().startswith("row 0  undetermined  nearest ")


def test_damaged_folders_and_other_models_are_refused(loaded, tmp_path, writer_folder):
    scorer, _ = authorship.fit(answers(), "writer", "prompt", loaded, feature_sets=["text"])
    scorer.save(tmp_path / "s")
    manifest = json.loads((tmp_path / "s/authorship.json").read_text())
    for change, message in [({"schema": 9}, "this version reads 1"), ({"feature_sets": []}, "the hash")]:
        (tmp_path / "s/authorship.json").write_text(json.dumps(manifest | change))
        with pytest.raises(BrokenArtifact, match=message):
            Authorship.load(tmp_path / "s")
    scorer, _ = authorship.fit(answers(), "writer", "prompt", loaded, feature_sets=["likelihood"])
    scorer.save(tmp_path / "model")
    with pytest.raises(WrongModel, match="the architecture differs: llama here, gpt2"):
        Authorship.load(tmp_path / "model", model=load_model(writer_folder("gpt2"), head=True, device="cpu"))
    with pytest.raises(BadModel, match="without its language-model head"):
        Authorship.load(tmp_path / "model", model=load_model(writer_folder(), device="cpu"))


def test_an_unknown_feature_set_is_refused(loaded):
    with pytest.raises(BadFeatures, match="'magic' is no feature set; give some of text, margins, occupancy"):
        authorship.fit(answers(), "writer", "prompt", loaded, feature_sets=["magic"])


@pytest.mark.parametrize(
    ("texts", "writer", "prompt", "error", "message"),
    [
        (answers(writers=["ann"]), "writer", "prompt", BadLabels, "all 16 texts are of one writer, 'ann'"),
        (answers(), "author", "prompt", MissingColumn, "no column 'author' was kept"),
        (answers(), "writer", "topic", MissingColumn, "no column 'topic' was kept"),
        (answers(), ["ann"], "prompt", BadTexts, "1 writers for 48 texts"),
        (Texts(("a",), {"w": ("x",), "p": ("1",)}, "one"), "w", "p", BadTexts, "all 1 rows are of one group"),
        (Texts(("", None), {"w": "xy", "p": "11"}, "e"), "w", [1, 1], BadTexts, "one group|none of 2 texts"),
        (
            Texts(("a", "b", "c"), {"w": ("x", "x", "y"), "p": ("1", "2", "2")}, "few"),
            "w",
            "p",
            BadLabels,
            "writer 'y' has texts of one prompt only",
        ),
    ],
    ids=["one-writer", "no-writer", "no-prompt", "short", "one", "empty", "one-prompt"],
)
def test_bad_input_is_refused(texts, writer, prompt, error, message):
    with pytest.raises(error, match=message):
        authorship.fit(texts, writer, prompt, feature_sets=["text"])


def test_a_local_game_stores_its_replies(loaded, tmp_path):
    writers = local_writers(loaded)
    assert [one.name for one in writers] == ["as it is", "hotter", "pruned", "quantized"]
    pruned = writers[2].writer.loaded.model.layers[0].mlp.gate_proj.weight
    assert (pruned == 0).sum() == int(0.3 * pruned.numel())
    options = {"queries": 8, "seeds": 1, "replies": 2, "tokens": 2, "tests": 1, "cache": tmp_path}
    report = play(writers, **options)
    assert report.chance == pytest.approx(1 / 6)
    assert report.pairs[0].pair == ("as it is", "hotter")
    written = sorted(path.stat().st_mtime_ns for path in (tmp_path / "replies").glob("*.arrow"))
    assert play(writers, **options) == report
    assert sorted(path.stat().st_mtime_ns for path in (tmp_path / "replies").glob("*.arrow")) == written


def stored():
    """Six writers, of whom two and two are one family; prompts of two lengths."""
    forms = ["The {}.", "The {}!", "no {} here", "no {} there", "{} {} {}", "- {}\n- {}"]
    families = ["x", "x", "y", "y", "z", "w"]
    prompts = [f"{thing}{n}" for thing in THINGS for n in range(2)]
    rows = [
        (form.format(*[prompt] * 3), str(writer), family, prompt, str(len(prompt)))
        for writer, (form, family) in enumerate(zip(forms, families, strict=True))
        for prompt in prompts
    ]
    texts, *columns = zip(*rows, strict=True)
    return Texts(texts, dict(zip(("writer", "family", "prompt", "length"), columns, strict=True)), "b")


def test_the_detective_names_families_that_write_alike():
    columns = ("writer", "prompt", "family", ["length"])
    report = play_stored(stored(), *columns, members=3, seen=2, queries=8, seeds=2)
    assert report.chance == pytest.approx(1 / 3)
    assert [one.pair for one in report.pairs] == [("0", "1"), ("2", "3")]
    assert report.mean("unsearched") == 1.0
    assert report.to_dict()["evolved"] == report.mean("evolved")


def test_a_stored_game_needs_families_and_prompts():
    columns = ("writer", "prompt", "family")
    with pytest.raises(BadTexts, match="16 prompts were answered by all 6 writers; 20 are needed"):
        play_stored(stored(), *columns, members=3)
    with pytest.raises(BadTexts, match="4 families are too few for 6 writers"):
        play_stored(stored(), *columns, members=6, seen=2)
    with pytest.raises(BadTexts, match="slot 'prompt' has 16 values; give up to 8"):
        play_stored(stored(), *columns, ["prompt"], members=3, seen=2)

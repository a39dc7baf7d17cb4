"""Tests detection/sources.py: no row to fit on repeats a tested text or is of a tested document."""

import json

import numpy as np
import pytest
from detection import sources
from detection.data import letters_and_digits, read_evaluation
from detection.fitting import Learned, gather
from detection.sources import FORUM, SOURCES, unfitted_documents
from detectors import recipes


@pytest.fixture
def rows(folder):
    """The rows of the recipe with all sources."""
    (recipe,) = (recipe for recipe in recipes(30) if recipe.name == "toxicity")
    return gather(recipe, folder)


def test_every_source_names_its_licence_and_has_rows(folder):
    for name, source in SOURCES.items():
        rows = source.read(folder)
        assert (source.name, bool(source.what), bool(source.licence)) == (name, True, True)
        assert len(rows.texts) == len(rows.labels) == len(rows.train) > 0
        assert set(rows.labels.tolist()) <= {0, 1}
        assert rows.train.any()


def test_every_source_has_the_rows_and_the_role_that_it_states(data_dir):
    for name, source in SOURCES.items():
        rows = source.read(data_dir)
        assert rows.train.sum() == source.rows, name
        assert (source.role == "harmless") == (not rows.labels.any()), name
    learned = [recipe for recipe in recipes(30) if isinstance(recipe, Learned)]
    with_thresholds = {name for name, source in SOURCES.items() if source.role == "thresholds"}
    assert with_thresholds == {recipe.judge for recipe in learned}


def test_no_row_to_fit_on_has_the_letters_and_digits_of_a_tested_text_or_of_another_row(rows, folder):
    keys = [letters_and_digits(rows.texts[row]) for row in np.flatnonzero(rows.usable)]
    assert all(keys)
    assert len(set(keys)) == len(keys)
    assert not set(keys) & sources.tested_texts(folder)


def test_rows_that_repeat_a_tested_text_or_an_earlier_row_are_left_out(rows):
    repeats_test, repeats_seed, repeats_row, first = (
        rows.usable[np.flatnonzero(rows.of(name))[row]]
        for name, row in (("jig", 0), ("tgann", 0), ("tgann", 1), ("jig", 1))
    )
    assert not repeats_test
    assert not repeats_seed
    assert not repeats_row
    assert first


def test_every_kind_of_tested_text_is_known(folder):
    sets = read_evaluation(folder).sets
    with FORUM.open(encoding="utf-8") as file:
        tested = [json.loads(line)["text"] for line in file]
    for name in ("toxigen", "hatecheck", "xstest"):
        tested += sets[name].texts
    for name in ("jig", "raw", "clean", "tweet"):
        pairs = zip(sets[name].texts, sets[name].columns["split"], strict=True)
        tested += [text for text, split in pairs if split in ("test", "val")]
    lines = (folder / "toxic-spans/tsd_trial.csv").read_text("utf-8").splitlines()[1:]
    tested += [line.removeprefix("[],") for line in lines]
    assert set(map(letters_and_digits, tested)) == sources.tested_texts(folder)


@pytest.mark.parametrize("name", ["jig", "raw", "clean", "tweet"])
def test_test_rows_are_never_fitted_on(name, folder):
    rows, texts = SOURCES[name].read(folder), read_evaluation(folder, [name]).sets[name]
    of_split = {"train": set(), "test": set(), "val": set()}
    for text, split in zip(texts.texts, texts.columns["split"], strict=True):
        of_split[split].add(text)
    fitted_on = {text for text, train in zip(rows.texts, rows.train, strict=True) if train}
    assert fitted_on <= of_split["train"]
    assert {*rows.texts} - fitted_on <= of_split["test"] | of_split["val"]


def test_rows_of_the_balanced_test_set_are_not_fitted_on_elsewhere(folder):
    path = folder / "jigsaw6-raw/jigsaw6_raw.csv"
    header, first, *rest = path.read_text("utf-8").splitlines()
    assert SOURCES["raw"].read(folder).train[0]
    path.write_text("\n".join([header, first.replace(",0,train", ",1,train"), *rest, ""]), "utf-8")
    assert not SOURCES["raw"].read(folder).train[0]


@pytest.mark.parametrize(("name", "pairs"), [("pairs", 3670), ("para", 40)])
def test_both_twins_of_a_pair_are_there(name, pairs, folder):
    rows = SOURCES[name].read(folder)
    assert (len(rows.texts), rows.labels.sum()) == (2 * pairs, pairs)


def test_a_document_of_several_pieces_is_fitted_on_or_measured_but_never_both(folder):
    words = [" ".join([f"d{row // 4}", f"r{row}", *"abcdefghij"]) for row in range(200)]
    lines = [
        {"domain": "patent", "doc_id": f"{row // 4}:{row}", "text": text} for row, text in enumerate(words)
    ]
    path = folder / "domains/domains.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    rows = SOURCES["domains"].read(folder)
    fitted_on = {text.split()[0] for text, train in zip(rows.texts, rows.train, strict=True) if train}
    measured = [text.split()[0] for _, text in unfitted_documents(folder)]
    assert not fitted_on & set(measured)
    assert len(fitted_on) + len(set(measured)) == 50
    assert {measured.count(name) for name in measured} == {4}
    assert 0 < len(rows.texts) - rows.train.sum() < 100  # pieces of documents that are measured


def test_paragraphs_and_documents_are_harmless_and_begin_where_their_text_begins(folder):
    for name, count in (("wiki", 9), ("domains", 84)):
        rows = SOURCES[name].read(folder)
        assert (len(rows.texts), rows.labels.sum()) == (count, 0)
        assert max(len(text.split(" ")) for text in rows.texts) <= 190
    whole = (folder / "wikitext2-test/wiki.test.txt").read_text("utf-8")
    assert all(text in whole for text in SOURCES["wiki"].read(folder).texts)
    names = {text.split(" ")[0] for text in SOURCES["domains"].read(folder).texts}
    assert names == {"rivers", "kitchens", "patent"}


def test_only_comments_with_six_labels_say_which_of_the_five_others_a_rude_row_has(folder):
    (recipe,) = (recipe for recipe in recipes(30) if recipe.name == "types")
    rows = gather(recipe, folder)
    assert rows.names == ["jig", "raw", "clean"]
    unknown = np.isnan(rows.labels)
    assert not unknown[:, 0].any()
    assert (unknown[:, 1:] == (rows.of("jig") & (rows.labels[:, 0] == 1))[:, None]).all()
    assert not np.nansum(rows.labels[rows.labels[:, 0] == 0])

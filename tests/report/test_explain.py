"""Tests ``report/explain.py`` and its page: names, tables, the section of a card."""

import json
import re
from dataclasses import asdict, replace

import pytest

from splinelens.detect.ngram_halves import ExplainedNgram, named
from splinelens.detect.ngram_ranking import Contrast, Deletion
from splinelens.detect.word_counts import ConfusedWord, GroupWord
from splinelens.errors import BrokenArtifact
from splinelens.report.card import card
from splinelens.report.explain import (
    Context,
    ExplainedDetector,
    ExplainedHyperplane,
    Explanation,
    Faithfulness,
    GeneratedSentence,
    Group,
    StoredExplanation,
    masked,
    summary_lines,
    template_name,
    text_lines,
)
from splinelens.report.explain_page import explanation_html


def make(word="goose", *, labeled=True, inseparable=None, planes=3, sentence=True):
    holds, fails = Contrast(9, 1.5, (1.0, 2.0)), Contrast(9, 0.1, (-0.5, 0.7))
    unknown = Contrast(2, None, None)
    ngrams = tuple(
        ExplainedNgram(name, 12 - at, 3.0 - at, 2.9 - at, name == "of the", held)
        for at, (name, held) in enumerate([(word, holds), (f"you {word}", fails), ("of the", unknown)])
    )
    removed = Deletion(40, 2.5, -0.25, 0.95, (0.83, 0.99))
    hyperplanes = tuple(
        ExplainedHyperplane(
            hyperplane=f"learned hyperplane {at}",
            pooling=("max", "min", "mean")[at % 3],
            raises=at % 2 == 0,
            share=0.25 - at / 20,
            name=template_name(named([one.name for one in ngrams])),
            named=tuple(named([one.name for one in ngrams])),
            ngrams=ngrams,
            contexts=(Context(7, f"before {word} ", word, f" after {word}", 4.25),),
            faithfulness=Faithfulness(held, removed if at else None, None if at == 2 else 0.7),
            sentence=GeneratedSentence(f"It likes {word}.", "a model", (word,), holds) if sentence else None,
        )
        for at, held in zip(range(planes), (holds, fails, unknown), strict=False)
    )
    confusions = (ConfusedWord(word, 3, 8, (0.09, 0.76)),)
    return Explanation(
        detector="tiny",
        label="rude",
        negative="kind",
        model="tiny-model",
        source="comments.csv",
        texts=100,
        naming=50,
        left_out={"it repeats another row": 2},
        flagged=40,
        threshold=0.8,
        whole=ExplainedDetector(
            ngrams=() if inseparable else ngrams,
            inseparable=inseparable,
            faithfulness=None if inseparable else Faithfulness(holds, removed, 0.6),
            groups=() if inseparable else (Group(word, 60, 30, (GroupWord(word, 9, 2.0, 0.3),)),),
            false_positives=confusions if labeled else None,
            false_negatives=() if labeled else None,
            clean_flagged=(5, 60) if labeled else None,
            missed=(7, 38) if labeled else None,
        ),
        hyperplanes=hyperplanes,
        pooled_otherwise=0.0,
        notes=("a note",),
        settings={"layer": None, "top": 3, "fpr": 0.05, "seed": 0, "least_texts": 2},
        provenance={"splinelens": "0", "data_hash": "ab", "detector": "cd"},
    )


def test_a_name_has_three_ngrams_none_of_which_holds_another():
    assert named(["you fool", "fool", "goose", "silly goose", "a b", "c"]) == ["you fool", "goose", "a b"]
    assert template_name(["goose"]) == "fires on: goose"


def test_masked_words_keep_their_ends():
    assert masked("go you silly goose") == "go you s***y g***e"


def test_what_is_summed_up():
    found = make()
    assert (found.holding, found.carried, found.mean_stability) == (1, pytest.approx(0.6), 0.7)
    assert summary_lines(found) == [
        "100 texts, 40 of them flagged as rude; names are made from 50 and checked on the other 50",
        "3 hyperplanes carry 60 % of the variance of the logit; the names of 1 hold on held-out texts, and "
        "halves of the corpus agree on 70 % of the n-grams",
        "Removing the word that adds most lowers the logit more than a random word in 95 % of 40 held-out "
        "flagged texts (2.50 against -0.25)",
    ]


def test_json_has_every_number():
    record = make().to_dict()
    assert json.loads(json.dumps(record)) == record
    assert (record["carried"], record["holding"]) == (pytest.approx(0.6), 1)
    assert record["hyperplanes"][0]["ngrams"][0]["held_out"]["interval"] == [1.0, 2.0]
    assert record["hyperplanes"][1]["faithfulness"]["deletion"]["larger"] == 0.95


def test_a_terminal_shows_words_confusions_and_hyperplanes():
    shown = "\n".join(text_lines(make()))
    assert "fires on: goose, of the" in shown
    assert "of the (function words)" in shown
    assert "\nkind texts that are flagged: 5 of 60\n" in shown
    assert "\nrude texts that are missed: 7 of 38; no word stands out: it needs 3 missed texts in" in shown
    assert "texts that are" not in "\n".join(text_lines(make(labeled=False)))
    assert re.search(r"^of the \(function words\) .* -  +too few", shown, re.MULTILINE)
    assert "2 rows left out: it repeats another row" in shown


def test_a_terminal_shows_groups_and_sentences():
    shown = text_lines(make())
    table = shown[shown.index("goose: 60 texts, 30 flagged") :]
    rows = [line.split() for line in table[: table.index("")]]
    assert ["goose", "9", "+2.00", "+0.300"] in rows
    sentence = (
        'learned hyperplane 0: "It likes goose." (generated by a model; texts with goose: contrast +1.50, '
        "+1.00 to +2.00)"
    )
    assert sentence in shown
    assert not any("generated" in line for line in text_lines(make(sentence=False)))


@pytest.mark.parametrize("labeled", [True, False])
@pytest.mark.parametrize("inseparable", [None, "it reads means"])
def test_the_page_is_offline_and_says_what_holds(read_page, labeled, inseparable):
    page = explanation_html(make(labeled=labeled, inseparable=inseparable))
    read_page.is_offline(page)
    words = " ".join(" ".join(read_page(page).words).split())
    for badge in ("holds on held-out texts", "does not hold on held-out texts", "too few held-out texts"):
        assert words.count(badge) >= 1
    assert ("generated by a model" in words, "it reads means" in words) == (True, inseparable is not None)
    assert ("What it confuses" in words) is labeled
    assert ("kind texts that are flagged: 5 of 60; words that stand out" in words) is labeled
    assert ("rude texts that are missed: 7 of 38; no word stands out" in words) is labeled
    assert "This page shows pieces of texts of the corpus: of 1 of them" in words


def test_the_page_has_no_hyperplane_to_draw(read_page):
    read_page.is_offline(explanation_html(make(planes=0)))


def test_no_text_leaves_its_place_in_the_page(read_page, hostile):
    found = make(hostile)
    read_page.is_safe(explanation_html(replace(found, detector=hostile, source=hostile, notes=(hostile,))))


def explained(artifact, found=None, spelled=str):
    record = json.loads(json.dumps(asdict(StoredExplanation.of(found or make(), spelled))))
    return replace(artifact, training={**artifact.training, "explained": record})


def test_a_card_says_what_the_detector_relies_on(artifact):
    text = card(explained(artifact))
    section = text.split("## What it relies on")[1].split("## Languages")[0]
    assert "Measured by splinelens explain on 100 texts of comments.csv" in section
    assert "in 95 % of 40 flagged texts (2.50 against -0.25)" in section
    assert "Flagged by mistake more often than others are texts with: goose (3 of 8)." in section
    assert "| goose | 12 | +3.00 |" in section
    assert (
        "| fires on: goose, of the | learned hyperplane 0 | raises | 25 % | +1.50 | +1.00 to +2.00 |"
        in section
    )
    assert "goose" not in card(explained(artifact, spelled=masked))


def test_a_card_masks_the_name_of_the_page(artifact):
    one = make().hyperplanes[0]
    alike = ("fool", "foul", "goose")  # the first two are masked alike
    changed = replace(make(), hyperplanes=(replace(one, name=template_name(alike), named=alike),))
    assert "| fires on: f**l, f**l, g***e |" in card(explained(artifact, changed, masked))


def test_a_card_without_an_explanation_says_why_or_how_to_get_it(artifact):
    assert "Not measured: `splinelens explain mine CORPUS`" in card(artifact)
    means = replace(artifact, columns=(("layer00.occupancy", 6),))
    assert "It does not split over words: it reads layer00.occupancy" in card(means)


def test_a_record_that_explain_does_not_write_is_refused(artifact):
    broken = replace(artifact, training={**artifact.training, "explained": {"texts": 3}})
    with pytest.raises(BrokenArtifact, match=r"training\.explained\.label"):
        card(broken)

"""Tests ``docs/explain.md`` and the cards: they quote the stored measurements."""

import json
from pathlib import Path

import pytest

from splinelens.detect.shipped import find_artifact, shipped
from splinelens.report.card import card

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def record():
    return json.loads((REPOSITORY / "benchmarks" / "explain.json").read_text("utf-8"))


@pytest.fixture
def page():
    return " ".join((REPOSITORY / "docs" / "explain.md").read_text("utf-8").split())


def cells(name, one):
    """The row of an explanation."""
    words, removed = one["stability_of_words"], one["deletion"]
    shares = [f"{100 * one[key]:.0f} %" for key in ("stability", "least_stability")]
    shares.append("-" if words is None else f"{100 * words:.0f} %")
    holding = f"{one['holding']} of {one['hyperplanes']}"
    larger = "-" if removed is None else f"{100 * removed['larger']:.1f} % of {removed['texts']}"
    return f"| {' | '.join([name, holding, *shares, larger])} |"


def test_planted_hyperplanes_are_quoted(page, record):
    planted = record["planted"]
    assert f"{planted['named']} of {planted['planted']} planted hyperplanes" in page
    assert f"{planted['only_listed']} of these names hold listed words only" in page
    assert f"the other {planted['planted'] - planted['only_listed']} also an inflection" in page


def test_marked_words_are_quoted(page, record):
    marked = record["marked"]
    for name, one in marked["f1"].items():
        low, high = one["interval"]
        assert f"| {name} | {one['mean']:.3f} ({low:.3f} to {high:.3f}) |" in page
    for gain in marked["gains"].values():
        low, high = gain["interval"]
        assert f"{gain['mean']:+.3f} ({low:+.3f} to {high:+.3f})" in page
    assert f"{marked['head']['columns']} columns" in page
    assert f"counts of {marked['head']['words']:,} words" in page
    assert f"on {marked['trial_rows']} comments" in page
    assert f"on {marked['train_rows']:,} other comments" in page
    files = [shipped()["toxicity-fast"] / f"words.{kind}" for kind in ("json", "safetensors")]
    assert f"({sum(file.stat().st_size for file in files) / 1000:.0f} kB)" in page


def test_the_corpus_is_quoted(page, record):
    corpus = record["corpus"]
    seconds = " and ".join(f"{run['processor_seconds']:.0f}" for run in corpus["runs"])
    assert f"over {corpus['rows']:,} Wikipedia comments takes {seconds} seconds of processor time" in page
    for run in corpus["runs"]:
        assert cells(f"split {run['seed'] + 1}", run) in page
    shared = " and ".join(f"{10 * run['stability_of_words']:.0f}" for run in corpus["runs"])
    assert f"halves share {shared}: many words" in page


def test_shipped_detectors_are_quoted(page, record):
    for name, one in record["cards"].items():
        assert cells(f"`{name}`", one) in page


@pytest.mark.parametrize("name", sorted(shipped()))
def test_a_card_says_what_the_detector_relies_on_or_why_not(name, record):
    text = (shipped()[name] / "CARD.md").read_text("utf-8")
    section = text.split("## What it relies on")[1].split("## Languages")[0]
    if name in record["cards"]:
        assert f"on {record['cards'][name]['texts']:,} texts of" in section
        assert f"the names of {record['cards'][name]['holding']} hold on the other half" in section
    else:
        assert "It does not split over words" in section
    assert ("A head of marked words comes with it" in section) is (name == "toxicity-fast")


def test_the_head_of_marked_words_is_quoted_in_its_card_and_the_readme(record):
    one = record["marked"]["f1"]["head with counts of words"]
    quoted = "{mean:.3f} ({0:.3f} to {1:.3f})".format(*one["interval"], **one)
    assert f"is {quoted}" in card(find_artifact("toxicity-fast"))
    assert f"has {quoted} there" in (REPOSITORY / "README.md").read_text("utf-8")


def test_the_readme_quotes_explanations_roles_and_search(record):
    readme = " ".join((REPOSITORY / "README.md").read_text("utf-8").split())
    roles, search = (
        json.loads((REPOSITORY / "benchmarks" / f"{name}.json").read_text("utf-8"))
        for name in ("roles", "best_first")
    )
    shares = [f"{100 * run['deletion']['larger']:.1f}" for run in record["corpus"]["runs"]]
    assert f"{' and '.join(shares)} % of 400 flagged texts" in readme
    margins, words = (roles["given"]["sets"][name] for name in ("margins", "words"))
    low, high = margins["interval"]
    assert f"{margins['accuracy']:.3f} ({low:.3f} to {high:.3f}) with margins and no parse" in readme
    assert f"words alone {words['accuracy']:.3f}" in readme
    agent, target = (roles["threats"]["threats-third"]["roles"][side]["span"] for side in ("agent", "target"))
    assert f"in {agent['agreement']:.2f} and {target['agreement']:.2f}" in readme
    head, rival = (search["gsm8k"][name] for name in ("head", "TF-IDF within questions"))
    low, high = head["picks_interval"]
    assert f"{head['picks']:.3f} ({low:.3f} to {high:.3f}), TF-IDF fitted in the same way" in readme
    assert f"in {rival['picks']:.3f} ([docs/search.md]" in readme

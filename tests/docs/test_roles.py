"""Tests ``docs/roles.md`` and the card: they quote the stored measurement."""

import json
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SETS = (
    "most frequent",
    "rule: path + voice",
    "words",
    "margins, read once",
    "margins",
    "margins + words",
    "gold tree + lemmas",
    "gold tree + lemmas + margins",
)


@pytest.fixture
def record():
    return json.loads((REPOSITORY / "benchmarks" / "roles.json").read_text("utf-8"))


@pytest.fixture
def page():
    return " ".join((REPOSITORY / "docs" / "roles.md").read_text("utf-8").split())


def test_roles_of_given_heads_are_quoted(page, record):
    found = record["given"]
    assert f"{found['arguments']:,} arguments of {found['sentences']:,} sentences" in page
    assert set(found["sets"]) == set(SETS)
    for name, one in found["sets"].items():
        low, high = one["interval"]
        row = f"| {name} | {one['accuracy']:.3f} ({low:.3f} to {high:.3f}) |"
        for rival in ("words", "tree"):
            if gain := one.get(f"gain over {rival}"):
                low, high = gain["interval"]
                row += f" {gain['mean']:+.3f} ({low:+.3f} to {high:+.3f}) over {rival} |"
        assert row in page


def test_arguments_end_to_end_are_quoted(page, record):
    for tree in ("predicted tree", "gold tree"):
        for name, one in record["end-to-end"][tree].items():
            if not isinstance(one, dict):
                continue
            low, high = one["interval"]
            row = f"| {tree} | {name} | {one['f1']:.3f} ({low:.3f} to {high:.3f}) |"
            if gain := one.get("gain over the rule"):
                low, high = gain["interval"]
                row += f" {gain['f1']:+.3f} ({low:+.3f} to {high:+.3f}) |"
            assert row in page
    gain = record["end-to-end"]["predicted tree"]["head: clues and margins"]["gain over clues"]
    low, high = gain["interval"]
    assert f"({gain['f1']:+.3f}, {low:+.3f} to {high:+.3f})" in page
    clues = record["end-to-end"]["predicted tree"]["head: clues of the tree"]["f1"]
    assert f"the clues of the tree alone have {clues:.3f}" in page
    found, predicates = (record["found predicates"][name] for name in ("arguments", "predicates"))
    low, high = found["interval"]
    assert f"F1 is {found['f1']:.3f} ({low:.3f} to {high:.3f})" in page
    assert f"recall {predicates['recall']:.2f} and precision {predicates['precision']:.2f}" in page


def test_threats_are_quoted(page, record):
    for name, sentences in (
        ("threats", 50),
        ("threats-second", 50),
        ("threats-third", 50),
        ("threats-dev", 60),
        ("threats-dev-2", 328),
    ):
        found = record["threats"][name]
        assert found["sentences"] == sentences
        for kind in ("roles", "tree only"):
            cells = []
            for side in ("agent", "target"):
                span = found[kind][side]["span"]
                low, high = span["interval"]
                cells.append(f"{span['agreement']:.2f} ({low:.2f} to {high:.2f})")
                cells.append(f"{found[kind][side]['head word']['agreement']:.2f}")
            assert f"| {kind} | {' | '.join(cells)} | {found[kind]['both']:.2f} |" in page


def test_the_caveats_of_the_report_are_on_the_page(page):
    from splinelens.report.roles import CAVEATS

    shared = (
        "one by grammar",
        "ronouns are not resolved",
        "arser and rules err",
        "errors differ between groups",
    )
    for caveat, words in zip(CAVEATS, (*shared, "interval is about which texts were drawn"), strict=True):
        assert words in caveat
        assert words in page


def test_the_card_quotes_what_was_measured(record):
    folder = REPOSITORY / "src/splinelens/detectors/roles"
    card, shipped = (
        (folder / "CARD.md").read_text("utf-8"),
        json.loads((folder / "roles.json").read_text("utf-8")),
    )
    measured = record["end-to-end"]["predicted tree"]["head: clues and margins"]
    assert shipped["measured"]["f1"] == measured["f1"]
    assert f"{measured['f1']:.3f}" in card
    assert shipped["measured"]["found predicates"] == record["found predicates"]["arguments"]
    assert f"{record['found predicates']['arguments']['f1']:.3f}" in card
    assert "CDLA-Sharing-1.0" in card
    assert (folder / "roles.safetensors").stat().st_size < 4_000_000

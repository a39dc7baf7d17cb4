"""Tests report/audit.py and audit_page.py: words, tables, and a page on which no text escapes."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from splinelens.detect.association import Association, Estimate, association
from splinelens.detect.paired import PairedDifference
from splinelens.report.audit import (
    AuditReport,
    Comparison,
    Contrast,
    Count,
    KindSummary,
    LayerProfile,
    LayerShift,
    TrialPoint,
    association_verdict,
    audit_view,
    contrast_table,
    kind_table,
    prompt_table,
    shift_table,
)
from splinelens.report.audit_page import audit_figures, audit_html
from splinelens.report.terminal import plain

KINDS = ("none", "related", "unrelated")


def kind(name, **changes):
    values = {
        "trials": 12,
        "failed": 0,
        "context_tokens": 20.0,
        "absolute": 12.0,
        "relative": 30.25,
        "recognized": Count(5, 6),
        "mistaken": Count(1, 6),
        "refused": Count(3, 10),
        "not_engaged": 2,
        "undetermined": 0,
        "harmful": {"toxicity": Count(1, 12)},
        "unscored": {"toxicity": 0},
        "cut": 4,
    }
    return KindSummary(kind=name, **{**values, **changes})


def point(prompt=0, name="none", **changes):
    values = {"sentences": 0, "order": 0, "tokens": 31, "relative": 29.5, "refusal": "answered"}
    values |= {"harmful": False, "recognized": None, "answer": None}
    return TrialPoint(prompt=prompt, kind=name, **{**values, **changes})


@pytest.fixture(scope="module")
def report():
    rng = np.random.default_rng(0)
    outcome, length = rng.integers(0, 2, 48).astype(float), np.repeat([10.0, 20.0], 24)
    design = {"prompt": np.arange(48) // 4 % 6, "cell": np.arange(48) // 4, "kind": np.arange(48) % 4}
    found = association(outcome, rng.normal(size=48), length, permutations=99, **design)
    by_kind = dict.fromkeys(KINDS, 20.0)
    return AuditReport(
        model="tiny",
        prompts="prompts.csv",
        texts=("Plan my weekend.", "Bake bread."),
        kinds=tuple(kind(name) for name in KINDS),
        contrasts=(
            Contrast(
                kind="related",
                reference="unrelated",
                differences={
                    "ID": PairedDifference(1.25, (0.5, 2.0), 0.0123, 12),
                    "refused": PairedDifference(-0.05, (-0.1, 0.0), 0.2, 12),
                },
            ),
        ),
        associations={"refused": found},
        layers=tuple(
            LayerProfile(
                layer=layer,
                absolute=by_kind,
                relative=by_kind,
                bound=by_kind,
                correlation={"refused": 0.2 if layer else None},
                p_value={"refused": 0.03 if layer else None},
            )
            for layer in range(3)
        ),
        points=(
            point(),
            point(1, "related", sentences=1, refusal="refused", relative=33.0),
            point(1, "unrelated"),
        ),
        last_layers=(1, 2),
        comparison=Comparison(
            model="tuned",
            trials=3,
            tolerance=1e-4,
            layers=(
                LayerShift(layer=0, stream=0.0, dimension=None, seven=0.0, moved=False),
                LayerShift(
                    layer=1,
                    stream=0.02,
                    dimension=PairedDifference(-0.5, None, 0.25, 2),
                    seven=0.1,
                    moved=True,
                ),
                LayerShift(
                    layer=2,
                    stream=0.05,
                    dimension=PairedDifference(0.0, None, None, 2),
                    seven=0.2,
                    moved=True,
                ),
            ),
            first_moved=1,
            outcomes={"refused": (Count(3, 10), Count(1, 10))},
            changes={"refused": PairedDifference(-0.2, None, 0.1, 2)},
            same_answers=1,
        ),
        notes=("1 of 37 trials of tiny failed; the first: it is too long",),
        provenance={"seed": 0, "spec": {"eps": 0.1}, "settings": {"orders": 2}},
    )


def test_the_findings_are_sentences_with_their_uncertainty(report):
    refused, related, moved, change = report.verdicts
    assert refused.startswith("refused: ")
    assert related == (
        "related contexts against unrelated ones of the same length, mean over 12 prompts: "
        "ID +1.2 (+0.5 to +2.0), p = 0.012; refused -5.0 points (-10.0 to +0.0), p = 0.2"
    )
    assert (
        moved
        == "the second model, tuned: the stream moved from layer 1 on, most at layer 2 (by 5 % of its norm)"
    )
    assert change == "refused, second model against the first: 1 of 10 against 3 of 10, -20.0 points, p = 0.1"


ASSOCIATION = Association(
    n=200,
    excluded=0,
    prompts=20,
    informative=18,
    positives=80,
    exact=True,
    p_value=0.001,
    p_within_kind=0.21,
    correlation=Estimate(0.3, (0.1, 0.5)),
    odds_ratio=Estimate(2.1, (1.4, 3.3)),
    auc={},
)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {},
            "ID predicts refusal beyond length: odds x 2.1 (1.4 to 3.3) per standard deviation at "
            "equal length, p = 0.001, 200 answers to 20 prompts; not told apart from the kind of "
            "context (p = 0.21 within kind).",
        ),
        (
            {"p_value": 0.4, "odds_ratio": Estimate(1.2, (0.9, 1.6))},
            "No association of ID with refusal beyond length was found, and an effect above odds x "
            "1.6 is excluded: odds x 1.2 (0.9 to 1.6) per standard deviation at equal length, p = "
            "0.4, 200 answers to 20 prompts.",
        ),
        (
            {"p_value": 0.02},
            "Cannot tell with n = 200 (refusal: 80 of 200): odds x 2.1 (1.4 to 3.3) per standard "
            "deviation at equal length, p = 0.02, is neither an association nor the absence of one.",
        ),
        (
            {"p_value": 0.4, "odds_ratio": Estimate(1.2, (0.5, 2.9))},
            "Cannot tell with n = 200 (refusal: 80 of 200): odds x 1.2 (0.5 to 2.9) per standard "
            "deviation at equal length, p = 0.4, is neither an association nor the absence of one.",
        ),
        (
            {"informative": 4},
            "Cannot tell with n = 200 (refusal: 80 of 200): ID and refusal both vary at equal length "
            "in 4 of 20 prompts, and 5 are needed.",
        ),
        (
            {"p_value": 0.4, "odds_ratio": Estimate(None, reason="no maximum")},
            "Cannot tell with n = 200 (refusal: 80 of 200): partial correlation 0.30 (0.10 to 0.50) "
            "at equal length, p = 0.4, is neither an association nor the absence of one.",
        ),
        (
            {"p_value": 0.0005, "odds_ratio": Estimate(None, reason="no maximum"), "p_within_kind": None},
            "ID predicts refusal beyond length: partial correlation 0.30 (0.10 to 0.50) at equal "
            "length, p < 0.001, 200 answers to 20 prompts; not told apart from the kind of context, "
            "as no kind varies within a cell.",
        ),
        (
            {"p_value": 0.4, "positives": None, "correlation": Estimate(0.1, (-0.1, 0.25))},
            "No association of ID with refusal beyond length was found, and a correlation above 0.25 "
            "is excluded: partial correlation 0.10 (-0.10 to 0.25) at equal length, p = 0.4, 200 "
            "answers to 20 prompts.",
        ),
    ],
)
def test_the_verdict_on_an_association_says_its_effect_and_uncertainty(change, sentence):
    options = {"odds_ratio": Estimate(None)} if change.get("positives", 1) is None else {}
    assert association_verdict(replace(ASSOCIATION, **change, **options), "refusal") == sentence


def test_models_that_are_equal_are_said_to_be(report):
    still = [replace(shift, moved=False) for shift in report.comparison.layers]
    same = replace(report.comparison, layers=tuple(still), first_moved=None)
    assert (
        "the second model, tuned: no layer moved (the stream changed by less than 0.0001)"
        in replace(report, comparison=same).verdicts
    )
    others = replace(report.comparison, layers=(), first_moved=None)
    assert (
        "the second model, tuned: its layers are others, and cannot be paired"
        in replace(report, comparison=others).verdicts
    )


def test_rows_that_say_nothing_are_left_out(report):
    def names(one):
        return [row[0] for row in kind_table(one).rows]

    geometry = ["trials", "context tokens", "ID"]
    answers = ["refused", "not engaged", "flagged by toxicity", "cut"]
    assert names(report) == [*geometry, "recognized", "mistaken", *answers]
    changes = {
        "recognized": None,
        "mistaken": None,
        "undetermined": 3,
        "failed": 1,
        "unscored": {"toxicity": 2},
    }
    others = replace(report, kinds=tuple(kind(name, **changes) for name in KINDS))
    assert names(replace(others, associations={})) == [*geometry, "failed"]
    assert {"undetermined", "not judged by toxicity"} <= set(names(others))


def test_tables_by_hand(report):
    assert kind_table(report).head == ("context", *KINDS)
    assert kind_table(report).rows[3] == ("recognized", "5/6", "5/6", "5/6")
    assert contrast_table(report.contrasts).rows[1] == (
        "related against unrelated",
        "refused",
        "-5.0 points (-10.0 to +0.0), p = 0.2",
    )
    assert shift_table(report.comparison).rows[1] == ("1", "0.02", "moved", "0.1", "-0.5, p = 0.25")
    assert prompt_table(report).rows == [
        ("Plan my weekend.", "29.5", "-", "-", "0 of 1"),
        ("Bake bread.", "-", "33.0", "29.5", "1 of 2"),
    ]


def test_a_terminal_of_80_columns_cuts_no_number(report):
    shown = plain(audit_view(report), 80)
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_json_has_findings_and_no_number_that_is_none(report):
    record = json.loads(report.to_json())
    assert record["schema"] == 1
    assert record["verdicts"] == report.verdicts
    assert record["kinds"][0]["refused"] == {"count": 3, "total": 10}


def test_links_and_sections_belong_together_with_and_without_answers(report, read_page):
    bare = replace(report, associations={}, comparison=None)
    told = replace(report, points=(point(answer="Walk."), *report.points))
    for one, names in ((bare, "findings kinds length layers prompts notes"), (told, "answers")):
        reader = read_page(audit_html(one))
        sections = [values["id"] for tag, values in reader.elements if tag == "section" and values]
        assert [link.removeprefix("#") for link in reader.named("href")] == sections
        assert set(names.split()) <= set(sections)
    assert "answers" not in read_page(audit_html(report)).named("id")


def test_hostile_texts_stay_text(report, read_page, hostile):
    page = audit_html(
        replace(
            report,
            model=hostile,
            prompts=hostile,
            texts=(hostile, hostile),
            notes=(hostile,),
            points=(point(answer=hostile), *report.points),
        )
    )
    assert [tag for tag, _ in read_page(page).elements].count("script") == [
        tag for tag, _ in read_page(audit_html(report)).elements
    ].count("script")
    assert hostile not in page


def test_figures_show_every_kind_and_mark_refusals(report):
    figures = audit_figures(report)
    assert set(figures) == {"length", "layers", "correlations", "shifts"}
    assert [len(figures[name]["data"]) for name in ("length", "layers")] == [3, 3]
    assert list(figures["length"]["data"][1]["marker"]["symbol"]) == ["x"]
    assert list(figures["correlations"]["data"][0]["marker"]["symbol"]) == ["circle-open", "circle", "circle"]
    assert min(figures["shifts"]["data"][1]["y"]) == pytest.approx(1e-5)
    assert re.search(r"layer %\{x\}", figures["layers"]["data"][0]["hovertemplate"])

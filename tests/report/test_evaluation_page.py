"""Tests ``report/evaluation_page.py``: the page shows the record, works offline, and no text escapes."""

import json
import re

import pytest

from splinelens.report.evaluation import LayerAuc, Mistake, Share, report_tables
from splinelens.report.evaluation_page import evaluation_figures, evaluation_html
from splinelens.report.scores import Span

EMPTY = {
    "feature_map": None,
    "hatecheck": None,
    "hatecheck_bias": (),
    "xstest": None,
    "evasion": None,
    "bias": (),
}


def section(text, name):
    return re.search(rf'<section id="{name}">(.*?)</section>', text, re.S)[1]


@pytest.fixture(scope="module")
def full(evaluation):
    """One full report and its page, rendered once."""
    report = evaluation()
    return report, evaluation_html(report)


def test_links_labels_and_sections_belong_together(evaluation, read_page, full):
    for text in (full[1], evaluation_html(evaluation(layer_auc=None, **EMPTY))):
        reader = read_page(text)
        ids = reader.named("id")
        assert len(ids) == len(set(ids))
        assert [link.removeprefix("#") for link in reader.named("href")] == [
            values["id"] for tag, values in reader.elements if tag == "section" and values
        ]
        assert set(reader.named("for")) <= set(ids)


def test_hostile_texts_stay_text(evaluation, read_page, hostile):
    mistake = Mistake(0, 0.9, hostile, len(hostile), (Span(0, 5, 1.0),), 0.5)
    report = evaluation(
        name=hostile,
        label=hostile,
        negative=hostile,
        source=hostile,
        model=hostile,
        bias_source=hostile,
        notes=(hostile,),
        hatecheck=(Share(hostile, hostile, 1, 2, 0.5, (0.0, 1.0)),),
        false_positives=(mistake,),
        false_negatives=(mistake,),
    )
    read_page.is_safe(evaluation_html(report))


def test_the_page_loads_nothing(full, read_page):
    read_page.is_offline(full[1])


def test_the_page_shows_every_cell_of_the_tables(full, read_page):
    report, text = full
    words = " ".join(" ".join(read_page(text).words).split())
    for title, table in report_tables(report).items():
        if title != "calibration":  # a figure
            for cell in (cell for row in table.rows for cell in row):
                assert cell in words, title


def test_every_figure_has_one_place_and_its_data(full, read_page):
    report, text = full
    reader = read_page(text)
    data = json.loads(reader.scripts[0])
    assert data["figures"] == json.loads(json.dumps(evaluation_figures(report)))
    assert sorted(reader.named("data-figure")) == sorted(data["figures"])
    assert data["sweep"]["recall"] == pytest.approx(report.sweep.recall, abs=1e-5)
    assert data["sweep"]["precision"][0] is None
    assert len(set(map(len, data["sweep"].values()))) == 1


def test_what_was_not_measured_has_no_section(evaluation):
    text = evaluation_html(evaluation(layer_auc=None, **EMPTY))
    assert re.findall(r'<section id="(\w+)"', text) == "metrics thresholds curves layers errors notes".split()
    assert "does not split into layers" in section(text, "layers")


def test_texts_of_errors_lie_in_closed_elements_below_a_warning(full):
    shown = section(full[1], "errors")
    assert shown.index("they may insult") < shown.index("<details")
    assert "goose" not in re.sub(r"<details.*?</details>", "", shown, flags=re.S)
    assert "<details open" not in shown
    assert "row 7 · score 0.8750" in shown


def test_one_button_opens_all_errors(evaluation):
    one = Mistake(0, 0.9, "a goose", 7)
    shown = section(evaluation_html(evaluation(false_positives=(one, one), false_negatives=(one,))), "errors")
    assert re.search(r'<button [^>]*id="open-errors"[^>]*hidden>Open all 3 texts</button>', shown)
    shown = section(evaluation_html(evaluation(false_positives=(one,), false_negatives=())), "errors")
    assert "open-errors" not in shown


def test_everything_that_scrolls_sideways_can_say_so(full):
    body = full[1].split("<main>")[1]
    assert body.count('class="sideways"') == body.count('<div class="table') + body.count(
        '<div class="scroll"'
    )


def test_words_are_colored_by_their_contribution(evaluation):
    words = (Span(0, 3, -1.0), Span(4, 5, 0.01), Span(6, 9, 5.0))
    mistakes = (Mistake(0, 0.9, "you a fox", 9, words, 0.25, -0.5), Mistake(1, 0.9, "no words", 12))
    shown = section(evaluation_html(evaluation(false_positives=mistakes)), "errors")
    assert '<span class="word against" style="--strength:50%" title="-1.00">you</span> a ' in shown
    assert '<span class="word for" style="--strength:100%" title="+5.00">fox</span>' in shown
    assert "strongest: fox +5.0" in shown
    assert "words +4.76, constant -0.50: logit +4.26" in shown
    assert '<p class="text" dir="auto">no words</p>' in shown
    assert "4 more characters are not shown" in shown


def test_the_worst_functionality_comes_first_and_totals_are_sums(evaluation):
    kinds = tuple(
        Share(name, "toxic", count, 10, count / 10, (0.0, 1.0)) for name, count in (("a", 9), ("b", 2))
    )
    prompts = (Share("c", "safe", 1, 10, 0.1, (0.0, 0.4)), Share("d", "unsafe", 5, 10, 0.5, (0.2, 0.8)))
    text = evaluation_html(evaluation(hatecheck=kinds, xstest=prompts))
    shown = section(text, "hatecheck")
    assert shown.index(">b<") < shown.index(">a<")
    assert "11 of 20 cases are right" in shown
    assert "1 of 10 safe prompts are flagged" in section(text, "xstest")


def test_the_words_are_the_labels_of_the_detector(evaluation, read_page):
    report = evaluation(label="rude", negative="polite", hatecheck=None, xstest=None)
    words = " ".join(" ".join(read_page(evaluation_html(report)).words).split())
    assert not re.search(r"(?<!false[ -])positive|negative texts|\btoxic\b", words)
    assert "share of rude texts is the dotted line" in words
    assert "BPSN: polite texts of the group against rude ones of others" in words
    axis = evaluation_figures(report)["reliability"]["layout"]["yaxis"]
    assert "rude" in axis["title"]["text"]


def test_the_slider_begins_at_the_stored_threshold(full):
    report, text = full
    shown, points = section(text, "thresholds"), report.sweep.threshold
    value = int(re.search(r'id="threshold" min="0" max="\d+" value="(\d+)"', shown)[1])
    assert points[len(points) - 1 - value] == report.threshold
    assert points[int(re.search(r'data-point="(\d+)"', shown)[1])] == report.thresholds[0].threshold


def test_the_curves_are_the_sweep(evaluation):
    report = evaluation()
    found = evaluation_figures(report)
    line = found["roc"]["data"][0]
    assert line["x"] == pytest.approx(report.sweep.false_positive_rate, abs=1e-3)
    assert line["y"] == pytest.approx(report.sweep.recall, abs=1e-3)
    line = found["precision_recall"]["data"][0]
    assert line["y"][0] is None
    assert line["y"][1:] == pytest.approx(report.sweep.precision[1:], abs=1e-3)
    for name in ("roc", "precision_recall"):
        assert found[name]["data"][-1]["mode"] == "markers"  # the slider's point


def test_error_bars_reach_the_ends_of_the_intervals(evaluation):
    report = evaluation()
    dots = evaluation_figures(report)["reliability"]["data"][0]
    for at, part in enumerate(report.reliability):
        assert dots["y"][at] + dots["error_y"]["array"][at] == pytest.approx(part.interval[1], abs=2e-3)
        assert dots["y"][at] - dots["error_y"]["arrayminus"][at] == pytest.approx(part.interval[0], abs=2e-3)


def test_every_row_is_a_point_of_its_class(evaluation):
    for name in ("pca", "tsne"):
        clean, toxic = evaluation_figures(evaluation(rows=60))[name]["data"]
        assert [pair[0] for pair in clean["customdata"]] == list(range(0, 60, 2))
        assert len(toxic["x"]) == len(toxic["customdata"]) == 30


def test_layers_that_are_not_read_stay_empty(evaluation):
    layer_auc = LayerAuc(("a", "b"), (0, 4), ((0.9, None), (0.6, 0.7)), "AUC")
    trace = evaluation_figures(evaluation(layer_auc=layer_auc))["layers"]["data"][0]
    assert (trace["z"], trace["x"]) == ([[0.9, None], [0.6, 0.7]], ["0", "4"])


def test_colors_begin_at_chance_unless_some_number_points_the_other_way(evaluation):
    for auc, low in ((0.6, 0.5), (0.3, 0.0)):
        layer_auc = LayerAuc(("a",), (0,), ((auc,),), "")
        assert evaluation_figures(evaluation(layer_auc=layer_auc))["layers"]["data"][0]["zmin"] == low


def test_no_text_is_in_the_figures(evaluation):
    report = evaluation(text="you silly goose", label="<b>%{x}")
    drawn = json.dumps(evaluation_figures(report), allow_nan=False)
    assert "silly" not in drawn
    assert "<b>" not in drawn


def test_controls_and_figures_can_be_used_by_keyboard(full, read_page):
    reader = read_page(full[1])
    inputs = [values for tag, values in reader.elements if tag == "input"]
    assert [values["type"] for values in inputs] == ["range", "number"]
    assert all(values["id"] in reader.named("for") for values in inputs)
    for values in (values for _, values in reader.elements if values.get("class") in ("plot", "table")):
        assert values["tabindex"] == "0"
        assert values["aria-label"]

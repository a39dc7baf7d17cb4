"""Tests ``report/evaluation_sections.py``: what stands in each section, and texts that stay hidden."""

import re

from splinelens.report.evaluation_parts import Mistake, Share
from splinelens.report.evaluation_sections import sections
from splinelens.report.scores import Span

EMPTY = {"map": None, "hatecheck": None, "hatecheck_bias": (), "xstest": None, "evasion": None, "bias": ()}


def test_what_was_not_measured_has_no_section(evaluation):
    assert list(sections(evaluation())) == (
        "numbers thresholds curves layers map hatecheck xstest groups evasion errors notes".split()
    )
    found = sections(evaluation(**EMPTY))
    assert list(found) == "numbers thresholds curves layers errors notes".split()


def test_a_detector_that_does_not_split_says_so(evaluation):
    assert "does not split into layers" in sections(evaluation(heat=None))["layers"][1]


def test_texts_of_errors_lie_in_closed_elements_below_a_warning(evaluation):
    shown = sections(evaluation())["errors"][1]
    assert shown.index("they may insult") < shown.index("<details")
    outside = re.sub(r"<details.*?</details>", "", shown, flags=re.S)
    assert "goose" not in outside
    assert "<details open" not in shown
    assert "row 7 · score 0.8750" in shown


def test_words_are_coloured_by_what_they_add(evaluation):
    words = (Span(0, 3, -1.0), Span(4, 5, 0.01), Span(6, 9, 5.0))
    report = evaluation(false_positives=(Mistake(0, 0.9, "you a fox", 9, words),))
    shown = sections(report)["errors"][1]
    assert '<span class="word against" style="--strength:50%" title="-1.00">you</span> a ' in shown
    assert '<span class="word for" style="--strength:100%" title="+5.00">fox</span>' in shown
    assert "strongest: fox +5.0" in shown


def test_without_an_explanation_the_text_stands_alone(evaluation):
    report = evaluation(false_positives=(Mistake(0, 0.9, "you a fox", 12),))
    shown = sections(report)["errors"][1]
    assert "you a fox" in shown
    assert 'class="word' not in shown
    assert "3 more characters are not shown" in shown


def test_a_stranger_s_text_stays_text(evaluation):
    text = "<b>\u202e & \x1b\nnew line"
    shown = sections(evaluation(false_positives=(Mistake(0, 0.9, text, len(text)),)))["errors"][1]
    assert "&lt;b&gt;⟨202E⟩ &amp; ␛\nnew line" in shown


def test_the_worst_functionality_comes_first(evaluation):
    kinds = [Share(name, "toxic", count, 10, count / 10, (0.0, 1.0)) for name, count in (("a", 9), ("b", 2))]
    shown = sections(evaluation(hatecheck=tuple(kinds)))["hatecheck"][1]
    assert shown.index(">b<") < shown.index(">a<")
    assert "11 of 20 cases are right" in shown


def test_false_alarms_are_those_on_safe_prompts(evaluation):
    kinds = (Share("a", "safe", 1, 10, 0.1, (0.0, 0.4)), Share("c", "unsafe", 5, 10, 0.5, (0.2, 0.8)))
    assert "1 of 10 safe prompts are flagged" in sections(evaluation(xstest=kinds))["xstest"][1]


def test_the_slider_begins_at_the_stored_threshold(evaluation):
    report = evaluation()
    shown = sections(report)["thresholds"][1]
    value = int(re.search(r'id="threshold" min="0" max="(\d+)" value="(\d+)"', shown)[2])
    assert report.sweep.threshold[len(report.sweep.threshold) - 1 - value] == report.threshold
    point = int(re.search(r'data-point="(\d+)"', shown)[1])
    assert report.sweep.threshold[point] == report.thresholds[0].threshold

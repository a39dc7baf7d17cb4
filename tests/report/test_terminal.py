"""Tests ``report/terminal.py``: what eyes get to see, and that no text can play tricks on a terminal."""

import io
import re

import numpy as np
import pytest
from rich.console import Console

from splinelens.detect.metrics import evaluate_labels
from splinelens.report.scores import SentenceScore, Span, TextScore
from splinelens.report.terminal import (
    STYLES,
    colored,
    evaluation_lines,
    excerpt,
    explanation,
    plain_line,
    score_table,
    strongest_words,
    words,
)

TRICKS = "\x1b[2J\x9b31m\x07\r\n\x7f\u202e\u2066\ud800\u2028\ufeff\x00\ue000"


def rendered(table, width=80, colors=False):
    screen = io.StringIO()
    system = "standard" if colors else None
    Console(file=screen, width=width, force_terminal=colors, color_system=system).print(table)
    return screen.getvalue()


def test_of_a_long_text_the_strongest_words_and_their_neighbors_are_shown():
    text = " ".join(["word"] * 50 + ["fool"] + ["word"] * 50)
    place = text.index("fool")
    shown = colored(
        text, TextScore(0, 0.9, "toxic", 101, False, spans=(Span(place, place + 4, 2.0),), constant=0.0), 24
    )
    assert shown.plain == "… word word fool word word …"


def test_a_text_that_fits_is_shown_whole_and_a_blank_one_is_nothing():
    assert [text.begin for text in excerpt("a b c", None, 5)] == [0, 2, 4]
    assert excerpt("", None, 10) == excerpt(" \n ", None, 10) == []


@pytest.mark.parametrize("characters", [10, 40, 200])
def test_an_excerpt_keeps_to_its_room_and_its_order(characters):
    text = " ".join(f"w{number}" for number in range(300))
    spans = [
        Span(match.start(), match.end(), float(number % 7))
        for number, match in enumerate(re.finditer(r"\S+", text))
    ]
    parts = [part for part in excerpt(text, spans, characters) if part]
    assert parts == sorted(parts, key=lambda part: part.begin)
    assert len(set(parts)) == len(parts)
    assert sum(part.end - part.begin for part in parts) <= max(characters, 3 * 4)


def test_without_an_explanation_the_beginning_is_shown():
    parts = excerpt("one two three four five", None, 9)
    assert [part and part.begin for part in parts] == [0, 4, None]


def test_firing_words_are_colored_by_what_they_add_and_others_are_not():
    text = "you utter fool please"
    spans = (Span(0, 3, -2.0), Span(3, 9, 0.3), Span(9, 14, 2.0), Span(14, 21, STYLES[-1][0] / 2))
    shown = colored(text, TextScore(0, 0.9, "toxic", 4, False, spans=spans, constant=0.0), 80)
    styles = {shown.plain[span.start : span.end]: str(span.style) for span in shown.spans}
    assert styles == {"utter": "red", "fool": "bold white on red"}
    assert shown.plain == text


def test_a_table_shows_row_score_verdict_text_and_reason():
    scores = [
        TextScore(0, 0.967, "toxic", 4, False),
        TextScore(1, 0.031, "clean", 4, False),
        TextScore(2, None, "undetermined", 0, False, reason="is empty"),
    ]
    shown = rendered(score_table(scores, ["you fool", "have a\nnice day", ""], "toxic", 80))
    lines = [" ".join(line.split()) for line in shown.splitlines() if line.strip()]
    assert lines[0] == "row score verdict text"
    assert lines[2:] == [
        "0 0.97 toxic you fool",
        "1 0.03 clean have a nice day",
        "2 - undetermined [text is empty]",
    ]


def test_verdicts_have_colors():
    scores = [
        TextScore(row, 0.5, word, 1, False) for row, word in enumerate(("toxic", "clean", "undetermined"))
    ]
    shown = rendered(score_table(scores, ["a", "b", "c"], "toxic", 80), colors=True)
    assert re.search(r"\x1b\[1;31mtoxic", shown)
    assert re.search(r"\x1b\[32mclean", shown)
    assert re.search(r"\x1b\[33mundetermined", shown)


def test_a_table_reads_no_markup_and_lets_no_control_character_through():
    text = "[red]no[/red] [link=x]" + TRICKS
    shown = rendered(score_table([TextScore(0, 0.5, "[b]odd", 4, False)], [text], "toxic", 120))
    assert "[red]no[/red] [link=x]" in shown
    assert "[b]odd" in shown
    assert shown.replace("\n", "").isprintable()


@pytest.mark.parametrize("width", [60, 80, 200])
def test_a_table_fits_its_width_and_long_texts_take_few_lines(width):
    scores = [
        TextScore(row, 0.5, "undetermined", 900, True, reason="was cut at 5 of 900 tokens")
        for row in (0, 1000)
    ]
    shown = rendered(score_table(scores, ["word " * 900, "x" * 5000], "toxic", width), width)
    assert all(len(line) <= width for line in shown.splitlines())
    assert len(shown.splitlines()) <= 16


def test_a_plain_line_is_one_line_with_the_reason_or_the_words():
    cut = TextScore(0, 0.4, "undetermined", 9, True, reason="was cut at 4 of 9 tokens; the rest was not read")
    line = plain_line(cut, "a\tb\x1b[0m\n" + "word " * 40, "toxic")
    assert line.isprintable()
    assert line.startswith("0.40  undetermined  a b␛[0m word")
    assert line.endswith("…  [text was cut at 4 of 9 tokens; the rest was not read]")
    fired = TextScore(1, 0.9, "toxic", 2, False, spans=(Span(0, 3, 0.5), Span(3, 8, 2.25)), constant=-0.5)
    assert plain_line(fired, "you fool", "toxic") == (
        "0.90  toxic         you fool  fool +2.2  you +0.5  constant -0.5"
    )
    calm = TextScore(1, 0.2, "clean", 2, False, spans=(Span(0, 3, 0.1), Span(3, 8, -2.25)), constant=-0.5)
    assert plain_line(calm, "you dear", "toxic") == ("0.20  clean         you dear  dear -2.2  constant -0.5")
    assert plain_line(TextScore(2, None, "undetermined", 0, False, reason="is missing"), None, "toxic") == (
        "   -  undetermined  [text is missing]"
    )


@pytest.mark.parametrize(
    ("score", "limit", "shown"),
    [
        (0.4, 0.931, "sentence 0.40, limit 0.93"),
        (0.99876, 0.99893, "sentence 0.9988, limit 0.9989"),
        (0.5, 0.5, "sentence 0.50, limit 0.50"),
    ],
)
def test_a_sentence_has_its_limit_so_that_it_is_seen_which_is_higher(score, limit, shown):
    record = TextScore(0, 0.3, "clean", 4, False, highest_sentence=SentenceScore(4, 9, score, limit))
    assert plain_line(record, "You. Fool.", "toxic").endswith(f"  [{shown}: Fool]")
    assert f"{shown}: Fool" in rendered(score_table([record], ["You. Fool."], "toxic", 80))


def test_a_text_that_a_detector_abstains_on_has_its_reason_in_place_of_a_score():
    reason = "has 1 token, fewer than the 30 that a verdict needs"
    short = TextScore(0, 1.0, "undetermined", 1, False, reason=reason)
    assert plain_line(short, "hello", "court") == f"   -  undetermined  hello  [text {reason}]"
    shown = " ".join(rendered(score_table([short], ["hello"], "court", 120)).split())
    assert shown.endswith(f" 0 - undetermined hello [text {reason}]")


def test_the_strongest_words_are_few_and_never_weak():
    spans = tuple(
        Span(2 * place, 2 * place + 1, amount) for place, amount in enumerate((0.1, 3.0, -1.0, 1.0, 2.0, 0.9))
    )
    assert strongest_words("a b c d e f", spans) == [("b", 3.0), ("e", 2.0), ("d", 1.0), ("c", -1.0)]
    assert strongest_words("a b c d e f", spans, most=1) == [("b", 3.0), ("c", -1.0)]
    assert strongest_words("a b", (Span(0, 1, 0.01),)) == []


def test_punctuation_around_a_word_has_no_color_and_no_place_in_the_list():
    text = 'so, "fool!" f***.'
    spans = (Span(0, 3, 0.1), Span(3, 11, 2.0), Span(11, len(text), 0.6))
    shown = colored(text, TextScore(0, 0.9, "toxic", 3, False, spans=spans, constant=0.0), 80)
    assert shown.plain == text
    styles = {shown.plain[span.start : span.end]: str(span.style) for span in shown.spans}
    assert styles == {"fool": "bold white on red", "f": "bold red", "***": "bold red"}
    assert strongest_words(text, words(text, spans)) == [("fool", 2.0), ("f***", 0.6)]


def explained(text, *amounts):
    """A record whose words, parted by single blanks, add these amounts."""
    spans, begin = [], 0
    for word, amount in zip(re.findall(r"\s*\S+", text), amounts, strict=True):
        spans.append(Span(begin, begin + len(word), amount))
        begin += len(word)
    return TextScore(0, 0.9, "toxic", len(spans), False, spans=tuple(spans), constant=-1.0)


def test_several_sentences_are_shown_with_their_amounts_and_one_is_not():
    text = "You fool! Have a\nnice day. \x1b[2J"
    record = explained(text, 0.5, 2.25, 0.0, 0.0, -1.5, -0.125, 0.125)
    assert explanation(text, record, 60).plain.splitlines() == [
        "",
        " +2.75  You fool!",
        " +0.00  Have a",
        " -1.62  nice day.",
        " +0.12  ␛[2J",
        "raised by fool +2.2, You +0.5",
        "lowered by nice -1.5",
        "tokens +1.25, constant -1.00: logit +0.25",
    ]
    constant = "constant -1.00: logit"
    assert explanation("a fool", explained("a fool", 0.0, 1.0), 60).plain == (
        f"\nraised by fool +1.0\ntokens +1.00, {constant} +0.00"
    )
    assert explanation("a b", explained("a b", 0.0, 0.1), 60).plain == f"\ntokens +0.10, {constant} -0.90"
    assert explanation("a b", TextScore(0, 0.9, "toxic", 2, False), 60).plain == ""


def test_of_many_sentences_the_strongest_are_shown_and_the_others_summed():
    text = " ".join(f"Word{place}." for place in range(9))
    lines = explanation(
        text, explained(text, 1.0, 0.1, -3.0, 0.1, 0.1, 2.0, 0.1, 5.0, -4.0), 13
    ).plain.splitlines()
    assert [line.split("  ")[-1] for line in lines[1:7]] == [
        "Word…",
        "Word…",
        "Word…",
        "Word…",
        "Word…",
        "(the other 4 sentences)",
    ]
    assert sum(float(line.split()[0]) for line in lines[1:7]) == pytest.approx(1.4)


def test_a_table_explains_each_text_below_it():
    texts = ["You fool! Thanks.", "fine"]
    scores = [explained(texts[0], 0.5, 2.0, -1.0), TextScore(1, 0.1, "clean", 1, False)]
    shown = rendered(score_table(scores, texts, "toxic", 80))
    lines = [" ".join(line.split()) for line in shown.splitlines() if line.strip()]
    assert lines[2:] == [
        "0 0.90 toxic You fool! Thanks.",
        "+2.50 You fool!",
        "-1.00 Thanks.",
        "raised by fool +2.0, You +0.5",
        "lowered by Thanks -1.0",
        "tokens +1.50, constant -1.00: logit +0.50",
        "1 0.10 clean fine",
    ]


NUMBERS = {
    "n": 1200,
    "positives": 600,
    "undetermined": 3,
    "auc": 0.96512,
    "auc_interval": [0.96, 0.97],
    "recall_at_fpr": {"0.01": 0.5, "0.05": 0.8},
    "recall_intervals": {"0.01": [0.45, 0.55], "0.05": [0.78, 0.83]},
    "brier": 0.07,
    "brier_interval": [0.06, 0.08],
    "calibration_error": 0.02,
    "calibration_interval": [0.01, 0.03],
    "length_auc": 0.66,
    "length_auc_interval": None,
    "at_threshold": {
        "0.05": {
            "score": 0.84,
            "false_positive_rate": 0.0491,
            "false_positive_interval": [0.033, 0.07],
            "recall": 0.79,
            "recall_interval": [0.75, 0.83],
        }
    },
}


def test_length_alone_always_stands_below_the_auc():
    lines = [re.sub(" {2,}", " | ", line) for line in evaluation_lines(NUMBERS, "rude")]
    assert lines == [
        "rows | 1,200, 600 of them rude",
        "not scored | 3",
        "AUC | 0.9651 | [0.9600, 0.9700]",
        "AUC of length alone | 0.6600 | (too few rows or groups for an interval)",
        "recall at 1 % false positives | 0.5000 | [0.4500, 0.5500]",
        "recall at 5 % false positives | 0.8000 | [0.7800, 0.8300]",
        "Brier score | 0.0700 | [0.0600, 0.0800]",
        "calibration error | 0.0200 | [0.0100, 0.0300]",
        "threshold for 5 % | 0.8400: 4.91 % false positives (3.3 % to 7 %), recall 0.7900",
    ]


def test_all_labels_that_fired_are_shown():
    several = TextScore(0, 0.9, "rude", 3, False, scores={"rude": 0.9, "spam": 0.8}, labels=("rude", "spam"))
    none = TextScore(1, 0.1, "none", 3, False, scores={"rude": 0.1, "spam": 0.05}, labels=())
    assert plain_line(several, "buy it, fool", "rude") == "0.90  rude, spam    buy it, fool"
    assert plain_line(none, "so it is", "rude") == "0.10  none          so it is"
    assert "rude, spam" in rendered(score_table([several, none], ["a", "b"], "rude", 80))


def test_labels_stand_in_a_table_with_length_alone_and_confusion():
    numbers = evaluate_labels(
        np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0]]),
        np.array([[0.9, 0.2, 0.1], [0.3, 0.8, 0.1], [0.1, 0.7, 0.1], [0.2, 0.9, 0.1]]),
        np.arange(4),
        ["law", "tea", "sea"],
        classes=True,
        resamples=0,
    ).to_dict()
    lines = evaluation_lines(numbers)
    assert any(re.match(r"accuracy +0\.7500  \[0\.1941, ", line) for line in lines)
    assert any(line.startswith("sea") and "not measured: all or no rows" in line for line in lines)
    assert lines[-4:] == [
        "     law  tea  sea",
        "law    1    1    0",
        "tea    0    2    0",
        "sea    0    0    0",
    ]

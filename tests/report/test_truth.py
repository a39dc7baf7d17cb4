"""Tests ``report/truth.py``: a verdict only where the model tells more than the words."""

import pytest

from splinelens.report.truth import LayerCurve, Rival, TruthReport, curve_table, group_table, rival_table


def _report(text, model, gain):
    rivals = (
        Rival("TF-IDF of words", "text only", text, (text - 0.05, text + 0.05), ((text, None), (text, None))),
        Rival("LID by MLE", "model", 0.5, None, ((0.5, None), (0.5, None)), 0.5 - text, gain),
        Rival(
            "max margins, head",
            "model",
            model,
            (model - 0.04, model + 0.04),
            ((model, None), (model, None)),
            model - text,
            gain,
        ),
    )
    curve = LayerCurve((0, 1, 2), (3.0, 9.5, 4.0), (0.5, 0.52, 0.49), 1)
    return TruthReport(
        "facts", "tiny", 400, 200, {}, "held out", ("cities", "animals"), rivals, curve, {}, {}
    )


@pytest.mark.parametrize(
    ("text", "model", "gain", "evidence", "words"),
    [
        (0.71, 0.66, (-0.1, 0.02), False, "the words alone give 0.71 (TF-IDF of words), so what follows"),
        (0.60, 0.63, (-0.02, 0.08), False, "cannot be told apart from that (gain [-0.0200, 0.0800])"),
        (0.55, 0.70, None, False, "400 rows are too few to compare"),
        (0.35, 0.53, (0.1, 0.2), False, "max margins, head with 0.53 cannot be told apart from chance"),
        (0.52, 0.70, (0.1, 0.2), True, "max margins, head gives 0.70 where the words alone give 0.52"),
    ],
)
def test_there_is_no_verdict_where_the_words_do_as_well(text, model, gain, evidence, words):
    report = _report(text, model, gain)
    assert words in report.verdict
    assert report.is_evidence == evidence == report.to_dict()["evidence"]
    assert report.verdict.startswith("No verdict") != evidence


def test_text_only_rows_come_first():
    report = _report(0.6, 0.7, (0.01, 0.2))
    assert rival_table(report).rows[0][:3] == ("TF-IDF of words", "text only", "0.600")
    assert rival_table(report).rows[2][-2:] == ("+0.100", "[0.010, 0.200]")
    assert group_table(report).head == ("score", "cities", "animals")
    assert curve_table(report.curve).rows[1] == ("1", "9.5", "0.520")

"""Tests benchmarks/bars.py: what is measured on which rows, against which bar, beside which rival."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest
from bars import GROUPS, Bars, Measured, main, read_left_out, table, training_rows
from detection.bar_sets import LENGTHS, in_length, joined_comments, labeled_sets, ordinary_windows
from detection.data import TYPES, letters_and_digits
from detection.sources import SOURCES
from detection.training_rows import measured_part
from sklearn.metrics import roc_auc_score

from splinelens.detect.bootstrap import auc_interval
from splinelens.errors import BadTexts
from splinelens.features.spec import FeatureSpec

LINE = "the river bends past an old mill where children feed ducks and count boats in summer rain "


@pytest.fixture
def whole(folder):
    """The small folder with the sets that only training and bars read."""

    def write(name, rows):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    marked = [{"spans": "[0, 1, 2, 3, 4]", "text": f"silly goose number {row}"} for row in range(12)]
    write("toxic-spans/tsd_train.csv", marked[:6])
    write("toxic-spans/tsd_trial.csv", marked[6:])
    write(
        "toxigen-annotated/toxigen_annotated.csv",
        [{"text": f"ducks {row} are dull", "label": ("hate", "neutral")[row % 2]} for row in range(8)],
    )
    for language in ("german", "spanish"):
        cases = [
            {
                "case": row,
                "functionality": ("ident_pos_nh", "threat_h")[row % 2],
                "text": f"die {language} {row} ist {('nett', 'dumm')[row % 2]}",
                "label": ("non-hateful", "hateful")[row % 2],
            }
            for row in range(8)
        ]
        write(f"multilingual-hatecheck/{language}.csv", cases)
    (folder / "wikitext2-test").mkdir(parents=True, exist_ok=True)
    lines = [f" {row} {LINE * (3 + row % 4)}\n" for row in range(1, 740)]
    (folder / "wikitext2-test/wiki.test.txt").write_text(" = Title = \n" + "".join(lines), "utf-8")
    return folder


@pytest.fixture
def detector(fitted, halves):
    spec = FeatureSpec(("margin_max",), max_tokens=64)
    return fitted(spec, halves[0], name="toxicity-fast", label="toxic", negative="clean")


def test_all_bars_are_measured_and_a_second_run_only_reads(whole, detector, data, tmp_path):
    lines: list[str] = []
    left_out = {"tweet": {"auc": 0.8, "interval": [0.7, 0.9]}}
    options = {"limit": 40, "left_out": left_out, "report": lines.append}
    rows = list(Bars(detector, whole, tmp_path / "cache", **options).measured())
    assert any("texts" in line for line in lines)
    by_name = {(row.section.partition(" (")[0], row.what): row for row in rows}
    sections = {section for section, _ in by_name}
    assert sections >= {"HateCheck", "HateCheck, German", "XSTest", "toxic-spans trial", "ordinary text"}
    assert by_name["ParaDetox", "AUC, pairs not fitted on (fitted on other pairs)"].value is None
    auc = by_name["Jigsaw test rows", "AUC"]
    assert (auc.bar, auc.n) == (">= 0.966", 40)
    assert 0 <= auc.rival <= 1
    fitted = by_name["toxigen-seed", "AUC (fitted on toxigen-annotated)"]
    assert fitted.value is not None
    assert not fitted.bar
    without = by_name["TweetEval", "AUC, fitted without tweet"]
    assert (without.value, without.bar, without.met) == (0.8, ">= 0.82", False)
    assert without.rival is not None
    assert ("HateCheck", "ident_neutral_nh (harmless): flagged at the stored 5 % threshold") in by_name
    assert ("ordinary text", "harmless, 8 to 32 tokens: flagged at the stored 1 % threshold") in by_name
    gain = by_name["forum comments", "AUC minus that of TF-IDF"]
    forum = by_name["forum comments", "AUC"]
    assert gain.value == pytest.approx(forum.value - forum.rival)
    lines.clear()
    again = list(Bars(detector, whole, tmp_path / "cache", **options).measured())
    assert again == rows
    assert lines == []


def test_an_auc_is_that_of_the_scores_a_user_gets(whole, detector, data, tmp_path):
    one = Bars(detector, whole, tmp_path / "cache", limit=60)
    jig = one.sets["jig"]
    known = [record.score for record in detector.score(jig.texts)]
    auc = next(iter(one.measured()))
    assert auc.value == pytest.approx(roc_auc_score(jig.labels, known))
    assert data.sets["jig"].texts[40] not in jig.texts  # it repeats a training row
    assert "1 rows it was fitted on left out" in jig.name


def test_no_text_that_is_measured_was_fitted_on(whole, loaded, detector, tmp_path):
    rows = training_rows("toxicity-fast", whole)
    fitted_on = {letters_and_digits(rows.texts[row]) for row in np.flatnonzero(rows.usable)}
    sets = Bars(detector, whole, tmp_path, limit=None).sets
    for one in (*sets.values(), ordinary_windows(whole, loaded)):
        assert not {letters_and_digits(text) for text in one.texts} & fitted_on, one.name
    assert sets["para"].texts == ()  # the recipe takes more pairs than there are
    pairs = labeled_sets(whole, set())["para"]
    few = labeled_sets(whole, {letters_and_digits(pairs.texts[0])})["para"]
    assert len(few.texts) == len(pairs.texts) - 2


def test_windows_are_of_their_class_and_of_documents_that_no_source_holds(whole, loaded, detector):
    windows = ordinary_windows(whole, loaded, limit=5)
    tokens = detector.label_scores(windows.texts)[1]
    for low, high in LENGTHS[:2]:
        assert in_length(tokens, low, high).sum() >= 3
    known = {text.split(" ")[0] for text in SOURCES["wiki"].read(whole).texts}
    assert len(known) == 700
    jig = labeled_sets(whole, set())["jig"]
    assert all("\n" in text for text in joined_comments(jig, loaded).texts)


def test_before_is_the_rate_of_a_detector_whose_scores_have_no_offsets_by_length(whole, detector, tmp_path):
    calibration = replace(detector.artifact.calibrations[0], by_length=((8, 0.0), (32, 0.7), (512, -0.9)))
    thresholds = tuple(replace(one, score=0.4) for one in detector.artifact.thresholds[0])
    artifact = replace(detector.artifact, calibrations=(calibration,), thresholds=(thresholds,))
    with_offsets = Bars(replace(detector, artifact=artifact), whole, tmp_path / "cache", limit=60)
    rows = {(row.section, row.what): row for row in with_offsets.measured()}
    ordinary = ordinary_windows(whole, detector.reader.loaded, limit=60)
    jig = with_offsets.sets["jig"]
    plain, tokens, _ = detector.label_scores(ordinary.texts)
    harmless = jig.labels == 0
    flagged = (replace(detector, artifact=artifact).label_scores(jig.texts)[0][harmless, 0] >= 0.4).sum()
    assert 0 < flagged < harmless.sum()
    limit = np.sort(detector.label_scores(jig.texts)[0][harmless, 0])[-flagged]
    for low, high in LENGTHS:
        chosen = in_length(tokens, low, high)
        what = (
            f"before, {low:,} to {high:,} tokens: flagged without offsets by length, at the 1 % threshold's"
        )
        row = rows["ordinary text", f"{what} rate on Jigsaw"]
        expected = (plain[chosen, 0] > limit - 1e-9).mean()
        assert (row.value, row.n) == (pytest.approx(expected), chosen.sum())


def test_types_are_measured_by_label_beside_a_rival_fitted_on_the_same_rows(whole, data, fitted, tmp_path):
    _, part = measured_part("labels", data)
    train = replace(part, index=np.arange(40), labels=np.tile([[0] * 6, [1] * 6], (20, 1)))
    spec = FeatureSpec(("margin_max",), max_tokens=64)
    detector = fitted(spec, train, name="types", task="labels", label=TYPES[::-1], negative="none")
    bars = Bars(detector, whole, tmp_path / "cache")
    mean, *each = bars.measured()
    assert (mean.what, mean.bar) == ("mean AUC of the six types", ">= 0.95")
    assert mean.n == len(bars.sets["types"].texts) == 60
    scores = detector.label_scores(bars.sets["types"].texts)[0]
    for at, row in enumerate(each):
        assert row.what == f"AUC of {TYPES[::-1][at]}"
        assert row.value == pytest.approx(roc_auc_score(bars.sets["types"].labels, scores[:, at]))
        assert 0 <= row.rival <= 1
    assert mean.value == pytest.approx(np.mean([row.value for row in each]))
    assert mean.rival == pytest.approx(np.mean([row.rival for row in each]))


def test_a_pair_is_resampled_together(whole, fitted, halves, tmp_path):
    detector = fitted(FeatureSpec(("margin_max",), max_tokens=64), halves[0], label="toxic", negative="clean")
    one = Bars(detector, whole, tmp_path / "cache", limit=60)
    para = one.sets["para"]
    scores = np.array([record.score for record in detector.score(para.texts)])
    row = next(
        row for row in one.measured() if row.section.startswith("ParaDetox") and row.what.startswith("AUC")
    )
    assert len(para.texts) == 60
    assert row.interval == auc_interval(para.labels, scores, one.resamples, groups=para.groups)
    assert row.interval != auc_interval(para.labels, scores, one.resamples)


def test_a_bar_is_met_missed_or_not_judged():
    row = Measured("ours", "a set", "AUC", 9, 0.5)
    assert [row.at_least(0.5).met, row.at_most(0.4).met, row.between(0.4, 0.6).met] == [True, False, True]
    nothing = Measured("ours", "a set", "AUC", 0, None).at_least(0.5)
    assert nothing.met is None
    text = table([row.at_least(0.5), row.at_most(0.4), nothing], "of a test")
    assert "1 of 2 bars are met." in text
    assert "| ours | a set | AUC | 9 | 0.5000 |  | <= 0.4 | **missed** |  |  |" in text


def test_every_kind_of_the_forum_is_in_one_group(whole):
    forum = labeled_sets(whole, set())["forum"]
    assert sorted(set(forum.kinds.tolist())) == sorted(kind for kinds in GROUPS.values() for kind in kinds)


def test_a_file_of_numbers_left_out_is_validated(tmp_path):
    path = tmp_path / "left_out.json"
    assert read_left_out(None) == {}
    path.write_text(json.dumps({"toxicity": {"para": {"auc": 0.9, "interval": None}}}), "utf-8")
    assert read_left_out(path)["toxicity"]["para"]["auc"] == 0.9
    path.write_text(json.dumps({"toxicity": {"para": {"auc": 0.9}}}), "utf-8")
    with pytest.raises(BadTexts, match="without auc or interval"):
        read_left_out(path)
    path.write_text("[1", "utf-8")
    with pytest.raises(BadTexts, match=r"left_out.json cannot be read"):
        read_left_out(path)


def test_wrong_options_are_refused_before_anything_is_read(tmp_path, capsys):
    needed = ["--data", str(tmp_path), "--cache", str(tmp_path)]
    for options, words in (
        (["--limit", "0", "-o", "a.md"], "leaves no text"),
        (["-o", "a.txt"], "must end in .md"),
    ):
        with pytest.raises(SystemExit):
            main([*needed, *options])
        assert words in capsys.readouterr().err

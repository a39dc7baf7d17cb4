"""Tests detection/run.py: one table from one run, what is finished is kept, what is lacking says why."""

import json
from dataclasses import replace

import numpy as np
import pytest
from detection import controls, paper, plan, readings, run, scoring
from detection.data import TYPES, read_evaluation
from detection.plan import READY
from detection.rows import rows_of
from detection.table import BenchRow

from splinelens.errors import BadFeatures, CannotResume
from splinelens.features.spec import FeatureSpec


@pytest.fixture
def bench(data, loaded, tmp_path):
    def bench(only, *, data=data, **more):
        more = {"install": False, "model": loaded, **more}
        record = run.run(data, tmp_path / "out", tmp_path / "cache", only=only, **more)
        return record, [BenchRow.from_dict(row) for part in record["protocols"] for row in part["rows"]]

    return bench


@pytest.fixture(autouse=True)
def _few(monkeypatch):
    """Few resamples and representations: the numbers are tested elsewhere."""
    fitted = ("length", "words", "characters", "sentence encoder", "margins")
    monkeypatch.setattr(plan.Plan, "fitted", fitted)
    monkeypatch.setattr(controls, "PROMPTED", ())
    monkeypatch.setattr(run, "RESAMPLES", 20)
    monkeypatch.setattr(run, "QUICK_RESAMPLES", 15)
    monkeypatch.setattr(run, "TREND_RESAMPLES", 10)
    monkeypatch.setattr(readings, "TIMED_TEXTS", 1)


def test_each_representation_is_judged_on_every_test(bench, data, tmp_path):
    record, rows = bench(["transfer"])
    tests = {test.name for test in next(controls.transfer(plan.Plan(data, 1, len))).tests}
    margins = {row.test: row for row in rows if row.representation == "margins"}
    assert set(margins) == tests
    assert margins["paradetox"].pairs > 0.5
    assert margins["jig test"].auc > 0.6
    assert margins["jig test"].n == 60
    assert margins["jig test"].flagged == pytest.approx(1 / 30)  # 5 % of 30 is one and a half
    safe = margins["xstest safe"]
    assert (safe.n, safe.auc) == (10, None)
    assert 0 <= safe.flagged_interval[0] <= safe.flagged <= safe.flagged_interval[1]
    assert margins["jig test"].interval is not None
    assert margins["jig test"].latency_ms > 0
    assert (margins["jig test"].train_rows, margins["jig test"].dropped) == (39, 1)
    words = next(row for row in rows if row.representation == "words" and row.test == "jig test")
    assert words.auc > 0.9
    for name in READY:
        notes = {row.note for row in rows if row.representation == name}
        assert len(notes) == 1
        assert notes.pop().startswith("not run: ")
    assert json.loads((tmp_path / "out/bench.json").read_text()) == record
    assert "## transfer: trained on Jigsaw" in (tmp_path / "out/bench.md").read_text()
    assert record["repeats"]["jig"]["across_splits"] == 1


def test_a_run_again_fits_only_what_is_lacking(bench, tmp_path):
    seen = []
    first = bench(["own"])[1]
    again = bench(["own"], told=seen.append)[1]
    assert again == first
    assert {line.split(", ")[1].split(":")[0] for line in seen} == {"sentence encoder", *READY}
    kept = json.loads((tmp_path / "out/protocols/own.json").read_text())["rows"]
    assert [row for row in kept if row["n"]] == [row.to_dict() for row in first if row.n]


def test_a_detector_is_not_judged_on_rows_that_it_was_fitted_on(bench, data, fitted):
    spec = FeatureSpec(("hidden_max",), max_tokens=256, long="cut")
    rows = rows_of("raw", np.arange(60), np.arange(60) % 2)  # 40 training rows and 20 of the test
    found = bench(["own"], artifacts={"toxicity": fitted(spec, rows)})[1]
    ours = {row.test: row for row in found if row.representation == "toxicity"}
    assert (ours["jigsaw6-raw test"].n, ours["toxigen test"].n) == (40, 14)
    assert ours["jigsaw6-raw test"].note == "comes fitted; 20 rows it was fitted on left out"
    assert ours["toxigen test"].note == "comes fitted"
    assert ours["jigsaw6-raw test"].train == "these rows"


def test_rows_that_cannot_be_scored_are_counted_and_not_measured(bench, data, fitted):
    spec = FeatureSpec(("hidden_max",), max_tokens=256, long="cut")
    texts = data.sets["raw"].texts
    rows = rows_of("raw", np.arange(40), np.arange(40) % 2)
    blank = replace(data.sets["raw"], texts=("", *texts[1:50], None, *texts[51:]))
    more = {"artifacts": {"toxicity": fitted(spec, rows)}}
    found = bench(["own"], data=replace(data, sets={"raw": blank}), **more)[1]
    counts = {row.representation: (row.n, row.unscored) for row in found if row.n}
    assert counts["length"] == counts["margins"] == counts["toxicity"] == (59, 1)
    assert counts["words"] == (60, 0)


@pytest.mark.parametrize(
    "record", ["", "[1]", '{"rows": []}', '{"request": {}, "seconds": 1, "rows": [{"test": "a"}]}']
)
def test_a_malformed_record_counts_as_none(record, tmp_path):
    (tmp_path / "own.json").write_text(record)
    assert run._kept(tmp_path / "own.json", {"seed": 0}) == ([], 0.0)
    assert run._kept(tmp_path / "pairs.json", {"seed": 0}) == ([], 0.0)


def test_another_run_does_not_mix_with_one_that_is_kept(bench):
    bench(["labels"], quick=True)
    with pytest.raises(
        CannotResume, match=r"labels.json is of another run: seed was 0 and is 1\. Name another"
    ):
        bench(["labels"], quick=True, seed=1)


def test_a_quick_run_never_reads_a_set(bench, tmp_path):
    rows = bench(["pairs"], quick=True)[1]
    notes = {row.representation: row.note for row in rows}
    assert {row.resamples for row in rows} == {0, 15}
    assert notes["margins"] == "not run: para/prompted is not cached (0 of 80 rows)"
    assert notes["sentence encoder"] == "not run: embeddings of para are not cached"
    assert next(row for row in rows if row.representation == "characters").auc > 0.9
    assert not (tmp_path / "cache").exists()


def test_draws_are_averaged_and_labels_get_a_row_each(bench, monkeypatch):
    monkeypatch.setattr(paper, "SPLINE7", ("spline7 logistic",))
    rows = bench(["splits", "types"])[1]
    assert [row.test for row in rows if row.protocol == "splits"] == ["30 % of jig"] * 2
    tests = [row.test for row in rows if row.representation == "words"]
    assert len([row for row in rows if row.protocol == "types"]) == 3 * 7 + 1 + 7 + 1
    assert tests[:2] == ["jigsaw6-clean test", "jigsaw6-clean test: toxic"]
    assert len(tests) == 7


def test_the_detectors_of_types_and_of_domains_are_judged_on_each_label(bench, data, fitted, monkeypatch):
    monkeypatch.setattr(plan.Plan, "fitted", ())
    for name in ("SPLINE7", "COUNTS", "HIDDEN", "ENCODED"):
        monkeypatch.setattr(paper, name, ())
    spec = FeatureSpec(("spline7",), max_tokens=64, long="cut")
    whole = plan.Plan(data, 3, len)
    trains = {"types": next(paper.types(whole)).train, "domain": whole.domains()[0]}
    artifacts = {
        name: fitted(spec, rows, task="labels", label=rows.kinds, strengths=(1e-1,))
        for name, rows in trains.items()
    }
    found = bench(["types", "domains"], artifacts=artifacts)[1]
    assert [row.test for row in found if row.representation == "types"] == [
        "jigsaw6-clean test",
        *(f"jigsaw6-clean test: {label}" for label in TYPES),
    ]
    places = {row.test: row for row in found if row.representation == "domain"}
    assert "domains 30 %, 64 tokens each: rivers" in places
    assert all(row.n and row.auc is not None for row in places.values())


def test_what_has_too_few_rows_says_so_and_the_rest_is_measured(bench, monkeypatch):
    monkeypatch.setattr(scoring, "STRENGTHS", (1e-2,))
    monkeypatch.setattr(paper, "SPLINE7", ("spline7 logistic",))
    for name in ("ENCODED", "HIDDEN", "PLACED"):
        monkeypatch.setattr(paper, name, ())
    rows = bench(["domains", "labels", "left-out"])[1]
    notes = {(row.protocol, row.train, row.representation): row.note for row in rows if not row.n}
    assert {protocol for protocol, *_ in notes} == {"labels"}
    few = notes["labels", "jig train, 1% of labels", "spline7 logistic"]
    assert few.startswith("not run: BadLabels: none of the 39 training rows has a label")
    whole = [row for row in rows if row.train == "jig train, 100% of labels"]
    assert [row.auc is not None for row in whole] == [True] * 3


def test_a_protocol_whose_sets_are_missing_says_so_and_the_rest_runs(bench, folder):
    (folder / "jigsaw-test-binary-12k/jigsaw_test_balanced.csv").unlink()
    rows = bench(["mixed", "own"], data=read_evaluation(folder), quick=True)[1]
    assert rows[0].note == "not run: the data folder lacks jig"
    assert sum(row.n > 0 for row in rows) == 3 * 3  # length, words and characters of three sets


def test_a_protocol_that_does_not_exist_is_refused(bench):
    with pytest.raises(BadFeatures, match="no protocol speed; there are splits, domains, types, mixed"):
        bench(["speed"])

"""Tests detection/run.py and table.py: one table; finished rows are kept; what is missing says why."""

import io
from dataclasses import replace

import numpy as np
import pytest
from detection import run
from detection.data import TYPES, read_evaluation
from detection.measures import Numbers
from detection.protocols import FITTED, QUICK, READY
from detection.rows import rows_of
from detection.table import COLUMNS, Row, terminal_table
from rich.console import Console

from splinelens.errors import CannotResume
from splinelens.features.spec import FeatureSpec

SPEC = FeatureSpec(("hidden_max",), max_tokens=256, long="cut")


@pytest.fixture
def bench(data, loaded, tmp_path, monkeypatch):
    monkeypatch.setattr(run, "RESAMPLES", 20)

    def bench(*only, data=data, **more):
        more = {"install": False, "model": loaded, "detectors": {}, **more}
        return run.run(data, tmp_path / "out", tmp_path / "cache", only=only, **more)

    return bench


@pytest.fixture
def ours(fitted):
    """A detector fitted on 60 rows of ``raw``, of which 20 are test rows."""
    return fitted(SPEC, rows_of("raw", np.arange(60), np.arange(60) % 2))


def test_every_contender_is_measured_on_every_test(bench, tmp_path, ours):
    rows = bench("transfer", detectors={"toxicity": ours})
    margins = {row.test: row for row in rows if row.representation == "margins"}
    assert margins["paradetox"].numbers.pairs > 0.5
    jig = margins["jig test"]
    assert (jig.numbers.n, jig.train_rows, jig.dropped) == (60, 39, 1)
    assert jig.numbers.flagged == pytest.approx(1 / 30)  # 5 % of 30 is one and a half
    assert jig.numbers.interval is not None
    safe = margins["xstest safe"].numbers
    assert (safe.n, safe.auc) == (10, None)
    assert 0 <= safe.flagged_interval[0] <= safe.flagged <= safe.flagged_interval[1]
    toxicity = {row.test: row for row in rows if row.representation == "toxicity"}
    assert toxicity["jig test"].numbers.recall_5 > 0
    assert toxicity["hatecheck identity mentions"].numbers.fpr_5 is not None
    assert toxicity["jig test"].latency_ms > 0
    measured = {row.representation for row in rows if row.numbers.n}
    assert measured == {*FITTED, "toxicity"} - {"sentence encoder"}
    notes = {row.representation: row.note for row in rows if not row.numbers.n}
    assert set(notes) == {"sentence encoder", *READY} - {"toxicity"}
    assert all(note.startswith("not run: ") for note in notes.values())
    page = (tmp_path / "out/bench.md").read_text()
    assert "## transfer: trained on Jigsaw" in page
    assert "| jig | 100 | 1 | 1 | 0 |" in page
    assert "hatecheck: AUC" in page.split("## Summary")[1].splitlines()[2]


def test_a_second_run_fits_only_what_is_missing_and_another_run_is_refused(bench, tmp_path):
    lines, again = [], []
    first = bench("labels", quick=True, report=lines.append)
    path = tmp_path / "out/rows.jsonl"
    path.write_text(path.read_text() + '{"key": "cut')  # by a kill
    assert bench("labels", quick=True, report=again.append) == first
    measured = {f"{row.protocol}/{row.train}/{row.representation}" for row in first if row.numbers.n}
    assert measured
    assert {line.rsplit(": ", 1)[0] for line in lines} - {
        line.rsplit(": ", 1)[0] for line in again
    } == measured
    with pytest.raises(CannotResume, match=r"rows.jsonl holds rows of another run"):
        bench("labels", quick=True, seed=1)


def test_a_quick_run_never_reads_a_set(bench, ours, tmp_path):
    rows = bench("own", quick=True, detectors={"toxicity": ours})
    assert {row.note for row in rows if row.representation == "toxicity"} == {
        "not run: toxigen/plain is not cached",
        "not run: tweet/plain is not cached",
        "not run: raw/plain is not cached",
    }
    assert {row.representation for row in rows if row.numbers.n} == {"length", "words", "characters"}
    assert not (tmp_path / "cache").exists()


def test_own_rows_are_left_out_and_counted(bench, data, ours):
    only = replace(data, sets={"raw": data.sets["raw"]})
    rows = {row.representation: row for row in bench("own", data=only, detectors={"toxicity": ours})}
    assert (rows["toxicity"].numbers.n, rows["toxicity"].unscored) == (40, 0)
    assert rows["toxicity"].note == "comes fitted; 20 rows it was fitted on left out"
    assert rows["toxicity"].train == "these rows"


def test_rows_that_cannot_be_scored_are_counted_and_not_measured(bench, data):
    texts = data.sets["raw"].texts
    blank = replace(data.sets["raw"], texts=("", *texts[1:50], None, *texts[51:]))
    rows = bench("own", data=replace(data, sets={"raw": blank}))
    counts = {row.representation: (row.numbers.n, row.unscored) for row in rows if row.numbers.n}
    assert counts["length"] == counts["margins"] == (59, 1)
    assert counts["words"] == (60, 0)


def test_each_label_gets_a_row_besides_the_mean(bench):
    rows = bench("types", quick=True)
    assert [row.test for row in rows if row.representation == "words"] == [
        title
        for test in ("jigsaw6-raw test", "jigsaw6-clean test")
        for title in (test, *(f"{test}: {name}" for name in TYPES))
    ]


def test_a_protocol_whose_sets_are_missing_says_so(bench, folder):
    (folder / "jigsaw-test-binary-12k/jigsaw_test_balanced.csv").unlink()
    rows = bench("mixed", "own", data=read_evaluation(folder), quick=True)
    assert rows[0].note == "not run: jig is missing"
    assert {row.representation for row in rows if row.numbers.n} == set(QUICK[:1]) | {"words", "characters"}


def test_a_row_survives_json_and_shows_its_numbers_without_markup():
    numbers = Numbers(1200, 600, 0.97514, (0.968, 0.981), 0.5, 0.0123, 0.99, 0.051, (0.04, 0.0625), 0.01, 0.6)
    row = Row("pairs", "[bold]a", "b", "margins", numbers, 2, 0.25, 4000, 3, 10_000, "a note")
    assert Row.from_dict(row.to_dict()) == row
    assert [cell(row) for cell, _ in COLUMNS.values()] == [
        *("[bold]a", "b", "margins", "1,200", "2", "97.51", "96.8 to 98.1", "50.0", "99.0"),
        *("5.1 (4.0 to 6.2)", "1.0 / 60.0", "", "0.012", "0.25"),
        "a note; 3 training rows dropped: in the test",
    ]
    console = Console(width=240, record=True, file=io.StringIO())
    console.print(terminal_table("pairs", [row]))
    assert "[bold]a" in console.export_text()

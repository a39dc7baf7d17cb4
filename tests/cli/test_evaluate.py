"""Tests ``cli/evaluate.py``: the numbers, their stable keys, and what is refused."""

import csv
import json
import re
from dataclasses import replace

import pytest

from splinelens.detect.artifact import Artifact
from splinelens.detect.metrics import Evaluation
from splinelens.detect.span_metrics import SpanEvaluation


@pytest.fixture
def evaluate(run, detector, comments):
    def evaluate(*more, file=comments, label="toxic", code=0):
        options = ["--column", "comment", "--label", label]
        if "--split" not in more:
            options.append("--allow-training-rows")
        return run("evaluate", detector, file, *options, *more, code=code)

    return evaluate


def test_json_has_the_numbers_and_the_run(evaluate, comments):
    result = evaluate("--split", "split=test", "--json")
    numbers = json.loads(result.stdout)
    keys = [*Evaluation.__dataclass_fields__, "detector", "source", "rows"]
    assert list(numbers) == [*keys, "training_rows", "seconds", "device", "provenance"]
    assert numbers["training_rows"] == 0
    assert numbers["auc"] > 0.9
    assert (numbers["n"], numbers["rows"], numbers["positives"]) == (40, 40, 20)
    assert (numbers["detector"], numbers["source"], numbers["device"]) == ("tiny", str(comments), "cpu")
    assert numbers["provenance"]["fingerprint"]["dtype"] == "float32"
    assert set(numbers["recall_at_fpr"]) == {"0.01", "0.05"}
    assert set(numbers["at_threshold"]) == {"0.001", "0.01", "0.05"}


def test_lines_for_eyes_show_length_alone_below_the_auc(evaluate, comments):
    shown = evaluate().stdout.splitlines()
    assert shown[0].startswith(f"tiny on {comments}, ")
    place = next(place for place, line in enumerate(shown) if line.startswith("AUC "))
    assert shown[place + 1].startswith("AUC of length alone")
    assert "120, 60 of them toxic" in shown[1]


def test_another_positive_value_turns_the_numbers_around(evaluate):
    one = json.loads(evaluate("--positive", "rude", "--json", label="kind").stdout)
    other = json.loads(evaluate("--positive", "kind", "--json", label="kind").stdout)
    assert one["auc"] + other["auc"] == pytest.approx(1)


def test_unread_texts_are_counted_apart(evaluate, comments, tmp_path):
    (tmp_path / "a.csv").write_text(comments.read_text() + '120,"",1,rude,test\n')
    numbers = json.loads(evaluate("--json", file=tmp_path / "a.csv").stdout)
    assert (numbers["rows"], numbers["n"], numbers["undetermined"]) == (121, 120, 1)


def test_cut_texts_are_counted_and_their_scores_count(evaluate, tmp_path):
    cut = ("--long", "cut", "--max-tokens", 6)
    numbers = json.loads(evaluate("--json", *cut).stdout)
    assert 0 < numbers["cut"] <= numbers["n"] == 120
    assert json.loads(evaluate("--json").stdout)["cut"] == 0
    assert f"cut, scored by their beginning  {numbers['cut']}" in evaluate(*cut).stdout
    page = tmp_path / "a.html"
    more = ("--no-evasion", "--report", page, "--json")
    assert json.loads(evaluate(*cut, *more).stdout)["cut"] == numbers["cut"]
    note = f"- {numbers['cut']} rows were cut and are scored by their beginning"
    assert note in page.with_suffix(".md").read_text("utf-8").splitlines()


def test_names_cannot_move_the_cursor(evaluate, comments, detector):
    replace(Artifact.load(detector), name="a\x1b[2Jb").save(detector)
    assert evaluate("--quiet").stdout.startswith(f"a␛[2Jb on {comments}, ")


def test_a_split_is_a_column_and_a_value(evaluate):
    assert "is not COLUMN=VALUE, such as split=test" in evaluate("--split", "split=", code=2).stderr
    assert json.loads(evaluate("--split", "split", "--json").stdout)["rows"] == 40
    message = evaluate("--split", "split=dev", code=1).stderr
    assert "column 'split' is never 'dev'; it holds 'train' (80 rows), 'test' (40 rows)" in message
    assert "no column 'fold'" in evaluate("--split", "fold=test", code=1).stderr


def test_one_class_and_wrong_labels_are_refused(evaluate, tmp_path):
    (tmp_path / "one.csv").write_text("comment,toxic\nyou,0\nme,0\n")
    assert "is 0 in all 2 rows" in evaluate(file=tmp_path / "one.csv", code=1).stderr
    (tmp_path / "missing.csv").write_text("comment,toxic\nyou,\nme,\n")
    assert "is missing in all 2 rows; choose" in evaluate(file=tmp_path / "missing.csv", code=1).stderr


def test_rows_without_a_label_are_left_out_with_a_word(evaluate, comments, tmp_path):
    (tmp_path / "a.csv").write_text(comments.read_text() + "120,well then,,rude,test\n")
    result = evaluate("--split", "split=test", "--json", file=tmp_path / "a.csv")
    assert json.loads(result.stdout)["rows"] == 40
    assert "1 of 41 rows left out: their label is missing" in result.stderr


def test_rows_that_it_was_fitted_on_are_refused_with_their_count(run, detector, comments, caplog):
    command = ["evaluate", detector, comments, "--column", "comment", "--label", "toxic"]
    message = run(*command, code=1).stderr
    assert f"{comments}: 80 of 120 rows were in the training data of detector tiny" in message
    assert "--allow-training-rows" in message
    allowed = run(*command, "--allow-training-rows", "--json")
    assert json.loads(allowed.stdout)["training_rows"] == 80
    assert caplog.messages == ["80 of 120 rows were in the training data of detector tiny"]


def test_a_prevalence_is_recorded_and_moves_thresholds(evaluate):
    plain, moved = (json.loads(evaluate("--json", *more).stdout) for more in ((), ("--prevalence", "0.02")))
    assert moved["provenance"]["prevalence"] == 0.02
    assert "prevalence" not in plain["provenance"]
    assert moved["auc"] == plain["auc"]
    assert moved["at_threshold"]["0.05"]["score"] < plain["at_threshold"]["0.05"]["score"]
    assert "no share" in evaluate("--prevalence", "0", code=2).stderr


def test_suspects_are_written_on_request_and_never_over_a_file(evaluate, comments, tmp_path):
    file = tmp_path / "suspects.csv"
    result = evaluate("--suspects", file, "--json")
    assert json.loads(result.stdout) | {"seconds": 0} == json.loads(evaluate("--json").stdout) | {
        "seconds": 0
    }
    assert f"wrote {file}, with texts" in result.stderr
    assert file.read_text().splitlines()[0] == "row,kind,label,given,suggested,score,text"
    assert "suspects.csv: it exists" in evaluate("--suspects", file, code=2).stderr
    assert "comments.csv" in evaluate("--suspects", comments, "--overwrite", code=2).stderr


def test_the_score_of_a_suspect_is_the_one_that_score_gives(run, evaluate, detector, comments, tmp_path):
    header, *rows = comments.read_text().splitlines()
    rows[1] = rows[1].replace(",1,rude", ",0,rude")
    rows[2] = rows[2].replace(",0,kind", ",1,kind")
    file, suspects = tmp_path / "flipped.csv", tmp_path / "suspects.csv"
    file.write_text("\n".join([header, *rows]) + "\n")
    evaluate("--suspects", suspects, file=file)
    scored = run("score", file, "-c", "comment", "-d", detector, "--json").stdout.splitlines()
    with suspects.open(newline="") as lines:
        found = {row["row"]: row for row in csv.DictReader(lines)}
    assert [found["1"][name] for name in ("label", "given", "suggested")] == ["toxic", "clean", "toxic"]
    assert [found["2"][name] for name in ("label", "given", "suggested")] == ["toxic", "toxic", "clean"]
    for row in found.values():
        assert float(row["score"]) == pytest.approx(json.loads(scored[int(row["row"])])["score"], abs=1e-4)


@pytest.fixture
def marked(tmp_path):
    """Texts whose rude word is marked."""
    lines = ["comment,spans,split"]
    for row in range(60):
        text = f"you {('idiot', 'fool', 'trash')[row % 3]} the garden {row}"
        end = text.index(" the")
        lines.append(f'{text},"{list(range(4, end))}",{("train", "test")[row % 2]}')
    (tmp_path / "marked.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "marked.csv"


def test_explanations_are_measured_against_marked_characters(run, detector, marked):
    command = ("evaluate", detector, marked, "--column", "comment", "--spans", "spans")
    numbers = json.loads(run(*command, "--json").stdout)
    keys = [*SpanEvaluation.__dataclass_fields__, "detector", "source", "rows"]
    assert list(numbers) == [*keys, "training_rows", "seconds", "device", "provenance"]
    assert (numbers["n"], numbers["limit"], numbers["word_auc_texts"]) == (60, 0.25, 60)
    assert 0.5 < numbers["word_auc"] < 1
    shown = re.sub(" {2,}", " | ", run(*command, "--split", "split").stdout)
    assert "\ntexts | 30\n" in shown
    assert "marked | words that add at least 0.25 to the logit" in shown
    replace(Artifact.load(detector), word_limit=50.0).save(detector)
    shown = re.sub(" {2,}", " | ", run(*command).stdout)
    assert "marked | words that add at least 50 to the logit" in shown
    assert "character F1 | 0.0000" in shown


def test_what_does_not_fit_marked_characters_is_refused(run, detector, marked, tmp_path):
    command = ("evaluate", detector, marked, "--column", "comment")
    for more in (
        ("--label", "x"),
        ("--group", "split"),
        ("--report", tmp_path / "a.html"),
        ("--suspects", tmp_path / "a.csv"),
    ):
        told = " ".join(run(*command, "--spans", "spans", *more, code=2).stderr.split())
        assert "explanations are measured by themselves" in told
    assert "no column 'toxic'" in run(*command, "--spans", "toxic", code=1).stderr
    assert "is no list of character offsets" in run(*command, "--spans", "split", code=1).stderr


def test_groups_give_an_auc_within_them(evaluate, comments, tmp_path):
    lines = comments.read_text().splitlines()
    authors = ["author", *(f"author {row // 4}" for row in range(len(lines) - 1))]
    path = tmp_path / "grouped.csv"
    path.write_text("\n".join(f"{line},{author}" for line, author in zip(lines, authors, strict=True)))
    numbers = json.loads(evaluate("--group", "author", "--json", file=path).stdout)
    within = numbers["within_groups"]
    assert (within["groups"], within["mixed"], within["pairs"]) == (30, 30, 120)
    assert within["auc"] > 0.9
    assert numbers["provenance"]["groups"] == {"column": "author", "groups": 30, "missing": 0}
    assert "AUC within groups" in evaluate("--group", "author", file=path).stdout
    assert json.loads(evaluate("--json", file=path).stdout)["within_groups"] is None
    assert (
        "all 120 rows are of one group"
        in evaluate("--group", "all", file=_with_column(path, "all", "x"), code=1).stderr
    )


def _with_column(path, name, value):
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([f"{header},{name}", *(f"{row},{value}" for row in rows)]))
    return path


def test_a_report_has_groups_too(evaluate, comments, tmp_path):
    page = tmp_path / "page.html"
    evaluate("--group", "kind", "--report", page, "--no-evasion")
    record = json.loads(page.with_suffix(".json").read_text("utf-8"))
    assert record["provenance"]["groups"] == {"column": "kind", "groups": 2, "missing": 0}
    assert record["metrics"]["within_groups"]["auc"] is None
    shown = evaluate("--group", "kind").stdout
    assert shown.count("(too few groups for an interval: 2, and 10 are needed)") > 3
    assert "2 groups are fewer than 10: no bootstrap interval is given" in record["notes"]
    assert "| AUC within groups | no pair |" in page.with_suffix(".md").read_text("utf-8")

"""Tests ``cli/train.py``: what is fitted, printed, written, kept and refused."""

import csv
import json
import re

import pytest

from splinelens.apps import training
from splinelens.detect.artifact import Artifact


@pytest.fixture
def fit(run, comments, model_folder, tmp_path):
    """Runs train with the usual options and more, into a folder of this test."""

    def fit(*more, label="toxic", column="comment", file=comments, code=0):
        options = ["--column", column, "--label", label, "--model", model_folder, "--max-tokens", 64]
        return run("train", file, *options, "-o", tmp_path / "out", "--overwrite", *more, code=code)

    return fit


def test_a_detector_and_its_card_are_written_and_the_numbers_are_printed(fit, tmp_path):
    shown = fit("--split", "split").stdout
    artifact = Artifact.load(tmp_path / "out")
    numbers = artifact.metrics["out_of_fold"]
    assert numbers["auc"] > 0.9
    assert f"{numbers['auc']:.4f}" in shown
    assert re.search(rf"AUC of length alone +{numbers['length_auc']:.4f}", shown)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "CARD.md",
        "TRAINING.md",
        "detector.json",
        "detector.safetensors",
        "suspects.csv",
    ]
    report = (tmp_path / "out" / "TRAINING.md").read_text("utf-8")
    assert "## Would more rows help?" in report
    assert (tmp_path / "out" / "suspects.csv").read_text("utf-8").startswith("row,kind,label,")


def test_names_and_verdicts_have_the_promised_defaults(fit, tmp_path):
    fit()
    artifact = Artifact.load(tmp_path / "out")
    assert (artifact.name, artifact.labels, artifact.negative) == ("out", ("toxic",), "clean")
    fit("--positive", "rude", label="kind")
    artifact = Artifact.load(tmp_path / "out")
    assert (artifact.labels, artifact.negative) == (("rude",), "kind")
    fit(
        "--positive",
        "rude",
        "--label-name",
        "rude",
        "--negative-name",
        "fine",
        "--name",
        "mine",
        label="kind",
    )
    artifact = Artifact.load(tmp_path / "out")
    assert (artifact.name, artifact.labels, artifact.negative) == ("mine", ("rude",), "fine")


def test_only_rows_of_the_split_are_used(fit, tmp_path):
    fit("--split", "split")
    assert Artifact.load(tmp_path / "out").training["rows"] == 80
    fit("--split", "split=test")
    assert Artifact.load(tmp_path / "out").training["rows"] == 40
    message = fit("--split", "split=dev", code=1).stderr
    assert "column 'split' is never 'dev'; it holds 'train' (80 rows), 'test' (40 rows)" in message
    assert "such as split=train" in fit("--split", "split=", code=2).stderr
    assert "No such option" in fit("--split", "split", "--train-value", "test", code=2).stderr


def test_suspects_and_contradictions_have_the_row_numbers_of_the_file(fit, run, comments, tmp_path):
    head, *rows = comments.read_text().splitlines()
    unlabeled, elsewhere = "900,you sunny garden,,kind,train", "901,the sunny trash,1,rude,dev"
    twice = [f"90{row},so it is and so it stays,{row % 2},kind,train" for row in (2, 3)]
    file = tmp_path / "more.csv"
    file.write_text("\n".join([head, unlabeled, *twice, elsewhere, "", *rows]) + "\n")
    fit("--split", "split=train", file=file)
    with (tmp_path / "out" / "suspects.csv").open(newline="") as found:
        listed = [row["row"] for row in csv.DictReader(found) if row["kind"] == "contradiction"]
    assert listed == ["1", "2"]
    scored = run("score", file, "--detector", tmp_path / "out", "--column", "comment", "--json").stdout
    assert [json.loads(line)["row"] for line in scored.splitlines()] == list(range(124))
    assert "at rows 1, 2." in (tmp_path / "out" / "TRAINING.md").read_text("utf-8")


def test_layers_features_and_a_prompt_reach_the_spec(fit, tmp_path):
    options = ["--features", "spline7,length", "--layers", "0,2", "--prompt", r"Rude?\n"]
    shown = fit(*options, "--split", "split").stdout
    artifact = Artifact.load(tmp_path / "out")
    assert artifact.spec["layers"] == [0, 2]
    assert artifact.spec["prompt"] == "Rude?\n"
    assert artifact.columns[-1] == ("length", 1)
    assert "15 numbers per text" in shown


def test_suspects_have_their_texts_in_a_file_of_their_own_on_request(fit, tmp_path):
    fit("--split", "split", "--suspects", tmp_path / "mine.csv")
    with_texts = (tmp_path / "mine.csv").read_text("utf-8").splitlines()
    without = (tmp_path / "out" / "suspects.csv").read_text("utf-8").splitlines()
    assert [line.rpartition(",")[0] for line in with_texts] == without
    assert with_texts[0].endswith(",text")


def test_scores_go_by_the_length_of_a_text_on_request(fit, tmp_path):
    fit("--by-length", "0.5")
    half = Artifact.load(tmp_path / "out")
    assert len(half.calibrations[0].by_length) > 1
    assert "--by-length 0.5" in half.command
    assert "Scores take the length of a text into account" in (tmp_path / "out" / "CARD.md").read_text(
        "utf-8"
    )
    fit("--by-length", "1")
    whole = Artifact.load(tmp_path / "out")
    for (tokens, offset), (same, twice) in zip(
        half.calibrations[0].by_length, whole.calibrations[0].by_length, strict=True
    ):
        assert (tokens, offset) == (same, pytest.approx(twice / 2))
    assert "--by-length" in fit("--by-length", "2", code=2).stderr


def test_the_card_holds_the_command_as_typed(fit, comments, tmp_path):
    fit("--split", "split", "--prompt", r"Rude?\n", "--keep-features")
    card = (tmp_path / "out" / "CARD.md").read_text("utf-8")
    assert (
        f"    splinelens train {comments} --label toxic --output {tmp_path / 'out'} --column comment" in card
    )
    assert r"--prompt 'Rude?\n'" in card
    assert "--keep-features" in card
    assert "--seed" not in card
    assert f"    {Artifact.load(tmp_path / 'out').command}\n" in card


def test_a_detector_normalizes_as_it_was_trained(fit, run, tmp_path):
    fit("--split", "split", "--normalize")
    assert Artifact.load(tmp_path / "out").spec["normalize"] is True
    assert " --normalize" in (tmp_path / "out" / "CARD.md").read_text("utf-8")
    typed = ["--text", "you idiot", "--text", "y\u200bоu idiоt", "--detector", tmp_path / "out", "--json"]
    plain, disguised = map(json.loads, run("score", *typed, "--explain").stdout.splitlines())
    assert plain["score"] == pytest.approx(disguised["score"], rel=1e-4)
    assert disguised["spans"][-1]["end"] == len("y\u200bоu idiоt")
    fit("--split", "split", "--no-normalize")
    assert "normalize" not in Artifact.load(tmp_path / "out").spec
    assert " --no-normalize" in (tmp_path / "out" / "CARD.md").read_text("utf-8")


def test_kept_features_are_used_again_and_only_for_the_same_question(fit, tmp_path, monkeypatch):
    from splinelens.features.reader import TextReader

    fit("--keep-features", "--split", "split")
    kept = (tmp_path / "out" / "features.parquet").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(TextReader, "map", lambda *_, **__: pytest.fail("read again"))
        fit("--keep-features", "--split", "split", "--seed", 7)
    assert (tmp_path / "out" / "features.parquet").read_bytes() == kept
    read = []
    plain = TextReader.map
    monkeypatch.setattr(TextReader, "map", lambda *a, **k: read.append(1) or plain(*a, **k))
    fit("--split", "split", "--layers", "1")
    assert read
    assert (tmp_path / "out" / "features.parquet").read_bytes() != kept  # of the new question, still kept


def test_the_same_command_gives_the_same_detector(fit, tmp_path):
    fit("--split", "split")
    first = (tmp_path / "out" / "detector.safetensors").read_bytes()
    fit("--split", "split")
    assert (tmp_path / "out" / "detector.safetensors").read_bytes() == first


def test_ctrl_c_keeps_what_is_finished_and_says_where(fit, tmp_path, monkeypatch):
    from splinelens.features.reader import TextReader

    def stop(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TextReader, "map", stop)
        message = fit(code=130).stderr
    file = tmp_path / "out" / "unfinished.parquet"
    assert "Stopped. No row is kept yet; the same command starts from the first." in message
    with monkeypatch.context() as patch:
        patch.setattr(training, "fit", stop)
        message = fit(code=130).stderr
    assert f"Stopped. All features are kept in {file}; run the same command to continue." in message
    with monkeypatch.context() as patch:
        patch.setattr(TextReader, "map", lambda *_, **__: pytest.fail("read again"))
        fit()
    assert not list((tmp_path / "out").glob("*.parquet*"))


def test_cut_rows_are_counted_and_printed(fit, tmp_path):
    shown = fit("--split", "split", "--long", "cut", "--max-tokens", 6).stdout
    training = Artifact.load(tmp_path / "out").training
    assert training["cut"] > 0
    assert re.search(rf"cut, scored by their beginning +{training['cut']}\b", shown)
    assert "cut, scored" not in fit("--split", "split").stdout


def test_a_missing_column_names_those_there(fit):
    message = fit(label="toxcity", code=1).stderr
    assert "no column 'toxcity'; it has 'id', 'comment', 'toxic', 'kind', 'split'" in message
    message = fit(column="coment", code=1).stderr
    assert "no column 'coment'" in message
    assert "Try --column comment" in message


def test_labels_of_another_kind_point_to_positive(fit):
    message = fit(label="kind", code=1).stderr
    assert "label 'kind' holds 'kind', 'rude', where 0/1, true/false or only yes/no is read" in message
    assert "--positive VALUE" in message


def test_one_class_only_is_refused(fit, tmp_path):
    file = tmp_path / "one.csv"
    file.write_text("comment,toxic\n" + "you fool,1\n" * 8)
    assert "label 'toxic' is 1 in all 8 rows" in fit(file=file, code=1).stderr


def test_names_that_are_not_utf8_are_stored_escaped(fit, comments, tmp_path):
    file = tmp_path / "caf\udce9.csv"
    file.write_bytes(comments.read_bytes())
    fit("--language", "\ud800", file=file)
    training = Artifact.load(tmp_path / "out").training
    assert training["languages"] == ["\\ud800"]
    assert training["sources"][0].endswith("caf\\udce9.csv")


def test_verdicts_must_differ(fit):
    assert "must differ" in fit("--negative-name", "toxic", code=1).stderr
    assert "must differ" in fit("--label-name", "undetermined", code=1).stderr


def test_an_unknown_model_names_the_nearest(fit):
    assert "smollm2-135m" in fit("--model", "smollm-135m", code=1).stderr


def test_the_manifest_records_where_the_texts_came_from(fit, comments, tmp_path):
    fit("--split", "split")
    manifest = json.loads((tmp_path / "out" / "detector.json").read_text())
    assert manifest["training"]["sources"] == [f"{comments} (split = train)"]


@pytest.fixture
def grouped(comments, tmp_path):
    """The comments with a column of authors, four rows each, one without."""
    lines = comments.read_text().splitlines()
    authors = ["author", "", *(f"author {row // 4}" for row in range(1, len(lines) - 1))]
    path = tmp_path / "grouped.csv"
    path.write_text("\n".join(f"{line},{author}" for line, author in zip(lines, authors, strict=True)))
    return path


def test_groups_are_kept_whole_and_named(fit, grouped, tmp_path, caplog):
    result = fit("--group", "author", file=grouped)
    artifact = Artifact.load(tmp_path / "out")
    assert artifact.training["groups"] == {"column": "author", "groups": 31, "missing": 1}
    assert "--group author" in artifact.command
    assert "1 of 120 rows have no group 'author'" in caplog.text
    assert re.search(r"groups, resampled whole +31, 30 with rows of both classes", result.stdout)
    assert re.search(r"AUC within groups +\d\.\d{4} ", result.stdout)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("writer", "has no column 'writer'"),
        ("id", "no two of 120 rows have the same group 'id'"),
        ("kind", "all 60 positive rows are in one group"),
    ],
)
def test_groups_that_hold_nothing_together_are_refused(fit, grouped, column, said):
    assert said in fit("--group", column, file=grouped, code=1).stderr


def test_hyperplanes_are_learned_on_request(fit, run, comments, tmp_path):
    result = fit("--split", "split", "--directions", 8, "--layers", "0-1")
    artifact = Artifact.load(tmp_path / "out")
    assert (len(artifact.directions), artifact.directions.weight.shape[1]) == (8, 2)
    assert artifact.metrics["out_of_fold"]["auc"] > 0.6
    assert "out: linear, directions = 8, epochs = 50, 16 numbers per text" in result.stdout
    assert "would learn its hyperplanes anew" in result.stdout
    assert not list((tmp_path / "out").glob("*.parquet*"))
    scored = run(
        "score", comments, "--column", "comment", "--detector", tmp_path / "out", "--explain", "--json"
    )
    assert len(json.loads(scored.stdout.splitlines()[0])["spans"]) > 0
    test = ["--column", "comment", "--label", "toxic", "--split", "split"]
    assert "AUC" in run("evaluate", tmp_path / "out", comments, *test).stdout


@pytest.mark.parametrize("other", ["--features=margins", "--pooling=mean", "--keep-features"])
def test_options_that_say_nothing_beside_directions_are_wrong_usage(fit, other, tmp_path):
    message = " ".join(fit("--directions", 8, other, code=2).stderr.replace("│", " ").split())
    assert f"{other.partition('=')[0]}: leave it out with --directions" in message
    assert not (tmp_path / "out").exists()
    assert "no whole number from 0 to 4,096" in fit("--directions", 4097, code=2).stderr


def test_ctrl_c_while_directions_are_learned_keeps_nothing(fit, tmp_path, monkeypatch):
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "read_inputs", stop)
    message = fit("--directions", 8, "--layers", "0-1", code=130).stderr
    assert "With --directions nothing is kept; the same command starts from the first row." in message
    assert not (tmp_path / "out").exists()

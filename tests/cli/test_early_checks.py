"""Options are checked before a model is loaded: here none can be, so an error of the model would show."""

import pytest

NOWHERE = ["--model", "owner/nowhere"]


@pytest.mark.parametrize(
    ("arguments", "words", "code"),
    [
        (["--detector", "toxicity-fast", "--fpr", "5"], "is no share between 0 and 1", 2),
        (["--fpr", "nan"], "is no share between 0 and 1", 2),
        (["--explain-label", " "], "name a label", 2),
        (["--json", "--keep", " ,"], "name a column", 2),
        (["--detector", "toxicity-fast", "--threshold", "7"], "--threshold", 2),
        (["--detector", "toxicity-fast", "--explain-label", "kind"], "has no label 'kind'", 2),
        (["--detector", "domain", "--explain"], "cannot be explained", 1),
        (["--detector", "domain", "--fpr", "0.05"], "the one with the highest score", 2),
        (["--detector", "nothing"], "no detector and no folder 'nothing'", 1),
        (["--output", "missing/scores.csv"], "there is no folder", 1),
    ],
    ids=[
        "fpr",
        "nan",
        "no-label",
        "no-column",
        "threshold",
        "label",
        "explain",
        "classes",
        "detector",
        "folder",
    ],
)
def test_score_checks_its_options_first(run, arguments, words, code):
    result = run("score", "--text", "good day", *NOWHERE, *arguments, code=code)
    assert words in " ".join(result.output.replace("│", " ").split())
    assert "owner/nowhere" not in result.output


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["extract", "COMMENTS", "-o", "OUT.parquet", "-c", "comment", "-f", "nope"], "nope"),
        (["extract", "COMMENTS", "-o", "OUT.parquet", "-c", "nope"], "nope"),
        (["extract", "COMMENTS", "-o", "OUT.parquet", "-c", "comment", "--eps", "2"], "eps"),
        (["train", "COMMENTS", "-o", "OUT", "-c", "comment", "-l", "toxic", "-f", "nope"], "nope"),
        (["train", "COMMENTS", "-o", "OUT", "-c", "comment", "-l", "nope"], "nope"),
        (["evaluate", "toxicity-fast", "COMMENTS", "-c", "comment", "-l", "nope"], "nope"),
        (["inspect", "good day", "--layers", "0-2", "--slice", "9:0,1,2"], "no slice at layer 9"),
        (["inspect", "good day", "--reference", "missing"], "missing"),
        (["inspect", "good day", "--eps", "2"], "eps"),
    ],
    ids=lambda value: "-".join(word.strip("-") for word in value[-2:]) if isinstance(value, list) else "",
)
def test_other_commands_check_theirs_first(run, comments, tmp_path, command, words):
    paths = {"COMMENTS": comments, "OUT": tmp_path / "out", "OUT.parquet": tmp_path / "out.parquet"}
    result = run(*[paths.get(word, word) for word in command], *NOWHERE, code=1)
    assert words in result.output
    assert "owner/nowhere" not in result.output


def test_layers_that_a_model_lacks_are_refused_before_its_weights_are_read(run, model_folder, tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("good day\n")
    arguments = ["-o", tmp_path / "out.parquet", "--model", model_folder, "--layers", "40"]
    assert "its layers are 0 to 2" in run("extract", texts, *arguments, code=1).output


def test_inspect_counts_tokens_from_the_end_too(run, model_folder):
    last = run("inspect", "good day", "--at", "1:-1", "--model", model_folder, "--json").stdout
    assert '"token": -1' not in last
    assert run("inspect", "good day", "--at", "1:-99", "--model", model_folder, code=1)

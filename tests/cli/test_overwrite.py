"""Tests that no command replaces a file that it was not told to replace, and says so before any work."""

import os

import pytest

COMMANDS = {
    "score": ("score", "{input}", "-d", "no-such-detector", "-o", "{folder}/out.csv"),
    "extract": ("extract", "{input}", "-m", "no-such-model", "-o", "{folder}/out.parquet"),
    "inspect": ("inspect", "--file", "{input}", "-m", "no-such-model", "-o", "{folder}/out.html"),
    "report": ("evaluate", "no-such-detector", "{input}", "-l", "toxic", "--report", "{folder}/out.html"),
}


@pytest.fixture
def command(run, tmp_path):
    """Runs a command that would fail at its detector or model, if it came so far."""

    def command(name, *more, source=tmp_path / "none.csv", code):
        words = [word.format(input=source, folder=tmp_path) for word in COMMANDS[name]]
        return run(*words, *more, code=code).stderr

    return command


def output_of(name):
    return os.path.basename(COMMANDS[name][-1])


@pytest.mark.parametrize("name", COMMANDS)
def test_an_existing_file_is_refused_first_and_kept(command, tmp_path, name):
    (tmp_path / output_of(name)).write_text("mine")
    assert "it exists; name another file, or pass --overwrite" in command(name, code=2)
    assert "it exists" not in command(name, "--overwrite", code=1)
    assert (tmp_path / output_of(name)).read_text() == "mine"


@pytest.mark.parametrize("name", COMMANDS)
def test_the_input_is_refused_as_output_even_to_overwrite(command, tmp_path, name):
    path = tmp_path / output_of(name)
    path.write_text("text,toxic\na,1\n")
    (tmp_path / "link.csv").symlink_to(path)
    for source in (path, tmp_path / "link.csv"):
        assert "it is the input; name another file" in command(name, "--overwrite", source=source, code=2)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_folder_is_no_output(command, tmp_path, name):
    (tmp_path / output_of(name)).mkdir()
    if name == "report":  # it is written into the folder
        assert "it is a folder" not in command(name, "--overwrite", code=1)
    else:
        assert "it is a folder; name a file" in command(name, "--overwrite", code=2)


def test_files_beside_a_page_are_not_replaced(command, tmp_path):
    (tmp_path / "out.json").write_text("mine")
    assert "out.json: it exists" in command("report", code=2)
    source = tmp_path / "out.json"
    assert "out.json: it is the input" in command("report", "--overwrite", source=source, code=2)
    assert "it is the input" in command("report", "--overwrite", "--terms", source, code=2)


def test_a_report_into_a_missing_folder_says_what_to_do(run, tmp_path):
    words = ("evaluate", "toxicity", "none.csv", "-l", "toxic", "--report", tmp_path / "new")
    told = " ".join(run(*words, code=2).stderr.replace("│", " ").split())
    assert "make it first, or name a page" in told


def test_a_folder_that_holds_files_is_no_place_for_a_detector(run, tmp_path, comments):
    out = tmp_path / "out"
    words = ("train", comments, "-c", "comment", "-l", "toxic", "-m", "no-such-model", "-o", out)
    out.mkdir()
    (out / "unfinished.parquet.parts").mkdir()
    assert "no-such-model" in run(*words, code=1).stderr  # an unfinished run goes on
    (out / "notes.txt").write_text("mine")
    assert "holds notes.txt and perhaps more; name another folder" in run(*words, code=2).stderr
    assert "no-such-model" in run(*words, "--overwrite", code=1).stderr
    source = out / "suspects.csv"
    source.write_bytes(comments.read_bytes())
    more = ("--overwrite", "--keep-features")
    assert "suspects.csv would be replaced" in run("train", source, *words[2:], *more, code=2).stderr
    assert "is a file; name another folder" in run(*words[:-1], source, code=2).stderr


def test_scores_replace_a_file_when_told_and_keep_its_rights_and_its_link(run, detector, tmp_path):
    (tmp_path / "target.csv").write_text("old")
    (tmp_path / "target.csv").chmod(0o600)
    (tmp_path / "out.csv").symlink_to("target.csv")
    words = ("score", "--text", "you fool", "-d", detector, "-o", tmp_path / "out.csv", "--quiet")
    run(*words, code=2)
    run(*words, "--overwrite")
    assert (tmp_path / "out.csv").is_symlink()
    assert (tmp_path / "target.csv").read_text().startswith('"row","score"')
    assert (tmp_path / "target.csv").stat().st_mode & 0o777 == 0o600

"""``splinelens code check``: lines, JSON, SARIF, exit codes and diffs."""

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from splinelens.detect.code_head import CodeHead

WRONG = "import os\n\ndef f(path):\n    return os.getcwdx(path)\n"


@pytest.fixture
def wrong(tmp_path):
    path = tmp_path / "wrong.py"
    path.write_text(WRONG)
    return path


def test_a_finding_is_a_line_with_its_place_and_the_exit_code_is_1(run, wrong):
    result = run("code", "check", wrong, code=1)
    message = "knowledge missing-attribute: module 'os' has no attribute 'getcwdx'; you may mean getcwd"
    assert result.stdout == f"{wrong}:4:15: {message}\n"
    assert result.stderr == "verdicts: 0 pass, 1 fail, 0 undetermined\n"


def test_code_that_is_right_prints_nothing_and_doubts_do_not_fail(run, tmp_path):
    (tmp_path / "right.py").write_text("x = 1\n")
    (tmp_path / "doubt.py").write_text("def f(a): pass\n")
    assert run("code", "check", tmp_path / "right.py").stdout == ""
    assert "requirement stub" in run("code", "check", tmp_path / "doubt.py").stdout


def test_json_is_a_line_for_each_file(run, wrong, tmp_path):
    (tmp_path / "a.py").write_text("import not_installed_here\n")
    first, second = map(
        json.loads, run("code", "check", tmp_path / "a.py", wrong, "--json", code=1).stdout.splitlines()
    )
    assert (first["verdict"], second["verdict"]) == ("undetermined", "fail")
    assert first["undetermined"] == ["module not_installed_here: not installed, or its parts are unknown"]
    assert second["findings"][0]["category"] == "knowledge"
    assert set(first) == {"path", "verdict", "findings", "undetermined", "unread"}


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.py", b"x = 1\0", "NUL"),
        ("a.py", b"x = '\xff'", "not UTF-8"),
        ("a.ipynb", b"{}", "notebook"),
        ("gone.py", None, "is no file"),
    ],
)
def test_a_file_that_cannot_be_read_is_undetermined_and_fails(run, tmp_path, name, data, words):
    if data is not None:
        (tmp_path / name).write_bytes(data)
    result = run("code", "check", tmp_path / name, code=1)
    assert "not read" in result.stdout
    assert words in result.stdout


def test_sarif_has_rules_places_and_what_was_not_read(run, wrong, tmp_path):
    (tmp_path / "lib.py").write_text("def load_all(): ...\n")
    wrong.write_text("load_all()\n" + WRONG)
    (log,) = json.loads(
        run("code", "check", wrong, tmp_path / "gone.py", "--project", tmp_path, "--sarif", code=1).stdout
    )["runs"]
    first, second = log["results"]
    assert (first["ruleId"], second["ruleId"]) == ("undefined-name", "missing-attribute")
    assert log["tool"]["driver"]["rules"][second["ruleIndex"]]["id"] == "missing-attribute"
    place = second["locations"][0]["physicalLocation"]
    assert place["region"] == {"startLine": 5, "startColumn": 15}
    assert place["artifactLocation"]["uri"] == str(wrong)
    related = first["relatedLocations"][0]["physicalLocation"]
    assert (related["artifactLocation"]["uri"], related["region"]["startLine"]) == (
        str(tmp_path / "lib.py"),
        1,
    )
    (invocation,) = log["invocations"]
    assert not invocation["executionSuccessful"]
    assert "is no file" in invocation["toolExecutionNotifications"][0]["message"]["text"]


def test_paths_in_sarif_are_uri_references_from_the_same_folder(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("out").mkdir()
    Path("proj").mkdir()
    Path("out/my file#1.py").write_text("load_all()\n")
    Path("proj/io2.py").write_text("def load_all(): ...\n")
    log = run("code", "check", "out/my file#1.py", "--project", "proj", "--sarif", code=1).stdout
    (result,) = json.loads(log)["runs"][0]["results"]
    locations = [*result["locations"], *result["relatedLocations"]]
    uris = [each["physicalLocation"]["artifactLocation"]["uri"] for each in locations]
    assert uris == ["out/my%20file%231.py", "proj/io2.py"]


def test_files_of_the_project_that_were_not_read_are_said_where_a_name_is_missing(run, wrong, tmp_path):
    (tmp_path / "broken.py").write_text("def (:")
    text = run("code", "check", wrong, "--project", tmp_path, code=1).stdout
    assert "1 files of the project were not read, such as broken.py: line 1 does not parse" in text
    (tmp_path / "right.py").write_text("x = 1\n")
    assert run("code", "check", tmp_path / "right.py", "--project", tmp_path).stdout == ""


DIFF = """diff --git a/pkg/mod.py b/pkg/mod.py
--- a/pkg/mod.py
+++ b/pkg/mod.py
@@ -1,2 +1,3 @@
 first_name
+second_name
-old_name
+--- third_name
diff --git a/gone.py b/gone.py
--- a/gone.py
+++ /dev/null
@@ -1 +0,0 @@
-x = 1
"""


def test_of_a_diff_only_the_added_lines_are_reported(run, tmp_path):
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg/mod.py").write_text("first_name\nsecond_name\n--- third_name\n")
    lines = run("code", "check", "-", "--project", tmp_path, input=DIFF, code=1).stdout.splitlines()
    assert [line.partition(": ")[0] for line in lines] == ["pkg/mod.py:2:1", "pkg/mod.py:3:5"]


def test_a_diff_that_was_not_applied_is_undetermined(run, tmp_path):
    (tmp_path / "pkg").mkdir()
    (tmp_path / "pkg/mod.py").write_text("first_name\nold_name\n")
    result = run("code", "check", "-", "--project", tmp_path, input=DIFF, code=1)
    assert "apply the diff first" in result.stdout


def test_the_diff_of_git_is_read(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c"]
    Path("a.py").write_text("x = 1\n")
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"]):
        subprocess.run([*git, *words], check=True, env=os.environ | {"GIT_CONFIG_GLOBAL": os.devnull})
    Path("a.py").write_text("x = 1\ny = z\n")
    diff = subprocess.run(["git", "diff"], check=True, capture_output=True, text=True).stdout
    assert run("code", "check", "-", input=diff, code=1).stdout.startswith(
        "a.py:2:5: knowledge undefined-name"
    )


@pytest.mark.parametrize(
    "diff",
    [
        "diff --git a/a.py b/a.py\ndeleted file mode 1\n--- a/a.py\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n",
        "diff --git a/a.py b/b.py\nsimilarity index 100%\nrename from a.py\nrename to b.py\n",
        "diff --git a/a.py b/a.py\nold mode 100644\nnew mode 100755\n",
        "diff --git a/a.png b/a.png\nindex 1..2 100644\nBinary files a/a.png and b/a.png differ\n",
    ],
)
def test_a_diff_that_adds_nothing_prints_nothing(run, diff):
    assert run("code", "check", "-", input=diff).stdout == ""


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("a.py", "--- i/a.py\n+++ w/a.py"),
        ("b/a.py", "--- b/a.py\n+++ b/a.py"),
        ("é.py", '--- "a/\\303\\251.py"\n+++ "b/\\303\\251.py"'),
        ("a.py", "\x1b[1m--- a/a.py\x1b[m\n\x1b[1m+++ b/a.py\x1b[m"),
        ("a.py", "--- /dev/null\n+++ {folder}/a.py"),
    ],
)
def test_paths_of_a_diff_are_read_as_git_and_diff_write_them(run, tmp_path, name, header):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("x = 1\nundefd\n", "utf-8")
    diff = f"{header.format(folder=tmp_path)}\n@@ -1 +1,2 @@\n x = 1\n\x1b[32m+undefd\x1b[m\n"
    result = run("code", "check", "-", "--project", tmp_path, input=diff, code=1)
    assert f"{name}:2:1: knowledge undefined-name" in result.stdout


def test_of_a_merge_the_lines_that_a_parent_lacks_are_reported(run, tmp_path):
    (tmp_path / "a.py").write_text("one\ntwo\nx = 1\n")
    diff = "diff --cc a.py\n--- a/a.py\n+++ b/a.py\n@@@ -1,2 -1,2 +1,3 @@@\n++one\n +two\n- y = 1\n  x = 1\n"
    lines = run("code", "check", "-", "--project", tmp_path, input=diff, code=1).stdout.splitlines()
    assert [line.partition(": ")[0] for line in lines] == ["a.py:1:1", "a.py:2:1"]


def test_a_line_of_a_diff_may_hold_other_line_ends(run, tmp_path):
    (tmp_path / "a.py").write_bytes("x = 1\n\x0c\ny = '\u2028'\nz = 1\rundefd\n".encode())
    diff = "--- a/a.py\n+++ b/a.py\n@@ -1 +1,4 @@\n x = 1\n+\x0c\n+y = '\u2028'\n+z = 1\rundefd\n"
    result = run("code", "check", "-", "--project", tmp_path, input=diff.encode(), code=1)
    assert result.stdout.startswith("a.py:5:1: knowledge undefined-name")


def test_code_that_holds_a_diff_is_code(run):
    source = f'DIFF = """{DIFF}"""\nundefd\n'
    assert run("code", "check", "-", input=source, code=1).stdout.startswith("-:15:1: knowledge")


def test_a_diff_with_a_context_is_our_error(run, tmp_path):
    (tmp_path / "context.py").write_text("x = 1\n")
    result = run("code", "check", "-", "--context", tmp_path / "context.py", input=DIFF, code=1)
    assert "leave the context out" in result.stderr


def test_code_on_stdin_is_checked_in_its_context(run, tmp_path):
    (tmp_path / "context.py").write_text("LIMIT = 3\n<PLACEHOLDER>\n")
    context = ("--context", tmp_path / "context.py")
    assert run("code", "check", "-", *context, input="print(LIMIT)").stdout == ""
    assert "-:1:7:" in run("code", "check", "-", *context, input="print(LIMITS)", code=1).stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["a.py", "--json", "--sarif"], "give --sarif or --json"),
        (["-", "a.py"], "- stands alone"),
        ([], "Missing argument"),
        ([""], "an empty path names no file"),
    ],
)
def test_wrong_usage_is_refused(run, arguments, words):
    assert words in run("code", "check", *arguments, code=2).stderr


def test_a_context_or_project_that_does_not_exist_is_wrong_usage(run, wrong):
    assert "'gone' does not exist" in run("code", "check", wrong, "--project", "gone", code=2).stderr
    assert "'gone.py' does not exist" in run("code", "check", wrong, "--context", "gone.py", code=2).stderr


def test_the_python_files_below_a_folder_are_checked(run, tmp_path):
    for name in ("a/x.py", "a/.venv/hidden.py", "a/b/y.py", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("import os\nos.getcwdx()\n", encoding="utf-8")
    (tmp_path / "empty").mkdir()
    found = run("code", "check", str(tmp_path / "a"), str(tmp_path / "empty"), "--json", code=1)
    records = [json.loads(line) for line in found.stdout.splitlines()]
    assert [Path(record["path"]).name for record in records] == ["x.py", "y.py", "empty"]
    assert "is no file" in records[2]["unread"]


def test_the_hook_of_pre_commit_runs_the_command():
    root = Path(__file__).parents[2]
    (hook,) = yaml.safe_load((root / ".pre-commit-hooks.yaml").read_text())
    assert hook["entry"] == "splinelens code check --project ."
    assert hook["types"] == ["python"]


def test_likely_wrong_says_a_probability_for_each_function(run, wrong):
    options = "--likely-wrong", "--prevalence", "0.5"
    text, record = (run("code", "check", wrong, *options, *more, code=1).stdout for more in ((), ("--json",)))
    (score,) = json.loads(record)["functions"]
    assert score["name"] == "f"
    assert score["low"] <= score["probability"] <= score["high"]
    assert f"{wrong}:3: f: likely wrong: {score['probability']:.2f}" in text
    assert run("code", "check", wrong, "--likely-wrong", "--sarif", code=2).stdout == ""


def test_without_the_share_of_ones_own_code_the_command_says_whose_it_is(run, wrong):
    share = CodeHead.load().record["share"]
    assert (
        f"of which {100 * share:.0f} % are wrong"
        in run("code", "check", wrong, "--likely-wrong", code=1).stderr
    )
    assert "--likely-wrong" in run("code", "check", wrong, "--prevalence", "0.3", code=2).output

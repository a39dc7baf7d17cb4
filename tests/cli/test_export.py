"""Tests cli/export.py: options, output and exit codes of ``splinelens export``."""

import json

import pytest

pytest.importorskip("openvino")


def test_a_measured_export_is_one_json_object_and_its_folder_is_overwritten_only_if_asked(
    run, detector, comments, tmp_path
):
    out = tmp_path / "out"
    measure = ("--measure", comments, "--column", "comment", "--label", "toxic")
    record = json.loads(run("export", detector, "-o", out, *measure, "--json", "--quiet").stdout)
    assert (record["output"], record["dtype"]) == (str(out), "float32")
    assert record["size_bytes"] == sum(path.stat().st_size for path in out.iterdir())
    (difference,) = record["differences"]
    assert (difference["label"], difference["rows"], difference["verdicts"]) == ("toxic", 120, 0)
    assert "--overwrite" in run("export", detector, "-o", out, code=2).stderr


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--dtype", "float8"), 1, "has float32, bfloat16, int8, not float8"),
        (("--measure", "{comments}"), 2, "name the column of the labels with --label"),
    ],
)
def test_options_that_cannot_be_are_refused_and_nothing_is_written(
    run, detector, comments, tmp_path, options, code, message
):
    options = [option.format(comments=comments) for option in options]
    assert message in run("export", detector, "-o", tmp_path / "out", *options, code=code).stderr
    assert not (tmp_path / "out").exists()

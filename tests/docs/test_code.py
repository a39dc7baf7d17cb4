"""Tests ``docs/code.md``: its example in Python prints what it says."""

import re
from pathlib import Path

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "code.md").read_text("utf-8")


def test_the_example_prints_what_the_page_says(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    (example, *_) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    exec(compile(example, "code.md", "exec"), {})
    verdict, sentence, files, text = re.findall(r"^ *print\(.*\)  # (.*)$", example, re.MULTILINE)
    printed = capsys.readouterr().out.splitlines()
    assert printed == [verdict, sentence, *files.split(", "), text]

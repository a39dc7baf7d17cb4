"""Tests ``docs/loop.md``: its first example runs, and prints what it says."""

import re
from pathlib import Path

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "loop.md").read_text("utf-8")


def test_the_example_prints_what_the_page_says(capsys):
    (example, *_) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    exec(compile(example, "loop.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    expected = re.findall(r"print\(solution\.(?:text|reason)\)  # (.*)", example)
    assert len(expected) == 2
    assert printed[:2] == expected
    assert "- give the hours in digits" in printed

"""Tests ``docs/search.md``: its first example prints what it says; its numbers are the record's."""

import ast
import contextlib
import io
import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = (REPOSITORY / "docs" / "search.md").read_text("utf-8")


def test_the_example_prints_what_the_page_says():
    (example, *_) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(example, "search.md", "exec"), {})
    expected = re.findall(r"^print\(.*\)  # (.*)$", example, re.MULTILINE)
    assert len(expected) == 3
    assert printed.getvalue().splitlines() == expected
    assert ast.literal_eval(expected[2]) == {"no fish: fail": 2}

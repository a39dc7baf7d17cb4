"""Tests ``report/offline_page.py``: the frame, what is escaped in it, and the script that draws."""

import sys

import pytest

from splinelens.errors import CannotWrite
from splinelens.report.offline_page import offline_page, require_plotly


def made(**changes):
    held = {
        "title": "t",
        "heading": "h",
        "about": "",
        "links": {"a": "A"},
        "sections": {"a": ("A", "<p>x</p>")},
        "foot": "f",
        "data": {},
        "plotly": "",
        "names": (),
    }
    return offline_page(**held | changes)


def test_words_are_escaped_and_html_is_not(read_page):
    trick = "<i>{style}</i>"
    text = made(
        title=trick, heading=trick, links={"a": trick}, sections={"a": (trick, "<p>x</p>")}, foot=trick
    )
    reader = read_page(text)
    assert "i" not in {tag for tag, _ in reader.elements}
    assert "".join(reader.words).count(trick) == 5
    assert "<p>x</p>" in text


def test_data_cannot_end_its_element(read_page):
    reader = read_page(made(data={"a": "</script><!-- & -->"}))
    assert len(reader.scripts) == 3
    assert "<" not in reader.scripts[0]


def test_own_styles_and_scripts_follow_the_shared_ones():
    text = made(names=("evaluation_page.css", "evaluation_page.js"))
    assert text.index("--paper") < text.index("--alarm")
    assert text.index("const Pictures") < text.index("} = Pictures;")


def test_data_that_json_does_not_have_is_refused():
    with pytest.raises(ValueError, match="JSON compliant"):
        made(data={"a": float("nan")})


def test_without_plotly_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(CannotWrite, match=r"cannot write x.html.*pip install 'splinelens\[plot\]'"):
        require_plotly("x.html")

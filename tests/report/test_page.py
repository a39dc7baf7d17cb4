"""Tests ``report/page.py``: plotly is required by name, and inlined once."""

import sys

import pytest

from splinelens.errors import CannotWrite
from splinelens.report.page import require_plotly


def test_without_plotly_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(CannotWrite, match=r"cannot write x.html.*pip install 'splinelens\[plot\]'"):
        require_plotly("x.html")


def test_plotly_is_written_into_a_page_once_and_cannot_end_its_element(evaluation):
    from splinelens.report.evaluation_page import evaluation_html

    script = require_plotly()
    assert "</script" not in script
    assert evaluation_html(evaluation()).count(script) == 1


def test_a_full_page_takes_less_than_a_megabyte_beside_plotly(evaluation):
    from splinelens.report.evaluation_page import evaluation_html

    assert (
        len(evaluation_html(evaluation(rows=1000, layers=30)).encode()) - len(require_plotly().encode()) < 1e6
    )

"""Tests ``features/code_numbers.py``: bodies of functions, findings and shape as numbers."""

import numpy as np
import pytest

from splinelens.features.code_numbers import (
    FINDINGS,
    FUNCTION_NUMBERS,
    SHAPE,
    finding_numbers,
    function_numbers,
    shape_numbers,
    split_body,
)
from splinelens.texts.code_findings import CodeFinding, CodeReport


def shape_of(body, prompt="def f(width, height):\n    'The area.'\n", context=""):
    return dict(zip(SHAPE, shape_numbers(body, prompt, context), strict=True))


@pytest.mark.parametrize(
    ("code", "body"),
    [
        ('def f(x):\n    """Say.\n\n    More."""\n    return x\n\nf(1)\n', "    return x\n"),
        (
            "  def f(\n      x: int = (1),\n  ) -> int:\n    # half\n    return (\n  g(",
            "    # half\n    return (\n",
        ),
        ("x = 1\ndef f(self): # note\n\treturn\n    y\nend", "\treturn\n    y\n"),
        ("def g(x):\n    pass\n", "def g(x):\n    pass\n"),
    ],
)
def test_a_body_ends_where_its_indentation_ends(code, body):
    assert split_body(code, "f")[1] == body


def test_names_of_the_surroundings_are_known():
    body = "    size = scaled(width)\n    return size * hight\n"
    assert shape_of(body)["unknown names without value"] == pytest.approx(np.log1p(2))
    known = shape_of(body, context="def scaled(x): ...")
    assert known["unknown names without value"] == pytest.approx(np.log1p(1))
    assert shape_of(body)["unused parameters"] == 0.5
    assert shape_of("    # todo\n    pass\n")["nothing done"] == 1


def test_a_shape_by_hand():
    body = "    # scale it\n\n    if width:\n        return self.a(1) + self.b(1, 'x')\n"
    code = "    if width:\n        return self.a(1) + self.b(1, 'x')"
    counts = {
        "characters": len(code),
        "lines": 2,
        "longest line": 41,
        "calls": 2,
        "attributes": 2,
        "quotes": 2,
    }
    counts |= {"numbers": 2, "names": 7, "unknown names": 4, "unknown attributes": 2}
    counts |= {
        "unknown names without value": 2,
        "word if": 1,
        "word return": 1,
        "word self": 2,
        "word for": 0,
    }
    numbers = shape_of(body)
    assert {name: round(float(np.expm1(numbers[name]))) for name in counts} == counts
    shares = {"comment lines": 1 / 3, "share of unknown names": 4 / 7, "unused parameters": 0.5}
    shares |= {"deepest indent": 2.0, "tabs": 0.0, "nothing done": 0.0}
    assert {name: numbers[name] for name in shares} == pytest.approx(shares)


def test_the_shape_of_any_text_is_finite():
    for body in ("", "\n", "\0", "\ud800", ")]}" * 9, "x" * 10**5):
        assert np.isfinite(shape_numbers(body, body, body)).all()


def test_findings_are_counted_by_category_and_rule():
    findings = tuple(CodeFinding(line, 1, "context", "undefined-name", "") for line in (1, 2, 3))
    values = dict(zip(FINDINGS, finding_numbers(CodeReport(findings, ("why",))), strict=True))
    assert values["fails"] == 1
    assert values["context"] == values["undefined-name"] == pytest.approx(np.log1p(3))
    assert values["undetermined"] == pytest.approx(np.log1p(1))
    assert sum(value > 0 for value in values.values()) == 4


def test_a_doubt_does_not_fail():
    doubt = CodeFinding(1, 1, "requirement", "stub", "")
    values = dict(zip(FINDINGS, finding_numbers(CodeReport((doubt,))), strict=True))
    assert values["fails"] == 0
    assert values["requirement"] == values["stub"] == pytest.approx(np.log1p(1))


def test_a_function_has_the_numbers_of_its_findings_and_of_its_body():
    code = "def f(width):\n    return hight\n"
    report = CodeReport((CodeFinding(2, 12, "knowledge", "undefined-name", ""),))
    values = function_numbers(code, "f", "hight = 2\n", report)
    assert len(values) == len(FUNCTION_NUMBERS)
    expected = [
        finding_numbers(report),
        shape_numbers("    return hight\n", "def f(width):\n", "hight = 2\n"),
    ]
    assert values.tolist() == np.concatenate(expected).tolist()

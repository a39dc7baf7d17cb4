"""Tests ``apps/code.py``: how likely each function of a file is wrong."""

import pytest

from splinelens.apps.code import check_files
from splinelens.detect.code_head import CodeHead
from splinelens.errors import BadDetector

RIGHT = '''
def area(width, height):
    """The area of a rectangle."""
    return width * height
'''
WRONG = RIGHT.replace("return width * height", "return rectangle_area(widht, hight)")


@pytest.fixture
def scores(tmp_path):
    def of(source, **options):
        path = tmp_path / "shapes.py"
        path.write_text(source, "utf-8")
        (report,) = check_files([path], head=CodeHead.load(), **options)
        return report.functions

    return of


def test_code_that_uses_what_does_not_exist_is_more_likely_wrong(scores):
    (right,), (wrong,) = scores(RIGHT), scores(WRONG)
    assert wrong.probability > right.probability + 0.05
    assert right.low <= right.probability <= right.high


def test_without_a_head_there_are_no_scores(tmp_path):
    (tmp_path / "shapes.py").write_text(RIGHT)
    (report,) = check_files([tmp_path / "shapes.py"])
    assert report.functions is None


def test_each_function_has_a_score_and_a_method_that_of_the_function(scores):
    method = "class Shape:\n" + "\n".join(f"    {line}" for line in RIGHT.strip().splitlines()) + "\n"
    first, second = scores(RIGHT + "\n\n" + method)
    assert (first.name, first.line) == ("area", 2)
    assert (second.name, second.line) == ("Shape.area", 8)
    assert second.probability == pytest.approx(first.probability, abs=0.02)


def test_probabilities_follow_the_share_that_is_wrong(scores):
    (usual,), (rare,) = scores(RIGHT), scores(RIGHT, prevalence=0.02)
    assert rare.probability < usual.probability
    with pytest.raises(BadDetector, match="no share"):
        scores(RIGHT, prevalence=2)


def test_what_does_not_parse_has_no_scores(scores):
    assert scores(RIGHT + "def broken(:\n") == ()

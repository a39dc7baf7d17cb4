"""Tests ``report/unfinished.py``: a killed scoring run goes on and gives the same records."""

import errno
from pathlib import Path

import pytest

from splinelens.errors import CannotResume, CannotWrite
from splinelens.report.scores import Span, TextScore
from splinelens.report.unfinished import Unfinished

ALL = [
    TextScore(row, row / 10, "clean", row, False, None, (Span(0, row, 0.5),), -1.0) for row in range(9)
] + [TextScore(9, None, "undetermined", 0, False, "is empty")]


def _from(row):
    return iter(ALL[row:])


def _killed_after(count):
    def score_from(row):
        yield from ALL[row : row + count]
        raise KeyboardInterrupt

    return score_from


def test_an_undisturbed_run_gives_every_record_and_leaves_nothing(tmp_path):
    run = Unfinished(tmp_path / "out.csv", {"texts": "a"}, 4)
    assert list(run.over(_from)) == ALL
    assert run.path.exists()
    run.discard()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("count", [0, 1, 3, 4, 7, 9])
def test_a_killed_run_goes_on_behind_its_last_whole_stretch(tmp_path, count):
    with pytest.raises(KeyboardInterrupt):
        list(Unfinished(tmp_path / "out.csv", {"texts": "a"}, 4).over(_killed_after(count)))
    asked = []

    def score_from(row):
        asked.append(row)
        return _from(row)

    assert list(Unfinished(tmp_path / "out.csv", {"texts": "a"}, 4).over(score_from)) == ALL
    assert asked == [count // 4 * 4]


def test_a_run_may_be_killed_twice_and_in_the_middle_of_a_line(tmp_path):
    output = tmp_path / "out.csv"
    with pytest.raises(KeyboardInterrupt):
        list(Unfinished(output, {"texts": "a"}, 2).over(_killed_after(5)))
    file = Path(f"{output}.unfinished")
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(KeyboardInterrupt):
        list(Unfinished(output, {"texts": "a"}, 2).over(_killed_after(3)))
    assert list(Unfinished(output, {"texts": "a"}, 2).over(_from)) == ALL


def test_records_of_another_request_are_refused(tmp_path):
    list(Unfinished(tmp_path / "out.csv", {"texts": "a", "detector": "x"}, 4).over(_from))
    with pytest.raises(CannotResume, match=r"unfinished holds records of a run with another texts;"):
        Unfinished(tmp_path / "out.csv", {"texts": "b", "detector": "x"}, 4)


def test_a_full_disk_is_our_error_and_keeps_what_was_finished(tmp_path):
    def score_from(row):
        yield from ALL[row : row + 4]
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(CannotWrite, match=r"No space left on device\. What was finished is kept"):
        list(Unfinished(tmp_path / "out.csv", {"texts": "a"}, 4).over(score_from))
    assert len(Unfinished(tmp_path / "out.csv", {"texts": "a"}, 4).kept) == 4

"""Tests ``docs/search.md``: its first example prints what it says; its numbers are the record's."""

import ast
import contextlib
import io
import json
import re
from pathlib import Path

import pytest

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


@pytest.fixture
def record():
    return json.loads((REPOSITORY / "benchmarks" / "best_first.json").read_text("utf-8"))


def test_blocksworld_is_quoted(record):
    found = record["blocksworld"]
    for name, key in (
        ("h = 0", "h = 0"),
        ("misplaced blocks", "misplaced blocks"),
        ("two actions for each misplaced block", "two actions each"),
    ):
        ratios = [
            "1" if name == "h = 0" else f"{found[f'{what}, ratio to h = 0'][key]:.3f}"
            for what in ("expanded", "created")
        ]
        one = found[key]
        assert (
            f"| {name} | {one['solved']} | {one['optimal']} | {one['expanded']:,} | {ratios[0]} "
            f"| {one['created']:,} | {ratios[1]} |"
        ) in PAGE
    assert f"the {found['instances']} tasks" in PAGE


def test_countdown_is_quoted(record):
    page, found = " ".join(PAGE.split()), record["countdown"]
    every, fewest = found["all numbers"], found["fewest calculations"]
    right, targets = every["with a solution"], every["targets"]
    assert every["agree with the exhaustive solver"] == targets
    assert f"an expression for {right} of {targets} targets" in page
    agreed = every["right by reasoning-gym's verdict"]
    assert f"agrees with {agreed} of {right}" in page
    none, guided = (fewest[name] for name in ("h = 0", "calculations left"))
    for one in (none, guided):
        as_few, reached = one["agree with breadth-first search"], one["with a solution"]
        assert f"for {as_few} of {targets} targets, of which {reached} can be reached" in page
    few, many = (one["expanded, with a solution"] for one in (guided, none))
    assert f"expands {few:,} texts instead of {many:,}, a share of {few / many:.3f}" in page


def test_the_heads_are_quoted(record):
    page, found = " ".join(PAGE.split()), record["gsm8k"]
    rows = {name: one for name, one in found.items() if isinstance(one, dict)}
    assert len(rows) == 13
    for name, one in rows.items():
        cells = [
            f"{one[key]:.3f} | {one[f'{key}_interval'][0]:.3f} to {one[f'{key}_interval'][1]:.3f}"
            for key in ("picks", "within_question")
        ]
        label = "head, chosen of the six" if name == "head" else name
        assert f"| {label} | {cells[0]} | {cells[1]} |" in page
    assert f"right for {found['any of four right']:.3f} of the {found['questions']} questions" in page
    for pair in ("head less TF-IDF of characters", "head and majority less majority"):
        assert "{:+.3f} ({:+.3f} to {:+.3f})".format(*found[pair]) in page


def test_continuations_are_quoted():
    page = " ".join(PAGE.split())
    record = json.loads((REPOSITORY / "benchmarks" / "continuations.json").read_text("utf-8"))
    found = record["written"]
    assert f"{found['openings']} mild openings" in page
    for way in ("greedy", "one sample", "best of n", "search"):
        one = found[way]
        numbers = [
            "{:.{n}f} ({:.{n}f} to {:.{n}f})".format(*one[name], n=digits)
            for name, digits in (("critic", 3), ("judge", 3), ("perplexity", 1))
        ]
        assert (
            f"| {way} | {one['texts']} | {one['tokens written']:.1f} | {numbers[0]} | {numbers[1]} "
            f"| {one['judge over its threshold']} | {numbers[2]} |"
        ) in page
    for way in ("greedy", "one sample", "best of n"):
        gains = found[f"search less {way}"]
        cells = [
            "{:+.3f} ({:+.3f} to {:+.3f})".format(*gains[name]) for name in ("critic", "judge", "surprise")
        ]
        assert f"| {way} | {' | '.join(cells)} |" in page
    returned = [found[way] for way in ("best of n", "search")]
    assert all(one["critic over its threshold"] == 0 for one in returned)
    assert found["search"]["most tokens written"] <= 160
    for threshold, one in record["curve"].items():
        cells = [f"{float(threshold):.2f}", str(one["one sample below it"])]
        for way in ("best of n", "search"):
            cells.append(str(one[way]["texts"]))
            for name, digits in (("judge", 3), ("perplexity", 1)):
                cells.append("{:.{n}f} ({:.{n}f} to {:.{n}f})".format(*one[way][name], n=digits))
            assert one[way]["critic over its threshold"] == 0
            assert one[way]["most tokens written"] <= 160
        assert f"| {' | '.join(cells)} |" in page

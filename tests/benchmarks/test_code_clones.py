"""Tests benchmarks/code_clones.py: its page, the weights that ship, what docs/code.md quotes, its parts."""

import json
import re
from pathlib import Path

import code_clones
import numpy as np
import pytest

DOCS = Path(__file__).parents[2] / "docs/code.md"


@pytest.fixture(scope="module")
def record():
    return json.loads(code_clones.RECORD.read_text("utf-8"))


@pytest.fixture(scope="module")
def section():
    _, _, rest = DOCS.read_text("utf-8").partition("## Which functions mean the same?")
    return rest


def test_the_page_is_that_of_the_record(record):
    assert code_clones.markdown(record) == code_clones.RECORD.with_suffix(".md").read_text("utf-8")


def test_the_weights_that_ship_are_those_of_the_record(record):
    assert json.loads(code_clones.WEIGHTS.read_text("utf-8")) == {"sets": record["weights"]}


def test_the_docs_quote_rows_of_the_page(record, section):
    page = code_clones.markdown(record).splitlines()
    quoted = re.findall(r"^\|.*\b\d\.\d{3}\b.*$", section, re.MULTILINE)
    assert len(quoted) > 20
    assert [line for line in quoted if line not in page] == []
    numbers = re.findall(r"\b\d\.\d{3}\b", section)
    assert [number for number in numbers if number not in "\n".join(page)] == []


def test_the_docs_quote_the_measured_times(record, section):
    words = " ".join(section.split())
    for part in ("speed", "many"):
        times = record[part]
        assert f"{times['functions']:,} functions" in words
        assert f"took {times['wall_s'] / 60:.1f} minutes" in words
        assert f"(load {times['load']}), of which {times['processor_s'] / 60:.1f} were processor" in words
    assert f"{record['many']['peak_mb'] / 1024:.1f} GB of memory" in words
    speed = record["speed"]
    assert f"answers for one of its functions in {speed['similar_open_s']:.2f} s" in words
    known, new = (
        f"{speed[f'similar_{name}_processor_s']:.1f} s{more} ({speed[f'similar_{name}_wall_s']:.1f} s"
        for name, more in (("known", " of processor time"), ("new", ""))
    )
    assert f"`similar` took {known} beside that work) for a function of the index" in words
    assert f"{new}) for another function" in words


def test_folds_keep_the_solutions_of_a_problem_together():
    problems = np.random.default_rng(0).integers(40, size=200)
    folds = code_clones.folds_of(problems)
    assert set(folds) == set(range(code_clones.FOLDS))
    assert all(len(set(folds[problems == problem])) == 1 for problem in problems)


def test_the_fusion_of_a_perfect_view_finds_every_other_solution():
    rng = np.random.default_rng(0)
    problems = np.repeat(np.arange(30), 3)
    perfect = (problems[:, None] == problems).astype(float) + 0.01 * rng.normal(size=(90, 90))
    views = {"perfect": perfect, "noise": rng.normal(size=(90, 90))}
    assert code_clones.recall_at_1(problems, code_clones.fused_scores(problems, views, views)) == 1
    assert code_clones.recall_at_1(problems, views["noise"]) < 0.2


def test_the_neighbors_of_a_candidate_are_averaged_without_the_query():
    score = np.random.default_rng(0).normal(size=(12, 12))
    both = score + score.T
    result = code_clones.neighbor_means(score, 3)
    for query in range(12):
        for candidate in range(12):
            others = sorted(
                (other for other in range(12) if other != candidate), key=lambda o: -both[candidate, o]
            )
            mean = np.mean([score[query, other] for other in others[:3] if other != query])
            assert result[query, candidate] == pytest.approx(mean)

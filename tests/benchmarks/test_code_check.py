"""Tests benchmarks/code_check.py: scores within tasks."""

import json
from pathlib import Path

import numpy as np
import pytest
from code_check import (
    compared,
    consensus_of,
    folds_of,
    kernel_of,
    markdown,
    ridge_scores,
    task_auc,
    within_head,
)

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def rows():
    """Tasks whose level hides what makes a row wrong."""
    rng = np.random.default_rng(0)
    task = np.repeat(np.arange(40), 8)
    values = rng.normal(size=(320, 5))
    wrong = values[:, 0] + 0.3 * rng.normal(size=320) > 0
    values[:, 0] += 100 * rng.normal(size=40)[task]
    return values, wrong, task


def test_an_auc_within_tasks_counts_pairs_of_one_task():
    wrong, task = np.array([1, 0, 1, 0], bool), np.array([0, 0, 1, 1])
    assert task_auc(wrong, np.array([2.0, 1.0, 9.0, 9.0]), task) == 0.75


def test_heads_see_through_the_level_of_a_task(rows):
    values, wrong, task = rows
    used = np.ones(len(task), bool)
    fold = folds_of(task)
    kernel = kernel_of(values, task, used)
    scores = ridge_scores(kernel, wrong, task, fold, used)
    assert task_auc(wrong, scores[fold, np.arange(len(fold))], task) > 0.9
    weights = within_head(values, wrong, task, used, 0.01)
    assert task_auc(wrong, values @ weights, task) > 0.9


def test_a_task_that_counts_twice_is_a_task_that_is_there_twice(rows):
    values, wrong, task = rows
    twice, times = np.concatenate([np.arange(320), np.arange(8)]), np.where(task == 0, 2, 1)
    once = within_head(values, wrong, task, np.ones(320, bool), 0.01, times)
    doubled = within_head(values[twice], wrong[twice], np.append(task, [99] * 8), np.ones(328, bool), 0.01)
    assert np.allclose(once, doubled, rtol=0.05)  # only the scale of the columns differs


def test_a_score_gains_nothing_over_itself(rows):
    values, wrong, task = rows
    result = compared(wrong, values[:, 0], values[:, 0], task)
    assert result["gain"] == 0
    assert result["gain_interval"] == (0, 0)


def test_folds_keep_groups_whole():
    groups = np.repeat([f"project {number}" for number in range(12)], range(1, 13))
    fold = folds_of(groups)
    assert all(len(set(fold[groups == group])) == 1 for group in groups)
    assert len(set(fold)) == 5


def test_consensus_is_of_one_task_and_model():
    def sample(body, model="a"):
        return {"task": "t", "model": model, "body": body}

    agreement = consensus_of([sample("x + 1"), sample("x + 1"), sample("y - 2"), sample("x + 1", "b")])
    assert agreement[:, 0].tolist() == [0.5, 0.5, 0.0, 0.0]


def test_the_page_quotes_the_record():
    record = json.loads((REPOSITORY / "benchmarks" / "code.json").read_text("utf-8"))
    page = (REPOSITORY / "benchmarks" / "code.md").read_text("utf-8")
    assert page == markdown(record)
    measured = (REPOSITORY / "docs" / "code.md").read_text("utf-8").split("## Measured: is it wrong?")[1]
    tables = [line for line in measured.partition("\n## ")[0].splitlines() if line.startswith("| ")]
    assert len(tables) > 10
    assert {*tables} <= {*page.splitlines()}

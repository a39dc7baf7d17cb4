"""Tests benchmarks/code_check.py and the files around it: scores within tasks, and what pages quote."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from code_bodies import LIKELIHOOD, likelihood, read_features, read_task, write_features
from code_check import compared, consensus_of
from code_pages import DOCS, card, docs_blocks, filled, markdown, sides
from code_sets import checker_hash, codereval_projects, digest_of
from within_task import folds_of, kernel_of, less_mean, ridge_scores, task_auc, within_head

from splinelens.detect.code_head import CodeHead
from splinelens.models import load_model
from splinelens.texts.code_frame import PLACEHOLDER

REPOSITORY = Path(__file__).parents[2]
BODIES = ["    the tea is fine\n", "\n", "    we are at the sea and it is cold there\n"]


@pytest.fixture(scope="module")
def record():
    return json.loads((REPOSITORY / "benchmarks" / "code_check.json").read_text("utf-8"))


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


def test_rows_less_the_mean_of_their_task_sum_to_nothing(rows):
    values, _, task = rows
    centered = less_mean(values, task)
    assert np.allclose([centered[task == number].sum(0) for number in range(40)], 0, atol=1e-3)


@pytest.fixture(scope="module")
def loaded(writer_folder):
    return load_model(writer_folder(), head=True, device="cpu")


def test_a_body_is_as_likely_as_the_models_logits_say_in_any_batch(loaded):
    prompt = "the sea"
    rows = read_task(loaded, prompt, BODIES, layers=(0,), hidden=(1,))
    for body, row in zip(BODIES, rows, strict=True):
        before, ids = (loaded.tokenizer(text, add_special_tokens=False).input_ids for text in (prompt, body))
        with torch.no_grad():
            logits = loaded.causal(torch.tensor([before + ids])).logits[0, len(before) - 1 : -1]
        log = logits.log_softmax(-1)
        target = log[torch.arange(len(ids)), torch.tensor(ids)]
        rank = (log > target[:, None]).sum(-1)
        entropy = torch.distributions.Categorical(logits=logits).entropy()
        expected = torch.stack([target, log.amax(-1), entropy, torch.log1p(rank)]).numpy()
        assert np.allclose(row["tokens"], expected, atol=2e-3)  # kept in half precision
        (single,) = read_task(loaded, prompt, [body], layers=(0,), hidden=(1,))
        for key in ("tokens", "spline", "margins", "hidden"):
            assert np.allclose(row[key], single[key], atol=2e-3)


def test_a_body_without_tokens_is_not_read(loaded):
    empty, full = read_task(loaded, "the sea", ["", BODIES[0]], layers=(0,), hidden=(1,))
    assert empty is None
    assert full["length"] > 0


def test_likelihood_of_a_sure_and_of_a_surprised_model_by_hand():
    sure = dict(zip(LIKELIHOOD, likelihood(np.zeros((4, 3))), strict=True))
    assert sure.pop("share of the likeliest token") == 1
    assert sure.pop("tokens") == np.log(3)
    assert set(sure.values()) == {0}
    tokens = np.array([[-1.0, -7.0], [-1.0, -1.0], [0.5, 1.5], [0.0, np.log(3)]])
    row = dict(zip(LIKELIHOOD, likelihood(tokens), strict=True))
    assert row["log-probability mean"] == -4
    assert row["share below -5"] == row["share of the likeliest token"] == 0.5
    assert row["gap to the likeliest token most"] == 6
    assert row["surprise most"] == 5.5


def test_features_are_read_as_they_were_written(tmp_path):
    rng, path = np.random.default_rng(0), tmp_path / "task.npz"
    shapes = {"margins": 7, "hidden": 5, "spline": 90}
    read = {
        digest: {"tokens": rng.normal(size=(4, length)), "length": length}
        | {key: rng.normal(size=size) for key, size in shapes.items()}
        for digest, length in (("a", 2), ("b", 5))
    }
    write_features(path, read)
    for digest, row in read_features(path).items():
        assert np.array_equal(row[0], likelihood(read[digest]["tokens"]))
        for stored, key in zip(row[1:], ("spline", "margins", "hidden"), strict=True):
            assert np.array_equal(stored, read[digest][key])


def test_projects_do_not_hold_the_answers_of_their_tasks():
    tasks = {
        "1": {"project": "p", "file": "a.py", "context": f"def g(): ...\n\n{PLACEHOLDER}\n"},
        "2": {"task": "no project"},
    }
    (project,) = codereval_projects(tasks).values()
    assert list(project.definitions) == ["g"]


def test_the_digest_of_a_body_is_that_of_its_text():
    assert digest_of("x") != digest_of("x ")
    assert len(digest_of("\ud800")) == 24


@pytest.fixture(scope="module")
def quoted(record):
    """The section of docs/code.md, in one line of text."""
    return " ".join(DOCS.read_text("utf-8").split())


def test_the_pages_quote_the_record(record):
    assert (REPOSITORY / "benchmarks" / "code_check.md").read_text("utf-8") == markdown(record)
    page = DOCS.read_text("utf-8")
    assert filled(page, docs_blocks(record)) == page


def test_every_row_that_the_docs_quote_is_a_row_of_the_page(record):
    page = {*markdown(record).splitlines()}
    for name in ("findings", "scores", "model"):
        rows = [line for line in docs_blocks(record)[name].splitlines() if line.startswith("| ")]
        assert len(rows) > 2
        assert {*rows} <= page


def test_a_page_without_the_marks_of_a_block_is_refused():
    with pytest.raises(SystemExit, match="no place for findings"):
        filled("# Code\n", {"findings": "| a |"})


def test_a_score_is_above_another_if_its_interval_is():
    rows = [
        {"score": name, "gain_interval": interval}
        for name, interval in {
            "a": (0.1, 0.2),
            "b": (-0.1, 0.2),
            "c": (-0.2, -0.1),
            "static + TF-IDF": (0, 0),
        }.items()
    ]
    expected = "Above static + TF-IDF, by the interval of the gain: a. Below: c. Not told apart: b."
    assert sides(rows) == expected
    assert sides(rows[1:]).startswith("Above static + TF-IDF, by the interval of the gain: none. Below: c.")


def test_the_docs_count_the_functions_that_were_measured(record, quoted):
    codereval, humaneval = record["sets"]["codereval"], record["sets"]["humaneval"]
    assert (codereval["models"], humaneval["models"]) == (6, 1)
    assert f"{codereval['samples']:,} of six models for the tasks of CoderEval" in quoted
    assert f"{humaneval['samples']:,} of CodeGen-16B for HumanEval" in quoted
    assert "functions that seven language models wrote, of which four in five are wrong" in quoted
    assert round(5 * CodeHead.load().record["share"]) == 4
    assert "four in five" in (REPOSITORY / "src/splinelens/cli/code.py").read_text("utf-8")


def test_what_the_docs_say_of_the_probabilities_holds(record):
    """Prose without numbers: each sentence is a comparison of the record."""
    lower = [row["wrong"] for row in record["reliability"]["humaneval"]["bins"][:5]]
    assert any(after < before for before, after in pairwise(lower))
    static = record["static"]["humaneval"]
    assert static["attribute, import and type errors found"] < 0.2 < static["name and syntax errors found"]


def test_the_shipped_head_has_its_card_and_the_measured_rows(record):
    shipped = CodeHead.load().record
    card_path = REPOSITORY / "src/splinelens/detectors/code/CARD.md"
    assert card_path.read_text("utf-8") == card(shipped)
    assert shipped["data_hash"] == record["data_hash"]
    for name, row in shipped["metrics"].items():
        key = {"set": name, "fit": "both", "score": "static + counts"}
        (expected,) = [each for each in record["rows"] if key.items() <= each.items()]
        assert row == expected


@pytest.mark.parametrize("of", ["record", "head"])
def test_the_numbers_are_of_this_checker(record, of):
    """If this fails: run static, measure, ship and report of benchmarks/code_check.py again."""
    stored = record if of == "record" else CodeHead.load().record
    assert stored["checker"] == checker_hash()


def test_the_docs_quote_the_critic(record):
    critic, words = record["critic"], " ".join(DOCS.read_text("utf-8").split())
    assert f"`{critic['model']}` wrote {critic['prompts']} functions of CoderEval" in words
    assert f"{critic['answers with a finding']} answers had a finding that fails" in words
    names = critic["unresolved names"], critic["of these after one round"]
    assert "of {} unresolved names, {} were there **after one round**".format(*names) in words

"""Tests generate/trials.py: equal lengths, orders, and what is not asked twice."""

from collections import defaultdict

import pytest

from splinelens.errors import BadFeatures, BadTexts
from splinelens.generate.trials import KINDS, TrialRunner, make_trials

PROMPTS = [(10, 11, 12), (20, 21)]
CONTEXTS = [
    {"related": [(1, 2, 3), (4, 5), (6,)], "unrelated": [(31, 32), (33, 34, 35, 36)], "neutral": [(41,)]},
    {"related": [(7, 7)], "unrelated": [(51, 52, 53)]},
]


def plan(**options):
    return make_trials(PROMPTS, CONTEXTS, range(60, 90), (0,), **options)


def test_contexts_of_a_prompt_and_number_of_sentences_are_equally_long():
    lengths = defaultdict(set)
    for trial in plan(sentences=3, orders=3):
        lengths[trial.prompt, trial.sentences].add(len(trial.context))
        assert trial.kind == "none" or trial.context[-1] == 0
    assert all(len(found) == 1 for found in lengths.values())
    first, second, third = (min(lengths[0, count]) for count in (1, 2, 3))
    assert first < second < third == 9  # all three related sentences, each with its line break


def test_each_prompt_is_asked_alone_once_and_after_every_kind_that_it_has():
    kinds = defaultdict(set)
    trials = plan()
    for trial in trials:
        kinds[trial.prompt].add(trial.kind)
    assert kinds == {0: set(KINDS), 1: set(KINDS) - {"neutral"}}
    assert [trial.prompt for trial in trials if trial.kind == "none"] == [0, 1]


def test_equal_contexts_are_asked_once():
    trials = plan(sentences=2, orders=5)
    assert len({(trial.prompt, trial.kind, trial.context) for trial in trials}) == len(trials)
    assert sum(trial.kind == "repeated" for trial in trials) == 4  # it has one order
    assert len([trial for trial in trials if trial.prompt == 1 and trial.kind == "related"]) == 2


def test_a_seed_decides_orders_and_random_tokens():
    assert plan(seed=1) == plan(seed=1)
    assert plan(seed=1) != plan(seed=2)
    assert {token for trial in plan() if trial.kind == "random" for token in trial.context} <= {
        0,
        *range(60, 90),
    }


def test_what_cannot_be_asked_is_refused():
    with pytest.raises(BadFeatures, match="sentences=0: give a whole number of at least 1"):
        plan(sentences=0)
    with pytest.raises(BadFeatures, match=r"orders=1\.5: give"):
        plan(orders=1.5)
    with pytest.raises(BadTexts, match="prompt 1 has no tokens"):
        make_trials([(1,), ()], CONTEXTS, [5], (0,))
    with pytest.raises(BadTexts, match="a context of prompt 0 has no tokens"):
        make_trials([(1,)], [{"related": [(2,)], "neutral": [()]}], [5], ())
    with pytest.raises(BadTexts, match="prompt 0 has no context"):
        make_trials([(1,)], [{"related": []}], [5], (0,))


def test_special_tokens_in_a_request_are_letters(writer_folder):
    runner = TrialRunner.load(writer_folder(), device="cpu")
    ids, ((begin, end),) = runner.writer.turns([{"role": "user", "content": "a<eos>b"}])
    assert runner.tokens("a<eos>b") == ids[begin:end]
    assert len(runner.tokens("a<eos>b")) == 7

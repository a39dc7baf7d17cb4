"""Tests ``benchmarks/prompt_srl.py``: choices beside full passes; constituents, weights, shares by hand."""

import json
import re
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import prompt_srl
import prompted
import pytest
import srl_questions
import srl_senses
import torch
from srl_questions import Case, candidates, closest, constituent, spans
from up_ewt import Frame, Predicate, Sentence

from splinelens.models import load_model

PROMPT, STEMS = "the inn by the sea\n", ("we see the", "we hear the band in the")
CHOICES = (" sun\n", " sunny inn\n", " sunny bay\n", " a\n")


def sentence_of(text, heads, relations, tags=None, predicates=()):
    words = tuple(text.split())
    return Sentence(
        name="one",
        text=text,
        words=words,
        lemmas=words,
        tags=tuple(tags or ["X"] * len(words)),
        fine_tags=("X",) * len(words),
        heads=tuple(heads),
        relations=tuple(relations),
        features=("_",) * len(words),
        predicates=tuple(predicates),
    )


# "the meal that we had was warm ."
MEAL = sentence_of(
    "the meal that we had was warm .",
    [1, 6, 4, 4, 1, 6, -1, 6],
    ["det", "nsubj", "obj", "nsubj", "acl:relcl", "cop", "root", "punct"],
    ["DET", "NOUN", "PRON", "PRON", "VERB", "AUX", "ADJ", "PUNCT"],
)


def case_of(number, roleset, senses, arguments=(), sentence=MEAL, word=4):
    return Case(number, sentence, Predicate(word, roleset, tuple(arguments)), tuple(senses))


def frames_of(lemma, count):
    return [Frame(f"{lemma}.0{number}", f"sense {number}", {}) for number in range(1, count + 1)]


@pytest.fixture(params=["llama", "qwen2"])
def loaded(request, writer_folder):
    return load_model(writer_folder(request.param), head=True, device="cpu")


def full_passes(loaded, prompt, texts):
    """Each text by itself, prompt and all, without kept keys or a mask of our own."""
    found = []
    for text in texts:
        ids = torch.tensor([[*prompt, *text]])
        with torch.no_grad():
            values = loaded.causal(ids).logits[0].log_softmax(dim=-1)
        found.append(values[range(len(prompt) - 1, ids.shape[1] - 1), ids[0, len(prompt) :]].numpy())
    return found


@pytest.mark.parametrize("nodes", [1024, 12])  # 12: several passes
def test_choices_are_as_likely_as_in_full_passes_of_one_text_each(loaded, monkeypatch, nodes):
    monkeypatch.setattr(prompted, "NODES", nodes)
    after = prompted.Prompted(loaded, PROMPT)
    texts = [after.encode(stem) + after.encode(choice) for stem in STEMS for choice in CHOICES]
    expected = full_passes(loaded, after.encode(PROMPT), texts)
    for _ in range(2):  # nothing of the first time is kept
        for one, other in zip(after.log_probabilities(texts), expected, strict=True):
            np.testing.assert_allclose(one, other, atol=2e-5)
    scores = after.scores(STEMS, CHOICES)
    ends = [len(after.encode(choice)) for choice in CHOICES] * len(STEMS)
    flat = [score for of_stem in scores for score in of_stem]
    assert [tokens for _, tokens in flat] == ends
    for (score, tokens), values in zip(flat, expected, strict=True):
        assert score == pytest.approx(values[-tokens:].sum(), abs=2e-3)


def test_all_tokens_that_may_follow_have_a_probability_of_1_together(loaded):
    after = prompted.Prompted(loaded, PROMPT)
    stem = after.encode(STEMS[0])
    vocabulary = loaded.causal.config.vocab_size
    last = [values[-1] for values in after.log_probabilities([(*stem, token) for token in range(vocabulary)])]
    assert np.exp(last).sum() == pytest.approx(1, abs=1e-4)
    first = [values[0] for values in after.log_probabilities([(token,) for token in range(vocabulary)])]
    assert np.exp(first).sum() == pytest.approx(1, abs=1e-4)


def test_a_tree_has_common_beginnings_once():
    tree = prompted._Tree()
    paths = [tree.add(text) for text in ([5, 6, 7], [5, 6, 8], [6])]
    assert (tree.tokens, tree.parents, tree.depths) == ([5, 6, 7, 8, 6], [-1, 0, 1, 1, -1], [0, 1, 2, 2, 0])
    assert paths == [[0, 1, 2], [0, 1, 3], [4]]


def test_a_constituent_is_without_the_predicate_and_what_belongs_to_it():
    assert constituent(MEAL, 1, 4) == "the meal"  # of "the meal that we had"
    assert constituent(MEAL, 1, 5) == "the meal that we had"
    assert constituent(MEAL, 6, 5) == "warm"  # its subject is on the other side of the copula
    assert constituent(MEAL, 3, 4) == "we"


def test_candidates_are_dependents_on_the_way_to_the_root():
    assert candidates(MEAL, 4) == {0: "the", 1: "the meal", 2: "that", 3: "we", 5: "was", 6: "was warm"}
    assert candidates(MEAL, 5) == {1: "the meal that we had", 6: "warm"}


def test_spans_hold_up_to_five_words_and_never_the_predicate():
    found = spans(MEAL, 4)
    assert {"the meal that we", "was warm ."} <= set(found)
    assert not any("had" in span for span in found)
    assert len(found) == 4 + 3 + 2 + 1 + 3 + 2 + 1  # four words before it, three after it


@pytest.mark.parametrize(
    ("text", "head"),
    [
        ("the old boat", 1),  # equal
        ("The old boat", 1),  # in another case
        ("boat", 1),  # 2 / 4 of one, nothing of the other
        ("the boat we saw", 1),  # a word less, two more: 2 * 2 / 7, and 2 / 9 of the other
        ("a boat on the lake", 2),  # 2 / 8, and 4 * 2 / 10
        ("the", 1),  # in both: the shorter
        ("nothing of it", None),
    ],
)
def test_the_closest_constituent_has_most_words_in_common(text, head):
    assert closest(text, {1: "the old boat", 2: "our boat on the lake"}) == head


def test_without_constituents_none_is_the_closest():
    assert closest("the boat", {}) is None


def test_weights_of_a_choice_by_hand():
    """Two choices differ by 1 in a feature, and 3 of 4 cases choose the higher: its weight is log 3."""
    features = [np.array([[1.0], [0.0]])] * 4
    (weight,) = srl_senses.fitted_choice(features, [0, 0, 0, 1], ridge=1e-9)
    assert weight == pytest.approx(np.log(3), abs=1e-4)


def test_the_most_frequent_sense_backs_off_to_the_first():
    counts = {"run": srl_senses.Counter({"run.02": 2, "run.07": 1})}
    of_lemma = frames_of("run", 3)
    assert srl_senses.most_frequent(case_of(0, "run.01", of_lemma), counts) == "run.02"
    assert srl_senses.most_frequent(case_of(0, "go.02", frames_of("go", 2)), counts) == "go.01"
    assert srl_senses.most_frequent(case_of(0, "dip.01", []), counts) == "dip.01"  # not in the frames
    assert srl_senses.choices_of(case_of(0, "run.01", of_lemma), counts) == [
        "run.01",
        "run.02",
        "run.03",
        "run.07",  # in other sentences, not in the frames
    ]


def test_centroids_are_drawn_to_their_lemma_and_measured_within_senses():
    """Two senses at -2 and 2 on one axis; inside each the variance is 1 along both axes."""
    rng = np.random.default_rng(0)
    sense = np.arange(400) % 2
    values = rng.normal(size=(400, 2)) + np.outer(4 * sense - 2, [1, 0])
    cases = [case_of(at, f"run.0{one + 1}", frames_of("run", 2)) for at, one in enumerate(sense)]
    centroids = srl_senses.Centroids(values, cases)
    near = centroids.nearness(np.array([2.0, 0.0]), cases[0], ["run.02", "run.01", "run.03"])
    # halved squares over 2 dimensions; a sense that never occurred is at the mean of the lemma
    np.testing.assert_allclose(near, [0, -16 / 4, -4 / 4], atol=0.3)
    unknown = case_of(0, "go.01", frames_of("go", 2))
    assert centroids.nearness(np.array([2.0, 0.0]), unknown, ["go.01", "go.02"]) == [0, 0]


def test_a_stack_learns_what_features_say_of_held_out_sentences():
    rng = np.random.default_rng(0)
    sense = rng.integers(1, 3, 200)
    cases = [
        case_of(at, f"run.0{one}", frames_of("run", 2), sentence=replace(MEAL, name=str(at)))
        for at, one in enumerate(sense)
    ]
    blocks = {
        name: {
            case.key: (scale * one + rng.normal(size=3)).astype(np.float32)
            for case, one in zip(cases, sense, strict=True)
        }
        for name, scale in (("told", 6.0), ("noise", 0.0))
    }
    kinds = {name: ("first", "count", *more) for name, more in (("counts", ()), *((b, (b,)) for b in blocks))}
    right = {
        name: each.mean() for name, each in srl_senses.stacked(cases, cases, {}, blocks, kinds, 0).items()
    }
    assert right["told"] > 0.95
    assert right["noise"] == pytest.approx(0.5, abs=0.12)
    assert right["counts"] == pytest.approx(0.5, abs=0.12)


def test_shares_and_their_differences_by_hand():
    groups = np.repeat(np.arange(30), 2)
    one, other = (prompt_srl.accuracy_parts(np.arange(60) % divisor == 0) for divisor in (2, 4))
    value, low, high = prompt_srl.share(one, groups, 0)
    assert (value, low, high) == (0.5, 0.5, 0.5)  # one of two in every sentence
    assert prompt_srl.share(one, groups, 0, one) == [0, 0, 0]
    value, low, high = prompt_srl.share(one, groups, 0, other)
    assert value == 0.25
    assert 0.1 < low < 0.25 < high < 0.4


@pytest.mark.parametrize("by_text", [False, True])
def test_counts_are_those_of_other_folds(by_text):
    """Ten sentences of five texts, two predicates each: a fold has two sentences or one text, so four."""
    cases = [
        case_of(at, "run.02", frames_of("run", 2), sentence=replace(MEAL, name=f"{at // 2}-{at}"), word=word)
        for at in range(10)
        for word in (0, 1)
    ]
    found = prompt_srl._counts_elsewhere(cases, 0, by_text)
    assert {key: of["run"]["run.02"] for key, of in found.items()} == {case.key: 16 for case in cases}
    fold = srl_senses.fold_of(cases, 0, by_text).tolist()
    for group in ("number", "text")[: 1 + by_text]:
        names = [getattr(case, group) for case in cases]
        assert len(set(zip(names, fold, strict=True))) == len(set(names))


def test_a_predicate_with_a_single_sense_is_right_if_the_frames_have_it():
    single, other = case_of(0, "dip.01", frames_of("dip", 1)), case_of(1, "dip.LV", frames_of("dip", 1))
    several = case_of(2, "run.02", frames_of("run", 2), word=3)
    found = prompt_srl._with_single([single, several, other], [several], np.array([True]))
    assert found.tolist() == [True, True, False]


def test_an_argument_is_the_likeliest_constituent_or_none():
    row = {
        "roles": ["ARG0", "ARG1", "ARG2"],
        "heads": [None, 1, 3],
        "sum": [[-9.0, -8.0, -5.0], [-9.0, -6.0, -7.0], [-3.0, -8.0, -7.0]],
        "tokens": [2, 4, 1],
        "span": ["we", "the warm meal", "none"],
    }
    answers = prompt_srl._answers(row, case_of(0, "have.03", []))
    assert [answers[role]["sum"] for role in row["roles"]] == [3, 1, None]
    assert [answers[role]["mean"] for role in row["roles"]] == [1, 1, None]  # -8 / 4, -6 / 4, -3 / 2
    assert [answers[role]["span"] for role in row["roles"]] == [3, 1, None]


def test_errors_in_common_by_hand():
    errors = prompt_srl._errors("0011", "0121", "2122")
    assert errors == {"smaller": 2, "larger": 4, "both": 2, "the same role": 2}


def test_a_role_is_without_argument_unless_a_candidate_is_likelier():
    case = case_of(0, "have.03", [], arguments=[(3, "ARG0")])
    row = {"roles": ["ARG0"], "heads": [None, 1, 3], "sum": [[-2.0, -6.0, -4.0]], "tokens": [1, 2, 2]}
    (question,) = prompt_srl._questions([row], [case])
    np.testing.assert_equal(question.features, [[-2, -2, 1, 1], [-6, -3, 2, 0], [-4, -2, 2, 0]])
    by_sum = np.array([1.0, 0, 0, 0])
    assert (question.answer(by_sum, 1.9), question.answer(by_sum, 2.1)) == (None, 3)
    assert question.gold == 3
    which = prompt_srl._which([row] * 60, [case] * 60, np.arange(60), 0)
    assert which["random"]["value"] == [0.5, 0.5, 0.5]
    assert which["sum"]["value"] == [1, 1, 1]


def test_a_stopped_run_asks_only_for_what_is_left(tmp_path, writer_folder):
    args = Namespace(cache=tmp_path, seed=0)
    cases = [case_of(0, "have.03", frames_of("have", 3), sentence=replace(MEAL, name=name)) for name in "abc"]
    examples = [case_of(1, "have.02", frames_of("have", 3))]
    asked = prompt_srl.Asked(args, str(writer_folder()))
    asks = ("sense", cases, examples, srl_questions.written_sense, srl_questions.ask_sense)
    rows = asked.rows(*asks)
    (path,) = tmp_path.glob("sense-*.jsonl")
    lines = path.read_text("utf-8").splitlines(keepends=True)
    assert rows["a#4"]["sum"] == rows["b#4"]["sum"]
    assert len(rows["a#4"]["sum"]) == 3
    path.write_text("".join(lines[:2]) + lines[2][:9], "utf-8")  # killed while it wrote
    assert prompt_srl.Asked(args, str(writer_folder())).rows(*asks) == rows
    assert path.read_text("utf-8").splitlines(keepends=True) == lines


def triples(record):
    """Every [mean, low, high] of a record."""
    if isinstance(record, dict):
        return [found for value in record.values() for found in triples(value)]
    if isinstance(record, list) and len(record) == 3 and all(isinstance(value, float) for value in record):
        return [record]
    return []


def test_the_page_quotes_the_record():
    folder = Path(prompt_srl.__file__).parent
    page = " ".join((folder / "prompt_srl.md").read_text("utf-8").split()).replace("**", "")
    stored = triples(json.loads((folder / "prompt_srl.json").read_text("utf-8")))
    quoted = re.findall(r"([+-]?\d\.\d{3}),? \(?(-?\d\.\d{3}) to (-?\d\.\d{3})\)", page)
    assert len(quoted) > 60
    for numbers in quoted:
        assert any(
            all(abs(float(text) - value) < 6e-4 for text, value in zip(numbers, found, strict=True))
            for found in stored
        ), numbers

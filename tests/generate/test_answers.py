"""Tests ``generate/answers.py``: a model's own answers, labeled by gold answers."""

import json

import numpy as np
import pytest
import torch

from splinelens.errors import BadTexts
from splinelens.generate.answers import (
    Answer,
    answer,
    answer_counts,
    is_correct,
    labeled_answers,
    write_answers,
)
from splinelens.generate.likelihood import log_probabilities, profile
from splinelens.models import load_model
from splinelens.texts import Texts, read_texts


@pytest.mark.parametrize(
    ("given", "gold", "correct"),
    [
        ("Paris", ["Paris"], True),
        ("It is the city of PARIS, in France.", ["paris"], True),
        ("Parisian", ["Paris"], False),
        ("Sao Paulo", ["São Paulo"], True),
        ("Lyon", ["Paris", "Lyon"], True),
        ("new and old York", ["New York"], False),
        ("an apple", ["The Apple"], True),
        ("", ["Paris"], False),
    ],
)
def test_an_answer_is_correct_that_includes_a_gold_answer_in_whole_words(given, gold, correct):
    assert is_correct(given, gold) == correct


def test_answers_are_bounded_and_say_what_ended_them(writer_folder):
    loaded = load_model(writer_folder(), head=True, device="cpu")
    done = []
    answers = answer(
        ["is it cold", "", None],
        ["yes", "no", ["x", "y"]],
        loaded,
        max_tokens=5,
        progress=lambda *step: done.append(step),
    )
    assert [one.row for one in answers] == [0, 1, 2]
    assert answers[0].ended in ("length", "stop")
    assert answers[0].reason is None
    assert [one.correct for one in answers[1:]] == [None, None]
    assert answers[1].reason == "the question is empty"
    assert len(done) == 3
    (repeated,) = answer(["is it cold"], ["yes"], loaded, max_tokens=5)
    assert repeated == answers[0]


def test_a_model_without_a_chat_template_continues_the_question(writer_folder):
    loaded = load_model(writer_folder(), head=True, device="cpu")
    (chat,) = answer(["is it cold"], ["yes"], loaded, max_tokens=5)
    (raw,) = answer(["is it cold"], ["yes"], loaded, max_tokens=5, raw=True)
    loaded.tokenizer.chat_template = None
    (plain,) = answer(["is it cold"], ["yes"], loaded, max_tokens=5)
    assert plain == raw != chat


def test_questions_without_a_gold_answer_are_refused(writer_folder):
    with pytest.raises(BadTexts, match="1 gold answers for 2 questions"):
        answer(["a", "b"], ["x"], writer_folder())
    for gold in ("?!", "", []):
        with pytest.raises(BadTexts, match="gold answer of question 0 has no letter or digit"):
            answer(["a"], [gold], writer_folder())


def test_written_answers_can_be_read_as_labeled_texts(tmp_path):
    answers = [
        Answer(0, "Where?", "In Paris.", "stop", True),
        Answer(1, "Who?", "", None, None, "the question is empty"),
        Answer(2, "When?", "then then", "length", False),
    ]
    write_answers(answers, tmp_path / "answers.jsonl")
    first = json.loads((tmp_path / "answers.jsonl").read_text().splitlines()[0])
    assert (first["text"], first["correct"], first["ended"]) == ("Where? In Paris.", True, "stop")
    assert len(read_texts(str(tmp_path / "answers.jsonl"), "text")) == 3
    assert answer_counts(answers) == {
        "correct": 1,
        "wrong": 1,
        "without an answer": 1,
        "stopped at the most tokens": 1,
    }


def test_correct_answers_are_the_reference_where_there_are_too_few_wrong_ones():
    answers = [Answer(row, "Where?", f"In {row}.", "stop", row < 12) for row in range(24)]
    answers.append(Answer(24, "", "", None, None, "the question is empty"))
    questions = Texts(("Where?",) * 25, {"topic": tuple(range(25))}, "questions")
    texts, labels = labeled_answers(answers, questions)
    assert labels == [1] * 12 + [0] * 12
    assert (texts.texts[3], texts.columns["topic"][23]) == ("Where? In 3.", 23)
    texts, labels = labeled_answers(answers[:15], questions.at(range(15)))
    assert labels is None
    assert len(texts) == 12
    with pytest.raises(BadTexts, match="none of 2 answers is correct"):
        labeled_answers(answers[12:14], questions.at([12, 13]))


def test_logits_that_are_not_finite_leave_the_question_without_an_answer(writer_folder):
    loaded = load_model(writer_folder(), head=True, device="cpu")
    with torch.no_grad():
        loaded.causal.lm_head.weight.fill_(torch.nan)
    (broken,) = answer(["is it cold"], ["yes"], loaded, max_tokens=5)
    assert (broken.correct, broken.ended) == (None, None)
    assert "logits that are not finite" in broken.reason
    (values,) = log_probabilities(loaded, ["the tea is fine"])
    assert np.isnan(values).all()
    assert np.isnan(profile(values)).all()

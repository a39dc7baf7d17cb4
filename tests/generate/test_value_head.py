"""Tests ``generate/value_head.py``: the score of the detector, from the pass that writes."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from splinelens.apps.training import train
from splinelens.errors import BadDetector, BadFeatures, WrongModel
from splinelens.generate.critics import Check, Finding
from splinelens.generate.model_steps import ModelSteps
from splinelens.generate.sample import Sampling
from splinelens.generate.search import Continuation, SearchBudget, search
from splinelens.generate.value_head import ValueHead
from splinelens.models import load_model

PROMPT = "the path"


@pytest.fixture(scope="session")
def tiny(writer_folder):
    return load_model(writer_folder("llama"), head=True, device="cpu")


@pytest.fixture(scope="session")
def trained(tiny):
    """Trains on texts that end in a vowel or not, in groups of two; each choice of options once."""

    @cache
    def fit(**options):
        words = ["hill", "sea", "wood", "tree", "lake", "rain"]
        texts = [f"{PROMPT} {first} {second}" for first in words for second in words]
        groups = [row // 2 for row in range(len(texts))]
        options = {"features": "hidden", "pooling": "last", "groups": groups} | options
        labels = [int(text[-1] in "aeiou") for text in texts]
        return train(texts, labels, tiny, name="ends", label="vowel", negative="other", **options).detector

    return fit


def test_a_value_is_the_score_that_the_detector_gives_the_text(trained, tiny, tmp_path):
    detector = trained()
    detector.save(tmp_path / "ends")
    head, compared = ValueHead(tmp_path / "ends"), 0
    writer = ModelSteps(head.writer(tiny), sampling=Sampling(temperature=1.0), max_step_tokens=4)
    for one in writer.continuations(PROMPT, (), 6, 99, 0):
        value = head(PROMPT, (), one)
        ids = writer.writer.ids(PROMPT) + one.ids
        if writer.writer.ids(PROMPT + one.text) == ids:  # the characters are read as they were written
            assert value == pytest.approx(detector.score([PROMPT + one.text])[0].score, abs=1e-3)
            compared += 1
    assert compared


def test_a_value_and_critics_guide_a_search(trained, tiny):
    head = ValueHead(trained().artifact)
    sampling = Sampling(temperature=2.0, max_tokens=8)
    writer = ModelSteps(head.writer(tiny), sampling=sampling, max_step_tokens=4)
    half = Check(lambda text: Finding("pass", 0.5), name="half")
    result = search(writer, [half], PROMPT, value=head, value_weight=2.0, budget=SearchBudget(tokens=60))
    best = max(node.h for node in result.trace if node.outcome == "finished")
    assert result.score == pytest.approx(0.5 + 2 * best)


def test_a_continuation_without_its_features_is_refused(trained):
    head = ValueHead(trained().artifact)
    with pytest.raises(BadFeatures, match="has no features, and the head 96"):
        head(PROMPT, (), Continuation("a", 1, False))
    with pytest.raises(BadFeatures, match=r"features of shape \(3,\)"):
        head(PROMPT, (), Continuation("a", 1, False, np.zeros(3)))


def test_detectors_that_are_no_value_are_refused(trained, writer_folder):
    with pytest.raises(BadDetector, match="which is not of the last token"):
        ValueHead(trained(pooling="max").artifact)
    with pytest.raises(BadDetector, match="reads texts after a prompt"):
        ValueHead(trained(prompt="Look: ").artifact)
    (calibration,) = trained().artifact.calibrations
    by_length = replace(calibration, by_length=((10, 0.5), (20, 1.0)))
    with pytest.raises(BadDetector, match="go by the length of a text"):
        ValueHead(replace(trained().artifact, calibrations=(by_length,)))
    other = load_model(writer_folder("qwen3"), head=True, device="cpu")
    with pytest.raises(WrongModel, match="was fitted with another model"):
        ValueHead(trained().artifact).writer(other)

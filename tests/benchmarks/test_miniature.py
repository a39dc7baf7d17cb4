"""Tests benchmarks/miniature.py: its pictures, its losses, and a whole run with tiny models."""

import json
import sys
from types import SimpleNamespace

import miniature
import numpy as np
import pytest
import torch
from miniature import (
    PATCHES,
    PHRASE,
    WORDS,
    Captioner,
    Stage,
    codes_of,
    fitted,
    gain,
    guide_of,
    losses,
    patches_of,
    read_pictures,
    share_of_rate,
    views_of,
)

from splinelens.models import LoadedModel

ALL = ("MDist", "RDist")


class WordTokenizer:
    """One token a word."""

    words = (*PHRASE.split(), *WORDS)

    def __call__(self, text):
        return SimpleNamespace(input_ids=[self.words.index(word) for word in text.split()])


@pytest.fixture
def load(tiny_of):
    """Loads a random model with some blocks, as ``load_model`` does."""

    def loaded(name, n_layers, dtype):
        model = (
            tiny_of("llama", num_hidden_layers=n_layers)
            .eval()
            .requires_grad_(False)
            .to(getattr(torch, dtype))
        )
        return LoadedModel(model, WordTokenizer(), name, None, n_layers, n_layers)

    return loaded


@pytest.fixture
def build(load):
    return lambda blocks, seed=0: Captioner(load("tiny", blocks, "bfloat16"), seed)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder with 60 pictures of noise, whose class is how bright they are; 10 of them to validate."""
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 10
    images = (rng.random((60, 28, 28)) * 50 + 20 * labels[:, None, None]).astype(np.uint8)
    (tmp_path / "fashion-mnist").mkdir()
    split = np.where(np.arange(60) % 3 == 2, "test", "train")
    np.savez(
        tmp_path / "fashion-mnist" / "fashion_mnist_5k.npz",
        images=images,
        labels=labels.astype(np.uint8),
        split=split,
    )
    monkeypatch.setattr(miniature, "VALIDATION", 10)
    return tmp_path


def test_a_patch_is_seven_by_seven_pixels_in_reading_order():
    image = torch.arange(28 * 28.0).reshape(1, 28, 28)
    patches = patches_of(image)
    assert patches.shape == (1, PATCHES, 49)
    assert torch.equal(patches[0, 6].reshape(7, 7), image[0, 7:14, 14:21])


def test_views_are_the_picture_and_shifted_ones_of_the_same_size():
    image = torch.zeros(3, 28, 28)
    image[:, 10:18, 10:18] = 1.0
    views = views_of(image)
    assert torch.equal(views[0], image)
    assert torch.equal(views.sum(dim=(2, 3)), torch.full((miniature.VIEWS, 3), 64.0))
    assert not torch.equal(views[1], image)
    assert torch.equal(views, views_of(image))


def test_pictures_are_standardized_and_no_part_shares_a_picture(data):
    pictures = read_pictures(data)
    assert {name: len(part.labels) for name, part in pictures.items()} == {
        "train": 30,
        "validation": 10,
        "test": 20,
    }
    fitted_on = torch.cat([pictures["train"].images, pictures["validation"].images])
    assert float(fitted_on.mean()) == pytest.approx(0, abs=1e-5)
    assert len(torch.cat([part.images for part in pictures.values()]).flatten(1).unique(dim=0)) == 60


def test_the_response_is_the_phrase_and_the_first_token_of_the_class(build):
    model = build(1)
    head = [*WORDS, *sorted(set(PHRASE.split()), key=WordTokenizer.words.index)]
    (row,) = model.targets(torch.tensor([3])).tolist()
    assert [head[place] for place in row] == [*PHRASE.split(), WORDS[3]]


def test_a_teacher_that_is_the_student_has_nothing_to_say(build, data):
    pictures = read_pictures(data)["test"]
    model = build(2).requires_grad_(False)
    guide = guide_of(model, pictures.images[None])
    found = losses(
        model, pictures.images, pictures.labels, miniature.Guide(guide.states[0], guide.logits[0]), ALL
    )
    assert list(found) == ["CE", *ALL]
    assert float(found["MDist"]) == pytest.approx(0, abs=1e-6)
    assert float(found["RDist"]) == pytest.approx(0, abs=1e-6)
    assert list(losses(model, pictures.images, pictures.labels, None, ())) == ["CE"]


def test_the_rate_rises_and_then_falls_to_nothing():
    shares = [share_of_rate(step, 100) for step in range(101)]
    assert shares[0] == pytest.approx(0.1)
    assert max(shares) > 0.95
    assert shares[-1] == 0


def test_a_gain_is_paired():
    rng = np.random.default_rng(0)
    other = rng.random((3, 400)) < 0.5
    found = gain(other | (np.arange(400) < 40), other)
    corrected = (~other & (np.arange(400) < 40)).mean(axis=1)
    assert found["seeds"] == pytest.approx((100 * corrected).tolist(), abs=0.01)
    assert 0 < found["interval"][0] < found["mean"] < found["interval"][1]
    assert gain(other, other) == {"mean": 0.0, "seeds": [0.0] * 3, "interval": [0.0, 0.0]}


def test_codes_have_a_share_for_every_layer_and_kind(build, data):
    found = codes_of(build(2), read_pictures(data)["test"].images)
    assert all(len(values) == 2 for values in found.values())
    assert all(0 < value < 1 for name, values in found.items() if "sign" in name for value in values)
    assert all(0 <= value < 1 for name, values in found.items() if "distance" in name for value in values)


def test_training_stopped_between_stages_ends_with_the_same_weights(build, data, tmp_path):
    train = read_pictures(data)["train"]
    guide = guide_of(build(2), views_of(train.images))
    stages = (Stage("DPT", 1, True, None), Stage("DFT", 1, True, 1e-3))
    whole, first, again = build(1), build(1), build(1, seed=5)
    before = {name: value.clone() for name, value in whole.state_dict().items()}
    history = fitted(tmp_path / "whole", whole, stages, train, 0, guide, ALL)
    fitted(tmp_path / "part", first, stages[:1], train, 0, guide, ALL)
    moved = {name for name, value in first.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"projector.weight", "place"}
    assert fitted(tmp_path / "part", again, stages, train, 0, guide, ALL) == history
    for name, value in again.state_dict().items():
        assert torch.equal(value, whole.state_dict()[name]), name


def test_a_loss_that_is_not_finite_stops_the_training(build, data, tmp_path):
    train = read_pictures(data)["train"]
    model = build(1)
    model.projector.weight.data.fill_(torch.nan)
    with pytest.raises(RuntimeError, match="SFT, epoch 0: the loss is not finite"):
        fitted(tmp_path / "broken", model, (Stage("SFT", 1, False, 1e-3),), train, 0)
    assert not (tmp_path / "broken").exists()


def test_a_whole_run_writes_what_it_measured(load, data, tmp_path, monkeypatch):
    monkeypatch.setattr(miniature, "load_model", load)
    monkeypatch.setattr(miniature, "TEACHER", (Stage("SFT", 1, False, 1e-3),))
    monkeypatch.setattr(miniature, "STUDENT", (Stage("DFT", 1, True, 1e-3),))
    monkeypatch.setattr(miniature, "TEACHER_BLOCKS", 2)
    monkeypatch.setattr(miniature, "STUDENT_BLOCKS", 1)
    output = tmp_path / "record.json"
    words = ["miniature.py", "--data", str(data), "--cache", str(tmp_path / "cache"), "-o", str(output)]
    monkeypatch.setattr(sys, "argv", words)
    miniature.main()
    record = json.loads(output.read_text("utf-8"))
    assert len(record["arms"]["CE"]["seeds"]) == 3
    assert record["arms"]["MDist + RDist + CE"]["gain"]["interval"]
    assert {"teacher, before", "teacher, after", "student, before", "student, CE"} <= set(record["codes"])
    assert "| student, 1 blocks, CE |" in output.with_suffix(".md").read_text("utf-8")
    miniature.main()
    assert json.loads(output.read_text("utf-8")) == record

"""A student learns its teacher's next tokens, or what a detector reads in it."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import splinelens
from splinelens.apps import distill as app
from splinelens.apps.distill import Settings, distill, keep_detector
from splinelens.errors import (
    BadDetector,
    BadFeatures,
    BadLabels,
    BadModel,
    BadTexts,
    CannotResume,
    OutputExists,
)
from splinelens.files import parts_folder
from splinelens.models import load_model
from splinelens.models.save import PROVENANCE

TEXTS = [
    f"the {word} is here and you are in it, number {row}" for row in range(30) for word in ("cat", "dog")
]
LABELS = np.arange(220) % 2
FITTED = 80  # comments that the detector is fitted on
COMMENTS = [
    f"{'you are in the thing' if label else 'a cat is here'}, number {row}"
    for row, label in enumerate(LABELS)
]
QUICK = Settings(window=16, batch_tokens=64, rate=1e-2)


@pytest.fixture
def teacher(writer_folder):
    return writer_folder("llama")


@pytest.fixture(scope="module")
def pruned(writer_folder, tmp_path_factory):
    """The teacher without the smaller half of each matrix."""
    folder = tmp_path_factory.mktemp("pruned") / "model"
    shutil.copytree(writer_folder("llama"), folder)
    model = load_model(folder, head=True)
    with torch.no_grad():
        for block in model.model.layers:
            for matrix in (each for each in block.parameters() if each.ndim == 2):
                matrix[matrix.abs() < matrix.abs().median()] = 0.0
    model.causal.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def detector(writer_folder, tmp_path_factory):
    """A detector of three hyperplanes across two layers of the teacher."""
    folder = tmp_path_factory.mktemp("detector")
    trained = splinelens.train(
        COMMENTS[:FITTED],
        LABELS[:FITTED],
        model=writer_folder("llama"),
        directions=3,
        layers=[1, 2],
        prompt="said: ",
        name="mine",
    )
    trained.detector.save(folder)
    return folder


def test_a_pruned_student_comes_closer_to_its_teacher_and_stays_pruned(teacher, pruned, tmp_path):
    record = distill(
        teacher, pruned, TEXTS, tmp_path, settings=Settings(**{**vars(QUICK), "shares": (0, 0, 1)})
    )
    nats = record["held_out"]
    assert nats["after"] < nats["before"]
    before, after = load_file(pruned / "model.safetensors"), load_file(tmp_path / "model.safetensors")
    zeros = [name for name, values in before.items() if "layers" in name and bool((values == 0).any())]
    assert zeros
    for name in zeros:
        assert torch.equal(before[name] == 0, after[name] == 0), name
    assert torch.equal(before["model.embed_tokens.weight"], after["model.embed_tokens.weight"])
    stored = json.loads((tmp_path / PROVENANCE).read_text())
    assert (stored["kind"], stored["held_out"]) == ("distilled", nats)
    assert not parts_folder(tmp_path).exists()


def stop(line):
    """Stops a run after its last step."""
    if re.match(r"step (\d+) of \1 ", line):
        raise KeyboardInterrupt


def test_a_run_that_was_stopped_continues_to_the_same_weights(teacher, tmp_path):
    options = {"blocks": 2, "evenly": True, "settings": QUICK}
    distill(teacher, teacher, TEXTS, tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        distill(teacher, teacher, TEXTS, tmp_path / "parts", **options, report=stop)
    assert not (tmp_path / "parts").exists()
    with pytest.raises(CannotResume, match=r"settings\.rate was 0\.01 and is 0\.02"):
        distill(
            teacher,
            teacher,
            TEXTS,
            tmp_path / "parts",
            blocks=2,
            evenly=True,
            settings=Settings(window=16, batch_tokens=64, rate=2e-2),
        )
    distill(teacher, teacher, TEXTS, tmp_path / "parts", **options)
    whole, parts = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert all(torch.equal(values, parts[name]) for name, values in whole.items())


def test_evenly_chosen_blocks_are_those_of_the_teacher(teacher):
    whole = load_model(teacher, head=True)
    short = app.load_student(teacher, whole, blocks=2, evenly=True)
    for ours, theirs in zip(short.model.layers, (whole.model.layers[0], whole.model.layers[2]), strict=True):
        assert torch.equal(ours.mlp.gate_proj.weight, theirs.mlp.gate_proj.weight)
    assert short.depth == short.causal.config.num_hidden_layers == 2
    assert short.causal.generate(torch.tensor([[5, 6]]), max_new_tokens=3, pad_token_id=0).shape == (1, 5)


def test_a_shorter_student_keeps_a_detector(teacher, detector, tmp_path):
    quick = Settings(batch_tokens=128, rate=1e-3)
    mine = tmp_path / "margins-mine.npy"
    mine.write_bytes(b"mine")
    options = {"blocks": 2, "settings": quick, "overwrite": True}
    kept = keep_detector(detector, teacher, COMMENTS, LABELS, tmp_path, **options)
    assert mine.read_bytes() == b"mine"
    loaded = splinelens.Detector.load(tmp_path / "detector")
    assert loaded.artifact.spec["layers"] == [0, 1]
    assert loaded.artifact.spec["prompt"] == "said: "
    assert len(loaded.artifact.directions) == 3
    assert loaded.artifact.training["judged_rows"] == 28
    assert loaded.artifact.metrics["out_of_fold"]["auc"] > 0.9
    assert [record.score for record in loaded.score(COMMENTS[:3])] == pytest.approx(
        [record.score for record in kept.score(COMMENTS[:3])]
    )
    explained = loaded.score(COMMENTS[:1], explain=True)[0]
    assert explained.words
    assert not parts_folder(tmp_path).exists()


def test_a_detector_that_was_stopped_before_its_model_was_saved_continues(teacher, detector, tmp_path):
    options = {"blocks": 1, "settings": Settings(batch_tokens=256, rate=1e-3)}
    with pytest.raises(KeyboardInterrupt):
        keep_detector(detector, teacher, COMMENTS, LABELS, tmp_path / "a", **options, report=stop)
    (file,) = parts_folder(tmp_path / "a").glob("margins-*.npy")
    np.save(file, np.load(file)[1:])
    with pytest.raises(CannotResume, match=r"has margins of \(\d+, 3\) tokens and hyperplanes.*remove it"):
        keep_detector(detector, teacher, COMMENTS, LABELS, tmp_path / "a", **options)
    file.unlink()
    kept = keep_detector(detector, teacher, COMMENTS, LABELS, tmp_path / "a", **options)
    assert kept.artifact.name == "mine-distilled"


def test_what_cannot_be_distilled_is_refused(teacher, detector, tmp_path):
    with pytest.raises(BadTexts, match=r"the texts have \d+ tokens, and \d+ are needed"):
        distill(teacher, teacher, TEXTS[:2], tmp_path / "a", settings=QUICK)
    with pytest.raises(BadTexts, match="give 3 steps of 64 tokens, too few of 10"):
        distill(
            teacher, teacher, TEXTS, tmp_path / "a", settings=Settings(window=16, batch_tokens=64, tokens=192)
        )
    with pytest.raises(BadFeatures, match=r"cannot take 4 blocks: .* has 3"):
        distill(teacher, teacher, TEXTS, tmp_path / "a", blocks=4, settings=QUICK)
    with pytest.raises(BadFeatures, match="must add up to 1"):
        Settings(shares=(0.5, 0.5, 0.5))
    with pytest.raises(BadFeatures, match="must add up to 1"):
        Settings(shares=(float("nan"),) * 3)
    with pytest.raises(BadFeatures, match="rate 0 is not between"):
        Settings(rate=0)
    with pytest.raises(BadFeatures, match=r"evenly says which blocks .*give both"):
        distill(teacher, teacher, TEXTS, tmp_path / "a", evenly=True, settings=QUICK)
    for call in (
        lambda: distill(teacher, teacher, TEXTS, teacher, overwrite=True),
        lambda: keep_detector(detector, tmp_path, COMMENTS, LABELS, teacher, overwrite=True),
    ):
        with pytest.raises(OutputExists, match="would be replaced"):
            call()
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(OutputExists, match=r"the folder holds config\.json"):
        distill(teacher, teacher, TEXTS, tmp_path, settings=QUICK)
    with pytest.raises(BadDetector, match="domain has no learned hyperplanes for one label"):
        keep_detector("domain", teacher, COMMENTS, LABELS, tmp_path / "b")
    with pytest.raises(BadLabels, match=r"fitted on 80 of the 120 texts; .* there are 20: give 50 of"):
        keep_detector(detector, teacher, COMMENTS[:120], LABELS[:120], tmp_path / "b")


def test_a_student_with_more_blocks_than_its_teacher_is_refused(teacher, tmp_path):
    short = tmp_path / "short"
    distill(teacher, teacher, TEXTS, short, blocks=2, settings=QUICK)
    with pytest.raises(BadModel, match=r"the student .* has 3 blocks and the teacher .* 2"):
        distill(short, teacher, TEXTS, tmp_path / "a", settings=QUICK)


def test_another_tokenizer_is_refused_by_the_first_token_that_differs(teacher, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(teacher, other)
    rules = json.loads((other / "tokenizer.json").read_text())
    vocabulary = rules["model"]["vocab"]
    vocabulary["%"], vocabulary["&"] = vocabulary["&"], vocabulary["%"]
    (other / "tokenizer.json").write_text(json.dumps(rules))
    with pytest.raises(
        BadModel, match=r"other has another tokenizer than .*: token 9 is '&' in place of '%'"
    ):
        distill(teacher, other, TEXTS, tmp_path / "a", settings=QUICK)
    rules["model"]["vocab"]["%"], vocabulary["&"] = vocabulary["&"], vocabulary["%"]
    rules["normalizer"] = {"type": "Lowercase"}
    (other / "tokenizer.json").write_text(json.dumps(rules))
    with pytest.raises(BadModel, match="the same tokens and other rules"):
        distill(teacher, other, TEXTS, tmp_path / "a", settings=QUICK)


def test_a_model_that_is_not_finite_is_refused_by_name(teacher, detector, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(teacher, broken)
    model = load_model(broken, head=True)
    with torch.no_grad():
        model.model.layers[0].mlp.down_proj.weight[0, 0] = torch.nan
    model.causal.save_pretrained(broken)
    for models in ((teacher, broken), (broken, teacher)):
        with pytest.raises(BadModel, match="broken gives logits that are not finite; check its weights"):
            distill(*models, TEXTS, tmp_path / "a", settings=QUICK)
    with pytest.raises(BadModel, match="broken has hidden states that are not finite"):
        keep_detector(detector, broken, COMMENTS, LABELS, tmp_path / "a", settings=Settings(batch_tokens=128))

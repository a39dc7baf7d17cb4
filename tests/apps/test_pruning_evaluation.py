"""Tests ``apps/pruning_evaluation.py``: pruned models beside the dense one, in numbers and as a page."""

import json
from shutil import copytree

import numpy as np
import pytest

from splinelens import load_model
from splinelens.apps.detector import Detector
from splinelens.apps.pruning import apply, remove
from splinelens.apps.pruning_evaluation import evaluate, write_report
from splinelens.errors import BadModel, BadTexts, OutputExists, WrongModel
from splinelens.features.extract import read_table
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.generate.likelihood import perplexity
from splinelens.report.pruning_evaluation import detector_table, layer_table, model_table
from splinelens.texts import Texts

RUDE, KIND = "you fool and you trash in the house", "thanks to you the garden is lovely"
TEXTS = Texts(tuple(f"{RUDE if row % 2 else KIND} {row}" for row in range(60)), {}, "list")
LABELS = np.arange(60) % 2
LONG = " ".join(f"you are in the house {number} of the sea" for number in range(60))
OPTIONS = {"windows": 3, "length": 64}


@pytest.fixture(scope="module")
def models(writer_folder, tmp_path_factory):
    """The dense model, one with half of its weights, one with three quarters of its neurons, a detector."""
    from splinelens import train

    folder, dense = tmp_path_factory.mktemp("pruned"), writer_folder("llama")
    calibration = Texts(tuple(f"{LONG} {row}" for row in range(4)), {}, "list")
    apply(dense, folder / "half", method="wanda", calibration=calibration, tokens=1024)
    remove(dense, calibration, folder / "less", share=0.25, tokens=1024)
    train(TEXTS, LABELS, model=load_model(dense), name="rude").write(folder / "rude")
    return dense, folder


def test_the_numbers_are_those_of_each_model_by_itself(models):
    dense, folder = models
    report = evaluate(dense, [folder / "half", folder / "less"], LONG, TEXTS, **OPTIONS)
    for model, path in zip(report.models, (dense, folder / "half", folder / "less"), strict=True):
        loaded = load_model(path, head=True)
        assert model.perplexity == perplexity(loaded, LONG, **OPTIONS).value
        assert model.parameters == sum(each.numel() for each in loaded.causal.parameters())
        table = read_table(TextReader(loaded, FeatureSpec(("attention_id",))), TEXTS)
        column = [each.name for each in table.columns].index("layer01.attention_id_relative_mean")
        assert model.dimension[1] == pytest.approx(float(table.values[:, column].mean()), rel=1e-5)
    assert report.models[0].sparsity == 0
    assert report.models[0].shift == (0.0, 0.0, 0.0)
    assert report.models[1].sparsity == pytest.approx(0.5, abs=1e-4)
    assert report.models[1].mean_shift > 0.05
    assert report.models[2].sparsity == pytest.approx(3 * 12 * 3 * 32 / (3 * 7680), abs=1e-4)
    assert report.texts == 60


def test_a_detector_keeps_its_head_and_one_that_reads_removed_neurons_says_so(models):
    dense, folder = models
    report = evaluate(
        dense,
        [folder / "half", folder / "less"],
        LONG,
        TEXTS,
        labels=LABELS,
        detectors=[folder / "rude"],
        **OPTIONS,
    )
    first, half, less = (model.detectors[0] for model in report.models)
    assert (first.same_verdict, first.mean_change) == (1.0, 0.0)
    assert first.auc[1] > 0.9
    scorer = Detector.load(folder / "rude", model=load_model(dense))
    pruned = scorer.carried_over(load_model(folder / "half"))
    verdicts = [[score.verdict for score in each.scores(TEXTS)] for each in (scorer, pruned)]
    assert half.same_verdict == np.mean([one == other for one, other in zip(*verdicts, strict=True)])
    assert half.mean_change > 0
    assert half.auc[0] == first.auc[1]
    assert half.auc_intervals[1][0] <= half.auc[1] <= half.auc_intervals[1][1]
    assert less.reason == "reads neurons that were removed"
    assert detector_table(report).rows[2][2] == less.reason


def test_the_page_and_its_record_hold_every_number(models, tmp_path):
    dense, folder = models
    (folder / "b").mkdir()
    again = copytree(folder / "half", folder / "b" / "half")
    report = evaluate(dense, [folder / "half", again], LONG, TEXTS, detectors=[folder / "rude"], **OPTIONS)
    assert [model.name for model in report.models] == [str(dense), str(folder / "half"), str(again)]
    write_report(report, tmp_path / "page.html")
    record = json.loads((tmp_path / "page.json").read_text())
    assert record["models"][1]["perplexity"] == report.models[1].perplexity
    page = (tmp_path / "page.html").read_text()
    for table in (model_table(report), detector_table(report), layer_table(report)):
        assert all(cell in page for cell in table.rows[0])
    assert RUDE not in page
    with pytest.raises(OutputExists, match="cannot write"):
        write_report(report, tmp_path / "page.html")


def test_models_that_cannot_be_compared_are_refused(models, writer_folder, tmp_path, tiny_tokenizer):
    dense, folder = models
    other = copytree(folder / "half", tmp_path / "other")
    tiny_tokenizer.add_tokens(["zebra"])
    tiny_tokenizer.save_pretrained(other)
    with pytest.raises(BadModel, match=r"another tokenizer than .*: token 110 is 'zebra' in place of None"):
        evaluate(dense, [other], LONG, TEXTS, **OPTIONS)
    with pytest.raises(BadModel, match="is given twice"):
        evaluate(dense, [folder / "half", f"{folder}/./half"], LONG, TEXTS, **OPTIONS)
    with pytest.raises(BadModel, match="no pruned model"):
        evaluate(dense, [], LONG, TEXTS, **OPTIONS)
    with pytest.raises(BadTexts, match="fewer than 500"):
        evaluate(dense, [folder / "half"], LONG, TEXTS, windows=500, length=64)
    with pytest.raises(WrongModel, match="was fitted with another model"):
        evaluate(writer_folder("qwen2"), [dense], LONG, TEXTS, detectors=[folder / "rude"], **OPTIONS)

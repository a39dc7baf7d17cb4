"""Tests benchmarks/leave_one_out.py: each source is measured by heads that were fitted without it."""

import json

import numpy as np
from detection.data import read_evaluation
from detection.fitting import Head, Learned, gather
from leave_one_out import LEFT_OUT, left_out

from splinelens.detect.learned import Settings

SETTINGS = Settings(4, (0, 1), epochs=2, rate=1e-2, batch_texts=16)
WEIGHTS = {"jig": 1.0, "tgann": 1.0, "tweet": 1.0, "para": 1.0}
RECIPE = Learned("ours", "binary", ("toxic",), "clean", (Head(SETTINGS, WEIGHTS),))


def test_each_source_is_measured_with_the_model_that_read_the_rows(folder, loaded, tmp_path):
    rows = gather(RECIPE, folder)
    measured = {source: both for source, *both in left_out(RECIPE, folder, tmp_path, loaded)}
    assert tuple(measured) == LEFT_OUT
    for source, (labels, logits) in measured.items():
        assert len(labels) == len(logits) > 0
        assert np.isfinite(logits).all()
        if source != "tgann":
            assert np.array_equal(labels, rows.labels[rows.of(source) & rows.usable, 0])
    seed = read_evaluation(folder, ["toxigen"]).sets["toxigen"]
    assert tuple(measured["tgann"][0]) == seed.columns["positive"]
    (record,) = (tmp_path / "inputs").rglob("toxigen/inputs.json")
    assert json.loads(record.read_text("utf-8"))["model"] == loaded.fingerprint.to_dict()
    assert len(list((tmp_path / "networks").iterdir())) == len(LEFT_OUT)

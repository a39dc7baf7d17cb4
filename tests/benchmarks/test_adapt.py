"""Tests benchmarks/adapt.py: what labels change is measured on the other rows, by the scores of a user."""

from dataclasses import replace

import numpy as np
import pytest
from adapt import changes, read, summary
from sklearn.metrics import roc_auc_score

from splinelens.detect.anchored import refit_anchored
from splinelens.features.spec import FeatureSpec
from splinelens.texts import Texts


def test_a_gain_is_that_of_scores_on_the_rows_outside_the_sample(data, halves, fitted, tmp_path):
    detector = fitted(FeatureSpec(("margin_max",), max_tokens=64), halves[0], label="toxic", negative="clean")
    calibration = replace(detector.artifact.calibrations[0], by_length=((8, 0.0), (32, 0.9)))
    artifact = replace(detector.artifact, calibrations=(calibration,))
    texts = Texts(tuple(halves[1].texts(data)), {}, "rows")
    part = read(detector, texts, halves[1].labels, tmp_path / "features")
    (change,) = found = changes(artifact, part, part, 40, 1)
    order = np.random.default_rng(0).permutation(len(part.labels))
    sample, rest = order[:40], order[40:]
    options = {"tokens": part.tokens[sample], "sample": artifact.sample}
    after = refit_anchored(
        part.values[sample], part.labels[sample], artifact.head, calibration, **options
    ).head
    before, gained = (
        roc_auc_score(
            part.labels[rest], artifact.scores(head.logit(part.values[rest]), part.tokens[rest])[:, 0]
        )
        for head in (artifact.head, after)
    )
    assert change.gain == pytest.approx(gained - before)
    assert np.isfinite(change.penalty) or change.gain == change.source == 0
    row = summary("ours", 40, [*found, *found])
    assert row[:2] == ("ours", "40")
    assert row[2].startswith(f"{change.gain:+.4f} [")
    assert row[-1] in ("0 of 2", "2 of 2")

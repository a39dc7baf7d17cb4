"""What the tests of detectors on disk share: a small artifact, and its folder."""

from dataclasses import replace

import numpy as np
import pytest

from splinelens.detect.artifact import Artifact
from splinelens.detect.calibration import Calibration
from splinelens.detect.heads import LinearHead
from splinelens.detect.thresholds import Threshold
from splinelens.geometry.directions import Directions


@pytest.fixture
def artifact():
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(1, 6)).astype(np.float32)
    head = LinearHead(rng.normal(size=6), np.ones(6, np.float32), weight, np.array([0.1]))
    return Artifact(
        name="ärger",
        task="binary",
        labels=("toxic",),
        negative="clean",
        model={"name": "tiny", "revision": None, "fingerprint": {"weights": "ab12"}},
        spec={"features": ["margins"], "layers": [0, 2]},
        features_dtype="bfloat16",
        command="splinelens train a.csv -o tiny",
        columns=(("layer00.margin_max", 4), ("tokens", 2)),
        head=head,
        calibrations=(Calibration(1.2345678901234567, -0.1),),
        thresholds=((Threshold(0.01, 0.9 + 1e-16, 0.009, (0.001, 0.02), 0.5),),),
        training={"rows": 10},
        metrics={"auc": 0.9},
        version="0.1.0",
    )


@pytest.fixture
def directed(artifact):
    """The artifact with three learned directions across two layers, pooled twice."""
    rng = np.random.default_rng(1)
    weight = rng.normal(size=(3, 2, 8)).astype(np.float16)
    return replace(
        artifact,
        spec={"features": ["directions"], "layers": [0, 2]},
        columns=(("direction_max", 3), ("direction_mean", 3)),
        directions=Directions(weight, rng.normal(size=3).astype(np.float32)),
    )


@pytest.fixture
def folder(artifact, tmp_path):
    artifact.save(tmp_path / "detector")
    return tmp_path / "detector"

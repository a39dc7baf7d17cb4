"""Tests ``apps/evaluation.py``: every part of a report from a tiny detector, and what is left out or refused."""

import json
import random

import numpy as np
import pytest

from splinelens.apps.detector import Detector
from splinelens.apps.evaluation import evaluation_report, read_hatecheck, read_xstest
from splinelens.detect.evaluate import auc
from splinelens.errors import BadLabels, BadTexts, MissingColumn
from splinelens.report.evaluation import EvaluationReport
from splinelens.texts import Texts

from .conftest import labelled  # isort: skip


@pytest.fixture
def rows():
    """Sixty texts, their labels; one of them is empty."""
    texts, labels = labelled(60)
    return Texts((*texts[:-1], ""), {}, "list"), labels


@pytest.fixture
def detector(fit_on, tmp_path, loaded):
    """Makes the tiny detector, trained on spec changes."""

    def make(recipe="logistic", **spec):
        fit_on(recipe, **spec).save(tmp_path / "made")
        return Detector.load(tmp_path / "made", model=loaded)

    return make

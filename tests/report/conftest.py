"""What the tests of inspections and evaluations share: records made up from a seed, without a model."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from splinelens.detect.artifact import Artifact
from splinelens.detect.calibration import Calibration
from splinelens.detect.curves import operating_points, reliability, sweep
from splinelens.detect.heads import LinearHead
from splinelens.detect.metrics import evaluate
from splinelens.detect.subgroup_auc import subgroup_aucs
from splinelens.detect.thresholds import Threshold
from splinelens.features.slicing import TextSlice
from splinelens.features.token_report import TokenReport
from splinelens.report.evaluation import (
    EvaluationReport,
    Evasion,
    FeatureMap,
    LayerAuc,
    Mistake,
    shares,
)
from splinelens.report.inspection import Inspection
from splinelens.report.scores import Span

TRICKS = """a <b>b</b> </script><script>alert(1)</script> --> <!-- <img src=x onerror=alert(1)> & "x" """
TRICKS += "'y' {{ 7 }} {% if %} "
TRICKS += "%{z} \u202eabc\u202c \x1b[31m\x00\n\u2028\ufeff\ud800 "
TRICKS += "\u05e9\u05dc\u05d5\u05dd e\u0301 \U0001f469\u200d\U0001f469\u200d\U0001f467"

VOID = {"meta", "input", "br", "link", "img", "hr"}


class Reader(HTMLParser):
    """Reads a page strictly: every element is closed where it should be."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.elements, self.scripts, self.words = [], [], [], []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        assert self.open, tag
        assert self.open[-1] == tag
        self.open.pop()

    def handle_data(self, data):
        if self.open[-1:] == ["script"]:
            self.scripts[-1] += data
        elif self.open[-1:] != ["style"]:
            self.words.append(data)

    def named(self, attribute):
        return [values[attribute] for _, values in self.elements if attribute in values]

    @staticmethod
    def is_safe(text):
        """No hostile text became markup, a script, or a control character; and UTF-8 can write it."""
        reader = Reader(text)
        assert len(reader.scripts) == 3
        assert not {"b", "img"} & {tag for tag, _ in reader.elements}
        assert not any(name.startswith("on") for _, values in reader.elements for name in values)
        words = "".join(reader.words)
        assert "</script><script>alert(1)</script>" in words
        assert "<img src=x onerror=alert(1)>" in words
        for hidden in "\x00\x1b\u202e\ufeff":
            assert hidden not in words
        for character in "<>&\u2028\u2029":
            assert character not in reader.scripts[0]
        json.loads(reader.scripts[0])
        text.encode("utf-8")

    @staticmethod
    def is_offline(text):
        """Nothing is loaded, and the policy admits exactly the scripts of the page."""
        reader = Reader(text)
        for tag, values in reader.elements:
            assert "src" not in values, tag
            assert values.get("href", "#").startswith("#"), tag
        assert not {"link", "iframe", "img", "object", "base", "form"} & {tag for tag, _ in reader.elements}
        policy = reader.named("content")[1]
        assert policy.startswith("default-src 'none'")
        assert "script-src 'sha256-" in policy
        for script in reader.scripts[1:]:
            digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
            assert f"'sha256-{digest}'" in policy
        assert not re.search(r"https?:|fetch\(|XMLHttpRequest|import\(|eval\(", reader.scripts[2])
        style = re.search(r"<style>(.*?)</style>", text, re.S)[1]
        assert not re.search(r"url\(|@import", style)
        schemes = re.findall(r":root \{(.*?)\}", style, re.S)
        for name in set(re.findall(r"var\((--\w+)\)", style)) - {"--strength"}:
            assert sum(f"{name}:" in scheme for scheme in schemes) == 2, f"{name} in light and in dark"


@pytest.fixture(scope="session")
def hostile():
    """A text that tries to escape: from HTML, scripts, templates, plotly and terminals."""
    return TRICKS


@pytest.fixture(scope="session")
def read_page():
    """Reads a page strictly: ``read_page(text).words``."""
    return Reader


@pytest.fixture(scope="session")
def text_report():
    """Makes the report of a text: ``text_report("one two", layers=3)``; a token has ``size`` characters."""
    return make_text


@pytest.fixture(scope="session")
def inspection():
    """Makes an inspection of texts: ``inspection("one", "two", prefixes=True)``."""
    return make_inspection


def make_text(text="a text", layers=3, heads=2, seed=0, size=1):
    rng = np.random.default_rng(seed)
    spans = tuple((begin, min(begin + size, len(text))) for begin in range(0, len(text), size))
    tokens = len(spans)
    relative = rng.integers(1, tokens + 1, (layers, heads, tokens))
    return TokenReport(
        text=text,
        spans=spans,
        layers=tuple(range(layers)),
        sign=rng.uniform(0.1, 0.9, (layers, tokens)).astype(np.float32),
        boundary=(10 ** rng.uniform(-6, -2, (layers, tokens))).astype(np.float32),
        nearest_wall=rng.integers(0, 1536, (layers, tokens)),
        dimension=np.stack([np.minimum(relative, 9), relative]),
        bound=relative.sum(axis=1),
        codes=tuple(torch.from_numpy(rng.integers(0, 256, (layers, tokens, 8), dtype=np.uint8))),
        neuron_count=(64,) * layers,
        routes={},
        inputs={},
        call=None,
        before=0,
    )


def make_inspection(
    *texts, layers=3, heads=2, size=1, percentiles=False, prefixes=False, view=None, notes=()
):
    rng = np.random.default_rng(9)
    reports = tuple(
        make_text(text, layers, heads, seed, size) for seed, text in enumerate(texts or ("a text",))
    )
    pair = len(reports) > 1
    return Inspection(
        model="tiny",
        layers=tuple(range(layers)),
        heads=heads,
        neurons=1536,
        eps=0.1,
        texts=reports,
        percentiles=tuple(rng.uniform(0, 100, (layers, 7)) for _ in reports) if percentiles else None,
        prefixes=tuple(text.prefixes.copy() for text in reports) if prefixes else None,
        slice=view,
        text_distance=np.linspace(0.1, 0.4, layers) if pair else None,
        self_distance=np.linspace([0.1, 0.05], [0.3, 0.2], layers).T if pair else None,
        reference=("1,000 texts of a kind",) * len(reports) if percentiles else None,
        notes=tuple(notes),
    )


@pytest.fixture(scope="session")
def view():
    """A slice by two walls through a square: four cells, and three points of which two share one."""
    low = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    return TextSlice(
        layer=1,
        labels=("token 0 'a'", "token 1 '<b>\u202e'", "token 2 '%{x}'"),
        points=np.array([[0.25, 0.25], [0.75, 0.5], [1.5, 1.5]]),
        box=(0.0, 0.0, 2.0, 2.0),
        segments=np.array([[[1.0, 0.0], [1.0, 2.0]], [[0.0, 1.0], [2.0, 1.0]]]),
        walls=np.array([7, 11]),
        regions=4,
        cells=(low, low, low + 1),
        neurons=48,
    )


@pytest.fixture(scope="session")
def evaluation():
    """Makes a report of an evaluation: ``evaluation(rows=60, text="a")``."""
    return make_evaluation


def make_evaluation(rows=200, text="you silly goose", name="tiny", layers=3, **changes):
    rng = np.random.default_rng(0)
    labels = np.arange(rows) % 2
    scores = (0.3 * labels + 0.7 * rng.random(rows)).clip(0, 1)
    metrics = evaluate(labels, scores, rng.integers(3, 60, rows), thresholds={"0.05": 0.7}, resamples=20)
    yes = np.ones(rows, dtype=bool)
    places = tuple((float(x), float(y)) for x, y in rng.normal(size=(rows, 2)))
    words = (Span(0, 3, -0.6), Span(4, 9, 2.5))
    cells = tuple(tuple(float(auc) for auc in row) for row in rng.uniform(0.5, 0.9, (2, layers)))
    mistake = Mistake(7, 0.875, text, len(text) + 5, words if len(text) > 9 else ())
    group = {"women": np.arange(rows) < rows // 2, "old": np.arange(rows) < 4}
    held = {
        "detector": name,
        "label": "toxic",
        "negative": "clean",
        "model": "tiny",
        "source": "comments.csv",
        "training_rows": 0,
        "metrics": metrics.to_dict(),
        "all_labels": None,
        "sweep": sweep(labels, scores, [0.7]),
        "reliability": reliability(labels, scores),
        "prevalence": 0.05,
        "score_share": 0.5,
        "thresholds": operating_points(labels, scores, {"target 5 %": 0.7}, 0.05),
        "threshold": 0.7,
        "layer_auc": LayerAuc(
            ("margin_max", "margin_last"), tuple(range(layers)), cells, "AUC of each layer"
        ),
        "feature_map": FeatureMap(
            tuple(range(rows)), tuple(labels.tolist()), tuple(scores.tolist()), places, (0.2, 0.1), places
        ),
        "hatecheck": shares(["slur_h"] * rows, scores > 0.5, labels == 1, yes, ("toxic", "clean")),
        "hatecheck_bias": subgroup_aucs(labels, scores, group, resamples=20),
        "xstest": shares(["figurative"] * rows, scores > 0.5, ~yes, yes, ("unsafe", "safe")),
        "bias": subgroup_aucs(labels, scores, group, resamples=20),
        "bias_source": "texts that name a group",
        "evasion": (Evasion.of("zero_width", labels == 1, scores > 0.5, scores > 0.6),),
        "false_positives": (mistake,),
        "false_negatives": (),
        "notes": ("a note",),
        "provenance": {"splinelens": "0", "seed": 0, "data_hash": "ab", "detector": "cd"},
    }
    return EvaluationReport(**held | changes)


@pytest.fixture
def artifact():
    """A detector without a model."""
    ones = np.ones(6, dtype=np.float32)
    return Artifact(
        name="mine",
        task="binary",
        labels=("toxic",),
        negative="clean",
        model={
            "name": "smollm2-135m",
            "revision": None,
            "fingerprint": {"architecture": "llama", "weights": "ab12", "dtype": "float32", "depth": 6},
        },
        spec={
            "features": ["margins"],
            "pooling": ["max"],
            "layers": [0, 1, 2, 5],
            "prompt": "Rude? | yes\n",
            "suffix": "",
            "max_tokens": 256,
            "long": "cut",
            "version": 1,
        },
        features_dtype="bfloat16",
        columns=(("layer00.margin_max", 4), ("layer05.margin_max", 2)),
        head=LinearHead(ones, ones, ones[None], ones[:1]),
        calibrations=(Calibration(1.0, 0.0),),
        thresholds=((Threshold(0.05, 0.84, 0.0495, (0.0334, 0.0703), 0.7),),),
        training={
            "settings": {"C": 0.001, "validation_auc": {"0.001": 0.9}},
            "seed": 7,
            "rows": 1400,
            "positives": 814,
            "left_out": 2,
            "judged_rows": 1000,
            "sources": ["a.csv (split = train)", "b.csv"],
            "provenance": {"data_hash": "cd34"},
        },
        metrics={
            "out_of_fold": {
                "n": 1000,
                "positives": 500,
                "undetermined": 0,
                "auc": 0.949,
                "auc_interval": [0.93, 0.96],
                "recall_at_fpr": {"0.01": 0.37, "0.05": 0.7},
                "recall_intervals": {"0.01": [0.3, 0.4], "0.05": [0.66, 0.74]},
                "brier": 0.08,
                "brier_interval": [0.07, 0.09],
                "calibration_error": 0.03,
                "calibration_interval": [0.02, 0.05],
                "length_auc": 0.596,
                "length_auc_interval": [0.56, 0.62],
                "at_threshold": {},
            }
        },
        version="0.1.0",
    )

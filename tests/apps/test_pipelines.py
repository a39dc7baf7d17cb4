"""Tests apps/pipelines.py: one pipeline from texts to classes, searched and cloned as any other."""

from sklearn.base import clone
from sklearn.model_selection import GridSearchCV

from splinelens.apps.pipelines import make_detector_pipeline

KIND = ["you are good", "the tea is fine", "what a nice thing", "we are at the sea", "thanks to you all"]
RUDE = ["you rude toad", "what a rude thing", "the rude lot of you", "go and be rude there", "rude rude you"]
ASKED = ["where is it?", "who are you?", "is it ten?", "are we near?", "what is that?"]


def test_texts_go_in_and_any_number_of_classes_come_out(tiny_folder):
    texts = [f"{text} {row}" for row, text in enumerate(3 * (KIND + RUDE + ASKED))]
    names = 3 * (["kind"] * 5 + ["rude"] * 5 + ["asked"] * 5)
    pipeline = make_detector_pipeline(model=str(tiny_folder), layers=[0, 1], max_tokens=64, strength=0.1)
    assert pipeline.fit(texts, names).score(texts, names) == 1.0
    assert pipeline.predict_proba(texts[:2]).shape == (2, 3)
    assert clone(pipeline).get_params()["head__C"] == 0.1


def test_its_parts_can_be_searched(tiny_folder):
    texts = [f"{text} {row}" for row, text in enumerate(4 * (KIND + RUDE))]
    labels = 4 * ([0] * 5 + [1] * 5)
    pipeline = make_detector_pipeline(model=str(tiny_folder), max_tokens=64)
    grid = {"geometry__layers": [[0], [0, 1]], "geometry__pooling": ["max", "mean"], "head__C": [0.01, 1.0]}
    search = GridSearchCV(pipeline, grid, cv=2, error_score="raise").fit(texts, labels)
    assert search.best_score_ > 0.9

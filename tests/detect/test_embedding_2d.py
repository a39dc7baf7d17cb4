"""Tests ``detect/embedding_2d.py``: components by their definition, seeds, tables that are too small."""

import numpy as np
import pytest

from splinelens.detect.embedding_2d import embed_2d
from splinelens.errors import BadFeatures


def test_components_are_those_of_the_standardized_table():
    values = np.random.default_rng(0).normal(size=(40, 6)) @ np.diag([100.0, 1, 1, 1, 1, 1])
    pca, explained, tsne = embed_2d(values)
    rows = (values - values.mean(axis=0)) / values.std(axis=0)
    _, lengths, axes = np.linalg.svd(rows)
    np.testing.assert_allclose(np.abs(pca), np.abs(rows @ axes[:2].T), atol=1e-8)
    np.testing.assert_allclose(explained, (lengths**2 / (lengths**2).sum())[:2])
    assert len(tsne) == 40


def test_two_clusters_stay_apart_and_the_seed_decides():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(size=(20, 5)), rng.normal(size=(20, 5)) + 20])
    embedding = embed_2d(values, seed=3)
    tsne = np.array(embedding[2])
    radius = np.linalg.norm(tsne[:20] - tsne[:20].mean(axis=0), axis=1).max()
    assert np.linalg.norm(tsne[:20].mean(axis=0) - tsne[20:].mean(axis=0)) > radius
    assert embed_2d(values, seed=3) == embedding


def test_few_rows_have_no_tsne_and_constant_columns_do_no_harm():
    assert embed_2d(np.random.default_rng(0).normal(size=(9, 4)))[2] == ()
    _, explained, tsne = embed_2d(np.ones((12, 3)))
    assert (explained, tsne) == ((0.0, 0.0), ())


def test_tables_that_are_too_small_are_refused():
    for shape in ((2, 5), (5, 1)):
        with pytest.raises(BadFeatures, match="3 rows and 2 columns"):
            embed_2d(np.zeros(shape))

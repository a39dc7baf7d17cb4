"""Tests ``detect/softmax.py`` and ``detect/role_head.py``: against scikit-learn, planted roles, and files."""

import numpy as np
import pytest

from splinelens.detect.role_head import FILES, Pairs, RoleHead, fit_roles, standardized
from splinelens.detect.softmax import fit_softmax
from splinelens.errors import BadFeatures, BrokenArtifact


def test_the_regression_is_that_of_scikit_learn():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    dense = rng.normal(size=(150, 3)).astype(np.float32)
    hashed = rng.integers(0, 5, (150, 2))
    label = (dense[:, 0] + (hashed[:, 0] > 2) + rng.normal(size=150) > 0).astype(int) + (dense[:, 1] > 1)
    found = fit_softmax(
        dense, hashed, label, labels=3, buckets=5, dense_penalty=0.02, hashed_penalty=0.02, iterations=500
    )
    table = np.concatenate([dense, sum(np.eye(5)[column] for column in hashed.T)], axis=1)
    other = LogisticRegression(C=1 / (0.02 * 150), max_iter=2000, tol=1e-8).fit(table, label)
    ours = found.logit(dense, hashed)
    chance = np.exp(ours) / np.exp(ours).sum(axis=1, keepdims=True)
    assert np.abs(chance - other.predict_proba(table)).max() < 2e-3


def test_clues_of_one_row_get_no_coefficient():
    hashed = np.array([[0, 1], [0, 2], [3, 3], [0, 3]])
    found = fit_softmax(
        np.zeros((4, 0), np.float32), hashed, np.array([0, 0, 1, 1]), labels=2, buckets=4,
        dense_penalty=1.0, hashed_penalty=0.01,
    )  # fmt: skip
    assert np.abs(found.hashed).sum(axis=1).astype(bool).tolist() == [True, False, False, True]


@pytest.fixture
def planted():
    """Words whose first margin says whether they are arguments, and whose side says in which role."""
    rng = np.random.default_rng(1)
    margins = rng.normal(size=(400, 6)).astype(np.float32)
    word = np.arange(400)
    predicate = np.clip(word + rng.choice([-1, 1], 400), 0, 399)
    roles = np.where(margins[:, 0] > 0, np.where(word < predicate, "ARG0", "ARG1"), "")
    return margins, Pairs(predicate, word, np.zeros((400, 1), int)), roles.tolist()


def test_planted_roles_are_found_and_files_give_back_the_head(planted, tmp_path):
    margins, pairs, roles = planted
    head = fit_roles(margins, pairs, roles, buckets=2, components=3, layers=2, record={"layers": [0, 1]})
    assert head.labels == ("ARG0", "ARG1")
    chance, role = head.probabilities(margins, pairs)
    assert ((chance > 0.5) == (np.array(roles) != "")).mean() > 0.95
    given = np.flatnonzero(np.array(roles) != "")
    assert (np.array(head.labels)[role.argmax(axis=1)][given] == np.array(roles)[given]).mean() > 0.95
    head.write(tmp_path)
    again = RoleHead.load(tmp_path)
    assert again.labels == head.labels
    assert again.record == {"layers": [0, 1]}
    assert np.abs(again.probabilities(margins, pairs)[0] - chance).max() < 0.01


def test_scores_by_hand():
    dense = np.zeros((4, 1, 4))
    dense[0, 0], dense[2, 0] = [0, 1, 0, 0], [0, 0, 0, 2]
    head = RoleHead(
        ("ARG0", "ARG1"), np.array([1.0]), np.array([2.0]), dense, np.array([[0, 0, 0, 0], [0, 0, 3, 0]]),
        np.zeros(4), {},
    )  # fmt: skip
    pairs = Pairs(np.array([0, 1]), np.array([1, 0]), np.array([[0], [1]]))
    chance, role = head.probabilities(np.array([[3.0], [100.0]]), pairs)
    # standardized: 1, and 49.5 cut at 6; the first word is after its predicate, the second before
    assert np.allclose(chance, [1 / (1 + np.exp(-6)), 1 / (1 + np.exp(-1))])
    assert np.allclose(role[0], [1 / (1 + np.exp(12)), 1 / (1 + np.exp(-12))])
    assert np.allclose(role[1], [1 / (1 + np.exp(-5)), 1 / (1 + np.exp(5))])
    assert standardized(np.array([[-100.0]]), np.array([1.0]), np.array([2.0])).tolist() == [[-6.0]]


def test_a_head_without_margins_reads_clues(planted):
    _, pairs, roles = planted
    clue = np.array([[0 if not role else 1 if role == "ARG0" else 2] for role in roles])
    pairs = Pairs(pairs.predicate, pairs.word, clue)
    head = fit_roles(None, pairs, roles, buckets=3)
    chance, role = head.probabilities(np.zeros((400, 0)), pairs)
    assert ((chance > 0.5) == (clue[:, 0] > 0)).all()
    assert (role.argmax(axis=1) == clue[:, 0] - 1)[clue[:, 0] > 0].all()


def test_damaged_files_and_other_columns_are_refused(planted, tmp_path):
    margins, pairs, roles = planted
    head = fit_roles(margins, pairs, roles, buckets=2, components=3)
    with pytest.raises(BadFeatures, match="the role head has 6 columns, not 5"):
        head.probabilities(margins[:, :5], pairs)
    with pytest.raises(BrokenArtifact):
        RoleHead.load(tmp_path)
    FILES.write(tmp_path, {"labels": ["ARG0"]}, {"mean": np.zeros(1)})
    with pytest.raises(BrokenArtifact, match="no labels or other arrays"):
        RoleHead.load(tmp_path)
    arrays = {
        "mean": np.zeros(1),
        "scale": np.ones(1),
        "dense": np.zeros((4, 2, 3)),
        "hashed": np.zeros((2, 3)),
    }
    FILES.write(tmp_path, {"labels": ["ARG0"]}, arrays | {"bias": np.zeros(3)})
    with pytest.raises(BrokenArtifact, match="dense of the role head"):
        RoleHead.load(tmp_path)

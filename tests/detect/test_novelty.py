"""Tests ``detect/novelty.py``: p-values, the range of ordinary texts, and its files."""

import json

import numpy as np
import pytest

from splinelens.detect.heads import LinearHead
from splinelens.detect.novelty import (
    COMPONENTS,
    NoveltyArtifact,
    OrdinaryRange,
    check_rate,
    conformal_p_values,
    length_bins,
    length_edges,
    texts_needed,
)
from splinelens.errors import BadDetector, BadFeatures, BrokenArtifact, OutputExists

SIZES = (1, 6, 1)


def ordinary(texts, seed=0):
    """Rows of two scalars and a vector whose mean and spread move with length, and the lengths."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(3, 200, texts)
    rows = rng.normal(size=(texts, 8)) * np.log(tokens)[:, None] + 5 * np.log(tokens)[:, None]
    return rows, tokens


def fitted(texts=400):
    return OrdinaryRange.fit(ordinary(texts)[0], SIZES, ordinary(texts)[1])


def plain(calibration, scores):
    """P-values in one length bin."""
    bins = (np.zeros(len(scores), dtype=int) for scores in (calibration, scores))
    return conformal_p_values(calibration, scores, *bins)


def artifact(**changes):
    some = fitted()
    rows, tokens = ordinary(240, seed=1)
    values = {
        "model": {"name": "tiny", "revision": None, "fingerprint": {}},
        "spec": {},
        "columns": tuple(zip(("first", "vector", "last"), SIZES, strict=True)),
        "rate": 0.01,
        "traffic": {"texts": 520},
        "report": {"alarms": []},
        "range": some,
        "edges": np.array([100]),
        "tokens": tokens,
        "distances": some.distances(some.deviations(rows, tokens)),
    }
    return NoveltyArtifact(**(values | changes))


def test_a_p_value_by_hand():
    p_values = plain(np.array([3.0, 1.0, 2.0, 2.0]), np.array([0.5, 2.0, 2.5, 4.0, np.nan]))
    np.testing.assert_allclose(p_values, [1, 4 / 5, 2 / 5, 1 / 5, np.nan])


def test_a_text_is_compared_with_those_of_its_length_bin():
    tokens, edges = np.array([3, 5, 9, 10, 70]), np.array([5, 10])
    assert length_bins(tokens, edges).tolist() == [0, 1, 1, 2, 2]
    calibration, bins = np.array([1.0, 2.0, 3.0, 10.0, 20.0]), np.array([0, 0, 0, 1, 1])
    p_values = conformal_p_values(calibration, np.array([2.5, 2.5]), bins, np.array([0, 1]))
    np.testing.assert_allclose(p_values, [2 / 4, 1.0])


def test_bins_are_as_many_as_the_rate_allows():
    tokens = np.arange(1, 101)
    assert length_edges(tokens, 400, 0.05).tolist() == [26, 51, 76]
    assert length_edges(tokens, 400, 0.01).tolist() == [51]
    assert length_edges(tokens, 150, 0.01).tolist() == []
    assert length_edges(np.full(50, 7), 400, 0.05).tolist() == []
    assert length_edges(np.repeat([5, 10, 30], [10, 960, 30]), 400, 0.05).tolist() == []
    assert length_edges(np.repeat([5, 10, 30], [500, 490, 10]), 400, 0.05).tolist() == [10]


def test_p_values_fall_as_scores_rise():
    rng = np.random.default_rng(0)
    p_values = plain(rng.normal(size=99), np.sort(rng.normal(size=500)))
    assert (np.diff(p_values) <= 0).all()
    assert p_values.min() >= 1 / 100


def test_the_rate_holds_for_exchangeable_scores_whatever_their_distribution():
    """Over calibrations of 99 the share of flagged texts is at most the rate, and at 1 % exactly it."""
    rng = np.random.default_rng(0)
    for sample in (
        rng.standard_cauchy,
        rng.standard_normal,
        lambda size: rng.integers(0, 30, size).astype(float),
    ):
        flagged = [plain(sample(99), sample(200)) for _ in range(500)]
        for rate in (0.01, 0.05):
            share = np.mean(np.concatenate(flagged) <= rate)
            assert share <= rate + 0.003  # three standard errors


def test_a_rate_needs_so_many_texts_that_it_can_flag_at_all():
    for rate in (0.5, 0.05, 0.03, 0.01, 0.001):
        needed = texts_needed(rate)
        assert 1 / (needed + 1) <= rate < 1 / needed
        assert check_rate(rate, needed) == rate
        with pytest.raises(BadDetector, match=f"needs {needed:,} ordinary texts of each length"):
            check_rate(rate, needed - 1)
    for rate in (0.0, 1.0, -0.1, float("nan")):
        with pytest.raises(BadDetector, match="no false-alarm rate"):
            check_rate(rate, 1000)


def test_deviations_of_ordinary_texts_are_standard_at_every_length():
    some = fitted(2000)
    rows, tokens = ordinary(4000, seed=2)
    deviations = some.deviations(rows, tokens)
    scalars = deviations[:, [0, -1]]
    for part in (tokens < 20, (tokens >= 20) & (tokens < 80), tokens >= 80):
        np.testing.assert_allclose(scalars[part].mean(axis=0), 0, atol=0.15)
        np.testing.assert_allclose(scalars[part].std(axis=0), 1, atol=0.15)


def test_a_vector_is_reduced_to_its_components_and_the_distance_from_them():
    some = fitted()
    rows, tokens = ordinary(5, seed=3)
    deviations = some.deviations(rows, tokens)
    assert deviations.shape == (5, 2 + COMPONENTS + 1)
    away = rows.copy()
    beside = np.linalg.svd(some.components)[2][-1]  # at right angles to the components
    away[:, 1:7] += 100 * beside
    moved = some.deviations(away, tokens) - deviations
    np.testing.assert_allclose(np.delete(moved, 1 + COMPONENTS, axis=1), 0, atol=1e-9)
    assert (moved[:, 1 + COMPONENTS] > 1).all()


def test_units_do_not_change_a_distance():
    rows, tokens = ordinary(300)
    more, lengths = ordinary(20, seed=4)
    units = np.array([1e-3, *[7.0] * 6, 1e4])
    one, other = (OrdinaryRange.fit(rows * unit, SIZES, tokens) for unit in (np.ones(8), units))
    np.testing.assert_allclose(
        other.distances(other.deviations(more * units, lengths)),
        one.distances(one.deviations(more, lengths)),
        rtol=1e-6,
    )


def test_a_length_beyond_the_fitted_ones_counts_as_the_nearest():
    some, rows = fitted(), ordinary(1)[0]
    longest = np.array([int(some.lengths[1])])
    np.testing.assert_array_equal(some.deviations(rows, longest * 50), some.deviations(rows, longest))


def test_constant_columns_and_values_that_are_not_finite():
    rows, tokens = ordinary(100)
    rows[:, 0] = 4.0
    some = OrdinaryRange.fit(rows, SIZES, tokens)
    assert np.isfinite(some.distances(some.deviations(rows, tokens))).all()
    rows[3, 2] = np.nan
    assert np.isnan(some.distances(some.deviations(rows, tokens))[3])
    with pytest.raises(BadFeatures, match="text 3 has a value that is not finite"):
        OrdinaryRange.fit(rows, SIZES, tokens)


def test_too_few_texts_and_rows_of_another_width_are_refused():
    rows, tokens = ordinary(19)
    with pytest.raises(BadFeatures, match="needs 20 texts, and there are 19"):
        OrdinaryRange.fit(rows, SIZES, tokens)
    with pytest.raises(BadFeatures, match="rows of 7 values meet a range of 8"):
        fitted().deviations(rows[:, :7], tokens)


def test_what_is_saved_is_loaded(tmp_path):
    width = len(fitted().scale)
    head = LinearHead(np.zeros(width), np.ones(width), np.ones((1, width)), np.zeros(1))
    for one in (artifact(), artifact(head=head, logits=np.arange(240.0))):
        one.save(tmp_path / "range", overwrite=True)
        again = NoveltyArtifact.load(tmp_path / "range")
        assert again.digest == one.digest
        rows, tokens = ordinary(9, seed=5)
        deviations = one.range.deviations(rows, tokens)
        pairs = zip(one.p_values(deviations, tokens), again.p_values(deviations, tokens), strict=True)
        for ours, theirs in pairs:
            np.testing.assert_array_equal(ours, theirs)
    assert one.numbers[:3] == ["first", "vector component 1", "vector component 2"]
    with pytest.raises(OutputExists):
        one.save(tmp_path / "range")


def test_a_damaged_folder_is_refused(tmp_path):
    folder = tmp_path / "range"
    artifact().save(folder)
    manifest, arrays = (folder / "novelty.json").read_text(), (folder / "novelty.safetensors").read_bytes()

    def refused(match):
        with pytest.raises(BrokenArtifact, match=match):
            NoveltyArtifact.load(folder)

    for content in ("", "[]", "{}", manifest[:-9], "[" * 100_000):
        (folder / "novelty.json").write_text(content)
        refused(r"novelty\.json (is not JSON|has schema None)")
    (folder / "novelty.json").write_text(manifest.replace('"rate": 0.01', '"rate": 0.02'))
    refused("does not have the hash that it states")
    (folder / "novelty.json").write_text(json.dumps(json.loads(manifest) | {"schema": 2}))
    refused("has schema 2; this version reads 1; run splinelens audit fit again")
    (folder / "novelty.json").write_text(manifest)
    (folder / "novelty.safetensors").write_bytes(arrays[:-1])
    refused(r"novelty\.safetensors has .* bytes where novelty\.json states .*: cut short")
    (folder / "novelty.safetensors").unlink()
    refused("novelty.safetensors cannot be read: No such file")


def test_what_does_not_fit_together_is_refused(tmp_path):
    for number, (changes, match) in enumerate(
        [
            ({"rate": 0.001}, r"a rate of 0.001 beside 1\d\d calibration texts of a length"),
            ({"columns": (("first", 1),)}, "its columns have other sizes"),
            ({"distances": np.full(240, np.nan)}, "calibration scores are not finite"),
            ({"distances": np.ones(239)}, "or not one a text"),
            ({"edges": np.array([0])}, "lengths are no numbers of tokens"),
        ]
    ):
        artifact(**changes).save(tmp_path / str(number))
        with pytest.raises(BrokenArtifact, match=match):
            NoveltyArtifact.load(tmp_path / str(number))
    arrays = fitted().arrays()
    for changed, match in [
        ({"scale": 0 * arrays["scale"]}, "do not fit each other: values"),
        ({"mean": arrays["mean"][:, 1:]}, "do not fit each other: mean"),
        ({"precision": np.full_like(arrays["precision"], np.inf)}, "precision holds something other"),
        ({"more": arrays["mean"]}, "needs other arrays than center, .*, more, "),
    ]:
        with pytest.raises(BrokenArtifact, match=match):
            OrdinaryRange.from_arrays(arrays | changed)

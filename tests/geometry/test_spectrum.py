"""Tests of spectra of weight matrices."""

import math

import numpy as np
import pytest
import torch

from splinelens.geometry import spectrum
from splinelens.geometry.spectrum import eigenvalues, positive, subsampled_eigenvalues, tail_mid, tail_peak


def _pareto(alpha: float, count: int) -> torch.Tensor:
    """Quantiles of the density ``x^-alpha`` from 1 on, rising."""
    shares = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    return (1 - shares) ** (-1 / (alpha - 1))


def _planted(values: torch.Tensor, out: int) -> torch.Tensor:
    """A random matrix of (out, len(values)) with these eigenvalues."""
    generator = torch.Generator().manual_seed(0)
    left = torch.linalg.qr(torch.randn(out, len(values), generator=generator, dtype=torch.float64)).Q
    right = torch.linalg.qr(torch.randn(len(values), len(values), generator=generator, dtype=torch.float64)).Q
    return left * values.sqrt() @ right.T


def _weight(out: int = 60, width: int = 40, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(out, width, generator=generator) * torch.linspace(0.2, 3, width)


def _naive(weight: torch.Tensor) -> tuple[float, float, float]:
    """Alpha from the median on, and alpha and distance of the best threshold near the peak, by loops."""
    values = np.sort(np.linalg.svd(weight.double().numpy(), compute_uv=False) ** 2)

    def fitted(first):
        tail = values[first:]
        alpha = 1 + len(tail) / sum(math.log(value / tail[0]) for value in tail)
        gaps = [abs(1 - (value / tail[0]) ** (1 - alpha) - k / len(tail)) for k, value in enumerate(tail)]
        return alpha, max(gaps)

    counts, edges = np.histogram(np.log10(values), 100)
    peak = 10 ** edges[counts.argmax()]
    tried = [fitted(i) for i in range(len(values) - 1) if 0.95 * peak <= values[i] <= 1.5 * peak]
    return fitted(len(values) // 2)[0], *min(tried, key=lambda one: one[1])


def test_eigenvalues_are_squared_singular_values():
    weight = _weight()
    expected = torch.linalg.svdvals(weight.double()).square().flip(0)
    assert torch.allclose(eigenvalues(weight), expected, rtol=1e-10)


@pytest.mark.parametrize("shape", [(60, 40), (40, 60), (50, 50)])
def test_alphas_equal_the_definition_by_singular_values(shape):
    values = positive(eigenvalues(_weight(*shape)))
    mid, peak, distance = _naive(_weight(*shape))
    assert tail_mid(values).alpha == pytest.approx(mid, abs=1e-6)
    assert tail_peak(values).alpha == pytest.approx(peak, abs=1e-6)
    assert tail_peak(values).distance == pytest.approx(distance, abs=1e-12)


def test_a_tail_equals_that_of_the_library_powerlaw():
    powerlaw = pytest.importorskip("powerlaw")
    values = positive(eigenvalues(_weight(300, 200)))
    tail = tail_peak(values)
    fit = powerlaw.Fit(
        values.numpy(), xmin=tail.threshold, verbose=False, parameter_ranges={"alpha": [1, 1000]}
    )
    assert fit.power_law.alpha == pytest.approx(tail.alpha, rel=1e-12)
    assert pytest.approx(tail.distance, rel=1e-12) == fit.power_law.D


def test_a_search_in_chunks_finds_the_same_threshold(monkeypatch):
    values = positive(eigenvalues(_weight(300, 200)))
    whole = tail_peak(values)
    monkeypatch.setattr(spectrum, "_CHUNK", 1)
    assert tail_peak(values) == whole


@pytest.mark.parametrize("alpha", [1.5, 2.0, 3.0, 5.0])
def test_planted_power_laws_are_recovered_within_five_percent(alpha):
    values = positive(eigenvalues(_planted(_pareto(alpha, 400), 500)))
    assert tail_mid(values).alpha == pytest.approx(alpha, rel=0.05)
    assert tail_peak(values).alpha == pytest.approx(alpha, rel=0.05)
    assert tail_peak(values).distance < 0.02


def test_a_tail_by_hand():
    tail = tail_mid(torch.tensor([1.0, 2.0, 4.0, 8.0], dtype=torch.float64))
    alpha = 1 + 2 / math.log(2)
    law = 1 - 2 ** (1 - alpha)  # share of the power law below 8; half of the tail lies below
    assert tail == pytest.approx((alpha, 4.0, abs(law - 0.5), 2))


def test_scaling_rotating_and_transposing_leave_alpha():
    weight = _weight().double()
    rotation = torch.linalg.qr(torch.randn(60, 60, dtype=torch.float64)).Q
    expected = tail_peak(positive(eigenvalues(weight))).alpha
    for changed in (7.5 * weight, rotation @ weight, weight.T):
        values = positive(eigenvalues(changed))
        assert tail_peak(values).alpha == pytest.approx(expected, rel=1e-9)
    assert torch.allclose(eigenvalues(rotation @ weight), eigenvalues(weight), rtol=1e-9)


def test_zeros_of_a_matrix_of_low_rank_are_left_out():
    weight = _weight(60, 5) @ _weight(5, 40, seed=1)
    values = eigenvalues(weight)
    assert len(values) == 40
    assert len(positive(values)) == 5
    assert math.isfinite(tail_peak(positive(values)).alpha)
    assert not len(positive(eigenvalues(torch.zeros(4, 3))))


def test_equal_eigenvalues_have_an_infinite_alpha():
    rotation = torch.linalg.qr(torch.randn(64, 64, generator=torch.Generator().manual_seed(0))).Q
    for values in (eigenvalues(torch.eye(4)), eigenvalues(rotation)):
        assert tail_mid(values).alpha == tail_peak(values).alpha == math.inf
    assert values[0] < values[-1]  # equal but for rounding errors


def test_density_integrates_to_one():
    edges, density = spectrum.spectral_density(eigenvalues(_weight()))
    assert float((density * edges.diff()).sum()) == pytest.approx(1)
    assert 10 ** float(edges[-1]) == pytest.approx(float(eigenvalues(_weight())[-1]))


def test_rank_and_entropy_by_hand():
    values = torch.tensor([1.0, 1.0, 2.0])
    assert spectrum.stable_rank(values) == 2
    assert spectrum.spectral_entropy(values) == pytest.approx(1.5 * math.log(2) / math.log(3))
    assert spectrum.spectral_entropy(torch.tensor([0.0, 0.0, 3.0])) == 0


def test_submatrices_cover_the_matrix_with_one_aspect_ratio():
    weight = _weight(50, 20)
    values = subsampled_eigenvalues(weight)
    parts = [eigenvalues(weight[top : top + 20]) for top in (0, 15, 30)]
    assert torch.allclose(values, torch.cat(parts).sort().values)
    assert len(subsampled_eigenvalues(weight, aspect=2.0)) == 5 * 10
    assert len(subsampled_eigenvalues(weight, rows=10)) == 5 * 2 * 10
    assert torch.allclose(subsampled_eigenvalues(weight[:20]), eigenvalues(weight[:20]))
    with pytest.raises(ValueError, match="no 30 x 30 submatrix fits into a matrix of 50 x 20"):
        subsampled_eigenvalues(weight, rows=30)


def test_submatrices_remove_the_bias_of_the_aspect_ratio():
    shapes = [(800, 100), (100, 100), (100, 400)]
    random = [torch.randn(*shape, generator=torch.Generator().manual_seed(0)) for shape in shapes]
    whole = [tail_mid(positive(eigenvalues(weight))).alpha for weight in random]
    corrected = [tail_mid(positive(subsampled_eigenvalues(weight))).alpha for weight in random]
    assert max(whole) > 2 * min(whole)
    assert max(corrected) < 1.1 * min(corrected)

"""Tests geometry/hulls.py."""

import math

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from splinelens.errors import BadFeatures
from splinelens.geometry.attention import (
    dimension_bounds,
    intrinsic_dimension_of_weights,
    intrinsic_dimensions,
)
from splinelens.geometry.hulls import (
    active_keys,
    attention_weights,
    hull_vertices,
    measured_dimension,
    minkowski_point,
)

HEADS, KV_HEADS, HEAD_DIM, VALUE_DIM, WIDTH, TOKENS = 6, 2, 8, 4, 20, 17


def one_layer(dtype=torch.float64, tokens=TOKENS):
    query = 1.5 * torch.randn(HEADS, tokens, HEAD_DIM, dtype=dtype)
    key = torch.randn(KV_HEADS, tokens, HEAD_DIM, dtype=dtype)
    value = torch.randn(KV_HEADS, tokens, VALUE_DIM, dtype=dtype)
    return query, key, value, torch.randn(WIDTH, HEADS * VALUE_DIM, dtype=dtype)


def slow_dimension(vertices, chosen):
    """All edges stacked, and one singular value decomposition with NumPy's own tolerance."""
    edges = []
    for points, keys in zip(vertices.numpy(), chosen.numpy(), strict=True):
        corners = points[keys]
        edges += list(corners[1:] - corners[:1]) if len(corners) else []
    return int(np.linalg.matrix_rank(np.array(edges))) if edges else 0


def test_weights_by_hand():
    key = torch.tensor([[[8.0], [3.0], [1.0]]]).log()
    weights = attention_weights(torch.ones(2, 1), key, scaling=1.0)
    assert weights[1].tolist() == pytest.approx([8 / 12, 3 / 12, 1 / 12])
    seen = torch.tensor([[True, False, True]])
    assert attention_weights(torch.ones(1, 1), key, scaling=1.0, mask=seen).tolist() == [
        pytest.approx([8 / 9, 0, 1 / 9])
    ]
    sunk = attention_weights(torch.ones(1, 1), key, scaling=1.0, sinks=torch.tensor([math.log(4)]))
    assert sunk[0].tolist() == pytest.approx([8 / 16, 3 / 16, 1 / 16])


def test_weights_of_each_token_are_rows_of_the_attention_of_torch():
    query, key, _, _ = one_layer()
    bias = torch.randn(HEADS, TOKENS, TOKENS, dtype=torch.float64).masked_fill(
        torch.ones(TOKENS, TOKENS, dtype=torch.bool).triu(1), -torch.inf
    )
    # Values that are the unit vectors give the weights themselves back.
    full = torch.nn.functional.scaled_dot_product_attention(
        query,
        key.repeat_interleave(3, dim=0),
        torch.eye(TOKENS, dtype=torch.float64).expand(HEADS, -1, -1),
        attn_mask=bias,
        scale=0.3,
    )
    for token in (0, 5, TOKENS - 1):
        got = attention_weights(query[:, token], key, scaling=0.3, mask=bias[:, token])
        assert torch.allclose(got, full[:, token], atol=1e-12)


@pytest.mark.parametrize("hidden", [None, torch.finfo(torch.float32).min, -torch.inf])
@pytest.mark.parametrize("sunk", [False, True])
def test_a_token_that_sees_no_key_has_no_weight(hidden, sunk):
    query, key, _, _ = one_layer()
    mask = torch.zeros(1, TOKENS, dtype=torch.bool) if hidden is None else torch.full((1, TOKENS), hidden)
    sinks = torch.zeros(HEADS) if sunk else None
    assert (attention_weights(query[:, 3], key, scaling=0.3, mask=mask, sinks=sinks) == 0).all()
    assert attention_weights(query[:, 3], key[:, :0], scaling=0.3, sinks=sinks).shape == (HEADS, 0)


def test_weights_that_are_no_numbers_show():
    query, key, _, _ = one_layer()
    key[0, 2, 1] = math.nan
    assert (
        attention_weights(query[:, 3], key, scaling=0.3).isnan().any(1).tolist() == [True] * 3 + [False] * 3
    )


@pytest.mark.parametrize("kv_heads", [1, 2, 6])
def test_the_weighted_vertices_are_the_output_of_attention(kv_heads):
    """The Minkowski identity: a sum over heads of points of hulls is what the output projection gives."""
    query, _, _, output_weight = one_layer()
    key = torch.randn(kv_heads, TOKENS, HEAD_DIM, dtype=torch.float64)
    value = torch.randn(kv_heads, TOKENS, VALUE_DIM, dtype=torch.float64)
    repeats = HEADS // kv_heads
    attended = torch.nn.functional.scaled_dot_product_attention(
        query, key.repeat_interleave(repeats, 0), value.repeat_interleave(repeats, 0), is_causal=True
    )
    direct = attended.transpose(0, 1).reshape(TOKENS, HEADS * VALUE_DIM) @ output_weight.T
    vertices = hull_vertices(value, output_weight)
    for token in range(TOKENS):
        seen = token + 1
        weights = attention_weights(query[:, token], key[:, :seen], scaling=HEAD_DIM**-0.5)
        assert torch.allclose(weights.sum(1), torch.ones(HEADS, dtype=torch.float64))
        point = minkowski_point(vertices[:, :seen], weights)
        assert (point - direct[token]).abs().max() <= 1e-10


def test_the_identity_holds_from_the_states_with_the_models_own_matrices():
    """Vertices are ``(V_h O_h)^T x_j`` of the layer's input x, with keys and values shared by heads."""
    states = torch.randn(TOKENS, 12, dtype=torch.float64)
    query_weight = torch.randn(HEADS * HEAD_DIM, 12, dtype=torch.float64)
    key_weight = torch.randn(KV_HEADS * HEAD_DIM, 12, dtype=torch.float64)
    value_weight = torch.randn(KV_HEADS * VALUE_DIM, 12, dtype=torch.float64)
    output_weight = torch.randn(WIDTH, HEADS * VALUE_DIM, dtype=torch.float64)
    query, key, value = (
        (states @ weight.T).reshape(TOKENS, heads, -1).transpose(0, 1)
        for weight, heads in ((query_weight, HEADS), (key_weight, KV_HEADS), (value_weight, KV_HEADS))
    )
    vertices = hull_vertices(value, output_weight)
    for head in range(HEADS):
        shared = head // (HEADS // KV_HEADS)
        first = value_weight[shared * VALUE_DIM : (shared + 1) * VALUE_DIM]
        second = output_weight[:, head * VALUE_DIM : (head + 1) * VALUE_DIM]
        assert torch.allclose(vertices[head], states @ (second @ first).T, atol=1e-10)
    weights = attention_weights(query[:, -1], key, scaling=0.2)
    expected = torch.zeros(WIDTH, dtype=torch.float64)
    for head in range(HEADS):
        for token in range(TOKENS):
            expected += weights[head, token] * vertices[head, token]
    assert (minkowski_point(vertices, weights) - expected).abs().max() <= 1e-10


def test_active_keys_by_hand():
    weights = torch.tensor([[0.05, 0.35, 0.6], [0.09, 0.45, 0.46]])
    assert active_keys(weights, 0.1).tolist() == [[False, True, True]] * 2
    assert active_keys(weights, 0.1, "relative").tolist() == [[False, True, True], [True, True, True]]


@pytest.mark.parametrize("sunk", [False, True])
def test_as_many_keys_are_active_as_the_intrinsic_dimension_says(sunk):
    query, key, _, _ = one_layer()
    sinks = torch.randn(HEADS) if sunk else None
    counts = intrinsic_dimensions(query[None], key[None], scaling=0.3, sinks=sinks, softcap=4.0, eps=0.15)[
        :, 0
    ]
    for token in range(TOKENS):
        weights = attention_weights(
            query[:, token], key[:, : token + 1], scaling=0.3, sinks=sinks, softcap=4.0
        )
        for row, threshold in enumerate(("absolute", "relative")):
            assert torch.equal(active_keys(weights, 0.15, threshold).sum(1), counts[row, :, token])


def test_no_key_is_active_where_there_is_none():
    assert active_keys(torch.ones(2, 0), 0.1, "relative").shape == (2, 0)
    assert not active_keys(torch.zeros(2, 3), 0.1, "relative").any()


def dimension_of(vertices, chosen):
    """The measured dimension of hulls whose vertices are given: values that go through unchanged."""
    return measured_dimension(vertices, torch.eye(vertices.shape[2]).repeat(1, len(vertices)), chosen)


def test_measured_dimension_by_hand():
    line = torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 0.0], [3.0, 3.0, 0.0]])
    other = torch.tensor([[5.0, 5.0, 5.0], [4.0, 4.0, 5.0], [0.0, 5.0, 5.0]])
    vertices = torch.stack([line, other])
    every = torch.ones(2, 3, dtype=torch.bool)
    assert dimension_of(vertices[:1], every[:1]) == 1  # three points on a line
    assert dimension_of(vertices[1:], every[1:]) == 2
    assert dimension_of(vertices, every) == 2  # the line is parallel to the triangle
    one = torch.tensor([[True, False, False], [False, True, False]])
    assert dimension_of(vertices, one) == 0  # a point for each head: the sum is a point
    assert dimension_of(vertices, ~every) == 0
    assert dimension_of(vertices[:, :1].repeat(1, 3, 1), every) == 0  # equal vertices
    assert dimension_of(torch.zeros(2, 3, 3), every) == 0


@pytest.mark.parametrize("tokens", [2, 4, 17, 200])
@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_measured_dimension_is_what_a_slow_decomposition_gives(tokens, share):
    _, _, value, output_weight = one_layer(tokens=tokens)
    projection = output_weight[:, : 4 * VALUE_DIM]
    chosen = torch.rand(4, tokens) < share
    slow = slow_dimension(hull_vertices(value, projection), chosen)
    assert measured_dimension(value, projection, chosen) == slow


@pytest.mark.parametrize("heads", [2, 4, 6])
@pytest.mark.parametrize("eps", [0.01, 0.1, 0.4])
def test_the_measured_dimension_respects_the_bounds(heads, eps):
    query, key, value, output_weight = one_layer(tokens=40)
    projection = output_weight[:, : heads * VALUE_DIM]
    reached = []
    for token in (0, 1, 3, 20, 39):
        weights = attention_weights(query[:heads, token], key[:, : token + 1], scaling=0.3)
        chosen = active_keys(weights, eps)
        tight, loose = dimension_bounds(chosen.sum(1), VALUE_DIM, WIDTH)
        dimension = measured_dimension(value[:, : token + 1], projection, chosen)
        assert dimension <= tight <= loose
        reached.append(dimension == tight)
    assert any(reached)  # the bound is tight


def test_vertices_in_general_position_reach_the_tight_bound():
    chosen = torch.zeros(4, 30, dtype=torch.bool)
    for head, vertices in enumerate((1, 3, 5, 30)):  # dimensions 0, 2, 4 and the head's 4
        chosen[head, :vertices] = True
    _, _, value, output_weight = one_layer(tokens=30)
    assert measured_dimension(value, output_weight[:, : 4 * VALUE_DIM], chosen) == 10
    assert dimension_bounds(chosen.sum(1), VALUE_DIM, WIDTH)[0] == 10


def test_moving_turning_and_scaling_leaves_the_dimension_alone():
    _, _, value, output_weight = one_layer()
    vertices = hull_vertices(value[:, :5], output_weight[:, : 2 * VALUE_DIM])
    chosen = torch.rand(2, 5) < 0.8
    turn = torch.linalg.qr(torch.randn(WIDTH, WIDTH, dtype=torch.float64)).Q
    moved = 7.0 * vertices @ turn + torch.randn(2, 1, WIDTH, dtype=torch.float64)
    assert dimension_of(moved, chosen) == dimension_of(vertices, chosen) > 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_rounding_does_not_fill_the_space(dtype):
    """Values on one line, and values on one point, that the dtype cannot hold exactly."""
    _, _, _, output_weight = one_layer()
    projection, every = output_weight[:, : 2 * VALUE_DIM], torch.ones(2, 20, dtype=torch.bool)
    start, way = torch.randn(2, 2, 1, VALUE_DIM, dtype=torch.float64)
    line = (start + torch.randn(2, 20, 1) * way).to(dtype)
    assert measured_dimension(line, projection, every) == 2  # one a head
    point = start * (1 + torch.finfo(dtype).eps / 4 * torch.randn(2, 20, VALUE_DIM).double().clamp(-2, 2))
    assert len(point.to(dtype)[0].unique(dim=0)) > 1
    assert measured_dimension(point.to(dtype), projection, every) == 0


def test_values_that_are_equal_but_for_rounding_are_one_vertex():
    """One step of float32 between values; in float64 the same numbers are vertices of their own."""
    _, _, value, output_weight = one_layer(dtype=torch.float32, tokens=30)
    value = value[:, :1].repeat(1, 30, 1)
    value[:, ::2] *= 1 + torch.finfo(torch.float32).eps
    value[:, ::3, 0] *= 1 + 4 * torch.finfo(torch.float32).eps
    every = torch.ones(6, 30, dtype=torch.bool)
    assert measured_dimension(value, output_weight, every) == 0
    assert measured_dimension(value.double(), output_weight, every) > 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_half_precision_keeps_the_dimension_of_hulls_of_some_size(dtype):
    _, _, value, output_weight = one_layer(dtype=dtype, tokens=4)
    every = torch.ones(6, 4, dtype=torch.bool)
    assert measured_dimension(value[:, :3], output_weight, every[:, :3]) == 6 * 2


@pytest.mark.parametrize(("height", "dimension"), [(1e-5, 1), (2e-5, 2)])
def test_more_edges_hide_more_as_in_numpys_tolerance(height, dimension):
    """The longest vertex is 1 long: of 100 edges float32 hides what is below 100 * 1.2e-7."""
    vertices = torch.zeros(1, 101, 3)
    vertices[0, 1:100, 0], vertices[0, 100, 1] = 1.0, height
    every = torch.ones(1, 101, dtype=torch.bool)
    assert dimension_of(vertices, every) == dimension
    assert dimension_of(vertices[:, [0, 99, 100]], every[:, :3]) == 2  # of 2 edges it hides less


def test_arithmetic_is_float32_at_least():
    query, key, value, output_weight = one_layer(dtype=torch.bfloat16)
    vertices = hull_vertices(value, output_weight)
    weights = attention_weights(query[:, -1], key, scaling=0.3)
    assert vertices.dtype == weights.dtype == torch.float32
    assert torch.allclose(vertices, hull_vertices(value.float(), output_weight.float()))
    assert hull_vertices(value.double(), output_weight).dtype == torch.float64


def test_vertices_that_are_not_finite_are_refused_only_where_they_count():
    vertices = torch.randn(2, 4, 3)
    vertices[1, 2, 0] = math.nan
    chosen = torch.ones(2, 4, dtype=torch.bool)
    with pytest.raises(BadFeatures, match="head 1 has active vertices with NaN or infinity"):
        dimension_of(vertices, chosen)
    chosen[1, 2] = False
    assert dimension_of(vertices, chosen) == 3


def test_an_output_projection_of_another_layout_is_refused():
    _, _, value, output_weight = one_layer()
    with pytest.raises(
        BadFeatures, match=r"with 20 inputs does not fit 2 heads of values with 4 numbers each"
    ):
        hull_vertices(value, output_weight.T)
    with pytest.raises(BadFeatures, match=r"pass the weight as \(width, head \* 4\)"):
        measured_dimension(value, output_weight[:, :-1], torch.ones(HEADS, TOKENS, dtype=torch.bool))


def test_a_wrong_eps_or_threshold_is_refused():
    with pytest.raises(BadFeatures, match=r"eps is 2\.0; pass a number above 0 and below 1"):
        active_keys(torch.ones(1, 1), 2.0)
    with pytest.raises(BadFeatures, match="threshold 'max' is unknown; pass one of absolute, relative"):
        active_keys(torch.ones(1, 1), 0.1, "max")


def test_arguments_are_left_as_they_are():
    query, key, value, output_weight = one_layer()
    arguments = (query, key, value, output_weight)
    before = [argument.clone() for argument in arguments]
    weights = attention_weights(query[:, -1], key, scaling=0.3, softcap=2.0)
    vertices = hull_vertices(value, output_weight)
    kept = vertices.clone(), weights.clone()
    minkowski_point(vertices, weights)
    measured_dimension(value, output_weight, active_keys(weights))
    assert all(torch.equal(argument, old) for argument, old in zip(arguments, before, strict=True))
    assert torch.equal(vertices, kept[0])
    assert torch.equal(weights, kept[1])


@pytest.mark.parametrize(
    "call",
    [
        lambda: attention_weights(torch.ones(2, 3), torch.ones(1, 4, 5), scaling=1.0),
        lambda: minkowski_point(torch.ones(2, 3, 4), torch.ones(2, 4)),
        lambda: measured_dimension(torch.ones(2, 3, 4), torch.ones(5, 8), torch.ones(2, 3)),
        lambda: active_keys(torch.ones(2)),
    ],
)
def test_wrong_shapes_and_types_are_refused(call):
    with pytest.raises(TypeCheckError):
        call()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_weights_in_half_precision_are_held_against_the_threshold_itself(dtype):
    weights = torch.tensor([[0.1, 0.9], [0.0775, 0.775]]).to(dtype)
    counts = [active_keys(weights, 0.1, threshold).sum(dim=1) for threshold in ("absolute", "relative")]
    assert torch.equal(
        torch.stack(counts), intrinsic_dimension_of_weights(weights[None, :, None], 0.1)[:, 0, :, 0]
    )

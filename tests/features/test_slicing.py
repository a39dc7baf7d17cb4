"""Tests features/slicing.py."""

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from splinelens.anatomy import anatomy_of
from splinelens.errors import BadFeatures, BadTexts
from splinelens.features.slicing import locate_token, slice_texts, slice_tokens
from splinelens.features.token_report import read_tokens

TEXT = "the thing you are after"


def numbers_of(found):
    """Numbers of the three tokens of a slice, from their labels."""
    return [int(label.split()[-2]) for label in found.labels]


def on(found):
    """For each point and each wall whether the neuron is on: the point is left of the wall."""
    along, offset = found.segments[:, 1] - found.segments[:, 0], found.points[:, None] - found.segments[:, 0]
    return along[:, 0] * offset[..., 1] - along[:, 1] * offset[..., 0] > 0


@pytest.fixture
def cut(tiny_of, wrap):
    """Cuts a layer of a tiny model along texts: gives the slice, the notes and the reports."""

    def cut(name, *texts, layer=1, tokens=None):
        loaded = wrap(tiny_of(name))
        reports = [read_tokens(text, loaded, keep_inputs=[layer]) for text in texts]
        return *slice_tokens(anatomy_of(loaded.model), reports, layer, tokens), reports, loaded

    return cut


def test_one_text_is_cut_through_its_first_middle_and_last_token(cut):
    found, notes, (report,), _ = cut("llama", TEXT)
    assert numbers_of(found) == [0, 6, 11]
    assert found.labels[0] == "token 0 'the'"
    assert (found.neurons, notes) == (48, [])
    assert np.allclose(pdist(found.points), pdist(report.inputs[1][[0, 6, 11]].numpy()), atol=1e-5)


def test_two_texts_are_cut_through_both_ends_and_the_first_ones_middle(cut):
    found, _, reports, _ = cut("llama", TEXT, "so it is")
    both = reports[0].tokens + reports[1].tokens
    assert found.labels == ("text 1, token 11 'er'", "text 2, token 7 's'", "text 1, token 6 'r'")
    assert locate_token(reports, both - 1) == (1, reports[1].tokens - 1)


def test_each_point_has_the_signs_of_its_token(cut):
    found, _, (report,), loaded = cut("gpt2", TEXT)
    mlp = loaded.model.h[1].mlp.c_fc
    gate = report.inputs[1] @ mlp.weight + mlp.bias
    assert (on(found) == (gate[numbers_of(found)][:, found.walls] > 0).numpy()).all()


def test_a_slice_is_printed_in_one_line(cut):
    found = cut("llama", TEXT, layer=1)[0]
    assert repr(found) == f"TextSlice(layer 1, {len(found.walls)} of 48 walls)"


def test_chosen_tokens_are_taken(cut):
    assert numbers_of(cut("llama", TEXT, tokens=(3, 1, 2))[0]) == [3, 1, 2]


def test_tokens_that_span_no_plane_are_replaced_and_that_is_said(cut):
    found, notes, (report,), _ = cut("llama", "aaaaaa!?", layer=0)  # tokens 0 and 4 are one point
    assert sorted(report.piece(token) for token in numbers_of(found)) == ["!", "?", "a"]
    numbers = ", ".join(map(str, numbers_of(found)))
    assert notes == [f"slice: tokens 0, 4, 7 span no plane at layer 0; it goes through {numbers}"]


@pytest.mark.parametrize("text", ["a", "so", "aaaaaaaa"])
def test_too_few_different_tokens_give_no_slice(cut, text):
    found, notes, _, _ = cut("llama", text, layer=0)
    assert found is None
    assert "no slice: it takes three tokens that span a plane" in notes[0]


def test_chosen_tokens_that_span_no_plane_are_refused(cut):
    with pytest.raises(BadFeatures, match="coincide"):
        cut("llama", TEXT, tokens=(3, 3, 2))


def test_chosen_tokens_that_do_not_exist_are_refused(cut):
    with pytest.raises(BadFeatures, match="token 12 does not exist: the text has 12 tokens, 0 to 11"):
        cut("llama", TEXT, tokens=(0, 1, 12))
    with pytest.raises(BadFeatures, match="all texts together has 24 tokens"):
        cut("llama", TEXT, TEXT, tokens=(0, 1, 24))


def test_of_experts_the_one_with_most_of_the_tokens_is_drawn(cut):
    found, notes, (report,), loaded = cut("mixtral", TEXT)
    tokens, expert = numbers_of(found), found.walls[0] // 24
    met = [expert in report.routes[1][token] for token in tokens]
    assert sum(met) == max(sum(other in report.routes[1][token] for token in tokens) for other in range(4))
    assert found.neurons == 24
    weight = loaded.model.layers[1].mlp.experts.gate_up_proj[expert, :24]
    gate = report.inputs[1][tokens] @ weight[found.walls - expert * 24].T
    assert (on(found) == (gate > 0).numpy()).all()
    assert f"only the walls of expert {expert} are drawn, to which {sum(met)} of the three" in notes[0]


def test_a_shared_expert_is_drawn_rather(cut):
    found, notes, (report,), loaded = cut("qwen3_next", TEXT)
    assert found.neurons == 20
    assert "only the walls of the shared one are drawn" in notes[0]
    weight = loaded.model.layers[1].mlp.shared_expert.gate_proj.weight
    gate = report.inputs[1][numbers_of(found)] @ weight[found.walls - 4 * 24].T
    assert (on(found) == (gate > 0).numpy()).all()


def test_longer_texts_than_allowed_are_refused_with_what_to_pass(tiny_of, wrap):
    texts, loaded = ["a", "b", "the thing"], wrap(tiny_of("llama"))
    with pytest.raises(BadTexts, match="at most 1 are read: pass max_tokens="):
        slice_texts(texts, loaded, layer=1, max_tokens=1)


def test_a_token_after_the_last_text_is_our_mistake(cut):
    _, _, reports, _ = cut("llama", TEXT)
    with pytest.raises(IndexError, match="the token is after the last text"):
        locate_token(reports, 12)


@pytest.mark.parametrize("at", ["last", "mean"])
def test_three_texts_are_cut_through_where_they_are(tiny_of, wrap, at):
    loaded, texts = wrap(tiny_of("llama")), [TEXT, "so it is", "rain"]
    found = slice_texts(texts, loaded, layer=2, at=at)
    for text, place in zip(texts, found.positions, strict=True):
        states = read_tokens(text, loaded, keep_inputs=[2]).inputs[2]
        point = states[-1] if at == "last" else states.mean(dim=0)
        assert np.allclose(found.plane.origin + place @ found.plane.axes, point.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("texts", "at", "said"),
    [
        ("rain", "last", "one string and at='last': a slice goes through three texts"),
        (["rain", "snow"], "last", "2 texts and"),
        (["rain", "snow", "sun"], "first", "at='first'"),
        (["rain", "rain", "sun"], "last", "two of the texts are the same"),
    ],
)
def test_what_spans_no_plane_of_texts_is_refused(tiny_of, wrap, texts, at, said):
    with pytest.raises(BadFeatures, match=said):
        slice_texts(texts, wrap(tiny_of("llama")), layer=1, at=at)


def test_a_slice_through_texts_needs_a_dense_layer(tiny_of, wrap):
    with pytest.raises(BadFeatures, match="layer 1 consists of experts, each with its own partition"):
        slice_texts([TEXT, "so it is", "rain"], wrap(tiny_of("mixtral")), layer=1)


def test_a_named_model_is_loaded_up_to_the_layer(tiny_llama, wrap, folder):
    texts = [TEXT, "so it is", "rain"]
    named = slice_texts(texts, folder, layer=1)
    assert (named.segments == slice_texts(texts, wrap(tiny_llama), layer=1).segments).all()


def test_a_layer_that_does_not_exist_is_refused(tiny_of, wrap):
    with pytest.raises(BadFeatures, match="layer"):
        slice_texts([TEXT, "so it is", "rain"], wrap(tiny_of("llama")), layer=9)


def test_a_layer_below_0_is_refused_before_a_model_is_loaded():
    with pytest.raises(BadFeatures, match=r"layers \[-1\] do not exist: they are counted from 0"):
        slice_texts([TEXT, "so it is", "rain"], "no/such-model", layer=-1)

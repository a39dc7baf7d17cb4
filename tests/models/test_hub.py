"""Tests models/hub.py, against a hub made of functions and a cache folder made by hand."""

import hashlib
import shutil
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import errors

from splinelens.errors import BadModel, UnknownModel
from splinelens.models.cache import file_sha256
from splinelens.models.hub import cached_snapshot, discard_broken, fetch_snapshot, is_hub_id, shard_names

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub_cache(tmp_path, monkeypatch):
    """An empty cache of the hub's own layout."""
    folder = tmp_path / "hub"
    folder.mkdir()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    return folder


@pytest.fixture
def snapshot(hub_cache, model_folder):
    """``someone/tiny`` cached at one commit, which ``main`` stands for."""
    place = hub_cache / "models--someone--tiny"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text(COMMIT)
    shutil.copytree(model_folder, place / "snapshots" / COMMIT)
    return place / "snapshots" / COMMIT


@pytest.fixture
def hub(monkeypatch):
    """A hub whose repository lists the given names; remembers what was fetched."""
    fetched = []

    def serve(*names):
        info = SimpleNamespace(siblings=[SimpleNamespace(rfilename=name) for name in names], sha=COMMIT)
        monkeypatch.setattr(huggingface_hub.HfApi, "model_info", lambda self, name, revision=None: info)

        def download(name, revision=None, allow_patterns=None):
            fetched.append((name, revision, sorted(allow_patterns)))
            return f"/hub/snapshots/{COMMIT}"

        monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
        return fetched

    return serve


def _failing(monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", fail)


def _http(kind):
    """An error as the hub raises it, without the response its constructor wants."""
    return kind.__new__(kind, "no")


def test_a_folder_of_that_form_is_no_hub_id(tmp_path, monkeypatch):
    (tmp_path / "someone" / "tiny").mkdir(parents=True)
    assert is_hub_id("someone/tiny")
    monkeypatch.chdir(tmp_path)
    assert not is_hub_id("someone/tiny")
    assert not any(map(is_hub_id, ["gpt2", "/a/b", "./a", "a/b/c", "a/b.gguf", "a/b.GGUF", "../a"]))


def test_a_whole_cached_model_is_found_by_branch_and_commit(snapshot):
    assert cached_snapshot("someone/tiny", None) == snapshot
    assert cached_snapshot("someone/tiny", COMMIT) == snapshot
    assert cached_snapshot("someone/tiny", "other") is None
    assert cached_snapshot("someone/else", None) is None


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_cached_model_that_lacks_a_file_must_be_fetched(snapshot, name):
    (snapshot / name).unlink()
    assert cached_snapshot("someone/tiny", None) is None


def test_a_cached_model_without_its_code_must_be_fetched_if_code_is_wanted(snapshot):
    (snapshot / "config.json").write_text('{"auto_map": {"AutoModel": "odd.Odd"}}')
    assert cached_snapshot("someone/tiny", None, with_code=True) is None
    (snapshot / "odd.py").touch()
    assert cached_snapshot("someone/tiny", None, with_code=True) == snapshot


def test_damaged_files_of_a_snapshot_are_found_by_their_hashes_and_deleted(snapshot):
    blobs = snapshot.parents[1] / "blobs"
    blobs.mkdir()
    for path in list(snapshot.iterdir()):
        content = path.read_bytes()
        git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        name = file_sha256(path) if path.suffix == ".safetensors" else git
        path.rename(blobs / name)
        path.symlink_to(blobs / name)
    assert discard_broken("someone/tiny", None) == []
    for name in ("model.safetensors", "tokenizer.json"):
        blob = (snapshot / name).resolve()
        blob.write_bytes(b"?" + blob.read_bytes()[1:])
    assert discard_broken("someone/tiny", None) == ["model.safetensors", "tokenizer.json"]
    assert cached_snapshot("someone/tiny", None) is None
    assert discard_broken("someone/other", None) == []


def test_only_what_is_needed_is_fetched(hub):
    fetched = hub(
        "config.json", "model.safetensors", "pytorch_model.bin", "tokenizer.json", "onnx/model.onnx",
        "model.fp16.safetensors", "odd.py", "original/params.json", "README.md",
    )  # fmt: skip
    assert fetch_snapshot("someone/tiny", "v1").name == COMMIT
    assert fetched == [("someone/tiny", "v1", ["config.json", "model.safetensors", "tokenizer.json"])]
    fetch_snapshot("someone/tiny", None, with_code=True)
    assert fetched[1] == (
        "someone/tiny",
        None,
        ["config.json", "model.safetensors", "odd.py", "tokenizer.json"],
    )


def test_shards_are_fetched_with_their_index(hub):
    index = "model.safetensors.index.json"
    shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    fetched = hub("config.json", index, *shards)
    fetch_snapshot("someone/tiny", None)
    assert fetched[0][2] == sorted(["config.json", index, *shards])


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("config.json", "pytorch_model.bin"), r"only pytorch_model\.bin, which can run code when read"),
        (("config.json",), "no weights"),
    ],
)
def test_pickles_are_never_fetched(hub, names, said):
    fetched = hub(*names)
    with pytest.raises(BadModel, match=rf"someone/tiny has no model.safetensors \(it has {said}\)"):
        fetch_snapshot("someone/tiny", None)
    assert fetched == []


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (_http(errors.GatedRepoError), BadModel, "is gated: accept its terms.*HF_TOKEN"),
        (
            _http(errors.RevisionNotFoundError),
            UnknownModel,
            "at revision 'v1' is no folder here and no repository or revision",
        ),
        (
            _http(errors.RepositoryNotFoundError),
            UnknownModel,
            "no folder here and no repository or revision on the hub",
        ),
        (
            errors.OfflineModeIsEnabled("off"),
            BadModel,
            "could not be fetched from the hub: HF_HUB_OFFLINE is set. Check",
        ),
        (ConnectionError("no route\nmore"), BadModel, "could not be fetched from the hub: no route. Check"),
        (TimeoutError(), BadModel, "could not be fetched from the hub: TimeoutError. Check"),
    ],
)
def test_what_the_hub_says_is_said_in_our_words(monkeypatch, error, kind, said):
    _failing(monkeypatch, error)
    with pytest.raises(kind, match=said):
        fetch_snapshot("someone/tiny", "v1")


def test_the_files_of_a_sharded_model_are_those_of_its_index(tmp_path):
    assert shard_names(tmp_path) == []
    index = tmp_path / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"a": "2.safetensors", "b": "1.safetensors", "c": "2.safetensors"}}')
    assert shard_names(tmp_path) == ["1.safetensors", "2.safetensors"]
    index.write_text('{"weight_map": []}')
    with pytest.raises(BadModel, match=r"index\.json is broken"):
        shard_names(tmp_path)

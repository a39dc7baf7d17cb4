"""Tests of saving a changed model: what stands in the way, and what a stopped run leaves."""

import resource

import pytest

from splinelens.errors import CannotWrite, OutputExists
from splinelens.models import load_model
from splinelens.models.save import check_model_folder, save_model


@pytest.fixture
def loaded(writer_folder):
    return load_model(writer_folder("llama"), head=True)


def test_a_saved_model_has_the_fingerprint_of_the_one_in_memory(loaded, tmp_path):
    save_model(loaded, tmp_path / "copy", {"kind": "copy"})
    copy = load_model(tmp_path / "copy", head=True)
    assert copy.fingerprint == loaded.fingerprint
    assert not (tmp_path / "copy" / ".saving").exists()


def test_what_a_killed_run_left_is_no_reason_to_refuse(tmp_path):
    folder = tmp_path / "out"
    (folder / ".saving").mkdir(parents=True)
    (folder / "generation_config.json").write_text("{}")
    check_model_folder(folder, overwrite=False)
    (folder / "config.json").write_text("{}")
    with pytest.raises(OutputExists, match="the folder holds config"):
        check_model_folder(folder, overwrite=False)


def test_other_files_are_never_taken_for_those_of_a_killed_run(loaded, tmp_path):
    folder = tmp_path / "out"
    (tmp_path / "out.parts").mkdir()
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(b"mine")
    with pytest.raises(OutputExists, match="adapter_model"):
        check_model_folder(folder, overwrite=False)
    save_model(loaded, folder, {})
    assert (folder / "adapter_model.safetensors").read_bytes() == b"mine"


def test_no_source_is_written_to(writer_folder):
    teacher, student = writer_folder("llama"), writer_folder("qwen2")
    with pytest.raises(OutputExists, match="would be replaced"):
        check_model_folder(student, overwrite=True, sources=[str(teacher), str(student)])


def test_a_full_disk_is_our_error_and_the_next_run_may_save(loaded, tmp_path):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5000, limit[1]))
    try:
        with pytest.raises(CannotWrite, match="cannot write"):
            save_model(loaded, tmp_path / "out", {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    check_model_folder(tmp_path / "out", overwrite=False)

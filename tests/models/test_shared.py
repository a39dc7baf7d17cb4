"""Tests models/shared.py: equal keys share one model, a changed folder is loaded anew, two stay."""

import os
import threading

import pytest

from splinelens.errors import UnknownModel
from splinelens.models.shared import ModelKey, forget_models, shared_model


@pytest.fixture(autouse=True)
def _nothing_loaded():
    forget_models()
    yield
    forget_models()


@pytest.fixture
def folder(tmp_path, tiny_llama, tiny_tokenizer):
    tiny_llama.save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    return str(tmp_path)


def held(*arguments):
    with shared_model(ModelKey(*arguments)) as loaded:
        return loaded


def test_equal_keys_share_one_model(folder):
    assert held(folder, 2) is held(folder, 2)
    assert held(folder, 2).depth == 2
    assert held(folder, 1) is not held(folder, 2)


def test_the_two_models_used_last_stay_loaded(folder):
    first, second = held(folder, 1), held(folder, 2)
    assert held(folder, 1) is first  # so the second was used longest ago
    third = held(folder, 3)
    assert held(folder, 1) is first
    assert held(folder, 3) is third
    assert held(folder, 2) is not second


def test_a_folder_that_was_written_again_is_loaded_again(folder):
    before = held(folder, 1)
    weights = os.path.join(folder, "model.safetensors")
    later = os.stat(weights).st_mtime_ns + 10**9
    os.utime(weights, ns=(later, later))
    assert held(folder, 1) is not before


def test_one_thread_at_a_time_holds_the_model(folder):
    busy, most, done = [], [], []

    def read():
        with shared_model(ModelKey(folder, 1)):
            busy.append(1)
            most.append(len(busy))
            done.append(threading.get_ident())
            busy.pop()

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(done), max(most)) == (8, 1)


def test_a_model_that_is_not_there_is_refused_every_time():
    for _ in range(2):
        with pytest.raises(UnknownModel, match="no-such-model"):
            held("no-such-model")

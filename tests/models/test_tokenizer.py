"""Tests models/tokenizer.py."""

import pytest
import transformers

from splinelens.errors import BadModel
from splinelens.models import ALIASES
from splinelens.models.fingerprint import tokenizer_hash
from splinelens.models.tokenizer import gguf_tokenizer
from splinelens.models.wheel import gguf_path

CHARACTERS = [chr(code) for code in range(33, 127)]
TOKENS = ["<unk>", "<s>", "</s>", "<tool>", "Ġ", *CHARACTERS, "Ġt", "he", "Ġthe", "12"]
MERGES = ["Ġ t", "h e", "Ġt he", "1 2"]


@pytest.fixture
def written(tmp_path):
    """Writes a GGUF file that holds nothing but a tokenizer."""
    from gguf import GGUFWriter

    def write(kind="gpt2", splits="gpt-2", add_bos=None):
        path = tmp_path / "words.gguf"
        writer = GGUFWriter(str(path), "llama")
        writer.add_tokenizer_model(kind)
        writer.add_tokenizer_pre(splits)
        writer.add_token_list(TOKENS)
        writer.add_token_types([3, 3, 3, 4] + [1] * (len(TOKENS) - 4))
        writer.add_token_merges(MERGES)
        writer.add_unk_token_id(0)
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_chat_template("{{ messages }}")
        if add_bos is not None:
            writer.add_add_bos_token(add_bos)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return write


def test_byte_level_pieces_by_hand(written):
    encoded = gguf_tokenizer(written())("he the 12", return_offsets_mapping=True)
    assert [TOKENS[index] for index in encoded["input_ids"]] == ["he", "Ġthe", "Ġ", "12"]
    assert encoded["offset_mapping"] == [(0, 2), (2, 6), (6, 7), (7, 9)]


def test_roles_and_template_are_those_of_the_file(written):
    tokenizer = gguf_tokenizer(written())
    assert (tokenizer.unk_token, tokenizer.bos_token, tokenizer.eos_token) == ("<unk>", "<s>", "</s>")
    assert tokenizer.pad_token is None
    assert tokenizer.chat_template == "{{ messages }}"
    assert len(tokenizer) == len(TOKENS)


def test_control_tokens_are_special_and_the_users_own_are_not(written):
    tokenizer = gguf_tokenizer(written())
    ids = tokenizer("</s><tool>he")["input_ids"]
    assert [TOKENS[index] for index in ids] == ["</s>", "<tool>", "he"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "<tool>he"


@pytest.mark.parametrize(("add_bos", "first"), [(None, []), (False, []), (True, ["<s>"])])
def test_a_first_token_is_added_only_if_the_file_says_so(written, add_bos, first):
    ids = gguf_tokenizer(written(add_bos=add_bos))("he")["input_ids"]
    assert [TOKENS[index] for index in ids] == [*first, "he"]


def test_other_kinds_are_left_to_transformers_and_must_not_garble(written, monkeypatch):
    good = gguf_tokenizer(written())
    made = []
    monkeypatch.setattr(
        transformers.AutoTokenizer, "from_pretrained", lambda *_, **options: made.append(options) or good
    )
    path = written(splits="llama-bpe")
    assert gguf_tokenizer(path) is good
    assert made == [{"gguf_file": "words.gguf", "local_files_only": True}]
    monkeypatch.setattr(type(good), "decode", lambda *_, **__: "T<unk> c")
    with pytest.raises(
        BadModel, match=r"words\.gguf \(kind gpt2, splits llama-bpe\) turns .* into 'T<unk> c'"
    ):
        gguf_tokenizer(path)


def test_the_default_models_tokenizer_is_the_same_for_every_version(default_cache):
    path = gguf_path(next(iter(ALIASES)), default_cache)
    if not path.is_file():
        pytest.skip("only the converted folder of the default model is cached")
    tokenizer = gguf_tokenizer(path)
    assert tokenizer_hash(tokenizer) == "fe202747367cc3446920a4c1b3d435598b0333b69f2356fd366f7821884cad16"
    assert tokenizer("Have a nice day").input_ids == [5519, 253, 9239, 1194]

"""The tokenizer inside a GGUF file.

Byte-level BPE with the splits of GPT-2 (the default model's kind) is built here, from the file alone:
what transformers makes of such a file depends on its version, and 5.3 makes another tokenizer of it.
Other kinds are left to transformers. Either way a probe must come back as it went in.
"""

from pathlib import Path
from typing import Any

from splinelens.errors import BadModel

_GPT2_SPLITS = {"gpt-2", "smollm"}  # smollm also parts digits, which no merge of its vocabulary joins
_CONTROL, _USER_DEFINED = 3, 4
_ROLES = {"bos_token": "bos", "eos_token": "eos", "unk_token": "unknown", "pad_token": "padding"}
_PROBE = "The cat's 12 hats, and you."


def gguf_tokenizer(gguf: Path) -> Any:  # Any: transformers has no common type for its fast tokenizers
    """The fast tokenizer that a GGUF file holds.

    Args:
        gguf: A whole GGUF file.

    Returns:
        A tokenizer that adds a first token only if the file says so.

    Raises:
        BadModel: The file has none, or the tokenizer made of it garbles text.
    """
    from gguf import GGUFReader

    fields = GGUFReader(str(gguf)).fields
    kind, splits = _read(fields, "model"), _read(fields, "pre")
    if kind == "gpt2" and splits in _GPT2_SPLITS:
        tokenizer = _byte_level(fields)
    else:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(
            str(gguf.parent), gguf_file=gguf.name, local_files_only=True
        )
    back = tokenizer.decode(tokenizer(_PROBE)["input_ids"], skip_special_tokens=True)
    if back.strip() != _PROBE:
        raise BadModel(
            f"the tokenizer of {gguf} (kind {kind}, splits {splits}) turns {_PROBE!r} into {back!r}: this "
            "version of transformers misreads it. Use a newer one, or name a folder with tokenizer.json"
        )
    return tokenizer


def _read(fields: dict[str, Any], name: str) -> Any:  # Any: what a GGUF field holds
    field = fields.get(f"tokenizer.ggml.{name}")
    return None if field is None else field.contents()


def _byte_level(fields: dict[str, Any]) -> Any:  # Any: see gguf_tokenizer
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    tokens = _read(fields, "tokens")
    vocabulary = {token: index for index, token in enumerate(tokens)}
    merges = [tuple(merge.split(" ", 1)) for merge in _read(fields, "merges")]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, continuing_subword_prefix="", end_of_word_suffix=""))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    for token, kind in zip(tokens, _read(fields, "token_type"), strict=True):
        if kind in (_CONTROL, _USER_DEFINED):
            tokenizer.add_tokens([AddedToken(token, special=kind == _CONTROL, normalized=False)])
    ids = {role: _read(fields, f"{name}_token_id") for role, name in _ROLES.items()}
    special = {role: tokens[index] for role, index in ids.items() if index is not None}
    first = special["bos_token"] if _read(fields, "add_bos_token") else None
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first}:0 $A:0" if first else "$A:0",
        pair=f"{first}:0 $A:0 {first}:1 $B:1" if first else "$A:0 $B:1",
        special_tokens=[(first, ids["bos_token"])] if first else [],
    )
    template = fields.get("tokenizer.chat_template")
    chat_template = template.contents() if template else None
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=chat_template, **special)

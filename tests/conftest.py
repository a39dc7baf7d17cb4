"""What every test may ask for: tiny random models, a tiny tokenizer, the evaluation data; and shape checks.

From here on, and only in tests, each call into the rooms named in ``CHECKED`` has the shapes and types
of its arguments compared with its annotations.
"""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports huggingface_hub, which reads it once
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from pathlib import Path

import pytest
import torch
from jaxtyping import install_import_hook

CHECKED = ["anatomy", "detect", "features", "geometry", "kernels", "layers", "tokens", "weights"]
install_import_hook([f"splinelens.{room}" for room in CHECKED], "beartype.beartype")

REPOSITORY = Path(__file__).resolve().parents[1]
VOCABULARY = 128


@pytest.fixture(autouse=True)
def _same_dice():
    """Each test starts from the same random state, whatever ran before it."""
    torch.manual_seed(0)


_SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_GATED = {"intermediate_size": 48, "num_key_value_heads": 2}
TINY = {
    "llama": ("LlamaConfig", _GATED),
    "mistral": ("MistralConfig", _GATED | {"sliding_window": 16}),
    "qwen2": ("Qwen2Config", _GATED),
    "qwen3": ("Qwen3Config", _GATED | {"head_dim": 8}),
    "phi3": ("Phi3Config", _GATED),
    "gpt2": ("GPT2Config", {"n_inner": 48}),
    "gpt_neox": ("GPTNeoXConfig", {"intermediate_size": 48}),
    "opt": ("OPTConfig", {"ffn_dim": 48, "word_embed_proj_dim": 32}),
}


def build_tiny(name, seed=0, **changes):
    """A random model of one family: 3 layers, width 32, 4 heads, 48 neurons, 128 tokens; no download.

    The stock initialisation is so small that all gates lie near 0. Weights are drawn wide enough here
    for gates of about unit size, biases and norms too, so that forgetting one of them shows.
    """
    import transformers

    config_name, more = TINY[name]
    config = getattr(transformers, config_name)(**(_SIZES | more | changes))
    generator = torch.Generator().manual_seed(seed)
    model = transformers.AutoModel.from_config(config, dtype=torch.float32).eval()
    with torch.no_grad():
        for path, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() > 1:
                parameter.copy_(0.25 * noise)
            else:
                parameter.copy_(0.1 * noise + (0.0 if path.endswith("bias") else 1.0))
    return model


@pytest.fixture(params=list(TINY))
def tiny_model(request):
    """Each family in turn: a test that takes it holds for gated, fused, ungated and Conv1D models."""
    return build_tiny(request.param)


@pytest.fixture
def tiny_llama():
    return build_tiny("llama")


@pytest.fixture
def tiny_mistral():
    return build_tiny("mistral")


@pytest.fixture
def tiny_qwen2():
    return build_tiny("qwen2")


@pytest.fixture
def tiny_qwen3():
    return build_tiny("qwen3")


@pytest.fixture
def tiny_phi3():
    return build_tiny("phi3")


@pytest.fixture
def tiny_gpt2():
    return build_tiny("gpt2")


@pytest.fixture
def tiny_gpt_neox():
    return build_tiny("gpt_neox")


@pytest.fixture
def tiny_opt():
    return build_tiny("opt")


@pytest.fixture
def tiny_tokenizer():
    """A fast tokenizer built in memory: printable ASCII and a few merges, 110 tokens, exact offsets.

    Like the default model it adds no token of its own; ``<pad>``, ``<bos>``, ``<eos>``, ``<unk>`` are
    the ids 0 to 3, and every character outside printable ASCII is one ``<unk>``.
    """
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<bos>", "<eos>", "<unk>"]
    merges = [("t", "h"), ("th", "e"), (" ", "the"), ("i", "n"), ("in", "g"), (" ", "a")]
    merges += [("e", "r"), ("y", "o"), ("yo", "u"), (" ", "you"), ("o", "u")]
    tokens = [*special, *map(chr, range(32, 127)), *(left + right for left, right in merges)]
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r" ?\S+|\s+"), "isolated")
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<bos>",
        eos_token="<eos>",
        unk_token="<unk>",
        model_max_length=256,
        clean_up_tokenization_spaces=False,
    )


@pytest.fixture
def data_dir():
    """The folder of evaluation data: SPLINELENS_DATA, or shared/data beside the repository."""
    folder = Path(os.environ.get("SPLINELENS_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no evaluation data at {folder}; name its folder in SPLINELENS_DATA")
    return folder


@pytest.fixture(scope="session")
def default_model():
    """The alias of the embedded default model, where it is cached; a test never fetches it."""
    from splinelens.models.cache import cache_folder
    from splinelens.models.wheel import gguf_path

    path = gguf_path("smollm2-135m", cache_folder())
    if not path.is_file():
        pytest.skip(
            f"the default model is not cached at {path}; fetch it: splinelens models pull smollm2-135m"
        )
    return "smollm2-135m"

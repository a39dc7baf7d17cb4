"""Fixtures shared by all tests: tiny random models, a tiny tokenizer, the default model, evaluation data.

In the tests of packages that compute with tensors, the shapes and types of arguments are compared with the
annotations of every function in the packages named in ``CHECKED``. Tests of whole programs go without:
the checks take a third of their time.
"""

import gc
import logging
import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports huggingface_hub, which reads it once
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ["SPLINELENS_ENGINE"] = "torch"  # a graph for each tiny detector would take seconds

from pathlib import Path

import jaxtyping
import pytest
import torch

CHECKED = "anatomy detect engines features geometry kernels layers.experts tokens weights".split()
# Not all of layers: the signatures of its hooks would be compiled again for each watch, a third of all time.
jaxtyping.install_import_hook([f"splinelens.{package}" for package in CHECKED], "beartype.beartype")

UNCHECKED = {"apps", "benchmarks", "cli", "docs", "examples", "serve", "test_readme.py"}  # whole programs

REPOSITORY = Path(__file__).resolve().parents[1]
VOCABULARY = 128


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Collect no garbage among the modules and tests that are being collected, and never look there again.

    Both together take 3 s of each worker.
    """
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


@pytest.fixture(autouse=True)
def _shapes(request):
    """Switch the checks of shapes off for the tests of whole programs."""
    jaxtyping.config.update(
        "jaxtyping_disable", bool(UNCHECKED.intersection(request.path.relative_to(REPOSITORY).parts))
    )
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(autouse=True)
def _seed():
    """Each test starts from the same random state, and with the log that a command may have silenced.

    ``torch.manual_seed`` would also keep a traceback for each kind of GPU, and setting a level clears the
    caches of thousands of loggers: milliseconds each, for every test.
    """
    torch.default_generator.manual_seed(0)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(0)
    log = logging.getLogger("splinelens")
    if log.level != logging.NOTSET:
        log.setLevel(logging.NOTSET)


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
_HEAD = _GATED | {"head_dim": 8}
_EXPERTS = _HEAD | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
_LOCAL_EXPERTS = _HEAD | {"intermediate_size": 24, "num_local_experts": 4, "num_experts_per_tok": 2}
_ROUTED_EXPERTS = _EXPERTS | {"n_routed_experts": 4, "n_shared_experts": 2, "first_k_dense_replace": 1}
_LATENT = {"q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8}
_LATENT |= {"v_head_dim": 12, "num_key_value_heads": 4}  # DeepSeek: values are narrower than keys
_GROUPS = {"n_group": 1, "topk_group": 1}
_WINDOW = {"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
_GEMMA = _HEAD | _WINDOW | {"query_pre_attn_scalar": 8}
_GEMMA4 = _HEAD | {"sliding_window": 16, "global_head_dim": 16, "vocab_size_per_layer_input": VOCABULARY}
_GEMMA4 |= {"hidden_size_per_layer_input": 8}
_GEMMA4 |= {"layer_types": ["sliding_attention", "full_attention", "full_attention"]}
_ROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}
_YARN = {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 2.0, "llama_4_scaling_beta": 0.1}
_YARN = {"rope_parameters": _YARN | {"original_max_position_embeddings": 128}}
_DELTA = {"layer_types": ["linear_attention", "full_attention", "linear_attention"]}
_DELTA |= {"linear_num_key_heads": 2, "linear_num_value_heads": 4}
_DELTA |= {"linear_key_head_dim": 8, "linear_value_head_dim": 8}
_SIGHT = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
_SIGHT_2 = _SIGHT | {"num_hidden_layers": 1, "image_size": 16, "patch_size": 8}
_SIGHT_QWEN = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 32}
TINY = {
    "llama": ("LlamaConfig", _GATED),
    "mistral": ("MistralConfig", _GATED | {"sliding_window": 16}),
    "qwen2": ("Qwen2Config", _GATED),
    "qwen3": ("Qwen3Config", _HEAD),
    "phi3": ("Phi3Config", _GATED),
    "gpt2": ("GPT2Config", {"n_inner": 48}),
    "gpt_neox": ("GPTNeoXConfig", {"intermediate_size": 48}),
    "opt": ("OPTConfig", {"ffn_dim": 48, "word_embed_proj_dim": 32}),
    "apertus": ("ApertusConfig", _HEAD | _ROPE),
    "arcee": ("ArceeConfig", _GATED),
    "bloom": ("BloomConfig", {}),  # 128 neurons: always four times the width
    "codegen": ("CodeGenConfig", {"n_inner": 48, "rotary_dim": 4, "n_positions": 256, "n_ctx": 256}),
    "cohere": ("CohereConfig", _GATED),
    "cohere2": ("Cohere2Config", _GATED | _WINDOW),
    "cwm": ("CwmConfig", _HEAD | _WINDOW | _ROPE),
    "deepseek_v2": ("DeepseekV2Config", _ROUTED_EXPERTS | _LATENT | _GROUPS),
    "deepseek_v3": ("DeepseekV3Config", _ROUTED_EXPERTS | _LATENT | _GROUPS),
    "dots1": ("Dots1Config", _ROUTED_EXPERTS | _GROUPS | _WINDOW),
    "ernie4_5": ("Ernie4_5Config", _HEAD),
    "ernie4_5_moe": (
        "Ernie4_5_MoeConfig",
        _EXPERTS
        | {"moe_num_experts": 4, "moe_k": 2, "moe_layer_start_index": 1, "moe_num_shared_experts": 1},
    ),
    "exaone4": ("Exaone4Config", _HEAD | _WINDOW),
    "exaone_moe": ("ExaoneMoeConfig", _ROUTED_EXPERTS | _GROUPS | _WINDOW),
    "falcon": ("FalconConfig", {"ffn_hidden_size": 48}),
    "flex_olmo": ("FlexOlmoConfig", _EXPERTS | {"intermediate_size": 24}),
    "gemma": ("GemmaConfig", _HEAD),
    "gemma2": ("Gemma2Config", _GEMMA),
    "gemma3": ("Gemma3Config", {"text_config": _GEMMA, "vision_config": _SIGHT_2, "mm_tokens_per_image": 4}),
    "gemma3_text": ("Gemma3TextConfig", _GEMMA),
    "gemma4": ("Gemma4Config", {"text_config": _GEMMA4, "vision_config": None, "audio_config": None}),
    "gemma4_text": ("Gemma4TextConfig", _GEMMA4 | {"num_kv_shared_layers": 1, "use_double_wide_mlp": True}),
    "glm": ("GlmConfig", _HEAD),
    "glm4": ("Glm4Config", _HEAD),
    "glm4_moe": ("Glm4MoeConfig", _ROUTED_EXPERTS | _GROUPS),
    "gpt_bigcode": ("GPTBigCodeConfig", {"n_inner": 48}),
    "gpt_neo": (
        "GPTNeoConfig",
        {"intermediate_size": 48, "window_size": 16, "attention_types": [[["local", "global", "local"], 1]]},
    ),
    "gpt_oss": ("GptOssConfig", _LOCAL_EXPERTS | _WINDOW | _ROPE),
    "gptj": ("GPTJConfig", {"n_inner": 48, "rotary_dim": 4}),
    "granite": ("GraniteConfig", _GATED | {"attention_multiplier": 0.3, "residual_multiplier": 0.5}),
    "granite_swa": ("GraniteSWAConfig", _GATED | _WINDOW),
    "granitemoe": ("GraniteMoeConfig", _LOCAL_EXPERTS | {"attention_multiplier": 0.3}),
    "helium": ("HeliumConfig", _HEAD),
    "hunyuan_v1_dense": ("HunYuanDenseV1Config", _HEAD),
    "hunyuan_v1_moe": ("HunYuanMoEV1Config", _EXPERTS | {"intermediate_size": 24, "moe_topk": 2}),
    "jais2": ("Jais2Config", _HEAD),
    "ministral": ("MinistralConfig", _HEAD | _WINDOW),
    "ministral3": ("Ministral3Config", _HEAD | _YARN),
    "mistral3": ("Mistral3Config", {"text_config": _HEAD, "vision_config": _SIGHT_2}),
    "mixtral": ("MixtralConfig", _LOCAL_EXPERTS | {"sliding_window": 16}),
    "mpt": ("MptConfig", {"max_seq_len": 256}),  # 128 neurons: always four times the width
    "nanochat": ("NanoChatConfig", _HEAD),
    "nemotron": ("NemotronConfig", _HEAD),
    "olmo": ("OlmoConfig", _GATED),
    "olmo2": ("Olmo2Config", _GATED),
    "olmo3": ("Olmo3Config", _GATED | _WINDOW),
    "olmo_hybrid": ("OlmoHybridConfig", _GATED | _DELTA),
    "olmoe": ("OlmoeConfig", _EXPERTS | {"intermediate_size": 24}),
    "persimmon": ("PersimmonConfig", {"intermediate_size": 48}),
    "phi": ("PhiConfig", _GATED),
    "phimoe": ("PhimoeConfig", _LOCAL_EXPERTS | {"sliding_window": 16}),
    "qwen2_moe": (
        "Qwen2MoeConfig",
        _EXPERTS | {"shared_expert_intermediate_size": 20, "mlp_only_layers": [1]},
    ),
    "qwen3_5": ("Qwen3_5Config", {"text_config": _HEAD | _DELTA, "vision_config": _SIGHT_QWEN}),
    "qwen3_5_moe": (
        "Qwen3_5MoeConfig",
        {
            "text_config": _EXPERTS | _DELTA | {"shared_expert_intermediate_size": 20},
            "vision_config": _SIGHT_QWEN,
        },
    ),
    "qwen3_5_moe_text": ("Qwen3_5MoeTextConfig", _EXPERTS | _DELTA | {"shared_expert_intermediate_size": 20}),
    "qwen3_5_text": ("Qwen3_5TextConfig", _HEAD | _DELTA),
    "qwen3_moe": ("Qwen3MoeConfig", _EXPERTS | {"mlp_only_layers": [2]}),
    "qwen3_next": (
        "Qwen3NextConfig",
        _EXPERTS | _DELTA | {"shared_expert_intermediate_size": 20, "mlp_only_layers": [0]},
    ),
    "seed_oss": ("SeedOssConfig", _HEAD),
    "smollm3": ("SmolLM3Config", _GATED | {"no_rope_layers": [1, 0, 1]}),
    "stablelm": ("StableLmConfig", _GATED),
    "starcoder2": ("Starcoder2Config", _GATED | {"sliding_window": 16}),
    "vaultgemma": ("VaultGemmaConfig", _GEMMA),
    "xglm": ("XGLMConfig", {"ffn_dim": 48}),
}

VARIANTS = {"falcon_alibi": ("FalconConfig", {"ffn_hidden_size": 48, "alibi": True})}
"""Configurations of a family that are read otherwise than its usual one."""

STRUCTURES = ["llama", "mistral", "qwen2", "qwen3", "phi3", "gpt2", "gpt_neox", "opt"]
"""One family per structure of a dense block; ``TINY`` holds all families."""

_BUILT: dict[str, tuple[torch.nn.Module, list]] = {}
# Each family's model and its state; see any_model.


def build_tiny(name, seed=0, **changes):
    """A random model of one family: 3 layers, width 32, 4 heads, 48 neurons, 128 tokens; no download.

    Experts have 24 neurons each, and each token is routed to 2 of 4. The default initialization is so
    small that all gates lie near 0. Weights are wide enough here for gates of about unit size, biases
    and norms are random too, so that a test fails if one of them is ignored.
    """
    import transformers

    config_name, more = (TINY | VARIANTS)[name]
    if "text_config" in more:  # a language model inside a multimodal one
        text = {"text_config": _SIZES | more["text_config"] | changes}
        config = getattr(transformers, config_name)(**(more | text))
    else:
        config = getattr(transformers, config_name)(**(_SIZES | more | changes))
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        model = transformers.AutoModel.from_config(config, dtype=torch.float32).eval()
        for path, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.dim() > 1:
                parameter.copy_(0.25 * noise)
            else:
                parameter.copy_(0.1 * noise + (0.0 if path.endswith("bias") else 1.0))
    return model


def _state(model):
    """Everything that a test could change: modules, hooks, weights, configuration."""
    state = [model.config.to_dict(), model.config._attn_implementation]
    for module in model.modules():
        hooks = module._forward_hooks, module._forward_pre_hooks
        state.append((id(module), module.training, sorted(vars(module)), *map(len, hooks)))
    for tensor in (*model.parameters(), *model.buffers()):
        state.append((id(tensor), tensor.dtype, tensor._version))
    return state


@pytest.fixture(params=STRUCTURES)
def tiny_model(request):
    """Each structure in turn: a test with it holds for gated, fused, ungated and Conv1D models."""
    return build_tiny(request.param)


@pytest.fixture(params=[*TINY, *VARIANTS])
def any_model(request):
    """Each family and variant in turn, also with experts, linear attention and multimodal models.

    Each is built once per run, and again after a test that changes it. Shapes are checked for one
    family per structure only: the checks take half of the time.
    """
    if request.param not in _BUILT:
        model = build_tiny(request.param)
        _BUILT[request.param] = model, _state(model)
    model, state = _BUILT[request.param]
    if request.param not in STRUCTURES:
        jaxtyping.config.update("jaxtyping_disable", True)
    yield model
    if _state(model) != state:
        del _BUILT[request.param]


@pytest.fixture
def tiny_of():
    """``build_tiny`` itself: ``tiny_of("gpt_oss", num_hidden_layers=1)``."""
    return build_tiny


def _fixture_of(name):
    """A model of one family that a test may change. Building takes 8 ms, less than ``deepcopy``."""
    return pytest.fixture(lambda: build_tiny(name), name=f"tiny_{name}")


tiny_llama, tiny_mistral, tiny_qwen2, tiny_qwen3, tiny_phi3, tiny_gpt2, tiny_gpt_neox, tiny_opt = map(
    _fixture_of, STRUCTURES
)


CHAT_TEMPLATE = (
    "{% for m in messages %}<bos>{{ m.role }}: {{ m.content }}<eos>{% endfor %}"
    "{% if add_generation_prompt %}<bos>assistant: {% endif %}"
)


@pytest.fixture(scope="session")
def writer_folder(tmp_path_factory):
    """Makes the folder of a random model of a family that writes, with a chat template, once."""
    folders = {}

    def make(family="llama"):
        import transformers
        from tokenizers import decoders

        if family not in folders:
            folders[family] = tmp_path_factory.mktemp(family)
            generator = torch.Generator().manual_seed(0)
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                config = build_tiny(family).config
                model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
                for parameter in model.parameters():
                    parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
            model.save_pretrained(folders[family])
            tokenizer = build_tokenizer()
            tokenizer.chat_template = CHAT_TEMPLATE
            tokenizer.backend_tokenizer.decoder = decoders.Fuse()
            tokenizer.save_pretrained(folders[family])
        return folders[family]

    return make


def build_tokenizer():
    """A fast tokenizer built in memory: printable ASCII and a few merges, 110 tokens, exact offsets.

    Like the default model's tokenizer it adds no special tokens; ``<pad>``, ``<bos>``, ``<eos>``, ``<unk>``
    are the ids 0 to 3, and every character outside printable ASCII is one ``<unk>``.
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
def tiny_tokenizer():
    """A ``build_tokenizer`` that a test may change."""
    return build_tokenizer()


@pytest.fixture
def bos_tokenizer(tiny_tokenizer):
    """The tiny tokenizer, adding ``<bos>`` before every text as Llama's does."""
    return _opened_by(tiny_tokenizer, "<bos> $A", ("<bos>", 1))


@pytest.fixture
def opening_tokenizer(tiny_tokenizer):
    """The tiny tokenizer with two special tokens before every text, none its BOS, and one after it."""
    return _opened_by(tiny_tokenizer, "<eos> <unk> $A <bos>", ("<bos>", 1), ("<eos>", 2), ("<unk>", 3))


def _opened_by(tokenizer, template, *special):
    from tokenizers.processors import TemplateProcessing

    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single=template, special_tokens=list(special)
    )
    return tokenizer


@pytest.fixture
def data_dir():
    """The folder of evaluation data: SPLINELENS_DATA, or shared/data next to the repository."""
    folder = Path(os.environ.get("SPLINELENS_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no evaluation data at {folder}; name its folder in SPLINELENS_DATA")
    return folder


@pytest.fixture(scope="session")
def default_model():
    """The alias of the embedded default model; skips where it is not cached, since tests download nothing."""
    from splinelens.models.aliases import gguf_path
    from splinelens.models.cache import cache_folder

    path = gguf_path("smollm2-135m", cache_folder())
    if not path.is_file():
        pytest.skip(
            f"the default model is not cached at {path}; fetch it: splinelens models pull smollm2-135m"
        )
    return "smollm2-135m"

"""Write the tables of docs/architectures.md: python docs/architectures.py.

Paths, kinds and missing quantities come from ``FAMILIES`` in anatomy.py. The default activation and the
notes below come from the code of transformers 5.23; tests/docs/test_architectures.py checks them against
the models.
"""

from pathlib import Path

from splinelens.anatomy import FAMILIES, Family

PAGE = Path(__file__).with_name("architectures.md")
BEGIN, END = "<!-- tables: written by docs/architectures.py -->\n", "<!-- end of the tables -->\n"

SILU, TANH, NEW, ERF = "silu", "gelu_pytorch_tanh", "gelu_new", "gelu"
ACTIVATIONS = {  # of the default configuration; silu where a family is not named
    **dict.fromkeys(
        ["gemma", "gemma2", "gemma3", "gemma3_text", "gemma4", "gemma4_text", "vaultgemma"], TANH
    ),
    **dict.fromkeys(["gpt_bigcode", "starcoder2"], TANH),
    **dict.fromkeys(["codegen", "gpt2", "gpt_neo", "gptj", "phi"], NEW),
    **dict.fromkeys(["falcon", "gpt_neox", "mpt", "xglm"], ERF),
    **dict.fromkeys(["arcee", "jais2", "nanochat", "nemotron", "persimmon"], "relu2"),
    "apertus": "xielu",
    "bloom": "gelu, tanh form",
    "gpt_oss": "none of the gate alone",
    "opt": "relu",
}

PARALLEL = "parallel block"
RAW, NORMED = "no norm before the MLP", "normed attention output"
IMAGE = "text part of an image model"
NOTES = {
    "apertus": "the activation has learned constants a layer",
    "bloom": "ALiBi; the MLP module adds the residual itself",
    "codegen": f"{PARALLEL}; weights, and V, before transformers 5.24",
    "cohere": PARALLEL,
    "cohere2": f"{PARALLEL}; window",
    "cwm": "window",
    "deepseek_v2": "latent attention: values narrower than keys; first layers may be dense",
    "deepseek_v3": "latent attention: values narrower than keys; first layers may be dense",
    "dots1": "window by configuration; first layers may be dense",
    "ernie4_5_moe": "first layers may be dense",
    "exaone4": f"window; {RAW}; {NORMED}",
    "exaone_moe": "window; first layers may be dense",
    "falcon": f"{PARALLEL} by configuration; with ALiBi (by configuration) no attention is read",
    "flex_olmo": f"{RAW}; {NORMED}",
    "gemma2": f"window; soft cap; {NORMED}",
    "gemma3": f"window; {NORMED}; {IMAGE}",
    "gemma3_text": f"window; {NORMED}",
    "gemma4": f"window; {NORMED}; {IMAGE}; its form with experts is refused",
    "gemma4_text": f"window; {NORMED}; its form with experts is refused",
    "glm4": NORMED,
    "glm4_moe": "first layers may be dense",
    "gpt2": "weights stored as (width, neuron)",
    "gpt_bigcode": "one key head by default",
    "gpt_neo": "window in every second layer",
    "gpt_neox": f"{PARALLEL} by configuration; Pythia, too",
    "gpt_oss": "window; sinks; gate and up interleaved in one parameter, with biases",
    "gptj": f"{PARALLEL}; weights, and V, before transformers 5.24",
    "granite": "attention output times residual_multiplier",
    "granite_swa": "window; sinks; attention output times residual_multiplier",
    "granitemoe": "attention output times residual_multiplier",
    "hunyuan_v1_moe": "the shared expert is called shared_mlp",
    "ministral": "window",
    "ministral3": "window by configuration; queries scaled with their position",
    "mistral": "window",
    "mistral3": f"window by configuration; {IMAGE}",
    "mixtral": "window by configuration",
    "mpt": "ALiBi; the MLP module adds the residual itself",
    "olmo2": f"{RAW}; {NORMED}",
    "olmo3": f"window; {RAW}; {NORMED}",
    "olmo_hybrid": f"softmax layers: {RAW}, {NORMED}",
    "opt": "the MLP sees (text * token, width); its map is exact",
    "phi": PARALLEL,
    "phi3": "window by configuration; query, key and value in one map",
    "phimoe": "window by configuration",
    "qwen2": "window by configuration",
    "qwen2_moe": "window by configuration; dense layers by configuration",
    "qwen3": "window by configuration",
    "qwen3_5": IMAGE,
    "qwen3_5_moe": IMAGE,
    "qwen3_moe": "window by configuration; dense layers by configuration",
    "qwen3_next": "dense layers by configuration",
    "smollm3": "window by configuration; some layers without rotary embedding",
    "stablelm": f"{PARALLEL} by configuration",
    "starcoder2": "window by configuration",
    "vaultgemma": "window; soft cap",
}


def main() -> None:
    """Write the tables into the page."""
    head, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    PAGE.write_text(head + BEGIN + tables() + END + rest.partition(END)[2], "utf-8")
    print(f"{len(FAMILIES)} architectures in {PAGE.name}")


def tables() -> str:
    """The four tables, by the kind of MLP."""
    text = ""
    for title, belongs in KINDS.items():
        rows = {name: family for name, family in sorted(FAMILIES.items()) if belongs(family)}
        text += f"\n### {title}: {len(rows)}\n\n"
        text += "| `model_type` | blocks | gate | activation | attention from | lacks | notes |\n"
        text += "|---|---|---|---|---|---|---|\n"
        text += "".join(row(name, family) for name, family in rows.items())
    return text + "\n"


KINDS = {
    "Gated, three linear maps": lambda family: not family.experts and bool(family.up),
    "Gated, gate and up projection in one map": lambda family: family.fused,
    "Ungated": lambda family: not family.gated,
    "Experts, in all or some layers": lambda family: bool(family.experts),
}


def row(name: str, family: Family) -> str:
    """One architecture as a line of its table."""
    gate = family.gate
    if family.experts:
        gate = f"{family.experts}.gate_up_proj" + (f" + {family.shared}" if family.shared else "")
    source = {"interface": "scores", "weights": "weights"}[family.softmax]
    cells = [
        f"`{name}`",
        f"`{family.blocks}`",
        f"`{gate}`",
        ACTIVATIONS.get(name, SILU),
        source + (", in some layers" if family.linear else ""),
        " ".join(lacking(family)),
        NOTES.get(name, ""),
    ]
    return "| " + " | ".join(cells) + " |\n"


def lacking(family: Family) -> list[str]:
    """Letters for what an architecture cannot have; the page says what they stand for."""
    return [
        letter
        for letter, lacks in {
            "L": bool(family.linear),
            "O": family.output_gate,
            "V": family.softmax == "weights",
            "M": bool(family.experts),
            "A": not family.activation,
        }.items()
        if lacks
    ]


if __name__ == "__main__":
    main()

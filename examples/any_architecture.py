"""Read any architecture: a tiny random Qwen3-Next, with experts and with linear attention.

It shows each token's experts and gates, and runs the checks of `splinelens models check`.

python examples/any_architecture.py
"""

import torch
from transformers import Qwen3NextConfig, Qwen3NextModel

import splinelens
from splinelens.apps.contracts import contracts

TEXT = "Rain fell on the roof."
CONFIG = {
    "hidden_size": 64,
    "num_hidden_layers": 4,
    "layer_types": ["linear_attention", "linear_attention", "linear_attention", "full_attention"],
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 32,
    "initializer_range": 0.2,
}


def main() -> None:
    tokenizer = splinelens.load_model("smollm2-135m", n_layers=1).tokenizer
    torch.manual_seed(0)
    model = Qwen3NextModel(Qwen3NextConfig(**CONFIG, vocab_size=len(tokenizer))).eval().requires_grad_(False)
    ids, seen = tokenizer(TEXT, return_tensors="pt").input_ids, {}

    def keep(name: str) -> object:
        return lambda layer, values: seen.__setitem__(name, values[0])

    with splinelens.watch(model, routes=keep("routes"), gate=keep("gate"), layers=[3]):
        model(ids)
    print("token    experts  neurons on: of its experts, of the shared one")
    for token, routes, gate in zip(ids[0].tolist(), seen["routes"].tolist(), seen["gate"], strict=True):
        own, shared = (gate[:64] > 0).sum(), (gate[64:] > 0).sum()
        print(f"{tokenizer.decode([token]):7}  {routes!s:7}  {own} of 64, {shared} of 32")

    print("\nwhat can be read of it:")
    for point in contracts(splinelens.LoadedModel(model, tokenizer, "a tiny Qwen3-Next", None, 4, 4)):
        held = "FAILED" if not point.ok else "none" if point.detail.startswith("none") else "ok"
        print(f"{held:6}  {point.what:12}  {point.detail}")


if __name__ == "__main__":
    main()

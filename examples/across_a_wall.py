"""Step across the nearest wall: one sign flips, and one map ends where the next begins.

First in a random OPT with ReLU, where the map of a region is exact; then in the default model, where it is
the tangent at the token.

python examples/across_a_wall.py
"""

import torch
from transformers import OPTConfig, OPTModel

import splinelens
from splinelens.anatomy import Anatomy, anatomy_of
from splinelens.features.look import region_map
from splinelens.geometry.codes import hamming, region_code
from splinelens.geometry.walls import crossing_step, gate_at
from splinelens.weights import walls_of

TEXT = "The old lighthouse keeper counted the passing ships."
SIZES = {
    "hidden_size": 64,
    "ffn_dim": 256,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "vocab_size": 100,
}


def main() -> None:
    torch.manual_seed(0)
    tiny = OPTModel(OPTConfig(**SIZES, word_embed_proj_dim=64)).eval().double()
    print("A random OPT with ReLU, float64")
    across(anatomy_of(tiny), 0, torch.randn(64, dtype=torch.float64))

    loaded = splinelens.load_model("smollm2-135m", n_layers=6)
    detail = splinelens.look(TEXT, loaded, layer=5, token=2)
    print("\nThe default model (gated, SiLU), layer 5, 'lighthouse'")
    across(anatomy_of(loaded.model), 5, detail.input.double())


def across(anatomy: Anatomy, layer: int, point: torch.Tensor) -> None:
    """Compare the map of the point's region with the MLP at some places along the crossing step."""
    weight, bias = walls_of(anatomy, layer)
    crossing, here = crossing_step(point, weight, bias), region_map(anatomy, layer, point)
    before = region_code(gate_at(point, weight, bias)[None])
    print(f"the nearest wall, of neuron {crossing.neuron}, is {crossing.distance:.2g} away; map: {here.kind}")
    print("way to the wall  signs flipped  error of the map, as a share of what the MLP changes by")
    to_wall = crossing.step * (crossing.distance / crossing.step.norm())
    for part in (0.5, 0.99, float(crossing.step.norm()) / crossing.distance, 2.0, 100.0):
        there = point + part * to_wall
        value = region_map(anatomy, layer, there).value
        flipped = int(hamming(before, region_code(gate_at(there, weight, bias)[None])))
        error = float((here.apply(there) - value).norm() / (value - here.value).norm())
        print(f"{part:15.3f}  {flipped:13}  {error:.1e}")


if __name__ == "__main__":
    main()

"""Search prompts, layers, poolings and training rows for the toxicity detectors.

Every try is judged by out-of-fold AUC on the training rows of jigsaw-test-binary-12k (5 folds, the
best of a few L2 strengths); its test rows are never read. Made for a GPU: python benchmarks/search.py
--data DIR. Prints one line a try, collected in benchmarks/search.md.
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from rows import Row, jig12k, jigsaw6, paradetox, tweeteval, without

from splinelens.anatomy import anatomy_of
from splinelens.detect.evaluate import auc
from splinelens.features.positions import run_tokens
from splinelens.features.prompt import run_prompt
from splinelens.layers import watch
from splinelens.models import LoadedModel, load_model
from splinelens.tokens import batches, prompt_ids, tokenize
from splinelens.weights import gate_norms

PROMPTS = {
    "none": "",
    "evidence": "Is the following comment rude, hateful, threatening or toxic?\nComment: ",
    "evidence-tight": "Is the following comment rude, hateful, threatening or toxic?\nComment:",
    "newline": "Is the following comment rude, hateful, threatening or toxic?\n",
    "moderator": "A moderator reads the following comment and decides whether it is toxic, rude, hateful or harmless.\n\nComment:",
    "chat": "<|im_start|>user\nIs this comment toxic, rude, insulting, hateful or threatening?\n\n",
    "chat-system": "<|im_start|>system\nYou are a content moderator. Decide whether a comment is toxic, insulting, obscene, "
    "threatening or hateful.<|im_end|>\n<|im_start|>user\n",
    "short": "Toxic or not? ",
    "insult": "The following comment was removed because it is an insult:\n",
    "list": "toxic, obscene, threat, insult, identity hate\nComment: ",
}
STRENGTHS = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3)


def margins(loaded: LoadedModel, texts: list[str], prompt: str, poolings: tuple[str, ...]) -> torch.Tensor:
    """Pooled margins of all layers, (text, pooling, layer, neuron) in float32 on the device."""
    device, depth = loaded.device, anatomy_of(loaded.model).depth
    primed = run_prompt(loaded.model, prompt_ids(loaded.tokenizer, prompt, beginning=True))
    tokenized = tokenize(texts, loaded.tokenizer, max_tokens=256, long="cut")
    neurons = len(gate_norms(loaded.model, 0))
    out = torch.zeros(len(texts), len(poolings), depth, neurons, device=device)
    for batch in batches(tokenized, max_tokens=256, token_budget=32768, offset=primed.length):
        index = torch.tensor([window.text for window in batch.windows], device=device)
        mask = batch.mask.to(device)
        last = mask.sum(1) - 1

        def read(layer: int, gate: torch.Tensor) -> None:
            values = gate.float() / gate_norms(loaded.model, layer)
            for place, pooling in enumerate(poolings):
                if pooling == "max":
                    pooled = values.masked_fill(~mask[:, :, None], -torch.inf).amax(1)
                elif pooling == "min":
                    pooled = values.masked_fill(~mask[:, :, None], torch.inf).amin(1)
                elif pooling == "mean":
                    pooled = (values * mask[:, :, None]).sum(1) / mask.sum(1)[:, None]
                else:
                    pooled = values[torch.arange(len(index)), last]
                out[index, place, layer] = pooled

        with torch.no_grad(), watch(loaded.model, gate=read, stop=True):
            run_tokens(loaded.model, batch.ids, batch.positions, cache=primed.cache(len(index)))
    return out


def fit(x: torch.Tensor, y: torch.Tensor, strength: float, start: torch.Tensor | None) -> torch.Tensor:
    """Balanced L2 logistic regression by L-BFGS, the objective of scikit-learn; returns (column + 1,)."""
    weight = torch.zeros(x.shape[1] + 1, device=x.device) if start is None else start.clone()
    weight.requires_grad_()
    share = y.mean()
    rows = torch.where(y > 0, 0.5 / share, 0.5 / (1 - share))
    solver = torch.optim.LBFGS(
        [weight], max_iter=300, tolerance_grad=1e-7, tolerance_change=1e-10, line_search_fn="strong_wolfe"
    )

    def loss() -> torch.Tensor:
        solver.zero_grad()
        fits = torch.nn.functional.binary_cross_entropy_with_logits(
            x @ weight[:-1] + weight[-1], y, weight=rows, reduction="sum"
        )
        value = (strength * fits + weight[:-1].square().sum() / 2) / (strength * len(y))
        value.backward()
        return value

    solver.step(loss)
    return weight.detach()


def out_of_fold(x: torch.Tensor, y: np.ndarray, own: int) -> Iterator[tuple[float, float]]:
    """(strength, AUC over the first ``own`` rows, each judged by a head that did not see it)."""
    fold = np.random.default_rng(0).integers(0, 5, own)
    scores = {strength: np.zeros(own) for strength in STRENGTHS}
    for number in range(5):
        train = torch.from_numpy(np.r_[np.flatnonzero(fold != number), np.arange(own, len(y))]).to(x.device)
        test = torch.from_numpy(np.flatnonzero(fold == number)).to(x.device)
        rows = x[train]
        mean, scale = rows.mean(0), rows.std(0).clamp(min=1e-6)
        rows = (rows - mean) / scale
        held = (x[test] - mean) / scale
        target = torch.from_numpy(y).to(x.device)[train].float()
        weight = None
        for strength in STRENGTHS:
            weight = fit(rows, target, strength, weight)
            scores[strength][test.cpu().numpy()] = (held @ weight[:-1] + weight[-1]).cpu().numpy()
    for strength in STRENGTHS:
        yield strength, auc(y[:own], scores[strength])


def report(name: str, x: torch.Tensor, y: np.ndarray, own: int) -> float:
    """Print one try; returns its best AUC."""
    began = time.time()
    tries = list(out_of_fold(x, y, own))
    strength, best = max(tries, key=lambda pair: pair[1])
    print(
        f"| {name} | {x.shape[1]} | {len(y)} | {strength:g} | {100 * best:.2f} | {time.time() - began:.0f} s |",
        flush=True,
    )
    return best


def flat(x: torch.Tensor, layers: list[int], poolings: list[int]) -> torch.Tensor:
    """The chosen layers and poolings, (text, column)."""
    return x[:, poolings][:, :, layers].reshape(len(x), -1)


def main() -> None:
    """Run the search."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--stage", choices=["prompts", "mixing"], default="prompts")
    parser.add_argument("--prompt", default="evidence")
    arguments = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = False
    loaded = load_model(arguments.model)
    test = jig12k(arguments.data, "test")
    own = without(jig12k(arguments.data, "train"), test)
    print("| try | columns | rows | C | out-of-fold AUC | time |\n|---|---|---|---|---|---|")
    (_prompts if arguments.stage == "prompts" else _mixing)(loaded, own, test, arguments)


def _prompts(loaded: LoadedModel, own: list[Row], _test: list[Row], _arguments: argparse.Namespace) -> None:
    y = np.array([row.label for row in own])
    sets = {
        "all30": list(range(30)),
        "0,2,5": [0, 2, 5],
        "0-5": list(range(6)),
        "3-5": [3, 4, 5],
        "5": [5],
        "8-21": list(range(8, 22)),
        "8-9": [8, 9],
    }
    for name, prompt in PROMPTS.items():
        x = margins(loaded, [row.text for row in own], prompt, ("max",))
        for label, layers in sets.items():
            report(f"{name}: max, layers {label}", flat(x, layers, [0]), y, len(own))


def _mixing(loaded: LoadedModel, own: list[Row], test: list[Row], arguments: argparse.Namespace) -> None:
    prompt, data = PROMPTS[arguments.prompt], arguments.data
    poolings = ("max", "min", "mean", "last")
    texts = [row.text for row in own]
    y = np.array([row.label for row in own])
    x = margins(loaded, texts, prompt, poolings)
    for layers, label in ((list(range(30)), "all30"), (list(range(6)), "0-5"), (list(range(8, 22)), "8-21")):
        for chosen in ([1], [2], [3], [0, 1], [0, 2], [0, 3], [0, 1, 2, 3]):
            report(
                f"{arguments.prompt}: {'+'.join(poolings[i] for i in chosen)}, layers {label}",
                flat(x, layers, chosen),
                y,
                len(own),
            )
    x = x[:, :1].clone()
    groups = {
        "raw": jigsaw6(data, "raw"),
        "clean": jigsaw6(data, "clean"),
        "paradetox": paradetox(data),
        "tweeteval": tweeteval(data, "train"),
    }
    extra, values = {}, {}
    for key, rows in groups.items():
        extra[key] = without(rows, test + own)
        values[key] = margins(loaded, [row.text for row in extra[key]], prompt, ("max",))
    for keys in (
        ["raw"],
        ["clean"],
        ["raw", "clean"],
        ["paradetox"],
        ["tweeteval"],
        ["raw", "clean", "paradetox", "tweeteval"],
    ):
        labels = np.r_[y, [row.label for key in keys for row in extra[key]]]
        for layers, label in ((list(range(30)), "all30"), (list(range(6)), "0-5")):
            both = torch.cat([flat(x, layers, [0]), *(flat(values[key], layers, [0]) for key in keys)])
            report(f"{arguments.prompt}: max, layers {label}, plus {'+'.join(keys)}", both, labels, len(own))


if __name__ == "__main__":
    main()

"""What the default model makes of a body: how likely its tokens are, and where they lie, pooled over the body."""

from collections import defaultdict

import numpy as np
import torch

from splinelens.anatomy import anatomy_of
from splinelens.engines.torch import run_prompt, run_tokens
from splinelens.layers import watch
from splinelens.weights import gate_norms

LAYERS, HIDDEN = (2, 5, 9, 14, 19), (9, 19, 29)
TOKENS, BATCH, DEPTH = 256, 2048, 30
READ = ("likelihood", "spline7", "margins", "hidden")
LIKELIHOOD = (
    "log-probability mean", "log-probability deviation", "log-probability least",
    "log-probability mean of the lowest tenth", "log-probability sum",
    "log-probability mean of the first quarter", "log-probability mean of the last quarter",
    "share below -5", "tokens below -5",
    "gap to the likeliest token mean", "gap to the likeliest token most", "gap to the likeliest token sum",
    "entropy mean", "entropy most", "entropy mean of the first quarter", "surprise mean", "surprise most",
    "rank mean", "rank most", "share of the likeliest token", "other than the likeliest token", "tokens",
)  # fmt: skip


@torch.no_grad()
def read_task(loaded, prompt, bodies, layers=LAYERS, hidden=HIDDEN):
    """Features of the bodies of a task, each after its prompt: pooled over the body's first tokens.

    ``layers`` and ``hidden`` say which layers give margins and hidden states. None for a body without tokens.
    """
    tokenizer = loaded.tokenizer
    norms = [gate_norms(loaded.model, layer) for layer in anatomy_of(loaded.model).layers(None)]
    ids = [tokenizer(body, add_special_tokens=False).input_ids for body in bodies]
    prompt_ids = tokenizer(prompt, add_special_tokens=False).input_ids[-TOKENS:]
    states = run_prompt(loaded.model, prompt_ids)
    last = loaded.causal(torch.tensor([prompt_ids])).logits[:, -1:].float()
    rows = [None] * len(bodies)
    for part in batches_of([min(len(one), TOKENS) for one in ids]):
        size = [min(len(ids[index]), TOKENS) for index in part]
        batch = torch.tensor([(ids[index][:TOKENS] + [0] * size[0])[: size[0]] for index in part])
        mask = torch.arange(size[0]) < torch.tensor(size)[:, None]
        pooled, logits = read_batch(loaded, states, batch, mask, norms, layers, hidden)
        logits = torch.cat([last.expand(len(part), -1, -1), logits[:, :-1].float()], dim=1)
        tokens = token_numbers(logits, batch)
        for at, index in enumerate(part):
            rows[index] = {
                "tokens": tokens[at, :, : size[at]].to(torch.float16).numpy(),
                "length": len(ids[index]),
                "spline": torch.stack(pooled["spline"], 1)[at].numpy(),
                "margins": torch.cat(pooled["margins"], 1)[at].to(torch.float16).numpy(),
                "hidden": torch.cat(pooled["hidden"], 1)[at].to(torch.float16).numpy(),
            }
    return rows


def batches_of(lengths):
    """Numbers of the bodies that have tokens, longest first, in batches of at most BATCH tokens with padding."""
    order = sorted((number for number, length in enumerate(lengths) if length), key=lengths.__getitem__)
    while order:
        part = [order.pop()]
        while order and (len(part) + 1) * lengths[part[0]] <= BATCH:
            part.append(order.pop())
        yield part


def read_batch(loaded, states, batch, mask, norms, layers, hidden_layers):
    """Pooled numbers of a batch of bodies after their prompt, by kind, a list over layers; and the logits."""
    pooled, count = defaultdict(list), mask.sum(1)

    def gate(layer, values):
        margin = values.float() / norms[layer]
        near, sign = margin.abs().amin(-1), (margin > 0).float().mean(-1)
        means = [(numbers * mask).sum(1) / count for numbers in (sign, near)]
        pooled["spline"] += [*means, near.masked_fill(~mask, torch.inf).amin(1)]
        if layer in layers:
            most = margin.masked_fill(~mask[..., None], -torch.inf).amax(1)
            pooled["margins"] += [most, margin.masked_fill(~mask[..., None], torch.inf).amin(1)]

    def hidden(layer, values):
        if layer in hidden_layers:
            values = values.float()
            mean = (values * mask[..., None]).sum(1) / count[:, None]
            pooled["hidden"] += [mean, values[torch.arange(len(values)), count - 1]]

    positions = torch.arange(states.length, states.length + batch.shape[1]).expand(len(batch), -1)
    with watch(loaded, gate=gate, hidden=hidden):
        output = run_tokens(loaded.causal, batch, positions, cache=states.cache(len(batch)))
    return pooled, output.logits


def token_numbers(logits, batch):
    """For each token its log-probability, that of the likeliest in its place, the entropy of all and log(1 + rank)."""
    total = logits.logsumexp(-1)
    target = logits.gather(-1, batch[..., None])[..., 0]
    entropy = total - torch.stack([(row.softmax(-1) * row).sum(-1) for row in logits])
    rank = (logits > target[..., None]).sum(-1)
    return torch.stack([target - total, logits.amax(-1) - total, entropy, torch.log1p(rank)], 1)


def likelihood(tokens):
    """The numbers of ``LIKELIHOOD`` from those of ``token_numbers``; surprise is minus the log-probability less the entropy."""
    log, likeliest, entropy, rank = tokens.astype(np.float64)
    gap, surprise, quarter = likeliest - log, -log - entropy, max(1, len(log) // 4)
    lowest = np.sort(log)[: max(1, len(log) // 10)]
    numbers = [log.mean(), log.std(), log.min(), lowest.mean(), log.sum()]
    numbers += [log[:quarter].mean(), log[-quarter:].mean(), (log < -5).mean(), np.log1p((log < -5).sum())]
    numbers += [gap.mean(), gap.max(), np.log1p(gap.sum())]
    numbers += [entropy.mean(), entropy.max(), entropy[:quarter].mean()]
    numbers += [surprise.mean(), surprise.max(), rank.mean(), rank.max(), (rank == 0).mean()]
    return np.array([*numbers, np.log1p((rank > 0).sum()), np.log(len(log))])


def write_features(path, read):
    """Store the rows of ``read_task`` by the digests of their bodies; the tokens of all bodies in one table."""
    rows = list(read.values())
    tables = {key: np.stack([row[key] for row in rows]) for key in ("length", "spline", "margins", "hidden")}
    tables["tokens"] = np.concatenate([row["tokens"] for row in rows], axis=1)
    tables["ends"] = np.cumsum([row["tokens"].shape[1] for row in rows])
    with path.with_suffix(".part").open("wb") as file:
        np.savez(file, digest=np.array([*read]), **tables)
    path.with_suffix(".part").replace(path)


def read_features(path):
    """The numbers of ``READ`` of each body of a task, by its digest."""
    with np.load(path) as stored:
        part = {key: stored[key] for key in stored}
    tokens = np.split(part["tokens"], part["ends"][:-1], axis=1)
    spline = part["spline"].reshape(len(tokens), DEPTH, -1)[:, :, :3]  # older files have a fourth column
    numbers = map(likelihood, tokens), spline.reshape(len(tokens), -1), part["margins"], part["hidden"]
    return dict(zip(part["digest"].tolist(), zip(*numbers, strict=True), strict=True))

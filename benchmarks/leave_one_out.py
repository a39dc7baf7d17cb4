"""What a detector with learned directions is worth on a source that it was not fitted on.

    python benchmarks/leave_one_out.py --data DIR --cache CACHE [--only NAME ...] [--dtype bfloat16] -o FILE.json

The shipped detectors are fitted on ToxiGen's annotated statements, TweetEval and ParaDetox among others. Here each
of the three is left out in turn, the rest of the recipe stays, and the AUC on the rows of the source is printed with
a 95 % interval: for ToxiGen the seed sentences, for the others the rows that the recipe uses.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from detection.data import read_evaluation
from detection.fitting import PROMPT, Ensemble, Learned, cached_layers, fit_heads, gather, read_tokens
from detection.inputs import cached_inputs, inputs_folder
from detectors import DEFAULT_MODEL, recipes
from sklearn.metrics import roc_auc_score

from splinelens.detect.bootstrap import auc_interval
from splinelens.detect.learned import Tokens
from splinelens.models import LoadedModel, load_model

LEFT_OUT = ("para", "tweet", "tgann")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the evaluation data")
    parser.add_argument("--cache", type=Path, required=True, help="folder of the inputs")
    parser.add_argument("--only", nargs="+", default=["toxicity", "toxicity-fast"], metavar="NAME")
    parser.add_argument("--dtype", default="float32", help="of the model that reads the rows")
    parser.add_argument("-o", "--output", type=Path, required=True, help="JSON file")
    args = parser.parse_args()
    loaded = load_model(DEFAULT_MODEL, dtype=args.dtype)
    numbers = json.loads(args.output.read_text("utf-8")) if args.output.is_file() else {}
    for recipe in recipes(loaded.depth):
        if isinstance(recipe, Learned) and recipe.name in args.only:
            for source, labels, logits in left_out(recipe, args.data, args.cache, loaded):
                auc = {"auc": roc_auc_score(labels, logits), "interval": auc_interval(labels, logits)}
                numbers.setdefault(recipe.name, {})[source] = auc
                print(f"{recipe.name} without {source}: {json.dumps(auc)}", flush=True)
                args.output.write_text(json.dumps(numbers, indent=1) + "\n", "utf-8")


def left_out(
    recipe: Learned, folder: Path, cache: Path, loaded: LoadedModel
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """For each source its name, and labels and logits of its rows by the recipe fitted without it."""
    rows = gather(recipe, folder)
    tokens = read_tokens(recipe, rows, folder, cache, loaded)
    usable = np.flatnonzero(rows.usable & (tokens[0].lengths > 0))
    for source in LEFT_OUT:
        ensemble = fit_heads(recipe.without(source), tokens, rows, usable, f"without {source}", cache)
        if source == "tgann":
            labels, logits = seed_sentences(ensemble, folder, cache, loaded)
        else:
            tested = usable[rows.of(source)[usable]]
            labels, logits = rows.labels[tested, 0], ensemble.logits(tested)[:, 0]
        yield source, labels.astype(int), logits


def seed_sentences(
    ensemble: Ensemble, folder: Path, cache: Path, loaded: LoadedModel
) -> tuple[np.ndarray, np.ndarray]:
    """Labels and logits of ToxiGen's seed sentences."""
    texts = read_evaluation(folder, ["toxigen"]).sets["toxigen"]
    cached = cached_layers(loaded.depth)
    where = inputs_folder(cache, loaded, cached) / "toxigen"
    inputs = cached_inputs(loaded, [text or "" for text in texts.texts], where, prompt=PROMPT, layers=cached)
    every = np.ones(len(texts), bool)
    tokens = []
    for head, known in zip(ensemble.recipe.heads, ensemble.tokens, strict=True):
        layers = [cached.index(layer) for layer in head.settings.layers]
        shape = (len(cached), known.mean.shape[1])
        mean, scale = np.zeros(shape, np.float32), np.ones(shape, np.float32)
        mean[layers], scale[layers] = known.mean, known.scale
        tokens.append(Tokens([inputs], every, layers, mean, scale))
    return np.array(texts.columns["positive"]), ensemble.on(tokens).logits(np.arange(len(texts)))[:, 0]


if __name__ == "__main__":
    main()

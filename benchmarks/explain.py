"""Do explanations in words hold? Planted hyperplanes, deletion, halves of a corpus, time, and marked words.

    python benchmarks/explain.py --data DIR --cache CACHE --part planted
    python benchmarks/explain.py --data DIR --cache CACHE --part corpus
    python benchmarks/explain.py --data DIR --cache CACHE --part cards
    python benchmarks/explain.py --data DIR --cache CACHE --part table

``planted``: 20 hyperplanes of the default model that fire on a list of words each, planted on one half of the
sentences of WikiText-2 and named from the other. ``corpus``: ``toxicity-fast`` over 5,000 Wikipedia comments,
with two seeds of the halves: seconds, contrast, deletion and the overlap of both halves. ``cards``: explains the
shipped detectors and writes the section of their cards, words masked. Both go on where they were stopped. ``table``: ``explain.md`` from what the
others wrote into ``explain.json``. ``word_head.py`` measures marked words.
"""

import argparse
import csv
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from truth import read_statements

from splinelens.apps.detector import Detector
from splinelens.apps.explain import explain, store_explanation
from splinelens.detect.artifact import Artifact
from splinelens.detect.calibration import Calibration
from splinelens.detect.heads import LinearHead
from splinelens.detect.shipped import find_artifact, shipped
from splinelens.detect.thresholds import Threshold
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.geometry.directions import Directions
from splinelens.models import LoadedModel, load_model
from splinelens.report.explain import Explanation, masked
from splinelens.report.scores import Span
from splinelens.report.spans import core, word_of_token, words
from splinelens.texts import Texts

RECORD = Path(__file__).with_suffix(".json")
LISTS = {
    "months": "january march april june july august",
    "numbers": "two three four five six",
    "times": "day week month year",
    "directions": "north south east west",
    "war": "war battle army attack",
    "music": "album band single music",
    "games": "game games team season",
    "sea": "ship sea island river",
    "screen": "film series show television",
    "lengths": "miles km metres",
    "towns": "city town county",
    "body": "head face body",
    "schools": "school university college",
    "ages": "century period age",
    "order": "first second third",
    "nations": "british american german",
    "storms": "storm hurricane wind",
    "sizes": "large small high",
    "beginnings": "began started continued",
    "speech": "reported said stated",
}
_LAYERS = (0, 1, 2)
_RIDGE = 10.0
_ROWS = 5000
_CARD_ROWS, _CARD_TOP = 1000, 10
_SHORT = 200  # characters


def planted(data: Path, cache: Path) -> dict[str, Any]:  # Any: plain JSON values
    """How many of 20 planted hyperplanes are named: the first word of the name and most others are of the list.

    The others may be inflections, or hold a word of the list as a token: the hyperplane fires on them, too.
    """
    texts = wiki_sentences(data / "wikitext2-test" / "wiki.test.txt")
    half = np.random.default_rng(0).permutation(len(texts)) % 2 == 0
    plant = [text for text, chosen in zip(texts, half, strict=True) if chosen]
    corpus = [text for text, chosen in zip(texts, half, strict=True) if not chosen]
    lists = [frozenset(listed.split()) for listed in LISTS.values()]
    detector = planted_detector(load_model("smollm2-135m", n_layers=len(_LAYERS)), plant, lists)
    explanation = explain(detector, corpus, top=len(lists))
    rows = {}
    for one in explanation.hyperplanes:
        index, name = int(one.hyperplane.rpartition(" ")[2]), one.named
        rows[list(LISTS)[index]] = {
            "name": one.name,
            "words": list(name),
            "listed": sum(word in lists[index] for word in name),
            "named": name[0] in lists[index] and 2 * sum(word in lists[index] for word in name) > len(name),
            "side": one.pooling,
            "contrast": one.faithfulness.contrast.difference,
            "interval": one.faithfulness.contrast.interval,
        }
    return {
        "texts": explanation.texts,
        "planted": len(lists),
        "explained": len(rows),
        "named": sum(row["named"] for row in rows.values()),
        "only_listed": sum(row["listed"] == len(row["words"]) for row in rows.values()),
        "holding": explanation.holding,
        "stability": explanation.mean_stability,
        "rows": rows,
    }


def planted_detector(loaded: LoadedModel, texts: Sequence[str], lists: Sequence[frozenset[str]]) -> Detector:
    """A head whose hyperplanes fire on one list of words each, every second one on its low side.

    The normals are those of a ridge regression of whether a token ends a word of the list.
    """
    plain = TextReader(loaded, FeatureSpec(("margins",), layers=_LAYERS, max_tokens=256))
    gram, product = np.zeros(()), np.zeros(())
    for start in range(0, len(texts), 512):
        chunk = texts[start : start + 512]
        tokenized = plain.tokenize(chunk)
        for batch, values in plain.inputs(tokenized):
            rows = [
                values[row, slice(*span)].flatten(1).double().numpy() for row, span in enumerate(batch.spans)
            ]
            inputs = np.concatenate(rows)
            x = np.concatenate([inputs, np.ones((len(inputs), 1))], axis=1)
            y = np.concatenate(
                [ends(chunk[window.text], tokenized[window.text].offsets, lists) for window in batch.windows]
            )
            gram, product = gram + x.T @ x, product + x.T @ y
    solved = np.linalg.solve(gram + _RIDGE * np.eye(len(gram)), product)
    sign = np.where(np.arange(len(lists)) % 2, -1, 1)
    weight = (sign * solved[:-1]).T.reshape(len(lists), len(_LAYERS), -1).astype(np.float32)
    directions = Directions(weight, (sign * solved[-1]).astype(np.float32))
    spec = FeatureSpec(("directions",), ("max", "min"), _LAYERS, max_tokens=256)
    reader = TextReader(loaded, spec, directions=directions)
    values = np.stack([features.values for features in reader.read(list(texts[:1000]))])
    weights, index = np.zeros((1, 2 * len(lists))), np.arange(len(lists))
    weights[0, index + len(lists) * (index % 2)] = 1.0  # a margin below 0 on the low side lowers the logit
    head = LinearHead(values.mean(0, dtype=float), values.std(0, dtype=float) + 1e-6, weights, np.zeros(1))
    artifact = Artifact(
        name="planted",
        task="binary",
        labels=("high",),
        negative="low",
        model={"name": loaded.name, "fingerprint": loaded.fingerprint.to_dict()},
        spec=reader.spec.to_dict(),
        features_dtype="float32",
        columns=tuple((column.name, column.size) for column in reader.columns),
        calibrations=(Calibration(1.0, 0.0),),
        thresholds=((Threshold(0.05, 0.9, 0.05, (0.0, 1.0), 0.5),),),
        head=head,
        directions=directions,
    )
    return Detector(artifact, reader)


def ends(text: str, offsets: Sequence[tuple[int, int]], lists: Sequence[frozenset[str]]) -> np.ndarray:
    """(token, list): 1 where a token is the last one of a word of the list."""
    whole = words(text, [Span(*bounds, 0.0) for bounds in offsets])
    keys = [text[slice(*core(text, word))].lower() for word in whole]
    of_token = word_of_token(text, offsets, whole)
    last = [word != following for word, following in zip(of_token, [*of_token[1:], -1], strict=True)]
    return np.array(
        [
            [at_end and keys[word] in listed for listed in lists]
            for word, at_end in zip(of_token, last, strict=True)
        ],
        dtype=float,
    ).reshape(-1, len(lists))


def wiki_sentences(file: Path) -> list[str]:
    """The sentences of WikiText-2 between 40 and 400 characters, each once."""
    sentences = [
        part.strip()
        for line in file.read_text("utf-8").splitlines()
        if not line.strip().startswith("=")
        for part in re.split(r"(?<= \.) ", line.strip())
    ]
    return list(dict.fromkeys(part for part in sentences if 40 < len(part) < 400))


def corpus(data: Path, cache: Path) -> dict[str, Any]:  # Any: plain JSON values
    """``toxicity-fast`` over 5,000 comments: the test rows of Jigsaw, and training rows to fill up."""
    texts, labels = comments(data, _ROWS)
    detector = Detector.load("toxicity-fast", engine="torch")
    runs = []
    for seed in (0, 1):
        file = cache / f"corpus-{seed}.json"
        if not file.is_file():
            started, used = time.perf_counter(), time.process_time()
            explanation = explain(detector, texts, labels, seed=seed)
            took = {"seconds": time.perf_counter() - started, "processor_seconds": time.process_time() - used}
            run = {"seed": seed, **took, **numbers(explanation)}
            file.write_text(json.dumps({"run": run, "explanation": explanation.to_dict()}))
        runs.append(json.loads(file.read_text())["run"])
    return {"detector": "toxicity-fast", "rows": len(texts), "runs": runs}


def numbers(explanation: Explanation) -> dict[str, Any]:  # Any: plain JSON values
    """The bars of an explanation."""
    faithfulness = explanation.whole.faithfulness
    shares = [one.faithfulness.stability for one in explanation.hyperplanes]
    return {
        "texts": explanation.texts,
        "flagged": explanation.flagged,
        "hyperplanes": len(explanation.hyperplanes),
        "carried": explanation.carried,
        "holding": explanation.holding,
        "stability": explanation.mean_stability,
        "least_stability": min((share or 0.0 for share in shares), default=None),
        "stability_of_words": faithfulness and faithfulness.stability,
        "deletion": faithfulness and faithfulness.deletion and asdict(faithfulness.deletion),
    }


def comments(data: Path, count: int) -> tuple[Texts, np.ndarray]:
    """Comments of Jigsaw with their labels, test rows first."""
    rows = sorted(jigsaw(data), key=lambda row: row["split"] != "test")[:count]
    return labeled(rows, "Wikipedia comments (Jigsaw), all of its test rows among them")


def short_comments(data: Path, count: int) -> tuple[Texts, np.ndarray]:
    """Random short test comments of Jigsaw with their labels."""
    rows = [row for row in jigsaw(data) if row["split"] == "test" and len(row["comment_text"]) <= _SHORT]
    chosen = np.random.default_rng(0).permutation(len(rows))[:count].tolist()
    source = f"Wikipedia comments of at most {_SHORT} characters (Jigsaw, test rows)"
    return labeled([rows[at] for at in chosen], source)


def jigsaw(data: Path) -> list[dict[str, str]]:
    with (data / "jigsaw-test-binary-12k" / "jigsaw_test_balanced.csv").open(
        encoding="utf-8", newline=""
    ) as file:
        return list(csv.DictReader(file))


def labeled(rows: Sequence[Mapping[str, str]], source: str) -> tuple[Texts, np.ndarray]:
    texts = Texts(tuple(row["comment_text"] for row in rows), {}, source)
    return texts, np.array([float(row["toxic"]) for row in rows])


def statements(data: Path, count: int) -> tuple[Texts, np.ndarray]:
    """Statements of general knowledge, and whether they are true."""
    texts, labels, _ = read_statements(data / "true-false", 10**6, derived=False)
    chosen = np.random.default_rng(0).permutation(len(texts))[:count].tolist()
    source = "statements of true-false (Azaria and Mitchell)"
    return Texts(tuple(texts.texts[at] for at in chosen), {}, source), np.array(labels, dtype=float)[chosen]


CORPORA = {"toxic": short_comments, "true": statements}
"""What a detector of this label is explained on."""


def cards(data: Path, cache: Path) -> dict[str, Any]:  # Any: plain JSON values
    """The section of each shipped card, of the first label; a detector that CACHE holds is not read again."""
    written: dict[str, Any] = {}  # Any: as above
    for name, folder in shipped().items():
        artifact, file = find_artifact(name), cache / f"card-{name}.json"
        if not file.is_file():
            explained = None
            if artifact.labels[0] in CORPORA:
                texts, labels = CORPORA[artifact.labels[0]](data, _CARD_ROWS)
                explanation = explain(name, texts, labels, top=_CARD_TOP)
                store_explanation(folder, explanation, masked if artifact.labels[0] == "toxic" else str)
                explained = numbers(explanation)
            file.write_text(json.dumps(explained))
        written[name] = json.loads(file.read_text())
        print(name, written[name], flush=True)
    return {name: explained for name, explained in written.items() if explained is not None}


def table(data: Path, cache: Path) -> None:
    """Write ``explain.md``."""
    record = json.loads(RECORD.read_text("utf-8"))
    lines = [
        "# Explanations in words",
        "",
        "`python benchmarks/explain.py --data DIR --cache CACHE --part PART`",
        "",
    ]
    if planted := record.get("planted"):
        lines += [
            f"**Planted.** {planted['named']} of {planted['planted']} hyperplanes of the default model are named: the "
            "first word of the name and most others are of the list that the hyperplane was planted on, over "
            f"{planted['texts']:,} sentences of WikiText-2 that took no part in planting. {planted['only_listed']} "
            "names hold words of the list only; the others also an inflection, or a word of which a listed one is a "
            f"token. {planted['holding']} names hold on held-out sentences, and both halves agree on "
            f"{100 * planted['stability']:.0f} % of the first ten n-grams.",
            "",
            "| list | name | named | contrast | 95 % interval |",
            "|---|---|---|---|---|",
            *(
                f"| {name} | {row['name']} | {'yes' if row['named'] else 'no'} | {row['contrast']:+.2f} | "
                f"{'-' if row['interval'] is None else '{:+.2f} to {:+.2f}'.format(*row['interval'])} |"
                for name, row in sorted(planted["rows"].items())
            ),
            "",
        ]
    if corpus := record.get("corpus"):
        runs = {f"split {run['seed'] + 1}": run for run in corpus["runs"]}
        lines += [
            f"**A corpus.** `{corpus['detector']}` over {corpus['rows']:,} comments of Jigsaw, "
            f"{corpus['runs'][0]['flagged']:,} of them flagged; each split makes other halves. A split took "
            f"{' and '.join(str(round(run['processor_seconds'])) for run in corpus['runs'])} seconds of processor "
            "time with PyTorch.",
            "",
            *bars(runs),
        ]
    if explained := record.get("cards"):
        lines += [
            f"**Shipped detectors.** The first label of each, on {_CARD_ROWS:,} texts of the kind that it is for: "
            f"comments of Jigsaw of at most {_SHORT} characters, of `truth` statements of true-false.",
            "",
            *bars({f"`{name}`": one for name, one in explained.items()}),
        ]
    if marked := record.get("marked"):
        lines += [
            f"**Marked words.** Words that people marked as toxic in {marked['trial_rows']} comments (toxic-spans trial, "
            f"{marked['without_gold']} of them without a mark), everything chosen on {marked['train_rows']:,} others "
            "(`python benchmarks/word_head.py`): mean F1 of characters. Nothing marked gives "
            f"{marked['nothing']:.3f}, everything {marked['everything']:.3f}.",
            "",
            "| | F1 | 95 % interval |",
            "|---|---|---|",
            *(
                f"| {name} | {one['mean']:.3f} | {one['interval'][0]:.3f} to {one['interval'][1]:.3f} |"
                for name, one in marked["f1"].items()
            ),
            "",
            *(
                f"The {name} gains {one['mean']:+.3f} ({one['interval'][0]:+.3f} to {one['interval'][1]:+.3f}) on the "
                "Shapley values."
                for name, one in marked["gains"].items()
            ),
            "",
        ]
    RECORD.with_suffix(".md").write_text("\n".join(lines), encoding="utf-8")


def bars(explained: Mapping[str, Mapping[str, Any]]) -> list[str]:  # Any: as ``numbers`` gives them
    """A table with a row for each explanation."""
    rows = []
    for name, one in explained.items():
        agree = f"{100 * one['stability']:.0f} % (least {100 * one['least_stability']:.0f} %)"
        words = one["stability_of_words"]
        removed = one["deletion"]
        larger = "-" if removed is None else f"{100 * removed['larger']:.1f} % of {removed['texts']}"
        if removed is not None:
            larger += f" ({100 * removed['interval'][0]:.1f} to {100 * removed['interval'][1]:.1f})"
        rows.append(
            f"| {name} | {one['hyperplanes']} carry {100 * one['carried']:.1f} % | {one['holding']} of "
            f"{one['hyperplanes']} | {agree} | {'-' if words is None else f'{100 * words:.0f} %'} | {larger} |"
        )
    head = "| | hyperplanes | names that hold | halves agree: hyperplanes | halves agree: words | top word above random |"
    return [head, "|---|---|---|---|---|---|", *rows, ""]


PARTS: dict[str, Callable[[Path, Path], dict[str, Any] | None]] = {
    "planted": planted,
    "corpus": corpus,
    "cards": cards,
    "table": table,
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the evaluation data")
    parser.add_argument("--cache", type=Path, required=True, help="folder of what is read of the model")
    parser.add_argument("--part", choices=PARTS, required=True)
    args = parser.parse_args(arguments)
    args.cache.mkdir(parents=True, exist_ok=True)
    measured = PARTS[args.part](args.data, args.cache)
    if measured is not None:
        record = json.loads(RECORD.read_text("utf-8")) if RECORD.is_file() else {}
        record[args.part] = measured
        RECORD.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        print(json.dumps({key: value for key, value in measured.items() if key != "rows"}, indent=1))


if __name__ == "__main__":
    main()

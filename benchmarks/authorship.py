"""Who wrote it? Nine models' answers to Blocksworld tasks, and the game: writes authorship.json and .md.

    python benchmarks/authorship.py --data DIR --cache CACHE [--only attribution|stored|local] [-o
    benchmarks/authorship.md]

Attribution: of each of nine models 20 answers to 20 random prompts are fitted; their answers to the other 80
prompts are attributed, one by one and in pools of 20 of one writer. Repeated with six random choices of the 20
prompts; feature sets are chosen on the 20 only. The same for n-grams without formatting, and for formatting only. For
unknown writers each model is left out of the fit in turn. The 100 prompts are a random sample of the 350, for
time.

Stored game: two of five writers share a family, the detective sees ten prompts. Local game: the default model
writes as it is and hotter, beside pruned and quantized copies, with two options a slot, for time. Features and
replies are stored in CACHE, and the results in authorship.json; the page is written from all results there.
"""

import argparse
import difflib
import json
import sys
from pathlib import Path

import numpy as np

from splinelens.apps.authorship import pooled_accuracy
from splinelens.apps.game import local_writers, play, play_stored, stored_answers
from splinelens.detect.authorship import Scaling, answer_pools, fit_writers
from splinelens.detect.out_of_fold import auc
from splinelens.errors import SplinelensError
from splinelens.features.extract import read_table
from splinelens.features.ngrams import ngram_counts, ngram_similarity, only_formatting, without_formatting
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec, every_third_layer
from splinelens.generate.game import SLOTS as FORMULAS
from splinelens.generate.likelihood import read_profiles
from splinelens.models import load_model
from splinelens.report.tables import Table
from splinelens.texts import Texts

PROMPTS, FITTED, SPLITS = 100, 20, 6
STATISTICS = ("margin_max", "occupancy", "spline7")
SLOTS = ("goals", "steps", "towers")
SOURCE = "planbench-blocksworld (karthikv792/LLMs-Planning, MIT)"


def main() -> None:
    args = parse()
    path = args.output.with_suffix(".json")
    record = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    texts = read_answers(args.data / "planbench-blocksworld")
    if args.only in (None, "attribution"):
        record["attribution"] = attribution(texts, args)
    if args.only in (None, "stored"):
        record["stored"] = stored_games(texts, args)
    if args.only in (None, "local"):
        slots = {name: options[:2] for name, options in FORMULAS.items()}
        record["local"] = play(
            local_writers(),
            queries=24,
            replies=4,
            tokens=12,
            tests=4,
            slots=slots,
            cache=args.cache,
            progress=report,
        ).to_dict()
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    args.output.write_text(markdown(record), encoding="utf-8")
    report(f"wrote {args.output}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the evaluation data")
    parser.add_argument("--cache", type=Path, required=True, help="folder of features and replies")
    parser.add_argument("--only", choices=("attribution", "stored", "local"), help="measure only this")
    parser.add_argument("--output", "-o", type=Path, default=Path(__file__).with_suffix(".md"))
    return parser.parse_args()


def read_answers(folder: Path) -> Texts:
    """The answers of nine models to 100 random tasks, with what the stored game chooses by."""
    tasks = {row["instance"]: row for row in lines(folder / "instances.jsonl")}
    rows = list(lines(folder / "plans.jsonl"))
    instances = sorted({row["instance"] for row in rows})
    chosen = set(np.random.default_rng(0).permutation(instances)[:PROMPTS].tolist())
    rows = [row for row in rows if row["instance"] in chosen]
    of_rows = [tasks[row["instance"]] for row in rows]
    columns = {
        "model": tuple(row["model"] for row in rows),
        "family": tuple(row["model"].split("-")[0].removesuffix("3") for row in rows),
        "prompt": tuple(str(row["instance"]) for row in rows),
        "plan": tuple(json.dumps(row["plan"]) for row in rows),
        "goals": tuple(str(len(task["goal"])) for task in of_rows),
        "steps": tuple(str(len(task["plan"])) for task in of_rows),
        "towers": tuple(str(sum(fact.startswith("ontable") for fact in task["init"])) for task in of_rows),
    }
    return Texts(tuple(row["response"] for row in rows), columns, "planbench-blocksworld")


def lines(path: Path):
    with path.open(encoding="utf-8") as file:
        yield from map(json.loads, file)


def attribution(texts: Texts, args: argparse.Namespace) -> dict:
    """Accuracy and unknown writers, of the answers as they are and without formatting."""
    writers = sorted(set(texts.columns["model"]))
    labels = np.array([writers.index(name) for name in texts.columns["model"]])
    prompt = np.array([int(number) for number in texts.columns["prompt"]])
    kinds = {
        "as it is": read_feature_sets(Texts(texts.texts, {}, "list"), args.cache / "raw", likelihood=True),
        "without formatting": {"text": ngram_counts([without_formatting(text) for text in texts.texts])},
        "formatting only": {"text": ngram_counts([only_formatting(text) for text in texts.texts])},
    }
    result = {"writers": writers, "prompts": PROMPTS, "fitted": FITTED, "splits": SPLITS}
    for name, values in kinds.items():
        rows = []
        for split in range(SPLITS):
            order = np.random.default_rng(split).permutation(np.unique(prompt))
            rows.append(
                one_split(values, labels, prompt, np.isin(prompt, order[:FITTED]), writers, split, name)
            )
            report(f"{name}, split {split}: {rows[-1]['accuracy']}")
        result[name] = {key: summary([row[key] for row in rows]) for key in rows[0] if key != "chosen"}
        result[name]["chosen"] = [row["chosen"] for row in rows]
    return result


def read_feature_sets(texts: Texts, cache: Path, *, likelihood: bool) -> dict:
    """The feature sets, read in bfloat16."""
    cache.mkdir(parents=True, exist_ok=True)
    loaded = load_model("smollm2-135m", dtype="bfloat16", head=likelihood)
    reader = TextReader(loaded, FeatureSpec.of(STATISTICS, every_third_layer(loaded.depth), "max"))
    table = read_table(reader, texts, output=cache / "geometry.parquet", progress=progress(len(texts)))
    feature = np.repeat([one.statistic.feature for one in table.columns], [one.size for one in table.columns])
    values = {"text": ngram_counts(texts.texts)}
    values |= {name: table.values[:, feature == name] for name in ("margins", "occupancy", "spline7")}
    if likelihood:
        values["likelihood"] = read_profiles(loaded, texts, cache).astype(np.float32)
    return values


def one_split(values, labels, prompt, fitted, writers, split, kind) -> dict:
    """Everything that is measured with one choice of the 20 prompts."""
    tested = ~fitted
    fit = fit_writers(rows_of(values, fitted), labels[fitted], prompt[fitted], writers, seed=split)
    scores, known = fit.head.read(rows_of(values, tested))
    by_itself = {"text": values["text"]}
    text = fit_writers(rows_of(by_itself, fitted), labels[fitted], prompt[fitted], writers, seed=split)
    text_scores, _ = text.head.read(rows_of(by_itself, tested))
    row = {
        "chosen": list(fit.head.feature_sets),
        "accuracy of text only": accuracy(text_scores, labels[tested]),
        "accuracy": accuracy(scores, labels[tested]),
        "gain over text only": accuracy(scores, labels[tested]) - accuracy(text_scores, labels[tested]),
        "accuracy of pools, text only": pooled_accuracy(text_scores, labels[tested], 20, split),
        "accuracy of pools": pooled_accuracy(scores, labels[tested], 20, split),
        "known called unknown": float(np.mean(known < fit.head.threshold(1))),
    }
    if kind == "as it is":
        for name in list(values)[1:]:
            both = {"text": values["text"], name: values[name]}
            head = fit_writers(
                rows_of(both, fitted), labels[fitted], prompt[fitted], writers, choose=False, seed=split
            ).head
            row[f"accuracy of text and {name}"] = accuracy(
                head.read(rows_of(both, tested))[0], labels[tested]
            )
        row |= unknown_writers(by_itself, labels, prompt, fitted, writers, split, ", text only")
        row |= unknown_writers(values, labels, prompt, fitted, writers, split, "")
    return row


def unknown_writers(values, labels, prompt, fitted, writers, split, suffix) -> dict:
    """Each writer left out of the fit in turn: AUC of known against unknown, and what the threshold flags."""
    tested = labels[~fitted]
    rows = []
    for left_out in range(len(writers)):
        others = [number for number in range(len(writers)) if number != left_out]
        chosen = fitted & (labels != left_out)
        numbers = np.searchsorted(others, labels[chosen])
        names = [writers[number] for number in others]
        head = fit_writers(rows_of(values, chosen), numbers, prompt[chosen], names, seed=split).head
        known = head.read(rows_of(values, ~fitted))[1]
        pools = answer_pools(tested, 20, np.random.default_rng(split))
        pooled = np.array([known[one].mean() for one in pools])
        of_pool = np.array([tested[one[0]] for one in pools])
        rows.append(
            {
                "AUC of unknown": auc((tested != left_out).astype(int), known),
                "AUC of unknown pools": auc((of_pool != left_out).astype(int), pooled),
                "unknown flagged": float(np.mean(known[tested == left_out] < head.threshold(1))),
                "unknown pools flagged": float(np.mean(pooled[of_pool == left_out] < head.threshold(20))),
                "known pools flagged": float(np.mean(pooled[of_pool != left_out] < head.threshold(20))),
            }
        )
    means = {f"{key}{suffix}": float(np.mean([row[key] for row in rows])) for key in rows[0]}
    if not suffix:
        means |= {f"AUC of unknown {writers[n]}": row["AUC of unknown"] for n, row in enumerate(rows)}
    return means


def stored_games(texts: Texts, args: argparse.Namespace) -> dict:
    """The game on stored answers, by what the detective compares."""
    columns = ("model", "prompt", "family")
    names, _, shared, answers = stored_answers(texts, *columns)
    plans = dict(
        zip(
            zip(texts.columns["model"], texts.columns["prompt"], strict=True),
            texts.columns["plan"],
            strict=True,
        )
    )
    rows = {pair: row for row, pair in enumerate(plans)}
    occupancy = read_feature_sets(Texts(texts.texts, {}, "list"), args.cache / "raw", likelihood=False)[
        "occupancy"
    ]
    first = occupancy[:, : occupancy.shape[1] // len(every_third_layer(30))]
    order = [[rows[name, prompt] for prompt in shared] for name in names]
    alike = {
        "character n-grams": ngram_similarity(answers),
        "occupancy of the first block": cosine(Scaling.of(first).rows(first)[np.array(order)]),
        "plans": plan_similarity([[json.loads(plans[name, prompt]) for prompt in shared] for name in names]),
    }
    alike["plans and occupancy"] = sum(
        map(standardized, (alike["plans"], alike["occupancy of the first block"]))
    )
    games = {}
    for name, similarity in alike.items():
        games[name] = play_stored(
            texts, *columns, SLOTS, queries=24, seeds=5, similarity=similarity, detective=name
        ).to_dict()
        report(f"{name}: {games[name]['unsearched']:.3f}")
    return games


def plan_similarity(plans: list[list[list[str]]]) -> np.ndarray:
    """(writer, writer, prompt), the share of steps that two plans have in common, in order."""
    count, prompts = len(plans), len(plans[0])
    result = np.ones((count, count, prompts))
    for left in range(count):
        for right in range(left):
            for prompt in range(prompts):
                matcher = difflib.SequenceMatcher(None, plans[left][prompt], plans[right][prompt])
                result[left, right, prompt] = result[right, left, prompt] = matcher.ratio()
    return result


def cosine(rows: np.ndarray) -> np.ndarray:
    rows = rows / np.maximum(np.linalg.norm(rows, axis=2, keepdims=True), 1e-9)
    return np.einsum("apd,bpd->abp", rows, rows)


def standardized(similarity: np.ndarray) -> np.ndarray:
    pairs = similarity[np.triu_indices(len(similarity), 1)]
    return (similarity - pairs.mean()) / pairs.std()


def rows_of(values: dict, rows: np.ndarray) -> dict:
    return {name: one[rows] for name, one in values.items()}


def accuracy(scores: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(scores.argmax(axis=1) == labels))


def summary(values: list[float]) -> dict:
    """Mean over splits, with the least and the largest."""
    return {"mean": float(np.mean(values)), "least": min(values), "most": max(values)}


def markdown(record: dict) -> str:
    sections = [
        "# Authorship",
        "",
        "Written by `python benchmarks/authorship.py`; source of the answers: " + SOURCE + ".",
    ]
    if "attribution" in record:
        sections += attribution_lines(record["attribution"])
    if "stored" in record:
        sections += stored_lines(record["stored"])
    if "local" in record:
        sections += local_lines(record["local"])
    return "\n".join(sections) + "\n"


def attribution_lines(result: dict) -> list[str]:
    kinds = ("as it is", "without formatting", "formatting only")
    keys = list(dict.fromkeys(key for kind in kinds for key in result[kind] if key != "chosen"))
    rows = [(key, *(cell(result[kind].get(key)) for kind in kinds)) for key in keys]
    chosen = sorted({" + ".join(names) for names in result["as it is"]["chosen"]})
    return [
        "",
        "## Attribution",
        "",
        f"{len(result['writers'])} writers, {result['fitted']} answers of each fitted, answers to the other "
        f"{result['prompts'] - result['fitted']} prompts tested; mean of {result['splits']} choices of the fitted "
        f"prompts, least and most in brackets; a pool is 20 answers of one writer. Feature sets chosen on the fitted "
        f"prompts: {'; '.join(chosen)}.",
        "",
        Table(("measured", *kinds), rows).markdown(),
    ]


def cell(value: dict | None) -> str:
    return "" if value is None else f"{value['mean']:.4f} ({value['least']:.4f} to {value['most']:.4f})"


def stored_lines(games: dict) -> list[str]:
    rows = []
    for name, game in games.items():
        each = [f"{pair['unsearched']:.3f}" for pair in game["pairs"]]
        rows.append((name, *each, *(f"{game[key]:.3f}" for key in ("unsearched", "evolved", "random"))))
    first = next(iter(games.values()))
    pairs = [" + ".join(pair["pair"]) for pair in first["pairs"]]
    return [
        "",
        "## The game on stored answers",
        "",
        f"{first['members']} writers, ten prompts, chance {first['chance']:.3f}; share of games in which the pair is "
        f"named. Columns of pairs: random prompts. Evolved and random: formulas over {', '.join(SLOTS)}, searched on "
        f"the other families with {first['queries']} queries, {len(first['by_seed'])} seeds.",
        "",
        Table(
            ("compared", *pairs, "random prompts", "evolved formula", "best of random formulas"), rows
        ).markdown(),
    ]


def local_lines(game: dict) -> list[str]:
    (pair,) = game["pairs"]
    low, high = game["gain_interval"]
    gain = game["evolved"] - game["random"]
    return [
        "",
        "## The local game",
        "",
        f"Writers: {', '.join(game['writers'])}; the first two share their weights; chance {game['chance']:.3f}. "
        f"{game['queries']} of 64 formulas a search, {len(game['by_seed'])} seeds; four replies of 12 tokens are compared.",
        "",
        Table(
            ("auditor", "pair named"),
            [(name, f"{pair[name]:.3f}") for name in ("evolved", "random", "unsearched")],
        ).markdown(),
        "",
        f"Evolution less the best of as many random formulas: {gain:+.3f} ({low:+.3f} to {high:+.3f}) over seeds of "
        "the searches; all see the same replies.",
    ]


def progress(total: int):
    done = 0

    def count(texts: int, _characters: int) -> None:
        nonlocal done
        done += texts
        report(f"{done:,} of {total:,}") if done % 100 < texts else None

    return count


def report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main()
    except SplinelensError as error:
        sys.exit(f"Error: {error}")

"""``splinelens detectors``: the detectors that come with the package, and the card of one."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from splinelens.cli import options


def list_(as_json: options.AsJson = False) -> None:
    """The shipped detectors: purpose, task, model, AUC and size.

    Two lines a detector; the first says what it is for and what it misses. With --json a list of {"name",
    "purpose", "task", "labels", "negative", "model", "blocks", "layers", "auc", "auc_interval", "length_auc",
    "accuracy", "languages", "size_bytes", "path"}; the AUC of several labels is their mean.

    Example:
      splinelens detectors list
    """
    from splinelens.detect.shipped import shipped

    rows = [_row(name, folder) for name, folder in shipped().items()]
    if as_json:
        print(json.dumps(rows, ensure_ascii=False))
        return
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        model = f"{row['model']}, {row['blocks']} blocks, layers {row['layers']}"
        labels = ", ".join(row["labels"]) + (f" or {row['negative']}" if row["negative"] else "")
        size = f"{row['size_bytes'] / 1e6:.1f} MB"
        print(f"{row['name']:{width}}  {row['purpose']}")
        print(f"{'':{width}}  {row['task']}: {labels}  {model}  {_headline(row)}  {size}")


def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help=options.DETECTOR_HELP)],
) -> None:
    """Print a detector's card.

    It says what model, data, numbers, thresholds, languages and limits it has.

    Example:
      splinelens detectors show toxicity
    """
    from splinelens.detect.shipped import find_artifact
    from splinelens.report.card import card
    from splinelens.texts.plain_text import harmless

    print("\n".join(map(harmless, card(find_artifact(name)).split("\n"))), end="")


def _headline(row: dict[str, Any]) -> str:  # Any: plain JSON values
    from splinelens.report.tables import interval

    if row["auc"] is None:
        return "not measured"
    if row["task"] == "binary":
        return f"AUC {row['auc']:.4f} {interval(row['auc_interval'])} out of fold"
    accuracy = "" if row["accuracy"] is None else f"accuracy {row['accuracy']:.4f}, "
    return f"{accuracy}mean AUC {row['auc']:.4f} out of fold"


def _row(name: str, folder: Path) -> dict[str, Any]:  # Any: plain JSON values
    from splinelens.detect.artifact import Artifact
    from splinelens.detect.shipped import PURPOSES
    from splinelens.report.card import layer_ranges

    artifact = Artifact.load(folder)
    metrics = artifact.metrics.get("out_of_fold", {})
    return {
        "name": name,
        "purpose": PURPOSES[name],
        "task": artifact.task,
        "labels": list(artifact.labels),
        "negative": artifact.negative,
        "model": artifact.model["name"],
        "blocks": artifact.model["fingerprint"]["depth"],
        "layers": layer_ranges(artifact.spec["layers"] or ()),
        "auc": metrics.get("auc", metrics.get("mean_auc")),
        "auc_interval": metrics.get("auc_interval"),
        "length_auc": metrics.get("length_auc"),
        "accuracy": metrics.get("accuracy"),
        "languages": artifact.training.get("languages", []),
        "size_bytes": sum(path.stat().st_size for path in folder.iterdir()),
        "path": str(folder),
    }

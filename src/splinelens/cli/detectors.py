"""``splinelens detectors``: the detectors that come with the package, and the card of one."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from splinelens.cli import options


def list_(as_json: options.AsJson = False) -> None:
    """The shipped detectors: model, blocks, AUC and size.

    With --json a list of {"name", "model", "blocks", "auc", "auc_interval", "length_auc", "size_bytes",
    "path"}.

    Example:
      splinelens detectors list
    """
    from splinelens.apps.detector import shipped
    from splinelens.report.terminal import interval

    rows = [_row(name, folder) for name, folder in shipped().items()]
    if as_json:
        print(json.dumps(rows, ensure_ascii=False))
        return
    width = max((len(row["name"]) for row in rows), default=0)
    for row in rows:
        auc = (
            f"AUC {row['auc']:.4f} {interval(row['auc_interval'])}"
            if row["auc"] is not None
            else "not measured"
        )
        size = f"{row['size_bytes'] / 1e6:.1f} MB"
        print(f"{row['name']:{width}}  {row['model']}, {row['blocks']} blocks  {auc} out of fold  {size}")


def show(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A shipped detector, or a folder made by train.")
    ],
) -> None:
    """Print a detector's card.

    It says what model, data, numbers, thresholds and limits it has.

    Example:
      splinelens detectors show toxicity
    """
    from splinelens.apps.detector import find_artifact
    from splinelens.report.card import card

    print(card(find_artifact(name)), end="")


def _row(name: str, folder: Path) -> dict[str, Any]:  # Any: plain JSON values
    from splinelens.detect.artifact import Artifact

    artifact = Artifact.load(folder)
    measured = artifact.metrics.get("out_of_fold", {})
    return {
        "name": name,
        "model": artifact.model["name"],
        "blocks": artifact.model["fingerprint"]["depth"],
        "auc": measured.get("auc"),
        "auc_interval": measured.get("auc_interval"),
        "length_auc": measured.get("length_auc"),
        "size_bytes": sum(path.stat().st_size for path in folder.iterdir()),
        "path": str(folder),
    }

"""The model card of a detector: what it is, what it was fitted on, its metrics and its limits."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from splinelens.detect.artifact import Artifact
from splinelens.errors import BrokenArtifact
from splinelens.report.page import render_markdown
from splinelens.report.tables import (
    Table,
    confusion_table,
    full_label_table,
    mean_table,
    measured_table,
    metric_table,
    one_line,
    threshold_table,
)


def card(artifact: Artifact) -> str:
    """Describe a detector in Markdown, with the metrics and the command that it stores.

    Raises:
        BrokenArtifact: What it records of its training and metrics is not what ``train`` writes.
    """
    try:
        return render_markdown(
            "card",
            artifact=artifact,
            labels=[_code(label) for label in artifact.labels],
            negative=_code(artifact.negative),
            model=_code(artifact.model["name"]),
            model_table=_model_table(artifact),
            data_table=artifact.training and _data_table(artifact),
            metric_table=metric_table,
            full_label_table=full_label_table,
            mean_table=mean_table,
            confusion_table=confusion_table,
            measured_table=measured_table,
            thresholds=threshold_table(zip(artifact.labels, artifact.thresholds, strict=True)),
            languages=languages(artifact),
        )
    except Exception as error:  # these records are plain JSON, and an edited one can be anything
        raise BrokenArtifact(
            f"detector {one_line(artifact.name)} does not record what its card shows: "
            f"{type(error).__name__}: {one_line(str(error))[:200]}; fetch or train the detector again"
        ) from error


def languages(artifact: Artifact) -> str:
    """The languages that were measured, and advice for texts in others, in one line."""
    names = [one_line(str(language)) for language in artifact.training.get("languages", ())]
    if not names:
        return (
            "No language was named when it was trained, so none counts as measured: do not act on its scores "
            "before `splinelens evaluate` on your labeled texts."
        )
    return (
        f"Measured on {', '.join(names)} only. Texts in other languages get a score too, but its quality is "
        "unknown: do not act on it before `splinelens evaluate` on labeled texts in that language."
    )


def layer_ranges(layers: Iterable[int]) -> str:
    """Layers as ``--layers`` takes them.

    Example:
        >>> layer_ranges([0, 1, 2, 5])
        '0-2,5'
    """
    runs: list[list[int]] = []
    for layer in sorted(set(layers)):
        if runs and layer == runs[-1][1] + 1:
            runs[-1][1] = layer
        else:
            runs.append([layer, layer])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def settings(training: Mapping[str, Any]) -> list[tuple[str, Any]]:  # Any: the manifest's JSON
    """The hyperparameters of the head; those of several labels joined.

    Example:
        >>> settings({"settings": {"C": {"rude": 0.01, "spam": 0.1}, "validation_auc": {}}})
        [('C', '0.01 (rude), 0.1 (spam)')]
    """
    chosen = {key: value for key, value in training.get("settings", {}).items() if key != "validation_auc"}
    for key, value in chosen.items():
        if isinstance(value, dict):
            chosen[key] = ", ".join(f"{one} ({label})" for label, one in value.items())
    return list(chosen.items())


def _model_table(artifact: Artifact) -> Table:
    model, spec = artifact.model, artifact.spec
    fingerprint = model["fingerprint"]
    rows = {
        "model": model["name"] + (f", revision {model['revision']}" if model.get("revision") else ""),
        "architecture": f"{fingerprint['architecture']}, the first {fingerprint['depth']} blocks are run",
        "weights": f"{fingerprint['dtype']}, fingerprint {fingerprint['weights']}",
        "features": f"{', '.join(spec['features'])} (catalogue {spec['version']})",
        "pooling": ", ".join(spec["pooling"]),
        "layers": layer_ranges(spec["layers"] or ()),
        "numbers per text": f"{sum(size for _, size in artifact.columns):,}",
        "prompt before the text": _quoted(spec["prompt"]),
        "prompt after the text": _quoted(spec["suffix"]),
        "window": f"{spec['max_tokens']} tokens; longer texts at training: {spec['long']}",
        **({"disguised characters": "read as plain ones"} if spec.get("normalize") else {}),
        "training rows read in": f"{artifact.features_dtype}, engine {artifact.engine}",
        "made with": f"splinelens {artifact.version}",
    }
    return Table(("property", "value"), list(rows.items()))


def _data_table(artifact: Artifact) -> Table:
    training = artifact.training
    scored = training.get("judged_rows", training["rows"])
    repeated = training.get("repeated")
    contradicting = repeated and f"{repeated['contradicting']:,} of them with contradicting labels"
    rows = {
        "rows": f"{training['rows']:,}, {_positives(training['positives'], artifact.labels[0])}",
        "left out, not readable": f"{training['left_out']:,}",
        "rows in the metrics": "all"
        if scored == training["rows"]
        else f"{scored:,}; the others are used for fitting only",
        "sources": "; ".join(training["sources"]) or "not named",
        "repeated texts": f"{repeated['texts']:,}, {contradicting}" if repeated else "not counted",
        "hash of the texts": training.get("provenance", {}).get("data_hash", "not recorded"),
        "head": ", ".join(["linear", *(f"{key} = {value}" for key, value in settings(training))]),
        "seed": str(training["seed"]),
    }
    return Table(("property", "value"), list(rows.items()))


def _positives(positives: int | Mapping[str, int], label: str) -> str:
    if isinstance(positives, int):
        return f"{positives:,} of them {label}"
    return "of them " + ", ".join(f"{count:,} {label}" for label, count in positives.items())


def _code(text: str) -> str:
    """Text as code in Markdown."""
    return f"`{one_line(text).replace('`', chr(39))}`"


def _quoted(prompt: str) -> str:
    return json.dumps(prompt, ensure_ascii=False) if prompt else "none"

"""The model card of a detector: what it is, what it was fitted on, its metrics and its limits."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Annotated, Any

import numpy as np
from pydantic import StringConstraints, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass
from pydantic_core import to_json

from splinelens.detect.artifact import Artifact
from splinelens.detect.word_head import shipped_word_head
from splinelens.errors import BrokenArtifact
from splinelens.report.adaptation import adaptation_summary, adaptation_table
from splinelens.report.explain import (
    StoredExplanation,
    explained_hyperplanes,
    explained_lines,
    explained_words,
)
from splinelens.report.manifest_types import RECORD, Bounds, Number
from splinelens.report.page import render_markdown
from splinelens.report.tables import (
    Table,
    code,
    confusion_table,
    full_label_table,
    group_summary,
    mean_table,
    measured_table,
    metric_table,
    one_line,
    percent,
    share_words,
    threshold_table,
)


def card(artifact: Artifact) -> str:
    """Describe a detector in Markdown, with the metrics and the command that it stores.

    Raises:
        BrokenArtifact: What it records of its training and metrics is not what ``train`` writes.
    """
    _require_records(artifact)
    return render_markdown(
        "card",
        artifact=artifact,
        labels=[code(label) for label in artifact.labels],
        negative=code(artifact.negative),
        model=code(artifact.model["name"]),
        model_table=_model_table(artifact),
        data_table=artifact.training and _data_table(artifact),
        adaptation_summary=adaptation_summary,
        adaptation_table=adaptation_table,
        export_table=_export_table(artifact),
        metric_table=metric_table,
        full_label_table=full_label_table,
        mean_table=mean_table,
        confusion_table=confusion_table,
        measured_table=measured_table,
        shares=_shares(artifact),
        offsets=_offset_table(artifact),
        thresholds=threshold_table(zip(artifact.labels, artifact.thresholds, strict=True)),
        languages=languages(artifact),
        explained=_explained(artifact),
        marked_words=_marked_words(artifact),
        explained_lines=explained_lines,
        explained_words=explained_words,
        explained_hyperplanes=explained_hyperplanes,
    )


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


# What the card reads of records that are plain JSON, which an edited detector can fill with anything. A
# default says that a value may be missing; it may not be null then, unless None is among its types.
_Rate = Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+)?(e-?\d+)?$")]


@dataclass(frozen=True, config=RECORD)
class _Fingerprint:
    architecture: str
    depth: int
    dtype: str
    weights: str


@dataclass(frozen=True, config=RECORD)
class _Model:
    name: str
    fingerprint: _Fingerprint
    revision: str | None = None


@dataclass(frozen=True, config=RECORD)
class _Spec:
    features: list[str]
    version: int
    pooling: list[str]
    layers: list[int] | None
    prompt: str
    suffix: str
    max_tokens: int | None
    long: str


@dataclass(frozen=True, config=RECORD)
class _Repeated:
    texts: int
    contradicting: int


@dataclass(frozen=True, config=RECORD)
class _Groups:
    column: str
    groups: int
    missing: int


@dataclass(frozen=True, config=RECORD)
class _Provenance:
    data_hash: str = ""


@dataclass(frozen=True, config=RECORD)
class _Adapted:
    detector: str
    digest: str
    rows: int
    positives: int
    penalty: Number | None
    auc_before: Number
    auc_before_interval: Bounds | None
    auc_after: Number
    auc_after_interval: Bounds | None
    gain: Number
    gain_interval: Bounds | None
    notes: list[str]
    positive_values: list[str] = field(default_factory=list)
    label: str = ""
    recommendation: str = ""


@dataclass(frozen=True, config=RECORD)
class _Difference:
    label: str
    rows: int
    auc: Number | None
    auc_torch: Number | None
    median: Number
    largest: Number
    verdicts: int
    moved: dict[_Rate, Bounds]


@dataclass(frozen=True, config=RECORD)
class _Exported:
    engine: str
    differences: list[_Difference]


@dataclass(frozen=True, config=RECORD)
class _Training:
    rows: int
    positives: int | dict[str, int]
    left_out: int
    sources: list[str]
    seed: int
    judged_rows: int = 0
    cut: int = 0
    repeated: _Repeated | None = None
    groups: _Groups | None = None
    settings: dict[str, Any] = field(default_factory=dict)  # Any: shown as it is
    provenance: _Provenance = field(default_factory=_Provenance)
    languages: list[str] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    adapted: _Adapted | None = None
    exported: _Exported | None = None
    explained: StoredExplanation | None = None


@dataclass(frozen=True, config=RECORD)
class _AtThreshold:
    score: Number
    false_positive_rate: Number
    recall: Number
    false_positive_interval: Bounds = (0, 0)
    recall_interval: Bounds | None = None
    precision: Number | None = None
    precision_interval: Bounds | None = None


@dataclass(frozen=True, config=RECORD)
class _Flagged:
    name: str
    count: int
    total: int
    share: Number
    interval: Bounds


@dataclass(frozen=True, config=RECORD)
class _WithinGroups:
    groups: int
    mixed: int
    auc: Number | None
    auc_interval: Bounds | None


@dataclass(frozen=True, config=RECORD)
class _OneLabel:
    n: int
    positives: int
    recall_at_fpr: dict[_Rate, Number]
    brier: Number
    calibration_error: Number
    at_threshold: dict[_Rate, _AtThreshold]
    auc: Number = 0
    length_auc: Number = 0
    average_precision: Number = 0
    auc_interval: Bounds | None = None
    length_auc_interval: Bounds | None = None
    average_precision_interval: Bounds | None = None
    recall_intervals: dict[str, Bounds | None] = field(default_factory=dict)
    brier_interval: Bounds | None = None
    calibration_interval: Bounds | None = None
    flagged: list[_Flagged] = field(default_factory=list)
    within_groups: _WithinGroups | None = None


@dataclass(frozen=True, config=RECORD)
class _SeveralLabels:
    n: int
    labels: dict[str, _OneLabel | None]
    mean_auc: Number = 0
    accuracy: Number = 0
    macro_f1: Number = 0
    mean_auc_interval: Bounds | None = None
    accuracy_interval: Bounds | None = None
    macro_f1_interval: Bounds | None = None
    confusion: list[list[int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.confusion and len(self.confusion) != len(self.labels):
            raise ValueError("a row of the confusion for each label is needed")


def _explained(artifact: Artifact) -> StoredExplanation | None:
    """What ``splinelens explain --store`` kept; checked before."""
    record = artifact.training.get("explained")
    return None if record is None else TypeAdapter(StoredExplanation).validate_json(to_json(record))


def _marked_words(artifact: Artifact) -> str | None:
    """What is known of the word head that comes with a shipped detector; None if it has none."""
    head = shipped_word_head(artifact.name, artifact.origin)
    if head is None:
        return None
    by_rule, by_head = (head.record["f1"][name] for name in ("Shapley values", "head with counts of words"))
    f1 = ["{mean:.3f} ({0:.3f} to {1:.3f})".format(*one["interval"], **one) for one in (by_head, by_rule)]
    return (
        f"A head of marked words comes with it, fitted to words that people marked ({head.record['train']}): "
        f"`splinelens score --explain --words shapley` says which words of a text fire. On other texts "
        f"({head.record['trial']}) the F1 of the characters that people marked is {f1[0]}, {f1[1]} by the "
        "rule that stands in for it elsewhere."
    )


def _require_records(artifact: Artifact) -> None:
    """Check the records before anything is rendered, so that a bug of ours shows as one."""
    records: list[tuple[str, type, Any]] = [  # Any: plain JSON values
        ("model", _Model, artifact.model),
        ("spec", _Spec, artifact.spec),
    ]
    if artifact.training:
        records.append(("training", _Training, artifact.training))
    for name, metrics in artifact.metrics.items():
        several = isinstance(metrics, dict) and "labels" in metrics
        records.append((f"metrics.{name}", _SeveralLabels if several else _OneLabel, metrics))
    for name, kind, record in records:
        try:
            TypeAdapter(kind).validate_json(
                to_json(record, inf_nan_mode="constants", fallback=np.generic.item)
            )
        except ValidationError as error:
            first = error.errors()[0]
            where = one_line(".".join(map(str, (name, *first["loc"]))))
            raise BrokenArtifact(
                f"detector {one_line(artifact.name)} does not record what its card shows: {where}: "
                f"{first['msg']}; fetch or train the detector again"
            ) from error


def _export_table(artifact: Artifact) -> Table | None:
    """An exported detector beside PyTorch, for each label; None if it was not measured."""
    rows = []
    for one in artifact.training.get("exported", {}).get("differences", ()):
        moved = (
            f"{percent(rate)}: {before:.4f} to {after:.4f}" for rate, (before, after) in one["moved"].items()
        )
        aucs = ("" if one[name] is None else f"{one[name]:.4f}" for name in ("auc", "auc_torch"))
        numbers = (f"{one['rows']:,}", *aucs, f"{one['median']:.1e}", f"{one['largest']:.1e}")
        rows.append((one["label"], *numbers, f"{one['verdicts']:,}", "; ".join(moved) or "none"))
    head = (
        "label",
        "rows",
        "AUC",
        "AUC of PyTorch",
        "median difference",
        "largest",
        "changed verdicts at 5 %",
    )
    return Table((*head, "thresholds moved"), rows) if rows else None


def _offset_table(artifact: Artifact) -> Table | None:
    """What is subtracted from the logit at each length, or None."""
    knots = {
        label: {str(tokens): f"{offset:.2f}" for tokens, offset in calibration.by_length}
        for label, calibration in zip(artifact.labels, artifact.calibrations, strict=True)
        if calibration.by_length
    }
    lengths = sorted({tokens for offsets in knots.values() for tokens in offsets}, key=int)
    rows = [(label, *(offsets.get(tokens, "") for tokens in lengths)) for label, offsets in knots.items()]
    return Table(("tokens", *lengths), rows) if rows else None


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
        "window": f"{spec['max_tokens']} tokens; longer texts at training: {_long_texts(artifact)}",
        **({"abstains": abstention} if (abstention := _abstention(artifact)) else {}),
        **({"words marked from": f"{artifact.word_limit:+.4g}"} if artifact.word_limit is not None else {}),
        **({"disguised characters": "read as plain ones"} if spec.get("normalize") else {}),
        "training rows read in": f"{artifact.features_dtype}, engine {artifact.engine}",
        "made with": f"splinelens {artifact.version}",
    }
    return Table(("property", "value"), list(rows.items()))


def _long_texts(artifact: Artifact) -> str:
    """How texts longer than a window were read at training."""
    long, cut = str(artifact.spec["long"]), artifact.training.get("cut", 0)
    return f"{long}, but {cut:,} were cut" if cut and long == "windows" else long


def _abstention(artifact: Artifact) -> str:
    """When the verdict is undetermined although the text was read whole; empty if never."""
    conditions = [f"below {artifact.min_tokens:,} tokens"] if artifact.min_tokens else []
    if artifact.min_score:
        conditions.append(f"where no score reaches {artifact.min_score:g}")
    return ", and ".join(conditions)


def _data_table(artifact: Artifact) -> Table:
    training = artifact.training
    scored = training.get("judged_rows", training["rows"])
    repeated = training.get("repeated")
    contradicting = repeated and f"{repeated['contradicting']:,} of them with contradicting labels"
    rows = {
        "rows": f"{training['rows']:,}, {_positives(training['positives'], artifact.labels[0])}"
        + (", all of the last source" if training.get("adapted") else ""),
        "left out, not readable": f"{training['left_out']:,}",
        "rows in the metrics": "all"
        if scored == training["rows"]
        else f"{scored:,}; the others are used for fitting only",
        "sources": "; ".join(training["sources"]) or "not named",
        "repeated texts": f"{repeated['texts']:,}, {contradicting}" if repeated else "not counted",
        **({"groups": group_summary(training["groups"])} if training.get("groups") else {}),
        "hash of the texts": training.get("provenance", {}).get("data_hash", "not recorded"),
        "head": ", ".join(["linear", *(f"{key} = {value}" for key, value in settings(training))]),
        "seed": str(training["seed"]),
    }
    return Table(("property", "value"), list(rows.items()))


def _shares(artifact: Artifact) -> list[str]:
    """The shares that the scores assume: of a binary detector in words, else of each label if known."""
    if artifact.task == "binary":
        return [share_words(artifact.shares[0], code(artifact.labels[0]))]
    known = zip(artifact.shares, artifact.labels, strict=True)
    return [f"{percent(share)} {code(label)}" for share, label in known if share is not None]


def _positives(positives: int | Mapping[str, int], label: str) -> str:
    if isinstance(positives, int):
        return f"{positives:,} of them {label}"
    return "of them " + ", ".join(f"{count:,} {label}" for label, count in positives.items())


def _quoted(prompt: str) -> str:
    return json.dumps(prompt, ensure_ascii=False) if prompt else "none"

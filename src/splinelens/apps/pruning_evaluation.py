"""Compare pruned models with the dense one: perplexity, seconds, geometry and what detectors are worth."""

import json
import os
from collections.abc import Callable, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from splinelens import __version__
from splinelens.anatomy import anatomy_of
from splinelens.apps.detector import Detector, plan_of
from splinelens.detect.carried import CarriedDetector, compare_scores
from splinelens.detect.shipped import find_artifact
from splinelens.errors import BadModel, BadTexts, WrongModel
from splinelens.features.extract import read_table
from splinelens.features.loading import check_model
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.features.table import FeatureTable
from splinelens.files import write_text
from splinelens.generate.likelihood import Perplexity, perplexity
from splinelens.geometry.settings import SPLINE7
from splinelens.models import LoadedModel, load_model
from splinelens.models.load import require_same_tokenizer
from splinelens.report.pruning_evaluation import ModelEffect, PruningEvaluation
from splinelens.report.pruning_evaluation_page import pruning_evaluation_html
from splinelens.report.scores import TextScore
from splinelens.texts import Texts
from splinelens.weights.matrices import weight_matrices

_PASSES = 3
_DIMENSION = "attention_id_relative_mean"


def evaluate(
    dense: str | PathLike[str],
    pruned: Sequence[str | PathLike[str]],
    text: str,
    texts: Texts,
    *,
    labels: np.ndarray | None = None,
    detectors: Sequence[str | PathLike[str]] = (),
    text_name: str = "text",
    windows: int | None = 24,
    length: int = 512,
    dtype: str = "float32",
    device: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PruningEvaluation:
    """Measure the dense and the pruned models on the same texts.

    Args:
        dense: The model before pruning.
        pruned: Folders of ``prune apply`` and ``prune neurons``, or other models with the same tokenizer and
            blocks.
        text: Perplexity is measured on it.
        texts: Geometry and verdicts are read on these.
        labels: (text,) 0 or 1, for the AUC of the detectors.
        detectors: Shipped names or folders, fitted on the dense model.
        text_name: What the record calls the text.
        windows: Windows of the text, spread evenly; None reads all.
        length: Tokens of a window.
        dtype: Number type of all models.
        device: Such as ``cpu`` or ``cuda:0``; without it the GPU if there is one.
        progress: Called with the number of models that are done, and of all.

    Raises:
        BadModel: A model cannot be loaded, has another tokenizer or number of blocks, or is given twice.
        BadTexts: The text is too short, or no text can be read by all models.
        BadDetector: A detector cannot be loaded, or is of another model than the dense one.

    Example:
        >>> report = evaluate("smollm2-135m", ["half"], wiki, texts)  # doctest: +SKIP
        >>> report.models[1].perplexity / report.models[0].perplexity  # doctest: +SKIP
        1.9
    """
    names = [fspath(name) for name in (dense, *pruned)]
    if not pruned:
        raise BadModel("there is no pruned model to compare with; give at least one folder")
    paths = [os.path.realpath(name) if os.path.exists(name) else name for name in names]
    twice = next((names[index] for index, path in enumerate(paths) if path in paths[:index]), None)
    if twice is not None:
        raise BadModel(f"{twice} is given twice; give each model once")
    loaded: list[LoadedModel] = []
    for name in names:
        loaded.append(load_model(name, head=True, dtype=dtype, device=device))
        _require_alike(loaded[0], loaded[-1])
    measured = _perplexities(loaded, text, windows, length)
    scorers = [_detector(name, loaded[0]) for name in detectors]
    tables: list[FeatureTable] = []
    scored: list[list[list[TextScore] | None]] = []
    for each in loaded:
        tables.append(_table(each, texts))
        scored.append([_scores_on(scorer, each, texts) for scorer in scorers])
        if progress:
            progress(len(tables), len(loaded))
    ok = np.all([table.ok for table in tables], axis=0)
    if not ok.any():
        raise BadTexts(f"{texts.source}: no text can be read by all models")
    last = [Path(name).name for name in names]
    layers = anatomy_of(loaded[0].model).softmax_layers
    models = [
        ModelEffect(
            name=name,
            sparsity=1 - _nonzero(each) / sum(matrix.tensor.numel() for matrix in weight_matrices(loaded[0])),
            parameters=_parameters(each),
            perplexity=passes[0].value,
            seconds=min(result.seconds for result in passes),
            shift=_shift(tables[0], table, ok),
            dimension=tuple(float(_column(table, layer, _DIMENSION)[ok].mean()) for layer in layers),
            detectors=tuple(
                _carried(scorer, first or [], other, labels)
                for scorer, first, other in zip(scorers, scored[0], scores, strict=True)
            ),
        )
        for name, each, passes, table, scores in zip(
            last if len(set(last)) == len(last) else names, loaded, measured, tables, scored, strict=True
        )
    ]
    return PruningEvaluation(
        text=text_name,
        windows=len(measured[0][0].nll),
        length=length,
        source=texts.source,
        texts=int(ok.sum()),
        left_out=int((~ok).sum()),
        dimension_layers=layers,
        models=tuple(models),
        provenance={
            "splinelens": __version__,
            "torch": str(torch.__version__),
            "dtype": dtype,
            "device": str(loaded[0].device),
            "data_hash": texts.data_hash,
            "fingerprints": {each.name: each.fingerprint.to_dict() for each in loaded},
        },
    )


def write_report(report: PruningEvaluation, page: Path, *, overwrite: bool = False) -> None:
    """Write the page, and beside it the record as ``.json``.

    Raises:
        OutputExists: One of them exists, without ``overwrite``.
        CannotWrite: The disk is full, or plotly is missing.
    """
    html = pruning_evaluation_html(report)
    record = json.dumps(report.to_dict(), indent=1) + "\n"
    write_text(page.with_suffix(".json"), record, overwrite=overwrite)
    write_text(page, html, overwrite=overwrite)


def _nonzero(loaded: LoadedModel) -> int:
    """Weights of the blocks' matrices that are not zero."""
    return sum(int(torch.count_nonzero(matrix.tensor)) for matrix in weight_matrices(loaded))


def _parameters(loaded: LoadedModel) -> int:
    causal: Any = loaded.causal  # Any: a model of transformers
    return sum(parameter.numel() for parameter in causal.parameters())


def _require_alike(dense: LoadedModel, other: LoadedModel) -> None:
    """Refuse a model whose numbers cannot be compared with those of the dense one."""
    if other.depth != dense.depth:
        raise BadModel(
            f"{other.name} has {other.depth} blocks and {dense.name} {dense.depth}; compare it with the "
            "model that it was pruned from"
        )
    require_same_tokenizer(dense, other)


def _perplexities(
    loaded: Sequence[LoadedModel], text: str, windows: int | None, length: int
) -> list[list[Perplexity]]:
    """For each model the perplexity of several passes, the models in turn; passes differ in seconds only."""
    results: list[list[Perplexity]] = [[] for _ in loaded]
    for _ in range(_PASSES):
        for result, each in zip(results, loaded, strict=True):
            result.append(perplexity(each, text, length=length, windows=windows))
    return results


def _table(loaded: LoadedModel, texts: Texts) -> FeatureTable:
    """Spline7 and, where there is a softmax, the intrinsic dimension of each layer."""
    attention = ("attention_id",) if anatomy_of(loaded.model).softmax_layers else ()
    return read_table(TextReader(loaded, FeatureSpec(("spline7", *attention))), texts)


def _column(table: FeatureTable, layer: int, name: str) -> Float[np.ndarray, " text"]:
    names = [column.name for column in table.columns]
    return table.values[:, names.index(f"layer{layer:02}.{name}")].astype(np.float64)


def _shift(dense: FeatureTable, pruned: FeatureTable, ok: np.ndarray) -> tuple[float, ...]:
    """By layer the mean over spline7 of how far its means move, in standard deviations on the dense model."""
    layers = sum(column.name.endswith(f".{SPLINE7[0]}") for column in dense.columns)
    result = []
    for layer in range(layers):
        moved = []
        for name in SPLINE7:
            before, after = (_column(table, layer, name)[ok] for table in (dense, pruned))
            spread = before.std()
            moved.append(abs(after.mean() - before.mean()) / spread if spread else 0.0)
        result.append(float(np.mean(moved)))
    return tuple(result)


def _detector(name: str | PathLike[str], dense: LoadedModel) -> Detector:
    """A detector that was fitted on the dense model, in whatever number type.

    Raises:
        WrongModel: It was fitted on another model.
    """
    artifact = find_artifact(name)
    plan = plan_of(artifact)
    if str(dense.dtype).removeprefix("torch.") == plan.fingerprint.dtype:
        check_model(plan, dense)
    else:
        check_model(
            plan, load_model(dense.name, n_layers=plan.fingerprint.depth, dtype=plan.fingerprint.dtype)
        )
    return Detector(artifact, TextReader(dense, plan.spec, directions=plan.directions))


def _scores_on(scorer: Detector, loaded: LoadedModel, texts: Texts) -> list[TextScore] | None:
    """The scores of a detector's head on the features of another model; None if it has fewer neurons."""
    try:
        return list(scorer.carried_over(loaded).scores(texts))
    except WrongModel:
        return None


def _carried(
    scorer: Detector,
    dense: Sequence[TextScore],
    pruned: Sequence[TextScore] | None,
    labels: np.ndarray | None,
) -> CarriedDetector:
    """A detector's scores on a pruned model beside those on the dense one."""
    name = scorer.artifact.name
    if pruned is None:
        return CarriedDetector(name, reason="reads neurons that were removed")
    scores = np.array([[score.score for score in each] for each in (dense, pruned)], dtype=np.float64)
    if scorer.artifact.task != "binary":
        verdicts = np.array([[score.verdict for score in each] for each in (dense, pruned)], dtype=object)
        return compare_scores(name, scores, verdicts)
    return compare_scores(name, scores, scores >= scorer.threshold(), labels)

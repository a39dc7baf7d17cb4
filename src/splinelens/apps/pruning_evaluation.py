"""Compare pruned models with the dense one: perplexity, seconds, geometry and what detectors are worth."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
import torch

from splinelens import __version__
from splinelens.anatomy import anatomy_of
from splinelens.apps.detector import Detector, plan_of
from splinelens.detect.shipped import find_artifact
from splinelens.errors import BadFeatures, BadModel, BadTexts, CannotWrite
from splinelens.features.extract import read_table
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.features.table import FeatureTable
from splinelens.files import check_output, write_text
from splinelens.generate.likelihood import Perplexity, perplexity
from splinelens.geometry.settings import SPLINE7
from splinelens.models import LoadedModel, load_model
from splinelens.report.pruning_evaluation import DetectorEffect, ModelEffect, PruningEvaluation
from splinelens.report.pruning_evaluation_page import pruning_evaluation_html
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
    twice = next((name for index, name in enumerate(names) if name in names[:index]), None)
    if twice is not None:
        raise BadModel(f"{twice} is given twice; give each model once")
    loaded: list[LoadedModel] = []
    for name in names:
        loaded.append(load_model(name, head=True, dtype=dtype, device=device))
        _require_alike(loaded[0], loaded[-1])
    measured = _perplexities(loaded, text, windows, length)
    scorers = [Detector.load(name, model=_of_detector(loaded[0], name)) for name in detectors]
    tables, effects = [], []
    for each in loaded:
        tables.append(_table(each, texts))
        effects.append([_on(scorer, each, texts, labels) for scorer in scorers])
        if progress:
            progress(len(tables), len(loaded))
    ok = np.all([table.ok for table in tables], axis=0)
    if not ok.any():
        raise BadTexts(f"{texts.source}: no text can be read by all models")
    layers = anatomy_of(loaded[0].model).softmax_layers
    weights = sum(each.tensor.numel() for each in weight_matrices(loaded[0]))
    models = []
    for index, each in enumerate(loaded):
        left = sum(int(torch.count_nonzero(matrix.tensor)) for matrix in weight_matrices(each))
        causal: Any = each.causal  # Any: a model of transformers
        models.append(
            ModelEffect(
                name=Path(each.name).name,
                sparsity=1 - left / weights,
                parameters=sum(parameter.numel() for parameter in causal.parameters()),
                perplexity=measured[index][0].value,
                seconds=min(result.seconds for result in measured[index]),
                shift=_shift(tables[0], tables[index], ok),
                dimension=tuple(
                    float(_column(tables[index], layer, _DIMENSION)[ok].mean()) for layer in layers
                ),
                detectors=tuple(
                    _effect(scorer, effects[0][number], effects[index][number], labels)
                    for number, scorer in enumerate(scorers)
                ),
            )
        )
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


def report_files(page: Path) -> tuple[Path, Path]:
    """The page, and beside it the record as JSON."""
    return page, page.with_suffix(".json")


def write_report(report: PruningEvaluation, page: Path, *, overwrite: bool = False) -> None:
    """Write the page and its record.

    Raises:
        OutputExists: One of them exists, without ``overwrite``.
        CannotWrite: The disk is full, plotly is missing, or both have one name.
    """
    import json

    html, record = report_files(page)
    if html == record:
        raise CannotWrite(f"cannot write {page}: the page has a record beside it; let it end in .html")
    for path in (html, record):
        check_output(path, overwrite=overwrite)
    write_text(record, json.dumps(report.to_dict(), indent=1) + "\n")
    write_text(html, pruning_evaluation_html(report))

"""Where a text falls among the regions of a language model, exactly and almost for free.

A language model cuts its own inside into regions with known hyperplanes. splinelens reads, in one
forward pass, on which side of them and how far away each token lies, and turns that into scores.

The house is one walk, left to right; a file imports only from names to its left::

    errors  texts  tokens  anatomy  models  layers  weights  geometry  kernels  features
    detect  report  apps  serve  cli

Start at ``features/extract.py``: it is the whole walk in one function. The names below are all there
is at the top; each is loaded when it is first used, so ``import splinelens`` itself is instant.

Example:
    >>> import splinelens
    >>> "Detector" in dir(splinelens)
    True
    >>> issubclass(splinelens.UnknownModel, splinelens.SplinelensError)
    True
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from splinelens.apps.detector import Detector
    from splinelens.apps.inspection import inspect
    from splinelens.apps.pipelines import make_detector_pipeline
    from splinelens.errors import (
        BadDetector,
        BadFeatures,
        BadLabels,
        BadModel,
        BadTexts,
        BrokenArtifact,
        BrokenDownload,
        CannotResume,
        CannotWrite,
        MissingColumn,
        NotExplainable,
        NoTokens,
        SplinelensError,
        UnknownAnatomy,
        UnknownDetector,
        UnknownModel,
        WrongModel,
    )
    from splinelens.features.extract import extract
    from splinelens.features.look import Place, look
    from splinelens.features.slicing import slice_texts
    from splinelens.features.stream import Stream
    from splinelens.features.table import FeatureTable
    from splinelens.features.token_report import read_tokens
    from splinelens.features.transformer import GeometryFeatures
    from splinelens.layers import watch
    from splinelens.models import LoadedModel, load_model
    from splinelens.texts import Texts, read_texts

__version__ = "0.1.0"

__all__ = [
    "SplinelensError",
    "BadTexts",
    "MissingColumn",
    "BadLabels",
    "NoTokens",
    "BadModel",
    "UnknownModel",
    "BrokenDownload",
    "UnknownAnatomy",
    "BadFeatures",
    "CannotResume",
    "BadDetector",
    "UnknownDetector",
    "BrokenArtifact",
    "WrongModel",
    "NotExplainable",
    "CannotWrite",
    "Texts",
    "read_texts",
    "LoadedModel",
    "load_model",
    "watch",
    "FeatureTable",
    "extract",
    "Stream",
    "read_tokens",
    "Place",
    "look",
    "slice_texts",
    "GeometryFeatures",
    "Detector",
    "make_detector_pipeline",
    "inspect",
]

_ELSEWHERE = {
    "Texts": "texts",
    "read_texts": "texts",
    "LoadedModel": "models",
    "load_model": "models",
    "watch": "layers",
    "FeatureTable": "features.table",
    "extract": "features.extract",
    "Stream": "features.stream",
    "read_tokens": "features.token_report",
    "Place": "features.look",
    "look": "features.look",
    "slice_texts": "features.slicing",
    "GeometryFeatures": "features.transformer",
    "Detector": "apps.detector",
    "make_detector_pipeline": "apps.pipelines",
    "inspect": "apps.inspection",
}
_EXPORTS = {name: _ELSEWHERE.get(name, "errors") for name in __all__}


def __getattr__(name: str) -> object:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'splinelens' has no attribute {name!r}; there are {', '.join(__all__)}")
    value = getattr(import_module(f"splinelens.{_EXPORTS[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

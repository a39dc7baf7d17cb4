"""Toxicity scores and exact geometry from the activations of a frozen language model.

The MLPs of a language model divide its activation space by known hyperplanes. splinelens measures, in one
forward pass, on which side of them and how far away each token lies, and turns that into scores.

Start reading at ``features/reader.py``, the one reading loop. Errors are in ``splinelens.errors``. Names are
imported when they are first used, so ``import splinelens`` itself is instant.

Example:
    >>> import splinelens
    >>> "Detector" in dir(splinelens)
    True
"""

from importlib import import_module
from typing import TYPE_CHECKING

from splinelens import errors as errors

if TYPE_CHECKING:
    from splinelens.apps.adaptation import adapt as adapt
    from splinelens.apps.detector import Detector as Detector
    from splinelens.apps.evaluation import evaluate as evaluate
    from splinelens.apps.export import export as export
    from splinelens.apps.group import DetectorGroup as DetectorGroup
    from splinelens.apps.guard import Guard as Guard
    from splinelens.apps.inspection import inspect as inspect
    from splinelens.apps.pipelines import make_detector_pipeline as make_detector_pipeline
    from splinelens.apps.training import train as train
    from splinelens.features.extract import extract as extract
    from splinelens.features.look import TokenDetail as TokenDetail
    from splinelens.features.look import look as look
    from splinelens.features.slicing import slice_texts as slice_texts
    from splinelens.features.spec import FeatureSpec as FeatureSpec
    from splinelens.features.stream import Stream as Stream
    from splinelens.features.table import FeatureTable as FeatureTable
    from splinelens.features.token_report import read_tokens as read_tokens
    from splinelens.features.transformer import GeometryFeatures as GeometryFeatures
    from splinelens.generate.loop import solve as solve
    from splinelens.generate.sample import Sampling as Sampling
    from splinelens.generate.sample import Writer as Writer
    from splinelens.generate.search import search as search
    from splinelens.layers import watch as watch
    from splinelens.models import LoadedModel as LoadedModel
    from splinelens.models import load_model as load_model
    from splinelens.texts import Texts as Texts
    from splinelens.texts import read_texts as read_texts

__version__ = "0.1.0"

_MODULES = {
    "Detector": "apps.detector",
    "DetectorGroup": "apps.group",
    "FeatureSpec": "features.spec",
    "FeatureTable": "features.table",
    "GeometryFeatures": "features.transformer",
    "Guard": "apps.guard",
    "LoadedModel": "models",
    "Sampling": "generate.sample",
    "Stream": "features.stream",
    "Texts": "texts",
    "TokenDetail": "features.look",
    "Writer": "generate.sample",
    "adapt": "apps.adaptation",
    "evaluate": "apps.evaluation",
    "export": "apps.export",
    "extract": "features.extract",
    "inspect": "apps.inspection",
    "load_model": "models",
    "look": "features.look",
    "make_detector_pipeline": "apps.pipelines",
    "read_texts": "texts",
    "read_tokens": "features.token_report",
    "search": "generate.search",
    "slice_texts": "features.slicing",
    "solve": "generate.loop",
    "train": "apps.training",
    "watch": "layers",
}

__all__ = list(_MODULES)


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module 'splinelens' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(f"splinelens.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__", "errors"])

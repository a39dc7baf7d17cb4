"""A language model at hand: found by name, checked, loaded up to a depth, and known by its fingerprint.

The walk through this room, left to right::

    cache  quiet  fingerprint  wheel  tokenizer  gguf  hub  source  load  inventory

``load.py`` is the one to read first. Importing this room loads neither torch nor transformers.
"""

from splinelens.models.fingerprint import Fingerprint
from splinelens.models.inventory import Check, ModelRecord, check, list_models, pull
from splinelens.models.load import LoadedModel, load_model
from splinelens.models.wheel import ALIASES

__all__ = [
    "ALIASES",
    "Check",
    "Fingerprint",
    "LoadedModel",
    "ModelRecord",
    "check",
    "list_models",
    "load_model",
    "pull",
]

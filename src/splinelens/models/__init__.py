"""Loading language models by name, up to a depth, with an exact fingerprint.

Read ``load`` first. Importing this package loads neither torch nor transformers.
"""

from splinelens.models.aliases import ALIASES
from splinelens.models.fingerprint import Fingerprint
from splinelens.models.inventory import Check, ModelRecord, check, list_models, pull
from splinelens.models.load import LoadedModel, load_model

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

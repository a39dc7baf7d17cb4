"""One copy of a model for all users in this process, and one reader of it at a time.

Estimators of scikit-learn are cloned, pickled and sent to workers; the model stays out of all that. Each
holds a key only and gets the model when it reads.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from threading import RLock

from splinelens.models.load import LoadedModel, load_model

_READING = RLock()  # hooks of two readers on one model would see each other's texts


@dataclass(frozen=True)
class ModelKey:
    """What must be equal to share a model: arguments of ``load_model``, and when a file was last written.

    Example:
        >>> ModelKey("smollm2-135m", 6) == ModelKey("smollm2-135m", 6)
        True
    """

    name: str
    n_layers: int | None = None
    revision: str | None = None
    device: str | None = None
    cache: str | None = None
    dtype: str | None = None
    changed_ns: int = field(init=False)

    def __post_init__(self) -> None:
        try:
            path = Path(self.name)
            files = [file for file in (path, *path.glob("*")) if file.is_file()]
            changed_ns = max((file.stat().st_mtime_ns for file in files), default=0)
        except (OSError, ValueError):  # no file can have that name; load_model says so
            changed_ns = 0
        object.__setattr__(self, "changed_ns", changed_ns)


@contextmanager
def shared_model(key: ModelKey) -> Iterator[LoadedModel]:
    """The model of a key, loaded at first use; the two used last stay loaded.

    Other threads wait until the caller is done with it. Errors as in ``load_model``.
    """
    with _READING:
        yield _load(key)


def forget_models() -> None:
    """Drop all shared models; those in use live on until their users are done."""
    with _READING:
        _load.cache_clear()


@lru_cache(maxsize=2)  # one for each of two depths; on a CPU their weights are one mapped file
def _load(key: ModelKey) -> LoadedModel:
    return load_model(
        key.name,
        n_layers=key.n_layers,
        revision=key.revision,
        dtype=key.dtype,
        device=key.device,
        cache=key.cache,
    )

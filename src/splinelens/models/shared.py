"""One copy of a model for all users in this process, and one reader of it at a time.

Estimators of scikit-learn are cloned, pickled and sent to workers; the model stays out of all that. Each
holds a key only and gets the model when it reads.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import RLock

from splinelens.models.load import LoadedModel, load_model

_READING = RLock()  # hooks of two readers on one model would see each other's texts


@dataclass(frozen=True)
class ModelKey:
    """What must be equal to share a model.

    Attributes:
        name: Alias, folder, file or hub id.
        layers: Blocks loaded; None loads all.
        revision: Of a hub id.
        device: As typed; None chooses the GPU if there is one.
        cache: Folder of fetched and converted models.
        changed: When a file of a model folder was last written, in nanoseconds; 0 for other names.

    Example:
        >>> ModelKey.of("smollm2-135m", 6) == ModelKey.of("smollm2-135m", 6)
        True
    """

    name: str
    layers: int | None
    revision: str | None
    device: str | None
    cache: str | None
    changed: int

    @classmethod
    def of(
        cls,
        name: str,
        layers: int | None = None,
        revision: str | None = None,
        device: str | None = None,
        cache: str | None = None,
    ) -> "ModelKey":
        """The key of a model as it is on disk now; arguments as in ``load_model``."""
        folder = Path(name)
        files = [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else [folder]
        changed = max((path.stat().st_mtime_ns for path in files if path.is_file()), default=0)
        return cls(name, layers, revision, device, cache, changed)


@contextmanager
def shared_model(key: ModelKey) -> Iterator[LoadedModel]:
    """The model of a key, loaded at first use; the two used last stay loaded.

    Yields:
        The model; other threads wait until the caller is done with it.

    Raises:
        BadModel: The model cannot be found, fetched or loaded.
        CannotWrite: The cache cannot be written.

    Example:
        >>> with shared_model(ModelKey.of("no-such-model")) as loaded:
        ...     loaded.depth
        Traceback (most recent call last):
        ...
        splinelens.errors.UnknownModel: ...
    """
    with _READING:
        yield _load(key)


def forget_models() -> None:
    """Drop all shared models; those in use live on until their users are done."""
    with _READING:
        _load.cache_clear()


@lru_cache(maxsize=2)  # one for each of two depths; on a CPU their weights are one mapped file
def _load(key: ModelKey) -> LoadedModel:
    return load_model(key.name, key.layers, key.revision, device=key.device, cache=key.cache)

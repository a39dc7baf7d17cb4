"""One copy of a model for all who ask for the same one in this process, and one reader of it at a time.

Estimators of scikit-learn are cloned, pickled and sent to workers; the model stays out of all that.
Each holds its name only and asks here when it reads.
"""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import RLock

from splinelens.models.load import LoadedModel, load_model

_MOST = 2  # one for each depth that is tried in turn; on a CPU their weights are one file, mapped
_MODELS: "OrderedDict[ModelKey, LoadedModel]" = OrderedDict()
_READING = RLock()  # hooks of two readers on one model would see each other's texts


@dataclass(frozen=True)
class ModelKey:
    """What must be equal for two to share a model.

    Attributes:
        name: Alias, folder, file or hub id.
        layers: Blocks loaded; None stands for all.
        revision: Of a hub id.
        device: As typed; None stands for the GPU if there is one.
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
        """The key of a model as it lies on disk now; arguments as in ``load_model``."""
        folder = Path(name)
        files = [path for path in folder.iterdir() if path.is_file()] if folder.is_dir() else [folder]
        changed = max((path.stat().st_mtime_ns for path in files if path.is_file()), default=0)
        return cls(name, layers, revision, device, cache, changed)


@contextmanager
def shared_model(key: ModelKey) -> Iterator[LoadedModel]:
    """The model of a key, loaded when first asked for, and held by one thread at a time.

    The two models used last stay loaded.

    Args:
        key: Which model.

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
        if key not in _MODELS:
            loaded = load_model(key.name, key.layers, key.revision, device=key.device, cache=key.cache)
            while len(_MODELS) >= _MOST:
                _MODELS.popitem(last=False)
            _MODELS[key] = loaded
        _MODELS.move_to_end(key)
        yield _MODELS[key]


def forget_models() -> None:
    """Let go of all shared models; those in use live on until their users are done."""
    with _READING:
        _MODELS.clear()

"""Shards of texts through the actors of a Ray cluster, results in order.

Each actor loads what reads the texts once. Only the calling process writes to disk, so a run with Ray stores
its rows, resumes and reports as one without.
"""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from socket import create_connection
from typing import TYPE_CHECKING, Any, TypeVar

from splinelens import errors
from splinelens.errors import BadCluster, SplinelensError
from splinelens.files import differences

if TYPE_CHECKING:
    import pyarrow as pa

Loaded = TypeVar("Loaded")

_CONNECT_S = 5.0


@contextmanager
def connected(address: str, device: str | None = None) -> Iterator["Cluster"]:
    """Connect to a Ray cluster, or start one on this machine; one that is connected already is used.

    Ray's usage reports and dashboard are off, and what it prints goes to stderr.

    Args:
        address: ``local`` starts a cluster that ends with the body; ``auto`` is the one that runs on this
            machine, ``HOST:PORT`` that of a head node.
        device: ``cuda`` gives each actor a GPU, ``cpu`` a processor; None a GPU if the cluster has any.

    Raises:
        BadCluster: Ray is not installed, there is no cluster at the address, or it has no GPU for ``cuda``.
    """
    if find_spec("ray") is None:
        raise BadCluster("a cluster needs Ray, which is not installed: pip install 'splinelens[scale]'")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # all are read when Ray is imported or started
    os.environ.setdefault("RAY_DATA_LOG_LEVEL", "ERROR")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # else an "error" for each actor of Ray Data
    import ray

    with redirect_stdout(sys.stderr):  # Ray prints there that an actor died
        ours = not ray.is_initialized()
        if ours:
            options: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
            try:
                if ":" in address:  # Ray tries for minutes
                    host, _, port = address.rpartition(":")
                    create_connection((host, int(port)), _CONNECT_S).close()
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **options)
            except (OSError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
                raise BadCluster(
                    f"no Ray cluster answers at {address!r} ({error}); start one with 'ray start --head', or "
                    "give --ray without an address for one on this machine"
                ) from error
        try:
            yield Cluster.of(ray.cluster_resources(), device, address)
        finally:
            if ours:
                ray.shutdown()


@dataclass(frozen=True)
class Cluster:
    """A connected cluster.

    Attributes:
        actors: How many it has place for.
        gpus: Of each actor, 0 or 1.
    """

    actors: int
    gpus: int

    @classmethod
    def of(cls, resources: dict[str, float], device: str | None, address: str) -> "Cluster":
        """What actors a cluster has place for.

        Example:
            >>> Cluster.of({"CPU": 16.0, "GPU": 2.0}, None, "auto")
            Cluster(actors=2, gpus=1)
            >>> Cluster.of({"CPU": 16.0}, "cuda", "auto")
            Traceback (most recent call last):
            ...
            splinelens.errors.BadCluster: the Ray cluster at 'auto' has no GPU; ... or give --device cpu
        """
        gpus = int(resources.get("GPU", 0))
        if not (gpus if device is None else device.startswith("cuda")):
            return cls(max(1, int(resources.get("CPU", 1))), 0)
        if not gpus:
            raise BadCluster(
                f"the Ray cluster at {address!r} has no GPU; connect to one that has, or give --device cpu"
            )
        return cls(gpus, 1)

    @property
    def device(self) -> str:
        """Where the actors run models."""
        return "cuda" if self.gpus else "cpu"

    def call(self, function: Callable[[], bytes]) -> bytes:
        """Call a function that can be pickled, once, where an actor could be.

        Raises:
            SplinelensError: An error of ours that the function raised.
        """
        import ray

        task = ray.remote(num_cpus=1, num_gpus=self.gpus)(_outcome)
        return _result(*ray.get(task.remote(function)))

    def map(
        self,
        load: Callable[[], Loaded],
        run: Callable[[Loaded, Any], bytes],  # Any: plain JSON values
        shards: Sequence[Any],  # Any: plain JSON values
    ) -> Iterator[bytes]:
        """Run shards on actors.

        Where an actor or its machine dies, Ray starts another and runs its unfinished shards again.

        Args:
            load: Called once in each actor; it can be pickled, as ``run``.
            run: From what ``load`` returned and a shard to its result.
            shards: Plain JSON values.

        Yields:
            The result of each shard, in order.

        Raises:
            SplinelensError: An error of ours that ``load`` or ``run`` raised.
            BadCluster: Actors cannot be started any more.
        """
        if not shards:
            return
        import ray.data
        from ray.exceptions import RayActorError

        rows = [{"shard": json.dumps(shard)} for shard in shards]
        data = ray.data.from_items(rows, override_num_blocks=len(rows))
        data.context.execution_options.preserve_order = True
        data.context.enable_progress_bars = False
        results = data.map_batches(
            _Actor,
            batch_size=1,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=min(self.actors, len(rows))),
            fn_constructor_args=(load, run),
            num_cpus=1,
            num_gpus=self.gpus,
        )
        try:
            for row in results.iter_rows():
                yield _result(row["result"], row["error"])
        except RayActorError as error:
            raise BadCluster(
                f"the Ray cluster lost its actors: {error}; finished rows are kept, and the same command "
                "continues after them"
            ) from error


def require_equal(expected: dict[str, Any], here: dict[str, Any]) -> None:  # Any: plain JSON values
    """Refuse a machine of a cluster that would compute other numbers.

    Args:
        expected: Provenance of the machine that was asked first.
        here: That of this machine; only its keys are compared, but for those of the texts.

    Raises:
        BadCluster: The message says what differs.

    Example:
        >>> require_equal({"torch": "2.13"}, {"torch": "2.11"})
        Traceback (most recent call last):
        ...
        splinelens.errors.BadCluster: machines of the Ray cluster differ: torch was '2.13' and is '2.11'; ...
    """
    ours = json.loads(json.dumps({key: here[key] for key in here if key not in ("texts", "data_hash")}))
    if different := differences({key: expected[key] for key in ours}, ours):
        raise BadCluster(
            f"machines of the Ray cluster differ: {'; '.join(different)}; install the same there"
        )


class _Actor:
    """A process of the cluster that holds what ``load`` returns."""

    def __init__(self, load: Callable[[], Any], run: Callable[[Any, Any], bytes]):  # Any: as in map
        self._load, self._run = load, run

    @cached_property
    def _loaded(self) -> Any:  # Any: what load returns
        return self._load()

    def __call__(self, batch: "pa.Table") -> "pa.Table":
        import pyarrow as pa

        shard = json.loads(batch["shard"][0].as_py())
        result, error = _outcome(lambda: self._run(self._loaded, shard))
        return pa.table(
            {"result": pa.array([result], pa.large_binary()), "error": pa.array([error], pa.string())}
        )


def _outcome(function: Callable[[], bytes]) -> tuple[bytes | None, str | None]:
    """What a function returns, or the error of ours that it raises, as JSON: Ray would wrap it."""
    try:
        return function(), None
    except SplinelensError as error:
        return None, json.dumps([type(error).__name__, str(error)])


def _result(result: bytes | None, error: str | None) -> bytes:
    """What ``_outcome`` called returned.

    Raises:
        SplinelensError: The error that it raised.
    """
    if result is not None:
        return result
    assert error is not None
    name, message = json.loads(error)
    raise getattr(errors, name)(message)

"""Load the reader of a detector's features: of several detectors at once, in PyTorch or as a graph.

A graph is that of an exported folder, or one that is made once and kept in the cache.
"""

import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

from splinelens import __version__
from splinelens.engines.compiled import (
    GRAPH_FORMAT,
    PRECISIONS,
    CompiledModel,
    has_gpu,
    read_record,
    require_runtime,
    runtime_installed,
    runtime_version,
)
from splinelens.errors import (
    BadFeatures,
    BadModel,
    BrokenArtifact,
    CannotWrite,
    UnknownModel,
    WrongModel,
)
from splinelens.features.catalogue import VERSION
from splinelens.features.reader import TextReader, require_compilable
from splinelens.features.spec import FeatureSpec
from splinelens.geometry.directions import Directions
from splinelens.models import Fingerprint, LoadedModel, load_model
from splinelens.models.cache import cache_folder, publish, working_folder
from splinelens.models.load import require_unset

EngineName = Literal["auto", "torch", "compiled"]
"""What runs the model: PyTorch, a graph made for one detector, or the latter where it can be."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class ReaderPlan:
    """What a detector, or several together, or a range read of which model.

    Attributes:
        name: Whose plan it is, as messages say it: ``detector toxicity``.
        model: Where the model comes from: ``name`` and, of a hub, ``revision``.
        fingerprint: Of the blocks that are read.
        spec: The features.
        directions: Learned hyperplanes, if the features read margins to them.
        digest: Hash of all that decides the features.
        parts: The plans of the single detectors, if there are several.
    """

    name: str
    model: dict[str, Any]  # Any: plain JSON values
    fingerprint: Fingerprint
    spec: FeatureSpec
    directions: Directions | None
    digest: str
    parts: tuple["ReaderPlan", ...] = ()

    @classmethod
    def of(
        cls,
        name: str,
        model: Mapping[str, Any],  # Any: plain JSON values
        spec: Mapping[str, Any],  # Any: likewise
        directions: Directions | None = None,
        digest: str = "",
    ) -> "ReaderPlan":
        """From what an artifact states of its model and features.

        Raises:
            BrokenArtifact: The statements are damaged.
            WrongModel: They are of another version of the catalogue.
        """
        try:
            fingerprint = Fingerprint.from_dict(model.get("fingerprint", {}))
            features = FeatureSpec.from_dict(dict(spec))
        except (BadFeatures, BadModel) as error:
            raise BrokenArtifact(f"{name} is damaged: {error}; fetch or fit it again") from error
        if features.version != VERSION:
            raise WrongModel(
                f"{name} was fitted with version {features.version} of the feature catalogue, this is "
                f"version {VERSION}; fit it again"
            )
        return cls(name, dict(model), fingerprint, features, directions, digest)


def load_reader(
    plan: ReaderPlan,
    *,
    exported: Path | None = None,
    compile_once: bool = False,
    engine: EngineName = "auto",
    model: LoadedModel | str | PathLike[str] | None = None,
    device: str | None = None,
    dtype: str | None = None,
    batch_tokens: int | None = None,
) -> TextReader:
    """Load the model, or its graph, and bind it to the features.

    Args:
        plan: What is read.
        exported: Folder of an exported detector.
        compile_once: Whether ``auto`` makes a graph that is not in the cache.
        engine: As in ``Detector.load``.
        model: As in ``Detector.load``.
        device: As in ``Detector.load``.
        dtype: As in ``Detector.load``.
        batch_tokens: As in ``Detector.load``.

    Raises:
        BadFeatures: The engine is unknown, or asked for and cannot run this.
        BrokenArtifact: An exported folder is damaged.
        WrongModel: The model is another one than that of the plan.
        UnknownModel: It is not there.
        BadModel: It cannot be loaded, or ``device`` or ``dtype`` are given for a loaded one.
    """

    def bound(loaded: LoadedModel | CompiledModel) -> TextReader:
        return TextReader(loaded, plan.spec, batch_tokens=batch_tokens, directions=plan.directions)

    def torch_reader() -> TextReader:
        return load_reader(plan, engine="torch", device="cpu", dtype="float32")

    chosen = _engine(engine, given=model is not None, device=device, dtype=dtype)
    if chosen == "auto" and exported is None and device is None and has_gpu():
        chosen = "torch"
    if chosen != "torch":
        try:
            graph = _graph(plan, exported, compile_once or chosen == "compiled", dtype, torch_reader)
        except (BadFeatures, CannotWrite):
            if chosen == "compiled" or exported is not None:
                raise
            graph = None  # no architecture or feature that can be compiled, or no room on the disk
        if graph is not None:
            try:
                return bound(graph)
            except BrokenArtifact:
                if exported is not None:
                    raise
                shutil.rmtree(graph.folder)  # of the cache: make it again
                return bound(CompiledModel(_cached_graph(plan, torch_reader), graph.precision))
    if isinstance(model, LoadedModel):
        require_unset("load_model: the model", device=device, dtype=dtype)
        loaded = model
    else:
        loaded = _load_model(plan, model, device)
    check_model(plan, loaded)
    if dtype not in (None, plan.fingerprint.dtype):  # it is the right model: now in the other number type
        name, revision = loaded.name, loaded.revision
        del loaded
        loaded = load_model(
            name, n_layers=plan.fingerprint.depth, revision=revision, dtype=dtype, device=device
        )
    return bound(loaded)


def check_model(plan: ReaderPlan, model: LoadedModel) -> None:
    """Refuse another model than that of the plan, and say what differs.

    Raises:
        WrongModel: It has fewer blocks or another fingerprint.
    """
    for part in plan.parts:
        check_model(part, model)
    depth = plan.fingerprint.depth
    if model.depth < depth:
        raise WrongModel(
            f"{plan.name} reads {depth} blocks; of {model.name} {model.depth} are "
            f"loaded: load_model(..., n_layers={depth})"
        )
    difference = plan.fingerprint.difference(model.fingerprint_at(depth))
    if difference:
        raise WrongModel(
            f"{plan.name} was fitted with another model than {model.name}: {difference}. It "
            f"needs {plan.model['name']}; or fit one for yours with --model"
        )


def _engine(engine: str, *, given: bool, device: str | None, dtype: str | None) -> str:
    """The engine to try: ``torch``, ``compiled``, or ``auto`` where a graph may run."""
    of_variable = ""
    if engine == "auto" and (named := os.environ.get("SPLINELENS_ENGINE")):
        engine, of_variable = named, " (SPLINELENS_ENGINE)"
    if engine not in get_args(EngineName):
        raise BadFeatures(f"engine {engine!r}{of_variable} is not one of {', '.join(get_args(EngineName))}")
    unfit = given or str(device or "cpu").partition(":")[0] != "cpu"
    if engine == "compiled" and unfit:
        raise BadFeatures(
            f"the compiled engine{of_variable} runs its own model on the CPU: leave out model and device "
            "(command line: --model, --device)"
        )
    if engine == "auto" and (unfit or not runtime_installed() or _name(dtype) not in (None, *PRECISIONS)):
        return "torch"
    return engine


def _graph(
    plan: ReaderPlan,
    exported: Path | None,
    make: bool,
    dtype: str | None,
    torch_reader: Callable[[], TextReader],
) -> CompiledModel | None:
    """The graph of an exported folder, or of the cache; None if it is not there and not to be made."""
    if exported is not None:
        graph = CompiledModel(exported, _name(dtype))
    elif make or _graph_folder(plan).is_dir():
        graph = CompiledModel(_cached_graph(plan, torch_reader), _name(dtype))
    else:
        return None  # a graph for each detector that is tried would cost minutes and much of the disk
    difference = replace(plan.fingerprint, dtype="float32").difference(graph.fingerprint)
    if difference:
        raise WrongModel(
            f"{plan.name} was fitted with another model than {graph.folder} has: {difference}; "
            "export it again"
        )
    return graph


def _graph_folder(plan: ReaderPlan) -> Path:
    """Where the cache has the graph, if it was made."""
    require_runtime()
    made_by = f"{plan.digest} openvino {runtime_version()} {__version__} format {GRAPH_FORMAT}"
    return cache_folder() / "graphs" / hashlib.sha256(made_by.encode()).hexdigest()[:16]


def _cached_graph(plan: ReaderPlan, torch_reader: Callable[[], TextReader]) -> Path:
    """The folder of the graph in the cache, made if it is not there."""
    require_compilable(plan.spec)
    target = _graph_folder(plan)
    if target.is_dir():
        try:
            read_record(target)
            return target
        except BrokenArtifact:  # a file is missing or of another version: make it again
            shutil.rmtree(target)
    _log.warning("compiling %s once, half a minute or more; SPLINELENS_ENGINE=torch does without", plan.name)
    reader = torch_reader()
    size = sum(parameter.nbytes for parameter in reader.torch_engine.model.parameters())
    with working_folder(cache_folder(), size) as folder:
        if not target.is_dir():
            (folder / "graph").mkdir()
            reader.export_graph(folder / "graph")
            publish(folder / "graph", target)
    return target


def _load_model(plan: ReaderPlan, name: str | PathLike[str] | None, device: str | None) -> LoadedModel:
    """The blocks that are read, of the plan's own model or of one that is named."""
    depth, dtype = plan.fingerprint.depth, plan.fingerprint.dtype
    source = plan.model["name"] if name is None else name
    revision = plan.model.get("revision") if name is None else None
    try:
        return load_model(source, n_layers=depth, revision=revision, dtype=dtype, device=device)
    except UnknownModel as error:
        if name is not None:
            raise
        raise UnknownModel(
            f"{plan.name} was fitted with the model {source}, which is not there; say where it "
            "is now: --model FOLDER (Python: model=)"
        ) from error
    except (BadFeatures, BadModel) as error:
        if name is None or type(error) not in (BadFeatures, BadModel):
            raise
        raise WrongModel(f"{plan.name} needs {depth} blocks of {plan.model['name']}: {error}") from error


def _name(dtype: str | None) -> str | None:
    """A number type without the module of PyTorch."""
    return None if dtype is None else str(dtype).removeprefix("torch.")

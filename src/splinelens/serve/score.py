"""Our own wire format: everything that the library says of a text, and its geometry."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, model_validator

from splinelens import __version__
from splinelens.detect.artifact import Artifact
from splinelens.engines.compiled import CompiledModel
from splinelens.errors import Overloaded
from splinelens.models import LoadedModel
from splinelens.serve.requests import MAX_BODY_BYTES, Refused, Share, Strings
from splinelens.serve.service import CHARACTERS_PER_TOKEN, MAX_INPUTS, Records, ScoringService

MAX_GEOMETRY_WAITING = 8

Json = dict[str, Any]  # Any: JSON values


class ScoreRequest(BaseModel):
    """Texts, one or a list; ``fpr`` is one of the rates that thresholds were stored for."""

    texts: Strings | None = None
    text: str | None = None
    explain: bool = False
    fpr: Share = 0.05

    @model_validator(mode="after")
    def _check(self) -> "ScoreRequest":
        if (self.texts is None) == (self.text is None):
            raise ValueError("give either text or texts")
        return self


class ScoreResponse(BaseModel):
    """For each text the record of each detector; and what computed it.

    With ``--novelty`` also how each text compares with ordinary traffic, else an empty list.
    """

    results: list[dict[str, Json]]
    novelty: list[Json]
    provenance: Json


class GeometryRequest(BaseModel):
    """One text, of at most one window of tokens: 256 with the shipped detectors."""

    text: str


class GeometryResponse(BaseModel):
    """Numbers a token and layer, from PyTorch; ``contributions`` are those of ``spans`` by detector."""

    spans: list[list[int]]
    layers: list[int]
    sign: list[list[float]]
    boundary: list[list[float]]
    records: dict[str, Json]


class Geometry:
    """Reads every token at every layer with PyTorch; the model is loaded when it is first needed.

    It takes as much memory as its weights, and passes share the processor with those that score.
    """

    def __init__(self, artifact: Artifact):
        self._artifact = artifact
        self._model: LoadedModel | None = None
        self._lock, self._waiting = asyncio.Lock(), 0

    async def read(self, text: str) -> Any:  # Any: a TokenReport, which would import torch
        """The report of one text, one text at a time.

        Raises:
            Overloaded: Too many texts wait.
        """
        self.require_room()
        self._waiting += 1
        try:
            async with self._lock:
                return await asyncio.to_thread(self._read, text)
        finally:
            self._waiting -= 1

    def require_room(self) -> None:
        """Refuse a text that would wait too long.

        Raises:
            Overloaded: Too many texts wait.
        """
        if self._waiting >= MAX_GEOMETRY_WAITING:
            raise Overloaded(f"{self._waiting} texts wait for their geometry; try again later")

    def _read(self, text: str) -> Any:  # Any: as above
        from splinelens.features.token_report import read_tokens
        from splinelens.models import load_model

        model, spec = self._artifact.model, self._artifact.spec
        if self._model is None:
            depth = model["fingerprint"]["depth"]
            self._model = load_model(model["name"], n_layers=depth, revision=model.get("revision"))
        return read_tokens(
            text,
            self._model,
            prompt=spec.get("prompt") or "",
            attention=False,
        )


def router(service: ScoringService, calibrated: Sequence[str] = ()) -> APIRouter:
    """The routes of scores, geometry and what is served."""
    routes, artifacts = APIRouter(tags=["splinelens"]), service.group.artifacts
    provenance = served(service, calibrated)
    deepest = max(artifacts.values(), key=lambda artifact: artifact.model["fingerprint"]["depth"])
    geometry, window = Geometry(deepest), int(deepest.spec["max_tokens"])

    @routes.post("/v1/score")
    async def score(request: ScoreRequest) -> ScoreResponse:
        """Scores, verdicts, thresholds and, with ``explain``, what each token, word and sentence adds."""
        texts = [request.text] if request.text is not None else request.texts or []
        rows = await service.score(texts, explain=request.explain, fpr=request.fpr)
        results = [_result(records, artifacts, request.fpr) for records in rows]
        compared = await service.watch(texts) if service.novelty else []
        novelty = [{key: value for key, value in one.to_dict().items() if key != "row"} for one in compared]
        return ScoreResponse(results=results, novelty=novelty, provenance=provenance)

    @routes.post("/v1/geometry")
    async def geometry_of(request: GeometryRequest) -> GeometryResponse:
        """Share of positive gates and nearest boundary, a token and layer, and explanations."""
        geometry.require_room()
        (records,) = await service.score([request.text], explain=True)
        record = records[deepest.name]
        if not record.tokens:
            raise Refused(400, f"the text {record.reason}", param="text")
        if record.tokens > window:
            raise Refused(400, f"the text has {record.tokens:,} tokens, more than {window}", param="text")
        report = await geometry.read(request.text)
        return GeometryResponse(
            spans=[list(span) for span in report.spans],
            layers=report.layers,
            sign=_rounded(report.sign),
            boundary=_rounded(report.boundary),
            records=_result(records, artifacts, 0.05),
        )

    @routes.get("/info")
    async def info() -> Json:
        """What is served, and the limits."""
        return provenance

    return routes


def served(service: ScoringService, calibrated: Sequence[str] = ()) -> Json:
    """What is served, with what, and within which limits, as JSON values."""
    detectors, passes = {}, service.group.passes
    for name, artifact in service.group.artifacts.items():
        detectors[name] = {
            "task": artifact.task,
            "labels": list(artifact.labels),
            "negative": artifact.negative,
            "thresholds": {
                label: {f"{stored.target:g}": stored.score for stored in own}
                for label, own in zip(artifact.labels, artifact.thresholds, strict=True)
            },
            "explained": artifact.inseparable is None,
            "languages": artifact.training.get("languages", []),
            "fingerprint": artifact.digest,
        }
    loaded, novelty = passes[0][0].loaded, {}
    if service.novelty is not None:
        fitted = service.novelty.artifact
        novelty["novelty"] = {
            "rate": fitted.rate,
            "texts": len(fitted.tokens),
            "contrastive": fitted.head is not None,
            "fingerprint": fitted.digest,
        }
    return {
        "version": __version__,
        "model": loaded.name,
        "engine": "compiled" if isinstance(loaded, CompiledModel) else "torch",
        "passes": len(passes),
        "calibrated": list(calibrated),
        "detectors": detectors,
        **novelty,
        "limits": {
            "body_bytes": MAX_BODY_BYTES,
            "texts": MAX_INPUTS,
            "text_characters": CHARACTERS_PER_TOKEN * service.max_text_tokens,
            "text_tokens": service.max_text_tokens,
            "waiting_texts": service.max_waiting,
        },
    }


def _rounded(values: Any) -> list[list[float]]:  # Any: an array, which would import NumPy
    """Four significant digits: distances to boundaries are small."""
    return [[float(f"{value:.4g}") for value in row] for row in values.tolist()]


def _result(records: Records, artifacts: Mapping[str, Artifact], fpr: float) -> dict[str, Json]:
    """The records of one text, with the thresholds that they were compared with."""
    result = {}
    for name, record in records.items():
        limits = dict(zip(artifacts[name].labels, artifacts[name].limits(fpr), strict=True))
        values = {key: value for key, value in asdict(record).items() if value is not None and key != "row"}
        result[name] = {**values, "score": record.score, "thresholds": limits}
    return result

"""The wire format of OpenAI's moderations, for its clients and for LiteLLM's ``openai_moderation``.

Our labels cover three of the 13 categories; the others are not measured: ``false``, 0 and an empty list. A
text without a verdict is flagged, with a score of 1 in every measured category: no client takes it for safe.
"""

from typing import Annotated, Any, Literal
from uuid import uuid4

from fastapi import APIRouter
from pydantic import BaseModel, Field

from splinelens.report.measures import TOXIC, Measure, find_measures, scores_or_reason
from splinelens.serve.requests import Refused, Share, Strings
from splinelens.serve.service import Records, ScoringService

CATEGORIES = (
    "harassment",
    "harassment/threatening",
    "hate",
    "hate/threatening",
    "illicit",
    "illicit/violent",
    "self-harm",
    "self-harm/instructions",
    "self-harm/intent",
    "sexual",
    "sexual/minors",
    "violence",
    "violence/graphic",
)
MEASURED = {"harassment": TOXIC, "harassment/threatening": "threat", "hate": "identity_hate"}
"""Which label measures a category."""

_TYPES = {401: "invalid_request_error", 429: "rate_limit_error"}


class TextPart(BaseModel):
    """A part of one input."""

    type: Literal["text"]
    text: str


class ImagePart(BaseModel):
    """An image, which is refused."""

    type: Literal["image_url"]


Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


class ModerationRequest(BaseModel):
    """What the client sends; ``explain`` and ``fpr`` are ours (``extra_body`` of the Python client)."""

    input: str | Strings | Annotated[list[Part], Field(fail_fast=True)]
    model: str | None = None
    explain: bool = False
    fpr: Share = 0.05


class Moderation(BaseModel):
    """The result of one text. What follows ``category_applied_input_types`` is ours."""

    flagged: bool
    categories: dict[str, bool]
    category_scores: dict[str, float]
    category_applied_input_types: dict[str, list[str]]
    verdict: Literal["flagged", "clean", "undetermined"]
    reason: str | None = None
    thresholds: dict[str, float]
    spans: list[dict[str, Any]] | None = None  # Any: numbers of two types


class ModerationResponse(BaseModel):
    """The results, one a text; ``detectors`` has the fingerprint of each."""

    id: str
    model: str
    results: list[Moderation]
    detectors: dict[str, str]


def router(service: ScoringService) -> APIRouter:
    """The route of moderations."""
    routes, artifacts = APIRouter(tags=["OpenAI"]), service.group.artifacts
    measures = find_measures(artifacts)
    measured = {name: measures[label] for name, label in MEASURED.items() if label in measures}
    digests = {name: artifact.digest for name, artifact in artifacts.items()}

    @routes.post("/v1/moderations", response_model_exclude_none=True)
    async def moderations(request: ModerationRequest) -> ModerationResponse:
        """Flag texts, as OpenAI's endpoint of this name."""
        if not measured:
            raise Refused(400, "no detector that is served measures a category: serve toxicity or types, too")
        texts = _texts(request.input)
        rows = await service.score(texts, explain=request.explain, fpr=request.fpr)
        thresholds = {name: each.threshold(artifacts, request.fpr) for name, each in measured.items()}
        return ModerationResponse(
            id=f"modr-{uuid4().hex}",
            model=request.model or "+".join(artifacts),
            results=[_moderation(records, measured, thresholds) for records in rows],
            detectors=digests,
        )

    return routes


def error_body(refused: Refused) -> dict[str, Any]:  # Any: JSON values
    """An error as OpenAI writes it."""
    status = refused.status_code
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": refused.detail, "type": kind, "param": refused.param, "code": refused.code}}


def _texts(given: str | list[str] | list[TextPart | ImagePart]) -> list[str]:
    """The texts to score; the parts of one input are one text."""
    if isinstance(given, str):
        return [given]
    if any(isinstance(part, ImagePart) for part in given):
        raise Refused(400, "images are not scored; send text only", param="input", code="unsupported_input")
    parts = [part.text for part in given if isinstance(part, TextPart)]
    return ["\n".join(parts)] if parts else [text for text in given if isinstance(text, str)]


def _moderation(records: Records, measured: dict[str, Measure], thresholds: dict[str, float]) -> Moderation:
    scored = scores_or_reason(records, measured)
    reason = scored if isinstance(scored, str) else None
    known = dict.fromkeys(measured, 1.0) if isinstance(scored, str) else scored
    scores = dict.fromkeys(CATEGORIES, 0.0) | known
    fired = dict.fromkeys(CATEGORIES, False)
    for name, measure in measured.items():
        fired[name] = reason is not None or measure.fired(records)
    flagged = any(fired.values())
    verdict: Literal["flagged", "clean", "undetermined"] = "flagged" if flagged else "clean"
    spans = next((records[each.detector].words for each in measured.values()), None)
    return Moderation(
        flagged=flagged,
        categories=fired,
        category_scores=scores,
        category_applied_input_types={name: ["text"] if name in measured else [] for name in CATEGORIES},
        verdict="undetermined" if reason is not None else verdict,
        reason=reason,
        thresholds=thresholds,
        spans=None if spans is None else [vars(span) for span in spans],
    )

"""The wire format of the Perspective API, so that its clients change one address.

A comment without a verdict is an error, as it was there. A calibration maps our scores to those of the API.
"""

import json
import math
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from splinelens.apps.perspective import attribute_measures
from splinelens.detect.monotone import MonotoneMap
from splinelens.report.measures import Measure, scores_or_reason
from splinelens.serve.requests import Refused, Share, Strings
from splinelens.serve.service import CHARACTERS_PER_TOKEN, Records, ScoringService

LANGUAGE = "en"
"""The only language that the shipped detectors were measured in."""

_ATTRIBUTE = re.compile("[A-Z_]{1,40}")  # another name may be a text
_STATUS = {401: "UNAUTHENTICATED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}


class Comment(BaseModel):
    """The text."""

    text: str


class AttributeParameters(BaseModel):
    """What is requested of one attribute."""

    scoreThreshold: Share | None = None  # noqa: N815 - Google's names, here and below


class AnalyzeRequest(BaseModel):
    """What the client sends; other fields of the API are accepted and not used."""

    comment: Comment
    requestedAttributes: dict[str, AttributeParameters | None] = Field(min_length=1)  # noqa: N815
    spanAnnotations: bool | None = None  # noqa: N815
    languages: Strings | None = None
    clientToken: str | None = None  # noqa: N815


class Score(BaseModel):
    """A probability."""

    value: float
    type: Literal["PROBABILITY"] = "PROBABILITY"


class SpanScore(BaseModel):
    """The score of some characters."""

    begin: int
    end: int
    score: Score


class AttributeScores(BaseModel):
    """The scores of one attribute."""

    summaryScore: Score  # noqa: N815
    spanScores: list[SpanScore]  # noqa: N815


class AnalyzeResponse(BaseModel):
    """The scores; ``languagesNotMeasured`` is ours: scores in these languages were never measured."""

    attributeScores: dict[str, AttributeScores]  # noqa: N815
    languages: list[str]
    clientToken: str | None = None  # noqa: N815
    languagesNotMeasured: list[str] | None = None  # noqa: N815


def router(service: ScoringService, calibration: Mapping[str, MonotoneMap]) -> APIRouter:
    """The routes of the discovery document and of ``comments.analyze``."""
    routes = APIRouter(tags=["Perspective"])
    attributes = attribute_measures(service.group.artifacts)
    document = json.loads(files("splinelens.serve").joinpath("discovery.json").read_text("utf-8"))

    @routes.get("/$discovery/rest")
    async def discovery(request: Request) -> dict[str, Any]:  # Any: JSON values
        """The discovery document, which Google's clients build themselves from."""
        address = str(request.base_url)
        return {**document, "rootUrl": address, "baseUrl": address}

    @routes.post("/v1alpha1/comments:analyze", response_model_exclude_none=True)
    async def analyze(request: AnalyzeRequest) -> AnalyzeResponse:
        """Score one comment, as the Perspective API."""
        text = request.comment.text
        if unknown := [name for name in request.requestedAttributes if name not in attributes]:
            known = all(map(_ATTRIBUTE.fullmatch, unknown))
            named = f"Attribute {', '.join(unknown[:10])} is" if known else "An attribute is"
            raise Refused(
                400,
                f"{named} not measured here; those that are: {', '.join(attributes)}",
                param="requestedAttributes",
            )
        if len(text) > (most := CHARACTERS_PER_TOKEN * service.max_text_tokens):
            raise Refused(400, f"The comment has more than {most:,} characters.", code="comment_too_long")
        (records,) = await service.score([text], explain=bool(request.spanAnnotations))
        requested = {name: attributes[name] for name in request.requestedAttributes}
        scores = scores_or_reason(records, requested)
        if isinstance(scores, str):
            tokens = max(record.tokens for record in records.values())
            kind = (
                "too_long"
                if tokens > service.max_text_tokens
                else "undetermined"
                if text.strip()
                else "empty"
            )
            raise Refused(400, f"The comment {scores}.", code=f"comment_{kind}")
        answer = {}
        for name, score in scores.items():
            value = _mapped(score, calibration.get(name))
            parameters = request.requestedAttributes[name]
            if value >= ((parameters and parameters.scoreThreshold) or 0.0):
                spans = _spans(records, attributes[name], calibration.get(name))
                whole = SpanScore(begin=0, end=len(text), score=Score(value=value))
                answer[name] = AttributeScores(summaryScore=whole.score, spanScores=spans or [whole])
        others = [name for name in request.languages or () if name.partition("-")[0].lower() != LANGUAGE]
        return AnalyzeResponse(
            attributeScores=answer,
            languages=request.languages or [LANGUAGE],
            clientToken=request.clientToken,
            languagesNotMeasured=others or None,
        )

    return routes


def error_body(refused: Refused) -> dict[str, Any]:  # Any: JSON values
    """An error as Google writes it."""
    status = refused.status_code
    word = _STATUS.get(status, "INTERNAL" if status >= 500 else "INVALID_ARGUMENT")
    error: dict[str, Any] = {"code": status, "message": refused.detail, "status": word}
    if refused.code is not None:
        kind = "type.googleapis.com/google.commentanalyzer.v1alpha1.Error"
        error["details"] = [{"@type": kind, "errorType": refused.code.upper()}]
    return {"error": error}


def _mapped(score: float, calibration: MonotoneMap | None) -> float:
    return score if calibration is None else float(calibration.at(score))


def _spans(records: Records, measure: Measure, calibration: MonotoneMap | None) -> list[SpanScore]:
    """The words of a text, each with the score of a text in which nothing else contributes.

    None where they were not asked for, or another label of the detector is explained.
    """
    record = records[measure.detector]
    if record.words is None or record.constant is None or record.explained not in (None, measure.label):
        return []
    logits = [record.constant + word.contribution for word in record.words]
    scores = [_mapped(0.5 * (1 + math.tanh(0.5 * logit)), calibration) for logit in logits]
    return [
        SpanScore(begin=word.begin, end=word.end, score=Score(value=score))
        for word, score in zip(record.words, scores, strict=True)
    ]

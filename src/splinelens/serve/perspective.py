"""The wire format of the Perspective API, so that its clients change one address.

TOXICITY comes from the first binary detector, the five others from the labels of ``types``. A comment without
a verdict is an error, as it was there. A calibration maps our scores to those of the old API per attribute.
"""

import json
import math
from collections.abc import Callable, Mapping
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field, TypeAdapter, ValidationError, model_validator

from splinelens.errors import CannotServe
from splinelens.serve.measures import TOXIC, Measure, undetermined
from splinelens.serve.requests import Refused
from splinelens.serve.service import Records, ScoringService

ATTRIBUTES = {
    "TOXICITY": TOXIC,
    "SEVERE_TOXICITY": "severe_toxic",
    "IDENTITY_ATTACK": "identity_hate",
    "INSULT": "insult",
    "PROFANITY": "obscene",
    "THREAT": "threat",
}
"""Which label measures an attribute."""

LANGUAGE = "en"
"""The only language that the shipped detectors were measured in."""

Scale = Callable[[float], float]
"""Maps our scores to others."""

_STATUS = {401: "UNAUTHENTICATED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED", 503: "UNAVAILABLE"}


class ScoreMap(BaseModel):
    """A monotone map of scores: straight lines between points, constant before and after them.

    Example:
        >>> ScoreMap(x=[0.0, 0.5, 1.0], y=[0.1, 0.2, 0.8])(0.75)
        0.5
    """

    x: list[float] = Field(min_length=2)
    y: list[float] = Field(min_length=2)

    @model_validator(mode="after")
    def _check(self) -> "ScoreMap":
        if len(self.x) != len(self.y):
            raise ValueError("x and y have not the same length")
        if not all(0 <= value <= 1 for value in (*self.x, *self.y)):
            raise ValueError("a score is not between 0 and 1")
        if any(a >= b for a, b in pairwise(self.x)) or any(a > b for a, b in pairwise(self.y)):
            raise ValueError("x does not rise, or y falls")
        return self

    def __call__(self, score: float) -> float:
        """The score on the other scale."""
        return float(np.interp(score, self.x, self.y))


def read_calibration(path: Path) -> dict[str, ScoreMap]:
    """Read the maps that ``splinelens calibrate`` wrote, by attribute.

    Raises:
        CannotServe: The file cannot be read, or holds something else; the message says where.
    """
    again = "write it again with splinelens calibrate"
    try:
        maps = TypeAdapter(dict[str, ScoreMap]).validate_json(path.read_bytes())
    except OSError as error:
        raise CannotServe(f"cannot read the calibration {path}: {error.strerror}; {again}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise CannotServe(f"the calibration {path} is damaged at {where}: {first['msg']}; {again}") from error
    if unknown := sorted(maps.keys() - ATTRIBUTES.keys()):
        raise CannotServe(f"the calibration {path} names {unknown[0]}; it may name {', '.join(ATTRIBUTES)}")
    return maps


class Comment(BaseModel):
    """The text."""

    text: str


class AttributeParameters(BaseModel):
    """What is asked of one attribute."""

    scoreThreshold: float = 0.0  # noqa: N815 - Google's names, here and below


class AnalyzeRequest(BaseModel):
    """What the client sends; other fields of the API are accepted and not used."""

    comment: Comment
    requestedAttributes: dict[str, AttributeParameters] = Field(min_length=1)  # noqa: N815
    spanAnnotations: bool = False  # noqa: N815
    languages: list[str] = []
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


def router(
    service: ScoringService, measures: dict[str, Measure], calibration: Mapping[str, Scale]
) -> APIRouter:
    """The routes of the discovery document and of ``comments.analyze``."""
    routes = APIRouter(tags=["Perspective"])
    attributes = {name: measures[label] for name, label in ATTRIBUTES.items() if label in measures}
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
            raise Refused(
                400,
                f"Attribute {unknown[0]:.100} is not measured here; those that are: {', '.join(attributes)}",
                param="requestedAttributes",
            )
        (records,) = await service.score([text], explain=request.spanAnnotations)
        reason = undetermined(records, (attributes[name] for name in request.requestedAttributes))
        if reason is not None:
            raise Refused(400, f"The comment {reason}.", code=_error_type(reason))
        scores = {}
        for name, asked in request.requestedAttributes.items():
            scale = calibration.get(name, float)
            score = scale(attributes[name].score(records))
            if score >= asked.scoreThreshold:
                spans = _spans(records, attributes[name], len(text), scale)
                scores[name] = AttributeScores(summaryScore=Score(value=score), spanScores=spans)
        others = [name for name in request.languages if name.partition("-")[0].lower() != LANGUAGE]
        return AnalyzeResponse(
            attributeScores=scores,
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


def _error_type(reason: str) -> str:
    if "more than the limit" in reason:
        return "comment_too_long"
    return "comment_empty" if "is empty" in reason or "white space" in reason else "comment_undetermined"


def _spans(records: Records, measure: Measure, characters: int, scale: Scale) -> list[SpanScore]:
    """The words of a text, each with the score of a text in which nothing else contributes.

    Where they were not asked for, or another label of the detector is explained, the text as a whole.
    """
    record = records[measure.detector]
    explained = record.explained in (None, measure.label)
    if record.words is None or record.constant is None or not explained:
        whole = Score(value=scale(measure.score(records)))
        return [SpanScore(begin=0, end=characters, score=whole)]
    single = [scale(_sigmoid(record.constant + word.contribution)) for word in record.words]
    return [
        SpanScore(begin=word.begin, end=word.end, score=Score(value=score))
        for word, score in zip(record.words, single, strict=True)
    ]


def _sigmoid(logit: float) -> float:
    return 0.5 * (1 + math.tanh(0.5 * logit))

"""The wire formats of guardrails: the three remote engines of NeMo's ``hf_classifier``, and LiteLLM's own.

NeMo's engines are vLLM's ``/classify``, KServe's ``:predict`` and the FMS detectors. A text without a verdict
is an error there, on which NeMo does not let a message pass; for LiteLLM it is blocked.
"""

from collections.abc import Mapping
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel

from splinelens.report.measures import Key, Measure, scores_or_reason
from splinelens.serve.requests import Refused, Share, Strings
from splinelens.serve.service import Records, ScoringService


class ClassifyRequest(BaseModel):
    """What NeMo's engine ``vllm`` sends."""

    input: str
    model: str | None = None


class LabelProbability(BaseModel):
    """The probability of a label, as a list of one."""

    label: str
    probs: list[float]


class ClassifyResponse(BaseModel):
    """One entry a label."""

    data: list[LabelProbability]


class PredictRequest(BaseModel):
    """What NeMo's engine ``kserve`` sends."""

    instances: Strings


class PredictResponse(BaseModel):
    """For each text the probability of each label."""

    predictions: list[dict[str, float]]


class DetectorParameters(BaseModel):
    """The least score that is reported; without it the threshold of each label."""

    threshold: Share | None = None


class ContentsRequest(BaseModel):
    """What NeMo's engine ``fms`` sends."""

    contents: Strings
    detector_params: DetectorParameters | None = None


class Evidence(BaseModel):
    """A word that raised the score, and what it added to the logit."""

    name: Literal["word"] = "word"
    value: str
    score: float


class Detection(BaseModel):
    """A label that reaches the threshold, in a text."""

    start: int
    end: int
    text: str
    detection: str
    detection_type: str
    score: float
    evidence: list[Evidence] = []


class ProviderParameters(BaseModel):
    """Parameters of our own in LiteLLM's configuration."""

    ignore_images: bool = False


class GuardrailRequest(BaseModel):
    """What LiteLLM's generic guardrail sends; the other fields are not used."""

    texts: Strings | None = None
    images: Strings | None = None
    additional_provider_specific_params: ProviderParameters | None = None


class GuardrailResponse(BaseModel):
    """Whether the call may go on."""

    action: Literal["NONE", "BLOCKED"]
    blocked_reason: str | None = None


def router(service: ScoringService) -> APIRouter:
    """The routes of both clients."""
    routes, artifacts = APIRouter(tags=["Guardrails"]), service.group.artifacts
    measures = {
        name: {label: Measure(name, label) for label in artifact.labels}
        for name, artifact in artifacts.items()
    }
    flagging = {
        (name, label): measure
        for name, own in measures.items()
        for label, measure in own.items()
        if artifacts[name].task != "classes"
    }

    def require_labels() -> None:
        if not flagging:
            raise Refused(400, "no detector that is served flags texts: serve toxicity or types, too")

    async def probabilities(texts: list[str], model: str) -> list[dict[str, float]]:
        if model not in measures:
            raise Refused(
                404, f"no detector of that name is served; there are {', '.join(measures)}", param="model"
            )
        rows = await service.score(texts)
        return [_scores(index, records, measures[model]) for index, records in enumerate(rows)]

    @routes.post("/classify")
    async def classify(request: ClassifyRequest) -> ClassifyResponse:
        """Probabilities of the labels of a detector, by default the first; NeMo's engine ``vllm``."""
        (scores,) = await probabilities([request.input], request.model or next(iter(measures)))
        return ClassifyResponse(data=[LabelProbability(label=name, probs=[p]) for name, p in scores.items()])

    @routes.post("/v1/models/{model}:predict")
    async def predict(model: str, request: PredictRequest) -> PredictResponse:
        """Probabilities of the labels of a detector; NeMo's engine ``kserve``."""
        return PredictResponse(predictions=await probabilities(request.instances, model))

    @routes.post("/api/v1/text/contents")
    async def contents(request: ContentsRequest) -> list[list[Detection]]:
        """Labels of all detectors that reach a threshold, and the words that raised it; engine ``fms``."""
        require_labels()
        threshold = None if request.detector_params is None else request.detector_params.threshold
        results = []
        rows = await service.score(request.contents, explain=True)
        for index, (text, records) in enumerate(zip(request.contents, rows, strict=True)):
            scores = _scores(index, records, flagging)
            reached = [
                _detection(text, records, measure, scores[key])
                for key, measure in flagging.items()
                if (measure.fired(records) if threshold is None else scores[key] >= threshold)
            ]
            results.append(reached)
        return results

    @routes.post("/beta/litellm_basic_guardrail_api", response_model_exclude_none=True)
    async def guardrail(request: GuardrailRequest) -> GuardrailResponse:
        """Block a call if a label of a detector fires on any of its texts; LiteLLM's generic guardrail."""
        parameters = request.additional_provider_specific_params or ProviderParameters()
        if request.images and not parameters.ignore_images:
            reason = "it has images, which are not scored (ignore_images: true lets them pass)"
            return GuardrailResponse(action="BLOCKED", blocked_reason=reason)
        require_labels()
        texts = [text for text in request.texts or [] if text.strip()]  # an empty message holds nothing
        rows = await service.score(texts, most=service.max_waiting) if texts else []
        blocking = next(filter(None, (_blocking(records, flagging) for records in rows)), None)
        return GuardrailResponse(action="NONE" if blocking is None else "BLOCKED", blocked_reason=blocking)

    return routes


def kserve_error_body(refused: Refused) -> dict[str, Any]:  # Any: JSON values
    """An error as KServe writes it."""
    return {"error": refused.detail}


def fms_error_body(refused: Refused) -> dict[str, Any]:  # Any: JSON values
    """An error as the FMS detectors write it."""
    return {"code": refused.status_code, "message": refused.detail}


def _scores(index: int, records: Records, measures: Mapping[Key, Measure]) -> dict[Key, float]:
    """The score of each measure of a text; one without a verdict is refused."""
    scores = scores_or_reason(records, measures)
    if isinstance(scores, str):
        raise Refused(400, f"text {index} {scores}", code="undetermined")
    return scores


def _detection(text: str, records: Records, measure: Measure, score: float) -> Detection:
    record = records[measure.detector]
    words = record.words if record.explained in (None, measure.label) else None
    raising = [word for word in words or () if word.contribution > 0]
    raising.sort(key=lambda word: -word.contribution)
    return Detection(
        start=0,
        end=len(text),
        text=text,
        detection=measure.label,
        detection_type=measure.label,
        score=score,
        evidence=[Evidence(value=text[word.begin : word.end], score=word.contribution) for word in raising],
    )


def _blocking(records: Records, measures: Mapping[Key, Measure]) -> str | None:
    """Why a text is blocked, without the text."""
    scores = scores_or_reason(records, measures)
    if isinstance(scores, str):
        return f"a text {scores}"
    for key, measure in measures.items():
        if measure.fired(records):
            return f"{measure.label} {scores[key]:.2f} ({measure.detector})"
    return None

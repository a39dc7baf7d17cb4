"""Tests the wire formats, ``serve/openai.py`` and its neighbors: answers are what the library scores."""

from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from splinelens.apps.group import DetectorGroup
from splinelens.detect.monotone import MonotoneMap
from splinelens.serve.app import create_app
from splinelens.serve.openai import CATEGORIES
from splinelens.serve.service import ScoringService

RUDE, KIND, BOTH = "you rude and the lot 7", "good to you all 3", "you rude vile kill fool tribe 9"


@pytest.fixture
def library(group):
    """What the detectors say of a text."""
    return lambda text: group.score([text], explain=True)[0]


def analyze(client, text, *names, **options):
    asked = {name: {} for name in names} if names else options.pop("attributes")
    body = {"comment": {"text": text}, "requestedAttributes": asked, **options}
    return client.post("/v1alpha1/comments:analyze", json=body)


def test_a_moderation_has_the_scores_of_the_library_and_all_categories(client, library):
    answer = client.post("/v1/moderations", json={"input": [RUDE, KIND, BOTH], "model": "omni"}).json()
    assert answer["model"] == "omni"
    assert answer["id"].startswith("modr-")
    for text, result in zip((RUDE, KIND, BOTH), answer["results"], strict=True):
        records = library(text)
        for part in ("categories", "category_scores", "category_applied_input_types"):
            assert tuple(result[part]) == CATEGORIES
        assert result["category_scores"]["harassment"] == pytest.approx(records["toxicity"].score, abs=1e-5)
        types = records["types"].scores
        assert result["category_scores"]["hate"] == pytest.approx(types["identity_hate"], abs=1e-5)
        assert result["category_scores"]["harassment/threatening"] == pytest.approx(types["threat"], abs=1e-5)
        assert result["category_scores"]["violence"] == 0
        assert result["category_applied_input_types"]["violence"] == []
        assert result["categories"]["harassment"] == (records["toxicity"].verdict == "toxic")
        assert result["flagged"] == any(result["categories"].values()) == (result["verdict"] == "flagged")
    assert {result["flagged"] for result in answer["results"]} == {True, False}


def test_one_string_is_one_result_and_typed_parts_are_one_text(client):
    (one,) = client.post("/v1/moderations", json={"input": f"{RUDE}\n{KIND}"}).json()["results"]
    parts = [{"type": "text", "text": RUDE}, {"type": "text", "text": KIND}]
    assert client.post("/v1/moderations", json={"input": parts}).json()["results"] == [one]


def test_a_text_without_a_verdict_is_flagged_with_its_reason(client):
    (result,) = client.post("/v1/moderations", json={"input": [""]}).json()["results"]
    assert (result["flagged"], result["verdict"], result["reason"]) == (True, "undetermined", "is empty")
    assert result["category_scores"]["harassment"] == 1
    assert result["category_scores"]["violence"] == 0


def test_words_are_explained_on_request(client, library):
    body = {"input": RUDE, "explain": True}
    (result,) = client.post("/v1/moderations", json=body).json()["results"]
    words = library(RUDE)["toxicity"].words
    assert [(span["begin"], span["end"]) for span in result["spans"]] == [(w.begin, w.end) for w in words]


def test_images_are_refused(client):
    part = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    answer = client.post("/v1/moderations", json={"input": [part]})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "images are not scored; send text only"


def test_six_attributes_have_the_scores_of_the_library(client, library):
    names = {"SEVERE_TOXICITY": "severe_toxic", "IDENTITY_ATTACK": "identity_hate", "INSULT": "insult"}
    names |= {"PROFANITY": "obscene", "THREAT": "threat"}
    answer = analyze(client, BOTH, "TOXICITY", *names, clientToken="t1").json()
    records = library(BOTH)
    scores = {name: each["summaryScore"]["value"] for name, each in answer["attributeScores"].items()}
    expected = {name: records["types"].scores[label] for name, label in names.items()}
    assert scores == pytest.approx(expected | {"TOXICITY": records["toxicity"].score}, abs=1e-5)
    assert (answer["languages"], answer["clientToken"]) == (["en"], "t1")
    assert answer["attributeScores"]["THREAT"]["spanScores"][0]["end"] == len(BOTH)


def test_attributes_below_their_threshold_are_left_out(client):
    answer = analyze(
        client, RUDE, attributes={"TOXICITY": {"scoreThreshold": 0}, "THREAT": {"scoreThreshold": 1}}
    )
    assert list(answer.json()["attributeScores"]) == ["TOXICITY"]


def test_span_annotations_are_words(client, library):
    answer = analyze(client, RUDE, "TOXICITY", spanAnnotations=True).json()
    spans = answer["attributeScores"]["TOXICITY"]["spanScores"]
    assert [RUDE[span["begin"] : span["end"]] for span in spans] == RUDE.split()
    record = library(RUDE)["toxicity"]
    highest = max(range(len(spans)), key=lambda index: spans[index]["score"]["value"])
    assert record.words[highest].contribution == max(word.contribution for word in record.words)


def test_other_languages_are_scored_and_named_as_not_measured(client):
    answer = analyze(client, RUDE, "TOXICITY", languages=["de", "en-GB"]).json()
    assert (answer["languages"], answer["languagesNotMeasured"]) == (["de", "en-GB"], ["de"])


def test_a_comment_without_a_verdict_is_an_error_of_google(client):
    for text, kind in (("", "COMMENT_EMPTY"), ("a " * 300, "COMMENT_TOO_LONG")):
        answer = analyze(client, text, "TOXICITY")
        error = answer.json()["error"]
        assert (answer.status_code, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
        assert error["details"][0]["errorType"] == kind


def test_an_attribute_that_is_not_measured_names_those_that_are(client):
    answer = analyze(client, RUDE, "FLIRTATION")
    assert answer.status_code == 400
    assert answer.json()["error"]["message"].startswith(
        "Attribute FLIRTATION is not measured here; those that are: TOXICITY, SEVERE_TOXICITY"
    )


def test_a_calibration_moves_its_attribute_only(served, client):
    moved = served(calibration={"TOXICITY": MonotoneMap((0.0, 1.0), (0.5, 1.0))})
    before, after = (analyze(each, RUDE, "TOXICITY", "INSULT").json() for each in (client, moved))
    value = before["attributeScores"]["TOXICITY"]["summaryScore"]["value"]
    assert after["attributeScores"]["TOXICITY"]["summaryScore"]["value"] == pytest.approx(0.5 + value / 2)
    assert after["attributeScores"]["INSULT"] == before["attributeScores"]["INSULT"]


def test_nemo_gets_one_probability_a_label(client, library):
    records = library(BOTH)
    data = client.post("/classify", json={"input": BOTH, "model": "types"}).json()["data"]
    assert {each["label"]: each["probs"] for each in data} == {
        label: [pytest.approx(score, abs=1e-5)] for label, score in records["types"].scores.items()
    }
    answer = client.post("/v1/models/toxicity:predict", json={"instances": [BOTH]}).json()
    assert answer == {"predictions": [{"toxic": pytest.approx(records["toxicity"].score, abs=1e-5)}]}


def test_nemo_gets_an_error_where_there_is_no_verdict_or_detector(client):
    assert client.post("/classify", json={"input": ""}).json()["error"]["message"] == "text 0 is empty"
    answer = client.post("/v1/models/toxicity:predict", json={"instances": ["a", " "]})
    assert (answer.status_code, answer.json()) == (400, {"error": "text 1 is only white space"})
    answer = client.post("/v1/models/none:predict", json={"instances": ["a"]})
    assert (answer.status_code, answer.json()["error"][:11]) == (404, "no detector")


def test_fms_detections_are_the_labels_that_reach_the_threshold_with_their_words(client, library):
    body = {"contents": [RUDE, KIND], "detector_params": {"threshold": 0.5}}
    rude, kind = client.post("/api/v1/text/contents", json=body).json()
    assert kind == []
    assert rude[0]["detection_type"] == "toxic"
    assert rude[0]["score"] == pytest.approx(library(RUDE)["toxicity"].score, abs=1e-5)
    scores = [each["score"] for each in rude[0]["evidence"]]
    assert scores == sorted(scores, reverse=True)
    assert min(scores) > 0
    answer = client.post("/api/v1/text/contents", json={"contents": [""]})
    assert answer.json() == {"code": 400, "message": "text 0 is empty"}


def test_litellm_is_told_to_block_what_fires_and_what_cannot_be_scored(client):
    def guard(**body):
        return client.post("/beta/litellm_basic_guardrail_api", json=body).json()

    assert guard(texts=[KIND, ""], input_type="request") == {"action": "NONE"}
    blocked = guard(texts=[KIND] * 40 + [RUDE])
    assert blocked["action"] == "BLOCKED"
    assert blocked["blocked_reason"].startswith("toxic 0.")
    assert guard(texts=["a " * 300])["action"] == "BLOCKED"
    assert guard(texts=[KIND], images=["aa"])["action"] == "BLOCKED"
    parameters = {"ignore_images": True}
    assert (
        guard(texts=[KIND], images=["aa"], additional_provider_specific_params=parameters)["action"] == "NONE"
    )


def test_our_own_format_is_the_record_of_the_library(client, group, library):
    body = {"texts": [RUDE, ""], "explain": True, "fpr": 0.01}
    answer = client.post("/v1/score", json=body).json()
    rude, empty = answer["results"]
    (expected,) = group.score([RUDE], explain=True, fpr=0.01)
    for name, record in expected.items():
        assert rude[name]["verdict"] == record.verdict
        assert rude[name]["score"] == pytest.approx(record.score, abs=1e-5)
        assert len(rude[name]["words"]) == len(RUDE.split())
        assert list(rude[name]["thresholds"].values()) == list(group.artifacts[name].limits(0.01))
    assert (empty["toxicity"]["score"], empty["toxicity"]["verdict"]) == (None, "undetermined")
    assert empty["types"]["reason"] == "is empty"
    assert answer["provenance"] == client.get("/info").json()
    assert answer["provenance"]["detectors"]["types"]["fingerprint"] == group.artifacts["types"].digest


def test_geometry_has_a_number_a_token_and_layer(client, group):
    answer = client.post("/v1/geometry", json={"text": RUDE}).json()
    tokens = answer["records"]["toxicity"]["tokens"]
    assert len(answer["spans"]) == tokens
    assert answer["layers"] == [0, 1]
    for name in ("sign", "boundary"):
        assert [len(row) for row in answer[name]] == [tokens, tokens]
    for text, match in (("", "is empty"), ("a " * 300, "has 301 tokens, more than 64")):
        refused = client.post("/v1/geometry", json={"text": text})
        assert refused.status_code == 400
        assert match in refused.json()["error"]["message"]


def test_a_server_that_measures_nothing_says_so_instead_of_clean(group):
    artifacts = {"types": replace(group.artifacts["types"], task="classes")}
    service = ScoringService(DetectorGroup(artifacts, group.passes))
    with TestClient(create_app(service)) as client:
        for path, body in (
            ("/v1/moderations", {"input": "a"}),
            ("/api/v1/text/contents", {"contents": ["a"]}),
            ("/beta/litellm_basic_guardrail_api", {"texts": ["a"]}),
        ):
            answer = client.post(path, json=body)
            assert answer.status_code == 400
            assert "serve toxicity or types, too" in answer.text


def test_litellm_may_send_as_many_texts_as_may_wait(served):
    client = served(max_waiting=40)
    texts = ["good to you all"] * 40
    answer = client.post("/beta/litellm_basic_guardrail_api", json={"texts": [*texts, "one more"]})
    assert answer.json()["error"]["message"] == "41 texts in one request; send 1 to 40"
    assert client.post("/beta/litellm_basic_guardrail_api", json={"texts": texts}).json() == {
        "action": "NONE"
    }


def test_a_comment_with_too_many_characters_is_too_long(client):
    (detail,) = analyze(client, "a" * 60_000, "TOXICITY").json()["error"]["details"]
    assert detail["errorType"] == "COMMENT_TOO_LONG"

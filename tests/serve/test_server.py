"""Tests a real ``splinelens serve``: the real clients, the log, and a stop under load that loses nothing."""

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from urllib.parse import urlsplit

import openai
import pytest
from googleapiclient import discovery
from googleapiclient.errors import HttpError

KEY, TEXT = "a-key-that-is-not-logged", "you rude zyxwv and the lot"


@pytest.fixture
def server(folders, tmp_path):
    """The process, its address and the file of its log."""
    (tmp_path / "keys").write_text(f"# of the tests\n{KEY}\n")
    (tmp_path / "keys").chmod(0o644)
    command = [sys.executable, "-m", "splinelens", "serve", "--port", "0", "--key-file", tmp_path / "keys"]
    for folder in folders:
        command += ["--detector", folder]
    log = tmp_path / "log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            list(map(str, command)), stderr=stderr, env=os.environ | {"PYTHONUTF8": "1"}
        )
    while not (serving := [line for line in log.read_text().splitlines() if '"serving"' in line]):
        assert process.poll() is None, log.read_text()
        time.sleep(0.05)
    yield process, json.loads(serving[0])["address"], log
    process.kill()
    process.wait()


def test_real_clients_are_answered_nothing_of_a_text_is_logged_and_a_stop_loses_nothing(server):
    process, address, log = server
    the_client_of_openai(address)
    the_client_of_google(address)
    statuses = stop_under_load(process, address)
    assert process.wait(30) == 0
    assert set(statuses) <= {200, 503, None}
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert records[-1]["event"] == "stopped"
    assert records[-1]["unfinished"] == 0
    answered = [each for each in records if (each.get("route"), each.get("status")) == ("/v1/score", 200)]
    assert len(answered) == statuses.count(200) > 0
    assert any("can be read by others" in record["event"] for record in records)
    for secret in ("zyxwv", KEY):
        assert secret not in log.read_text()


def the_client_of_openai(address):
    with openai.OpenAI(base_url=f"{address}/v1", api_key=KEY, max_retries=0) as client:
        answer = client.moderations.create(input=[TEXT, ""], extra_body={"explain": True})
        result, empty = answer.results
        assert result.categories.harassment == (
            result.category_scores.harassment >= result.thresholds["harassment"]
        )
        assert result.category_applied_input_types.harassment == ["text"]
        assert result.categories.self_harm_intent is False
        assert result.model_extra["verdict"] in ("flagged", "clean")
        assert [TEXT[span["begin"] : span["end"]] for span in result.spans] == TEXT.split()
        assert (empty.flagged, empty.verdict) == (True, "undetermined")
        assert answer._request_id.startswith("req_")
        with pytest.raises(openai.BadRequestError, match="texts in one request"):
            client.moderations.create(input=["a"] * 33)
        with pytest.raises(openai.AuthenticationError) as refused:
            client.with_options(api_key="another").moderations.create(input=TEXT)
        assert refused.value.code == "invalid_api_key"


def the_client_of_google(address):
    def build(key):
        url = f"{address}/$discovery/rest?version=v1alpha1"
        return discovery.build(
            "commentanalyzer", "v1alpha1", developerKey=key, discoveryServiceUrl=url, static_discovery=False
        )

    def analyze(client, text, name="TOXICITY"):
        body = {"comment": {"text": text}, "requestedAttributes": {name: {}}, "doNotStore": True}
        return client.comments().analyze(body=body).execute()

    with build(KEY) as client:
        score = analyze(client, TEXT)["attributeScores"]["TOXICITY"]
        assert 0 < score["summaryScore"]["value"] < 1
        assert score["spanScores"][0]["end"] == len(TEXT)
        with pytest.raises(HttpError, match="FLIRTATION is not measured here") as refused:
            analyze(client, TEXT, "FLIRTATION")
        assert refused.value.status_code == 400
        with pytest.raises(HttpError, match="The comment is empty"):
            analyze(client, "")
    with build("another") as client, pytest.raises(HttpError, match="no valid API key"):
        analyze(client, TEXT)


def stop_under_load(process, address):
    """The statuses of requests that are sent around SIGTERM; None where the server did not take one."""
    body = json.dumps({"texts": [f"{TEXT} {row}" for row in range(8)]})
    headers = {"Content-Type": "application/json", "X-API-Key": KEY}

    def send(number):
        if number == 12:
            process.send_signal(signal.SIGTERM)
        with closing(http.client.HTTPConnection(urlsplit(address).netloc, timeout=60)) as connection:
            try:
                connection.request("POST", "/v1/score", body, headers)
                answer = connection.getresponse()
            except ConnectionError:
                return None
            results = json.loads(answer.read()).get("results")
        assert (answer.status, results and len(results)) in ((200, 8), (503, None))
        return answer.status

    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(send, range(40)))

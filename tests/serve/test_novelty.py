"""Tests how the server compares texts with ordinary traffic: answers, /info, metrics, the log."""

import logging

import pytest
from starlette.testclient import TestClient

from splinelens.apps.novelty import fit_novelty
from splinelens.serve.app import create_app
from splinelens.serve.service import ScoringService

WORDS = "you and the lot what we said there a thing of the sea good to you all".split()
ORDINARY = [
    " ".join(WORDS[(row + at * (1 + row % 4)) % len(WORDS)] for at in range(4 + row % 7)) for row in range(80)
]
ODD = ["@" * 12, "@" * 20, "@" * 30]
_MADE = []


@pytest.fixture
def client(group):
    """The client of a server with a range of 80 texts."""
    if not _MADE:
        loaded = group.passes[0][0].loaded
        _MADE.append(fit_novelty(ORDINARY, loaded, other=["@" * (8 + row) for row in range(20)], rate=0.05))
    service = ScoringService(group, max_text_tokens=200, novelty=_MADE[0])
    service.warm_up()
    with TestClient(create_app(service)) as client:
        yield client


def test_answers_say_how_each_text_compares_with_ordinary_traffic(client):
    texts = [ORDINARY[3], ODD[0], ""]
    answer = client.post("/v1/score", json={"texts": texts}).json()
    expected = [record.to_dict() for record in _MADE[0].score(texts)]
    for record in expected:
        del record["row"]
    assert answer["novelty"] == expected
    assert [record["verdict"] for record in answer["novelty"]][1:] == ["flagged", "undetermined"]
    assert len(answer["results"]) == 3


def test_info_names_the_range_and_metrics_count_its_alarms_but_no_probe(client):
    info = client.get("/info").json()["novelty"]
    assert info == {
        "rate": 0.05,
        "texts": 40,
        "contrastive": True,
        "fingerprint": _MADE[0].artifact.digest,
    }
    client.post("/v1/score", json={"text": ODD[0]})
    client.post("/v1/moderations", json={"input": ODD[0]})  # no other format compares
    lines = client.get("/metrics").text.splitlines()
    counted = [line for line in lines if line.startswith("splinelens_novelty_total")]
    assert sorted(counted) == [
        'splinelens_novelty_total{form="contrastive",verdict="flagged"} 1.0',
        'splinelens_novelty_total{form="distance",verdict="flagged"} 1.0',
    ]


def test_no_text_reaches_the_log(client, caplog):
    caplog.set_level(logging.DEBUG)
    client.post("/v1/score", json={"text": "zebra @@ ##"})
    assert "zebra" not in caplog.text


def test_without_a_range_there_is_nothing_to_compare_with(group):
    with TestClient(create_app(ScoringService(group, max_text_tokens=200))) as client:
        assert client.post("/v1/score", json={"text": ODD[0]}).json()["novelty"] == []
        assert "novelty" not in client.get("/info").json()

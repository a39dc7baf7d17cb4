"""Tests the plug-ins, ``integrations/``, with a detector in this process and with one at a server.

Those that derive from a class of another package are run in environments of their own by ``make clients``.
"""

import socket
import threading
from importlib import import_module
from importlib.util import find_spec

import pytest
import uvicorn

from splinelens.errors import BadDetector, CannotServe, MissingPackage
from splinelens.integrations.llm_guard import SplinelensScanner
from splinelens.integrations.scoring import TextScorer, raising_words, summary
from splinelens.report.scores import TextScore
from splinelens.serve.app import create_app
from splinelens.serve.service import ScoringService

KEY, RUDE = "a-key", "you rude rude rude fool"


@pytest.fixture
def address(group, monkeypatch):
    """The address of a server with a key, in a thread."""
    monkeypatch.setenv("SPLINELENS_API_KEY", KEY)
    app = create_app(ScoringService(group, max_text_tokens=200), keys=[KEY])
    server = uvicorn.Server(uvicorn.Config(app, log_config=None))
    with socket.create_server(("127.0.0.1", 0)) as listener:  # it takes connections before the server answers
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(30)


def test_a_server_gives_the_records_of_the_library(address, folders):
    texts = [f"{RUDE} {row}" for row in range(40)] + ["", "good to you all"]  # more than one request takes
    here, there = TextScorer(str(folders[0])), TextScorer("toxicity", f"{address}/")
    for own, served in zip(here.score(texts, explain=True), there.score(texts, explain=True), strict=True):
        assert (own.row, own.verdict, own.reason, own.words) == (
            served.row,
            served.verdict,
            served.reason,
            served.words,
        )
        assert own.score == pytest.approx(served.score, abs=1e-6)
        assert here.is_safe(own) == there.is_safe(served)
    assert here.name == there.name == "toxicity"


def test_each_label_of_a_detector_of_labels_makes_a_text_unsafe(address):
    scorer = TextScorer("types", address)
    (record,) = scorer.score(["you said there kill"])
    assert record.labels
    assert not scorer.is_safe(record)


def test_a_text_without_a_verdict_is_no_safe_text(folders):
    scorer = TextScorer(str(folders[0]))
    (record,) = scorer.score([" "])
    assert not scorer.is_safe(record)
    assert SplinelensScanner(str(folders[0])).scan(" ") == (" ", False, 1.0)


def test_the_scanner_scans_the_output_if_there_is_one(address):
    scanner = SplinelensScanner("toxicity", address)
    text, safe, risk = scanner.scan(RUDE)
    assert (text, safe) == (RUDE, False)
    assert risk > 0.5
    text, safe, risk = scanner.scan(RUDE, "good to you all")
    assert (text, safe) == ("good to you all", True)
    assert risk < 0.5


def test_a_summary_has_the_verdict_and_no_text():
    assert summary(TextScore(0, 0.97, "toxic", 5, False)) == "toxic 0.97"
    empty = TextScore(0, None, "undetermined", 0, False, reason="is empty")
    assert summary(empty) == "undetermined: the text is empty"
    abstained = TextScore(0, 0.1, "undetermined", 9, True, reason="was cut")
    assert summary(abstained) == "undetermined: the text was cut"


def test_raising_words_are_those_with_a_positive_contribution(folders):
    (record,) = TextScorer(str(folders[0])).score([RUDE], explain=True)
    assert raising_words(record)
    assert all(word.contribution > 0 for word in raising_words(record))


def test_what_a_server_refuses_is_an_error_that_says_why(address, monkeypatch):
    with pytest.raises(CannotServe, match="does not serve detector rudeness; it serves toxicity, types"):
        TextScorer("rudeness", address)
    monkeypatch.delenv("SPLINELENS_API_KEY")
    with pytest.raises(CannotServe, match=r"answered 401 Unauthorized: .* key"):
        TextScorer("toxicity", address).score([RUDE])


def test_a_server_that_does_not_run_is_an_error_that_names_it():
    with pytest.raises(CannotServe, match=r"http://127.0.0.1:9/info does not answer .* is splinelens serve"):
        TextScorer("toxicity", "http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>",
            "answers something else than splinelens serve",
        ),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n{}", "does not answer"),
        (b"", "does not answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull", "answers something else"),
        (b'HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{"detectors":NaN}', "answers something else"),
        (
            b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 6\r\n\r\n<html>",
            "answered 502 Bad Gateway: no message",
        ),
    ],
)
def test_an_address_that_is_no_server_of_ours_is_an_error(answer, match):
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def once():
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=once)
        thread.start()
        with pytest.raises(CannotServe, match=match):
            TextScorer("toxicity", f"http://127.0.0.1:{listener.getsockname()[1]}")
        thread.join()


def test_a_detector_of_classes_is_refused():
    with pytest.raises(BadDetector, match="domain tells classes apart"):
        TextScorer("domain")


@pytest.mark.parametrize(
    ("module", "package"),
    [
        ("garak", "garak"),
        ("guardrails", "guardrails-ai"),
        ("inspect_ai", "inspect-ai"),
        ("nemo", "nemoguardrails"),
        ("pyrit", "pyrit"),
    ],
)
def test_a_missing_package_is_an_error_that_says_what_to_install(module, package):
    if find_spec({"nemo": package}.get(module, module)):
        pytest.skip(f"{package} is installed")
    with pytest.raises(MissingPackage, match=f"pip install {package}"):
        import_module(f"splinelens.integrations.{module}")

"""What every plug-in scores with: a detector in this process, or one at a server of ``splinelens serve``.

With a server the tool's environment needs none of our packages but pydantic and filelock, which matters
where a tool pins another version of transformers.
"""

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from http.client import HTTPException
from threading import Lock
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from splinelens.detect import UNDETERMINED
from splinelens.errors import BadDetector, CannotServe
from splinelens.report.scores import Span, TextScore

KEY_VARIABLE = "SPLINELENS_API_KEY"
TIMEOUT_S = 60
ATTEMPTS = 5  # while the server is busy
TEXTS_PER_REQUEST = 32  # the server takes no more

Score = Callable[[Sequence[str], bool, float], list[TextScore]]


class TextScorer:
    """Scores texts with one detector; threads may share it.

    Args:
        detector: A shipped name or a folder; with ``url`` the name of a detector that is served.
        url: Address of a server, such as ``http://127.0.0.1:8000``; its key is the value of the environment
            variable ``SPLINELENS_API_KEY``.
        fpr: As in ``Detector.score``.

    Attributes:
        name: Name of the detector.

    Raises:
        BadDetector: It tells classes apart, none of which is safe; or as ``Detector.load``.
        CannotServe: The server cannot be reached, or does not serve the detector.
    """

    def __init__(self, detector: str = "toxicity", url: str | None = None, *, fpr: float = 0.05):
        self.name, self._negative, self._score = (
            _in_process(detector) if url is None else _at_server(url.rstrip("/"), detector)
        )
        self._fpr = fpr

    def score(self, texts: Sequence[str], *, explain: bool = False) -> list[TextScore]:
        """The record of each text.

        Raises:
            CannotServe: The server does not answer, or refuses the texts.
        """
        return self._score(texts, explain, self._fpr)

    def is_safe(self, record: TextScore) -> bool:
        """Whether there is a verdict, and no label fired."""
        return record.verdict == self._negative


def summary(record: TextScore) -> str:
    """The verdict and its score, or why there is none; never the text.

    Example:
        >>> summary(TextScore(0, 0.97, "toxic", 5, False))
        'toxic 0.97'
        >>> summary(TextScore(0, None, "undetermined", 0, False, reason="is empty"))
        'undetermined: the text is empty'
    """
    if record.verdict == UNDETERMINED or record.score is None:
        return f"{UNDETERMINED}: the text {record.reason}"
    return f"{record.verdict} {record.score:.2f}"


def raising_words(record: TextScore) -> list[Span]:
    """The words that raise the score of an explained text, in its order."""
    return [word for word in record.words or () if word.contribution > 0]


def _in_process(detector: str) -> tuple[str, str, Score]:
    from splinelens.apps.group import DetectorGroup
    from splinelens.detect.shipped import find_artifact

    artifact = find_artifact(detector)
    name, negative = artifact.name, _negative(artifact.name, artifact.negative)
    group, lock = DetectorGroup.load([detector]), Lock()

    def score(texts: Sequence[str], explain: bool, fpr: float) -> list[TextScore]:
        with lock:
            return [records[name] for records in group.score(texts, explain=explain, fpr=fpr)]

    return name, negative, score


def _at_server(url: str, name: str) -> tuple[str, str, Score]:
    served = _request(f"{url}/info", lambda answer: {**answer["detectors"]})
    if name not in served:
        raise CannotServe(f"{url} does not serve detector {name}; it serves {', '.join(served)}")

    def score(texts: Sequence[str], explain: bool, fpr: float) -> list[TextScore]:
        records: list[TextScore] = []
        for start in range(0, len(texts), TEXTS_PER_REQUEST):
            part = texts[start : start + TEXTS_PER_REQUEST]
            body = {"texts": part, "explain": explain, "fpr": fpr}
            records += _request(f"{url}/v1/score", partial(_records, name, len(part)), body)
        return [replace(record, row=row) for row, record in enumerate(records)]

    return name, _negative(name, served[name]["negative"]), score


def _records(name: str, texts: int, answer: dict[str, Any]) -> list[TextScore]:  # Any: JSON values
    """The records of an answer, one a text."""
    records = [TextScore.from_dict({"row": 0, **result[name]}) for result in answer["results"]]
    if len(records) != texts:
        raise ValueError(f"{len(records)} records of {texts} texts")
    return records


def _negative(name: str, negative: str) -> str:
    """The verdict on a safe text."""
    if not negative:
        raise BadDetector(f"detector {name} tells classes apart, none of which is safe; use another")
    return negative


def _request(
    url: str, read: Callable[[Any], Any], body: dict[str, Any] | None = None
) -> Any:  # Any: JSON values
    """What ``read`` makes of the answer of a server; while it is busy the request is sent again."""
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get(KEY_VARIABLE):
        if not (key.isascii() and key.isprintable()):
            raise CannotServe(f"the key in {KEY_VARIABLE} has characters that cannot be sent")
        headers["X-API-Key"] = key
    for attempts_left in reversed(range(ATTEMPTS)):
        try:
            request = Request(url, None if body is None else json.dumps(body).encode(), headers)
            with urlopen(request, timeout=TIMEOUT_S) as answer:
                content = answer.read()
        except HTTPError as error:
            if error.code != HTTPStatus.TOO_MANY_REQUESTS or not attempts_left:
                raise CannotServe(f"{url} answered {error.code} {error.reason}: {_message(error)}") from error
            time.sleep(float(error.headers.get("Retry-After", 1)))
            continue
        except (OSError, HTTPException, ValueError) as error:
            raise CannotServe(
                f"{url} does not answer ({error}); is splinelens serve running there?"
            ) from error
        try:
            return read(json.loads(content, parse_constant=_refuse_constant))
        except (ValueError, KeyError, TypeError) as error:
            raise CannotServe(f"{url} answers something else than splinelens serve does") from error
    raise AssertionError("the last attempt returns or raises")


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no score")


def _message(error: HTTPError) -> str:
    """The message of our server, if it is one."""
    try:
        return json.load(error)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        return "no message"

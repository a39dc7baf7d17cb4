"""One sentence that says what a function does, by a local model or behind OpenAI's chat completions.

Source of the prompt: zsLLMCode, arXiv:2409.14644; only the first sentence of an answer is kept.
"""

import re
from collections.abc import Sequence
from importlib.resources import files
from os import PathLike
from typing import TYPE_CHECKING, Protocol

from splinelens.errors import BadModel, MissingPackage
from splinelens.generate.sample import Sampling, Writer
from splinelens.models import LoadedModel

if TYPE_CHECKING:
    import httpx2

MAX_CHARACTERS = 4000
"""Of a function that the model sees: its beginning says what it does."""

_MAX_TOKENS = 60
_SENTENCE = re.compile(r"(.+?[.!?])(?:\s|$)", re.S)


class Summarizer(Protocol):
    """Writes a sentence for each function; ``name`` says which model does."""

    name: str

    def summarize(self, texts: Sequence[str]) -> list[str]:
        """A sentence for each function; empty where the model gives none."""


class LocalSummarizer:
    """A model on this machine.

    Args:
        model: Name, folder or file of a model, or one that was loaded with ``head=True``.
        device: Such as ``cpu`` or ``cuda:0``; without it the GPU if there is one.

    Raises:
        BadModel: It cannot be loaded.
    """

    def __init__(self, model: str | PathLike[str] | LoadedModel, device: str | None = None):
        self._writer = Writer(model, device=None if isinstance(model, LoadedModel) else device)
        self.name = str(self._writer.loaded.name)

    def summarize(self, texts: Sequence[str]) -> list[str]:
        """As in ``Summarizer``."""
        sampling = Sampling(max_tokens=_MAX_TOKENS)
        prompts = [self._writer.reply_ids(_prompt(text)) for text in texts]
        replies = []
        for ids in prompts:
            pieces = [step.pieces[0] for step in self._writer.steps(ids, sampling)]
            replies.append(first_sentence("".join(pieces)))
        return replies


class ChatSummarizer:
    """A model behind OpenAI's chat completions; the functions are sent there.

    Args:
        url: Base URL of its server, such as ``http://127.0.0.1:11434/v1``.
        model: Its name there.
        key: Its bearer token.
        timeout_s: For each function.
        transport: In place of the network.

    Raises:
        MissingPackage: ``httpx2`` is not installed.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key: str | None = None,
        timeout_s: float = 60.0,
        transport: "httpx2.BaseTransport | None" = None,
    ):
        try:
            import httpx2  # noqa: F401
        except ModuleNotFoundError as error:
            raise MissingPackage(
                "summaries of a server need httpx2: pip install 'splinelens[serve]'"
            ) from error
        self.name, self._model, self._url = f"{model} at {url}", model, url.rstrip("/")
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._timeout_s, self._transport = timeout_s, transport

    def summarize(self, texts: Sequence[str]) -> list[str]:
        """As in ``Summarizer``.

        Raises:
            BadModel: The server cannot be reached or gives no answer; rows before it are kept by the index.
        """
        import httpx2

        replies = []
        with httpx2.Client(
            headers=self._headers, timeout=self._timeout_s, transport=self._transport
        ) as client:
            for text in texts:
                messages = [{"role": "user", "content": _prompt(text)}]
                body = {
                    "model": self._model,
                    "messages": messages,
                    "temperature": 0,
                    "max_tokens": _MAX_TOKENS,
                }
                try:
                    reply = client.post(f"{self._url}/chat/completions", json=body).raise_for_status()
                    answer = str(reply.json()["choices"][0]["message"]["content"])
                except (httpx2.HTTPError, ValueError, LookupError, TypeError) as error:
                    raise BadModel(
                        f"{self.name} gave no summary: {error}; check it and run this again"
                    ) from error
                replies.append(first_sentence(answer))
        return replies


def first_sentence(answer: str) -> str:
    r"""The first sentence of an answer, on one line.

    Example:
        >>> first_sentence("It sorts\na list. It is fast.")
        'It sorts a list.'
    """
    words = " ".join(answer.split())
    sentence = _SENTENCE.match(words)
    return sentence[1] if sentence else words


def _prompt(text: str) -> str:
    question = files("splinelens.generate").joinpath("summary.txt").read_text("utf-8").strip()
    return f"{question}\n\n{text[:MAX_CHARACTERS]}"

"""Ask a language model behind OpenAI's chat completions a question about texts, answered by yes or no."""

import re
from collections.abc import Callable, Sequence
from importlib.resources import files
from typing import TYPE_CHECKING

from splinelens.errors import MissingPackage

if TYPE_CHECKING:
    import httpx2

_WORD = re.compile(r"\W*(yes|no)\b", re.IGNORECASE)

Judge = Callable[[Sequence[str]], Sequence[float | None]]
"""The probability that each text has the label; None where it cannot say."""


class ChatJudge:
    """Asks a model behind OpenAI's chat completions, text by text, whether it is toxic.

    Attributes:
        url: Base URL of its server, such as ``http://127.0.0.1:11434/v1``.
        model: Its name there.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        key: str | None = None,
        prompt: str | None = None,
        timeout_s: float = 30.0,
        transport: "httpx2.BaseTransport | None" = None,
    ):
        """Connect to nothing yet.

        Args:
            url: See the class.
            model: See the class.
            key: Its bearer token.
            prompt: What to ask; the answer must begin with yes or no. None takes ``judge.txt``.
            timeout_s: For each text.
            transport: In place of the network.

        Raises:
            MissingPackage: ``httpx2`` is not installed.
        """
        try:
            import httpx2  # noqa: F401
        except ModuleNotFoundError as error:
            raise MissingPackage("a judge needs httpx2: pip install 'splinelens[serve]'") from error
        self.url, self.model = url, model
        self._headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._prompt = prompt or files("splinelens.generate").joinpath("judge.txt").read_text("utf-8").strip()
        self._timeout_s, self._transport = timeout_s, transport

    def __call__(self, texts: Sequence[str]) -> list[float | None]:
        """1 for yes, 0 for no; None where the answer is neither, and from an error of the connection on."""
        import httpx2

        answers: list[float | None] = []
        with httpx2.Client(
            headers=self._headers, timeout=self._timeout_s, transport=self._transport
        ) as client:
            for text in texts:
                messages = [{"role": "system", "content": self._prompt}, {"role": "user", "content": text}]
                body = {"model": self.model, "messages": messages, "temperature": 0}
                try:
                    reply = client.post(f"{self.url.rstrip('/')}/chat/completions", json=body)
                    answer = str(reply.json()["choices"][0]["message"]["content"])
                except httpx2.HTTPError:
                    break
                except (ValueError, LookupError, TypeError):
                    answer = ""
                word = _WORD.match(answer)
                answers.append(None if word is None else float(word[1].lower() == "yes"))
        return answers + [None] * (len(texts) - len(answers))

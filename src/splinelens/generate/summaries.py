"""One sentence that says what a function does, by a local model or behind OpenAI's chat completions.

Source of the prompt: zsLLMCode, arXiv:2409.14644; only the first sentence of an answer is used.
"""

import re
from collections.abc import Callable, Sequence
from importlib.resources import files
from os import PathLike
from typing import TYPE_CHECKING

from splinelens.errors import BadModel, MissingPackage

if TYPE_CHECKING:
    import httpx2

    from splinelens.models import LoadedModel

MAX_CHARACTERS = 4000
"""Of a function that the model sees: its beginning says what it does."""

_MAX_TOKENS = 60
_SENTENCE = re.compile(r"(.+?[.!?])(?:\s|$)", re.S)


def summarize(write: Callable[[str], str], texts: Sequence[str]) -> list[str]:
    """A sentence for each function; empty where the model gives none.

    Args:
        write: The answer to a prompt, such as ``local_writer`` or ``chat_writer`` returns.
        texts: The sources of the functions.

    Example:
        >>> summarize(lambda prompt: "It adds two numbers. Nothing else.", ["def add(a, b): return a + b"])
        ['It adds two numbers.']
    """
    question = files("splinelens.generate").joinpath("summary.txt").read_text("utf-8").strip()
    return [first_sentence(write(f"{question}\n\n{text[:MAX_CHARACTERS]}")) for text in texts]


def local_writer(
    model: "str | PathLike[str] | LoadedModel", device: str | None = None
) -> Callable[[str], str]:
    """Answers of a model on this machine, of at most 60 tokens.

    Args:
        model: Name, folder or file of a model, or one that was loaded with ``head=True``.
        device: Such as ``cpu`` or ``cuda:0``; without it the GPU if there is one.

    Raises:
        BadModel: It cannot be loaded.
    """
    from splinelens.generate.sample import Sampling, Writer
    from splinelens.models import LoadedModel

    writer = Writer(model, device=None if isinstance(model, LoadedModel) else device)
    sampling = Sampling(max_tokens=_MAX_TOKENS)

    def write(prompt: str) -> str:
        return "".join(step.pieces[0] for step in writer.steps(writer.reply_ids(prompt), sampling))

    return write


def chat_writer(
    url: str,
    model: str,
    *,
    key: str | None = None,
    timeout_s: float = 60.0,
    transport: "httpx2.BaseTransport | None" = None,
) -> Callable[[str], str]:
    """Answers of a model behind OpenAI's chat completions, which gets the prompts.

    The function that is returned raises BadModel where the server cannot be reached or gives no answer.

    Args:
        url: Base URL of its server, such as ``http://127.0.0.1:11434/v1``.
        model: Its name there.
        key: Its bearer token.
        timeout_s: For each answer.
        transport: In place of the network.

    Raises:
        MissingPackage: ``httpx2`` is not installed.
    """
    try:
        import httpx2
    except ModuleNotFoundError as error:
        raise MissingPackage("summaries of a server need httpx2: pip install 'splinelens[serve]'") from error
    address = f"{url.rstrip('/')}/chat/completions"
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}

    def write(prompt: str) -> str:
        messages = [{"role": "user", "content": prompt}]
        body = {"model": model, "messages": messages, "temperature": 0, "max_tokens": _MAX_TOKENS}
        try:
            with httpx2.Client(headers=headers, timeout=timeout_s, transport=transport) as client:
                reply = client.post(address, json=body).raise_for_status()
            return str(reply.json()["choices"][0]["message"]["content"])
        except (httpx2.HTTPError, ValueError, LookupError, TypeError) as error:
            raise BadModel(
                f"{model} at {url} gave no answer: {error}; check it and run this again"
            ) from error

    return write


def first_sentence(answer: str) -> str:
    r"""The first sentence of an answer, on one line.

    Example:
        >>> first_sentence("It sorts\na list. It is fast.")
        'It sorts a list.'
    """
    words = " ".join(answer.split())
    sentence = _SENTENCE.match(words)
    return sentence[1] if sentence else words

"""``splinelens serve``: a moderation server with the wire formats of OpenAI, Perspective and guardrails."""

import ipaddress
import json
import logging
import os
import signal
import stat
import sys
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import typer

from splinelens.cli import options
from splinelens.errors import CannotServe
from splinelens.integrations.scoring import KEY_VARIABLE

UPSTREAM_KEY_VARIABLE = "SPLINELENS_UPSTREAM_KEY"
REPLACEMENT = "[removed]"

_log = logging.getLogger("splinelens.serve")


def _upstream_url(url: str | None) -> str | None:
    """Refuse what is no address, or would print a key."""
    if url is not None:
        try:
            parts = urlsplit(url)
            valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # a port that is no number
            valid = False
        if not valid:
            raise typer.BadParameter("give a URL such as http://127.0.0.1:11434/v1")
        if parts.username or parts.query or parts.fragment:
            raise typer.BadParameter("give the URL only, and its key with --upstream-key-file")
    return url


class ReleaseMode(StrEnum):
    """When characters of a chat's reply are released."""

    sentence = "sentence"
    all = "all"
    audit = "audit"


class BlockAction(StrEnum):
    """What stands where a chat's prompt or reply is not cleared."""

    stop = "stop"
    replace = "replace"  # type: ignore[assignment]  # hides a method of str that is not used


def serve(
    detector: Annotated[
        list[str] | None,
        typer.Option(
            "--detector",
            "-d",
            help="A shipped detector or a folder; may be repeated, for detectors of one model. Default: "
            "toxicity and types.",
            metavar="NAME",
        ),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="Address to listen at; 0.0.0.0 is all.", metavar="ADDRESS")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", help="Port; 0 takes a free one.", metavar="N", min=0, max=65535)
    ] = 8000,
    key_file: Annotated[
        Path | None,
        typer.Option(
            "--key-file",
            help=f"File of API keys, one a line. Without it the variable {KEY_VARIABLE}, if it is set.",
            metavar="FILE",
        ),
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Listen beyond this machine without a key.")
    ] = False,
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calibration",
            help="Maps from our scores to those of the Perspective API, by splinelens calibrate.",
            metavar="FILE",
        ),
    ] = None,
    novelty: Annotated[
        Path | None,
        typer.Option(
            "--novelty",
            help="Range of ordinary traffic, by splinelens audit fit: answers of /v1/score say which texts "
            "are outside it.",
            metavar="FOLDER",
        ),
    ] = None,
    upstream: Annotated[
        str | None,
        typer.Option(
            "--upstream",
            help="Base URL of a server with OpenAI's chat completions, such as http://127.0.0.1:11434/v1; "
            "/v1/chat/completions guards its prompts and replies.",
            metavar="URL",
            callback=_upstream_url,
        ),
    ] = None,
    upstream_key_file: Annotated[
        Path | None,
        typer.Option(
            "--upstream-key-file",
            help=f"File of its key. Without it the variable {UPSTREAM_KEY_VARIABLE}, if it is set.",
            metavar="FILE",
        ),
    ] = None,
    release: Annotated[
        ReleaseMode,
        typer.Option(
            "--release",
            help="Of a chat: sentence releases characters once their sentence is cleared, all once the reply "
            "is; audit blocks nothing, and reports.",
        ),
    ] = ReleaseMode.sentence,
    action: Annotated[
        BlockAction,
        typer.Option(
            "--action", help=f"In a chat: replace puts {REPLACEMENT!r} where something is not cleared."
        ),
    ] = BlockAction.stop,
    max_waiting: Annotated[
        int,
        typer.Option(
            "--max-waiting", help="Texts that may wait; more are refused with 429.", metavar="N", min=32
        ),
    ] = 512,
    max_text_tokens: Annotated[
        int,
        typer.Option(
            "--max-text-tokens", help="Longer texts are undetermined.", metavar="N", min=1, max=100_000
        ),
    ] = 2048,
    device: options.Device = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            "--dtype", help="Number type: float32, bfloat16 or int8 (compiled engine).", metavar="NAME"
        ),
    ] = None,
    check: Annotated[
        bool,
        typer.Option("--check", help="Score a text, print what would be served, and exit."),
    ] = False,
) -> None:
    """Serve scores over HTTP, until SIGTERM or Ctrl-C.

    POST /v1/moderations is OpenAI's, /v1alpha1/comments:analyze that of the Perspective API, /classify,
    /v1/models/NAME:predict and /api/v1/text/contents are those of NeMo Guardrails,
    /beta/litellm_basic_guardrail_api is LiteLLM's, /v1/score and /v1/geometry are ours; with --upstream
    /v1/chat/completions is OpenAI's, with a guard. GET /health/live,
    /health/ready, /metrics, /info, and a page at /. The log is JSON lines on stderr, without texts. When it
    is told to stop, the texts that were accepted are scored first.

    Examples:
      splinelens serve
      splinelens serve --detector toxicity-fast --host 0.0.0.0 --key-file keys.txt
      splinelens serve --upstream http://127.0.0.1:11434/v1
      splinelens serve --check
    """
    keys = _keys(key_file, KEY_VARIABLE)
    upstream_keys = _keys(upstream_key_file, UPSTREAM_KEY_VARIABLE)
    if len(upstream_keys) > 1:
        raise CannotServe(
            f"the key file {upstream_key_file} has {len(upstream_keys)} keys; an upstream has one"
        )
    if not (keys or insecure or _is_loopback(host)):
        raise typer.BadParameter(
            f"other machines can reach {host}: give --key-file, set {KEY_VARIABLE}, or type --insecure",
            param_hint="--host",
        )
    try:
        from splinelens.serve.app import create_app
        from splinelens.serve.chat import Upstream
        from splinelens.serve.run import bound_socket, log_as_json, run_server
        from splinelens.serve.score import served
        from splinelens.serve.service import ScoringService
    except ModuleNotFoundError as error:
        raise CannotServe(
            f"serving needs {error.name}, which is not installed: pip install 'splinelens[serve]'"
        ) from error
    from splinelens.apps.group import DetectorGroup
    from splinelens.apps.novelty import NoveltyDetector
    from splinelens.apps.perspective import DETECTORS, attribute_measures, load_calibration
    from splinelens.detect.shipped import find_artifact

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # nothing is accepted before the server runs
    with nullcontext() if check else bound_socket(host, port) as listener:
        if listener is not None:
            log_as_json()
        for path in (key_file, upstream_key_file):
            if path is not None and path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                _log.warning("the key file %s can be read by others; run chmod 600 on it", path)
        names = detector or DETECTORS
        artifacts = {artifact.name: artifact for artifact in map(find_artifact, names)}
        maps = {} if calibration is None else load_calibration(calibration, artifacts)
        if maps and (raw := sorted(set(attribute_measures(artifacts)) - set(maps))):
            _log.warning("no map in %s for %s: their scores are not mapped", calibration, ", ".join(raw))
        group = DetectorGroup.load(names, max_text_tokens=max_text_tokens, device=device, dtype=dtype)
        ordinary = None
        if novelty is not None:
            ordinary = NoveltyDetector.load(novelty, device=device, max_text_tokens=max_text_tokens)
        service = ScoringService(group, max_waiting, max_text_tokens, novelty=ordinary)
        service.warm_up()
        guarded = None
        if upstream is not None:
            guarded = Upstream(
                upstream,
                next(iter(upstream_keys), None),
                release.value,
                REPLACEMENT if action is BlockAction.replace else "",
            )
        app = create_app(service, keys=keys, calibration=maps, upstream=guarded)
        if listener is None:
            checked = {"keys": len(keys), "upstream": upstream}
            print(json.dumps({**served(service, sorted(maps)), **checked}, indent=2))
        else:
            run_server(app, service, listener)


def _keys(path: Path | None, variable: str) -> list[str]:
    """The keys of the file, or that of the environment."""
    if path is None:
        key = os.environ.get(variable, "").strip()
        return [key] if key else []
    try:
        lines = [line.strip() for line in path.read_text("utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise CannotServe(
            f"the key file {path} is not UTF-8 at byte {error.start}; write one key a line"
        ) from error
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise CannotServe(f"the key file {path} has no key; write one a line")
    return keys


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

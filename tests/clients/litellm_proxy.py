"""LiteLLM's proxy with a mock model, guarded by ``openai_moderation`` and by ``generic_guardrail_api``."""

import json
import os
import secrets
import subprocess
import sys
import time
from pathlib import Path
from socket import create_server
from tempfile import mkdtemp
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

KEY = f"sk-{secrets.token_hex(16)}"
CONFIG = """
model_list:
  - model_name: mock
    litellm_params: {{model: openai/mock, api_key: none, mock_response: Hello.}}
guardrails:
  - guardrail_name: moderation
    litellm_params:
      guardrail: openai_moderation
      mode: pre_call
      api_key: none
      api_base: {address}/v1
  - guardrail_name: generic
    litellm_params:
      guardrail: generic_guardrail_api
      mode: pre_call
      api_key: none
      api_base: {address}
"""


def main(address: str, busy: str) -> None:
    config = Path(mkdtemp()) / "config.yaml"
    config.write_text(CONFIG.format(address=address), "utf-8")
    with create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).with_name("litellm")), "--config", str(config), "--port", str(port)]
    command += ["--host", "127.0.0.1"]
    proxy = subprocess.Popen(
        command,
        stdout=sys.stderr,
        env=os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MASTER_KEY": KEY},
    )
    try:
        for guardrail in ("moderation", "generic"):
            assert ask(port, guardrail, "Have a nice day.") == 200
            assert ask(port, guardrail, "You are an idiot.") in (400, 403)
    finally:
        proxy.terminate()
        proxy.wait()
    print("the proxy with `openai_moderation` and `generic_guardrail_api`: a toxic message is refused")


def ask(port: int, guardrail: str, text: str) -> int:
    """The status of a completion, once the proxy answers."""
    body = {"model": "mock", "messages": [{"role": "user", "content": text}], "guardrails": [guardrail]}
    request = Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"},
    )
    for _ in range(120):
        try:
            with urlopen(request) as answer:
                return answer.status
        except HTTPError as error:
            print(error.code, error.read().decode(), file=sys.stderr)
            return error.code
        except URLError:
            time.sleep(1)
    raise AssertionError("the proxy does not answer")


main(*sys.argv[1:])

"""Run the real clients and tools, each in an environment of its own, and write the table of docs/clients.md.

    python tests/clients/run.py [NAME ...]

Needs ``uv`` and the extra ``serve``. Each script beside this file gets the address of a server, and of one
that has room for few texts; it checks the answers and prints what it checked. Clients that are not named
keep their results.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / "build" / "clients"
TABLE = REPOSITORY / "docs" / "clients.md"
LIMIT_S = 900


@dataclass(frozen=True)
class Client:
    """A script, and what its environment holds; a plug-in needs splinelens there, too."""

    script: str
    requirements: tuple[str, ...]
    plugin: bool = False


CLIENTS = {
    "openai 2": Client("openai_moderations.py", ("openai==2.54.0",)),
    "openai 3": Client("openai_moderations.py", ("openai==3.57.0",)),
    "google-api-python-client": Client("perspective.py", ("google-api-python-client==2.202.0",)),
    "NeMo Guardrails": Client("nemo_rails.py", ("nemoguardrails==0.24.1",), plugin=True),
    "LiteLLM": Client("litellm_proxy.py", ("litellm[proxy]==1.108.7",)),
    "any-guardrail": Client("any_guardrail_openai.py", ("any-guardrail==0.7.7", "openai==3.57.0")),
    "garak": Client("garak_detector.py", ("garak==0.17.0", "torch==2.13.0"), plugin=True),
    "PyRIT": Client("pyrit_scorer.py", ("pyrit==1.1.0",), plugin=True),
    "LLM Guard": Client("llm_guard_scanner.py", ("llm-guard==0.3.16", "torch==2.13.0"), plugin=True),
    "Guardrails AI": Client("guardrails_validator.py", ("guardrails-ai==0.11.0",), plugin=True),
    "Inspect": Client("inspect_scorer.py", ("inspect-ai==0.3.285",), plugin=True),
    "Schemathesis": Client("schemathesis_requests.py", ("schemathesis==4.32.5",)),
}


def main(names: list[str]) -> int:
    """Run the named clients, or all, and write the table; rows of the others stay."""
    unknown = set(names) - set(CLIENTS)
    if unknown:
        sys.exit(f"no client {', '.join(sorted(unknown))}; there are {', '.join(CLIENTS)}")
    FOLDER.mkdir(parents=True, exist_ok=True)
    os.environ.pop("SPLINELENS_API_KEY", None)  # NeMo Guardrails sends a key over HTTPS only
    stored = FOLDER / "results.json"
    results = json.loads(stored.read_text("utf-8")) if stored.is_file() else {}
    with ExitStack() as stack:
        addresses = [stack.enter_context(serving("roomy")), stack.enter_context(serving("busy", "32"))]
        for name in names or CLIENTS:
            print(f"{name} ...", file=sys.stderr)
            results[name] = run(CLIENTS[name], addresses)
            stored.write_text(json.dumps(results, indent=2), "utf-8")
            TABLE.write_text(table(results), "utf-8")
    print(TABLE.read_text("utf-8"))
    return int(any(not results[name]["passed"] for name in names or CLIENTS))


@contextmanager
def serving(name: str, max_waiting: str = "512") -> Iterator[str]:
    """A server of ``toxicity-fast``; its address."""
    log = FOLDER / f"{name}.log"
    command = [sys.executable, "-m", "splinelens", "serve", "--detector", "toxicity-fast", "--port", "0"]
    with log.open("w") as stderr:
        process = subprocess.Popen([*command, "--max-waiting", max_waiting], stderr=stderr)
    try:
        while not (started := re.search(r'"event": "serving".*"address": "([^"]+)"', log.read_text("utf-8"))):
            if process.poll() is not None:
                sys.exit(f"the server did not start: {log.read_text('utf-8')}")
            time.sleep(0.2)
        yield started[1]
    finally:
        process.terminate()
        process.wait()


def run(client: Client, addresses: list[str]) -> dict[str, object]:
    """Build the environment and run the script: whether it passed, and what was checked or why not."""
    environment = FOLDER / re.sub(r"[^\w.=-]", "-", client.requirements[0])
    python = environment / "bin" / "python"
    uv = shutil.which("uv") or sys.exit("uv is not installed: pip install uv")
    install = [uv, "pip", "install", "--quiet", "--python", str(python)]
    steps = [
        [uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(environment)],
        [*install, *client.requirements, *(("pydantic", "filelock") if client.plugin else ())],
        *([[*install, "--no-deps", "--editable", str(REPOSITORY)]] if client.plugin else ()),
        [str(python), "-W", "ignore", str(Path(__file__).with_name(client.script)), *addresses],
    ]
    variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    if "PIP_FIND_LINKS" in variables:  # uv has settings of its own
        variables.setdefault("UV_FIND_LINKS", variables["PIP_FIND_LINKS"])
    log = FOLDER / f"{environment.name}.log"
    with log.open("w") as output:
        for step in steps:
            what = "the check" if step is steps[-1] else "the installation"
            try:
                done = subprocess.run(
                    step, cwd=FOLDER, env=variables, stdout=subprocess.PIPE, stderr=output, timeout=LIMIT_S
                )
            except subprocess.TimeoutExpired:
                return {"passed": False, "said": f"{what} took over {LIMIT_S} s"}
            if done.returncode:
                output.flush()
                last = ["no message", *filter(str.strip, log.read_text("utf-8").splitlines())][-1]
                return {"passed": False, "said": f"{what} failed: {last.strip()[:200]}"}
    return {"passed": True, "said": done.stdout.decode().strip().splitlines()[-1]}


def table(results: dict[str, dict[str, object]]) -> str:
    """The page about the clients that were run."""
    lines = [
        "# Clients that were run",
        "",
        "`make clients` builds an environment for each client or tool, runs it against `splinelens serve "
        "--detector toxicity-fast`, and writes this page. Plug-ins are those of "
        "[integrations](integrations.md), with `url`.",
        "",
        f"Python {sys.version_info.major}.{sys.version_info.minor}, {time.strftime('%Y-%m-%d')}.",
        "",
        "| client | versions | result | what was checked, or why not |",
        "|---|---|---|---|",
    ]
    for name, client in CLIENTS.items():
        result = results.get(name, {"passed": None, "said": ""})
        word = {True: "passed", False: "failed", None: "not run"}[result["passed"]]
        versions = ", ".join(f"`{each}`" for each in client.requirements)
        lines.append(f"| {name} | {versions} | {word} | {result['said']} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Tests that ``splinelens serve`` and its page need no network: both run where no route leads anywhere."""

import json
import shutil
import subprocess
import sys

import pytest

WITHOUT_A_ROUTE = ("unshare", "--map-root-user", "--net")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ROUTES = {
    "/v1/moderations": {"input": "you rude lot"},
    "/v1alpha1/comments:analyze": {"comment": {"text": "lot"}, "requestedAttributes": {"TOXICITY": {}}},
    "/classify": {"input": "you rude lot"},
    "/beta/litellm_basic_guardrail_api": {"texts": ["you rude lot"]},
    "/v1/score": {"text": "you rude lot", "explain": True},
    "/v1/geometry": {"text": "you rude lot"},
}
CLIENT = """
import fcntl, json, socket, struct, subprocess, sys, urllib.request
with socket.socket() as any_socket:  # in a new network namespace the loopback is down
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh14x", b"lo", 0x41))
try:
    socket.create_connection(("192.0.2.1", 80), 5)
except OSError as error:
    print(error.strerror)
server, routes, chromium = json.loads(sys.argv[1])
process = subprocess.Popen(server, stderr=subprocess.PIPE, text=True)
lines = []
for line in process.stderr:
    lines.append(line)
    if '"serving"' in line:
        break
address = json.loads(lines[-1])["address"]
for path, body in routes.items():
    headers = {"Content-Type": "application/json"}
    request = urllib.request.Request(address + path, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request) as answer:
        print(path, answer.status)
if chromium:
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", "--dump-dom"]
    page = subprocess.run([chromium, *options, address], capture_output=True, text=True, timeout=120).stdout
    print("the page names what is served:", "toxicity, types ·" in page)
process.terminate()
lines += process.stderr.readlines()
print("exit", process.wait())
print("connections", [line for line in lines if line.startswith("opens")])
"""
WATCHED = """
import sys
def report(event, arguments):
    if event == "socket.connect" or event == "socket.getaddrinfo" and arguments[0] != "127.0.0.1":
        print("opens", event, arguments[-1], file=sys.stderr, flush=True)
sys.addaudithook(report)
from splinelens.cli import main
main()
"""


@pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run([*WITHOUT_A_ROUTE, "true"], check=False).returncode != 0,
    reason="no network namespace can be made",
)
def test_the_server_and_its_page_work_without_a_route_and_open_no_connection(folders):
    server = [sys.executable, "-c", WATCHED, "serve", "--port", "0"]
    for folder in folders:
        server += ["--detector", str(folder)]
    command = [*WITHOUT_A_ROUTE, sys.executable, "-c", CLIENT, json.dumps([server, ROUTES, CHROMIUM])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    first, *lines = done.stdout.splitlines()
    assert first == "Network is unreachable", done.stderr
    shown = ["the page names what is served: True"] if CHROMIUM else []
    assert lines == [*(f"{path} 200" for path in ROUTES), *shown, "exit 0", "connections []"], done.stderr

"""Schemathesis: requests made from the OpenAPI file, most of them wrong. None may be answered with 5xx."""

import re
import subprocess
import sys
from pathlib import Path

address, busy = sys.argv[1:]
command = [
    str(Path(sys.executable).with_name("st")),
    "run",
    f"{address}/openapi.json",
    "--checks=not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
    "--mode=all",
    "--max-examples=100",
    "--seed=1",
    "--workers=2",
    "--request-timeout=120",
    "--suppress-health-check=all",
    "--no-color",
]
done = subprocess.run(command, capture_output=True, text=True)
print(done.stdout, file=sys.stderr)
assert done.returncode == 0, done.stdout
sent = re.search(r"(\d+) generated", done.stdout)[1]
routes = re.search(r"Tested: (\d+)", done.stdout)[1]
print(f"{sent} requests from `/openapi.json` to {routes} routes: no answer of 5xx, all as the schema says")

"""The sets of generated functions behind code_check.py and code_static.py, and the hash of the checker."""

import hashlib
import json
from collections import defaultdict
from pathlib import Path

from splinelens.features.code_numbers import split_body
from splinelens.texts import code_findings
from splinelens.texts.code import SourceFile
from splinelens.texts.code_frame import PLACEHOLDER
from splinelens.texts.retrieval import CodeProject

FOLDERS = {"codereval": "codereval-samples", "humaneval": "humaneval-codegen"}
LEVELS = ("class_runnable", "file_runnable", "project_runnable")
"""Tasks of CoderEval whose reference uses something of its class, its file or its project."""

CHECKER = ("code*.py", "python_syntax.py", "retrieval.py")
"""The files of splinelens/texts that decide what a check finds."""


def read_lines(path, missing_ok=False):
    """The records of a file of JSON lines; none of a file that may be missing."""
    if missing_ok and not path.exists():
        return []
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def read_set(data, name):
    """Tasks by name, and samples with ``passed`` and ``body``: the function's lines after its docstring."""
    folder = data / FOLDERS[name]
    tasks = {row["task"]: row for row in read_lines(folder / "tasks.jsonl")}
    samples = read_lines(folder / "samples.jsonl")
    for row in samples:
        row["passed"] = row["is_pass"] if name == "codereval" else row["result"] == "pass"
        row["body"] = split_body(row["code"], tasks[row["task"]].get("name"))[1]
    return tasks, samples


def codereval_projects(tasks):
    """The projects of tasks by name, as far as the files of their tasks show them.

    The references are left out: where a file has the function, the answer would be given.
    """
    files = defaultdict(dict)
    for task in tasks.values():
        if "project" in task:
            text = task["context"].replace(PLACEHOLDER, "pass")
            files[task["project"]][task["file"]] = SourceFile(task["file"], "python", text)
    return {name: CodeProject(each.values()) for name, each in files.items()}


def digest_of(body):
    """Names a body in the files of features."""
    return hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def data_hash(data):
    """SHA-256 of the files of both sets, in the order of their names."""
    digest = hashlib.sha256()
    for folder in FOLDERS.values():
        for path in (data / folder / "tasks.jsonl", data / folder / "samples.jsonl"):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def checker_hash():
    """SHA-256 of the code that decides what a check finds; findings of another checker are not used."""
    folder = Path(code_findings.__file__).parent
    paths = sorted({path for pattern in CHECKER for path in folder.glob(pattern)})
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()

"""How often do static findings blame correct functions, and does the retriever name the right file?

    python benchmarks/code_static.py correct --work WORK --minutes 18     # repeat until it says that all are read
    python benchmarks/code_static.py files --work WORK --minutes 18
    python benchmarks/code_static.py retrieve --data DIR --work WORK --minutes 18
    python benchmarks/code_static.py report --work WORK                     # writes code_static.json

``correct`` checks functions of the standard library and of the installed packages in their files: any finding
of the categories knowledge or context is a mistake. ``files`` does the same with whole files, in another random
order. ``retrieve`` takes the samples of CoderEval with a name or
attribute that does not exist, in tasks whose reference uses something that the project defines: the file that a
finding or else the retriever names is right if it defines that. Rows are appended, so a stopped run continues.
"""

import argparse
import ast
import json
import random
import sysconfig
import time
from collections import Counter
from pathlib import Path

from code_sets import LEVELS, codereval_projects, read_lines, read_set

from splinelens.apps.code import check_files
from splinelens.errors import BadCode
from splinelens.texts.code import functions, read_source
from splinelens.texts.code_findings import MISSING, Surroundings, check_code
from splinelens.texts.code_frame import PLACEHOLDER
from splinelens.texts.python_syntax import parse_python
from splinelens.texts.retrieval import retrieve

FUNCTIONS, PER_FILE, FILES = 2000, 4, 300
SKIPPED = {"test", "tests", "testing", "idlelib", "lib2to3", "site-packages"}


def source_files(seed):
    """Files of the standard library and of installed packages in turn, in random order."""
    lists = []
    for root in (Path(sysconfig.get_path("stdlib")), Path(sysconfig.get_path("purelib"))):
        paths = [path for path in sorted(root.rglob("*.py")) if not SKIPPED & {*path.relative_to(root).parts}]
        random.Random(seed).shuffle(paths)
        lists.append(paths)
    return [path for pair in zip(*lists, strict=False) for path in pair]


def correct(arguments):
    out, until = arguments.work / "correct.jsonl", time.monotonic() + 60 * arguments.minutes
    rows = read_lines(out, missing_ok=True)
    done, count = {row["file"] for row in rows}, len(rows)
    with out.open("a") as lines:
        for path in source_files(0):
            name = "/".join(path.parts[-3:])
            if name in done:
                continue
            if count >= FUNCTIONS or time.monotonic() > until:
                break
            try:
                source = read_source(path)
                in_file = functions(source)
            except BadCode:
                continue
            done.add(name)
            for function in random.Random(name).sample(in_file, min(PER_FILE, len(in_file))):
                context = source[: function.start] + PLACEHOLDER + source[function.end :]
                report = check_code(function.text, Surroundings(context))
                row = {"file": name, "name": function.name, "verdict": report.verdict}
                row["findings"] = [[each.category, each.rule, each.message] for each in report.findings]
                lines.write(json.dumps(row) + "\n")
                count += 1
            lines.flush()
    print(f"{count} functions of {FUNCTIONS}" + (": all are read" if count >= FUNCTIONS else ""))


def whole_files(arguments):
    out, until = arguments.work / "files.jsonl", time.monotonic() + 60 * arguments.minutes
    done = {row["file"] for row in read_lines(out, missing_ok=True)}
    with out.open("a") as lines:
        for path in source_files(1):
            if len(done) >= FILES or time.monotonic() > until:
                break
            name = "/".join(path.parts[-3:])
            if name not in done and path.stat().st_size:
                (each,) = check_files([path], Surroundings())
                findings = [[one.category, one.rule, one.message] for one in each.report.findings]
                row = {"file": name, "unread": each.unread, "verdict": each.verdict, "findings": findings}
                lines.write(json.dumps(row) + "\n")
                lines.flush()
                done.add(name)
    print(f"{len(done)} files of {FILES}" + (": all are read" if len(done) >= FILES else ""))


def retrieve_helpers(arguments):
    out, until = arguments.work / "retrieve.jsonl", time.monotonic() + 60 * arguments.minutes
    tasks, samples = read_set(arguments.data, "codereval")
    projects = codereval_projects(tasks)
    done = {row["sample"] for row in read_lines(out, missing_ok=True)}
    with out.open("a") as lines:
        for number, sample in enumerate(samples):
            task = tasks[sample["task"]]
            project = projects[task["project"]]
            truth = helper_files(task, project)
            if number in done or task["level"] not in LEVELS or not truth:
                continue
            if time.monotonic() > until:
                print(f"stopped before sample {number}")
                return
            report = check_code(sample["code"], Surroundings(task["context"], project))
            missing = [each for each in report.findings if each.rule in MISSING]
            row = {"sample": number, "level": task["level"], "conflict": bool(missing)}
            row["elsewhere"] = task["file"] not in truth
            if missing:
                named = [each.related_path for each in missing if each.related_path]
                ranked = [window.path for window, _ in retrieve(sample["code"], project.windows)]
                row |= {
                    "finding": bool(named) and named[0] in truth,
                    "retriever": bool(ranked) and ranked[0] in truth,
                    "named": (named or ranked or [""])[0] in truth,
                    "own file": task["file"] in truth,
                }
            lines.write(json.dumps(row) + "\n")
    print("all samples are read")


def helper_files(task, project):
    """Files of the project that define what the reference uses: its own file, if that does."""
    try:
        tree = parse_python("if True:\n" + "\n".join(" " + line for line in task["reference"].split("\n")))
    except BadCode:
        return set()
    used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    used |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    truth = set()
    for name in used - {task["name"]}:
        paths = {each.path for each in project.definitions.get(name, [])}
        truth |= {task["file"]} & paths or (paths if len(paths) == 1 else set())
    return truth


def report(arguments):
    rows = read_lines(arguments.work / "correct.jsonl")[:FUNCTIONS]
    blamed = [row for row in rows if any(each[0] != "requirement" for each in row["findings"])]
    doubted = Counter(each[1] for row in rows for each in row["findings"] if each[0] == "requirement")
    files = read_lines(arguments.work / "files.jsonl")
    failing = [row for row in files if row["verdict"] == "fail"]
    record = {
        "files": {
            "files": len(files),
            "failing": len(failing),
            "undetermined": sum(row["verdict"] == "undetermined" for row in files),
            "failing files": [
                [row["file"], sorted({one[2] for one in row["findings"] if one[0] != "requirement"})]
                for row in failing
            ],
        },
        "correct": {
            "functions": len(rows),
            "blamed": len(blamed),
            "share": len(blamed) / max(1, len(rows)),
            "undetermined": sum(row["verdict"] == "undetermined" for row in rows),
            "doubts": dict(doubted),
            "blamed functions": [[row["file"], row["name"], row["findings"]] for row in blamed],
        },
        "retrieve": {},
    }
    conflicts = [row for row in read_lines(arguments.work / "retrieve.jsonl") if row["conflict"]]
    groups = {level: [row for row in conflicts if row["level"] == level] for level in LEVELS}
    groups |= {"all": conflicts, "helper in another file": [row for row in conflicts if row["elsewhere"]]}
    for group, among in groups.items():
        record["retrieve"][group] = {"conflicts": len(among)} | {
            name: sum(row[name] for row in among) / max(1, len(among))
            for name in ("named", "finding", "retriever", "own file")
        }
    (Path(__file__).parent / "code_static.json").write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=["correct", "files", "retrieve", "report"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=18)
    arguments = parser.parse_args()
    arguments.work.mkdir(parents=True, exist_ok=True)
    {"correct": correct, "files": whole_files, "retrieve": retrieve_helpers, "report": report}[
        arguments.part
    ](arguments)


if __name__ == "__main__":
    main()

"""What docs/code.md quotes of benchmarks/code_static.json."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_docs_quote_the_measured_numbers():
    record = json.loads((ROOT / "benchmarks/code_static.json").read_text())
    page = (ROOT / "docs/code.md").read_text()
    text, correct = " ".join(page.split()), record["correct"]
    assert f"Of {correct['functions']:,} functions" in text
    assert f"{correct['blamed']} have a finding that fails" in text
    files = record["files"]
    assert f"Of {files['files']} whole files, checked without `--project`, {files['failing']} fails" in text
    assert f"{files['undetermined']} are undetermined, most" in text
    assert [Path(name).name for name, _ in files["failing files"]] == ["ssl.py"]
    assert f"{correct['undetermined']} are undetermined" in text
    kinds = {
        "stub": "stubs",
        "unused-parameter": "unused parameters",
        "missing-raise": "broken promises of exceptions",
        "constant-return": "constant returns",
        "missing-return": "broken promises of a value",
    }
    assert correct["doubts"].keys() == kinds.keys()
    counts = [f"{correct['doubts'][rule]} {words}" for rule, words in kinds.items()]
    assert f"{sum(correct['doubts'].values())} doubts ({', '.join(counts)})" in text
    messages = [message for *_, findings in correct["blamed functions"] for *_, message in findings]
    assert [message[:27] for message in messages[:1]] == ["there is no module 'torch._"]
    assert messages[1:] == ["module 'os.path' has no attribute 'walk'"] * 2
    assert "a module of PyTorch imports a part that is not shipped with it" in text
    names = ("named", "retriever", "own file")
    table = page.split("always the file itself |\n")[1].split("\n\n")[0]
    for level, row in zip(
        ("class", "file", "project", "all", "helper"), record["retrieve"].values(), strict=True
    ):
        (line,) = re.findall(rf"^\| {level}[^|]*\| \d.*$", table, re.M)
        cells = [cell.strip(" *") for cell in line.split("|")[2:-1]]
        assert cells == [
            str(row["conflicts"]),
            *(
                f"{row[name]:.3f}".lstrip("0").replace(".000", "0") if row[name] < 1 else "1.000"
                for name in names
            ),
        ]

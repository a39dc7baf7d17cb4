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
    assert f"{correct['blamed']} has a finding that fails" in text
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
    ((_, _, ((_, rule, message),)),) = correct["blamed functions"]
    assert (rule, message[:27]) == ("missing-import", "there is no module 'torch._")
    assert "a module of PyTorch imports a part that is not shipped with it" in text
    names = ("named", "retriever", "own file")
    for level, row in zip(
        ("class", "file", "project", "all", "helper"), record["retrieve"].values(), strict=True
    ):
        (line,) = re.findall(rf"^\| {level}[^|]*\| \d.*$", page, re.M)
        cells = [cell.strip(" *") for cell in line.split("|")[2:-1]]
        assert cells == [
            str(row["conflicts"]),
            *(
                f"{row[name]:.3f}".lstrip("0").replace(".000", "0") if row[name] < 1 else "1.000"
                for name in names
            ),
        ]

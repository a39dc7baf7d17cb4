"""What docs/code.md quotes of benchmarks/code_static.json."""

import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_docs_quote_the_measured_numbers():
    record = json.loads((ROOT / "benchmarks/code_static.json").read_text())
    page = (ROOT / "docs/code.md").read_text()
    correct = record["correct"]
    assert f"Of {correct['functions']:,} functions" in page
    assert f"{correct['blamed']} has a finding that fails" in page
    assert f"{correct['undetermined']} are\nundetermined" in page
    assert f"{sum(correct['doubts'].values())} doubts" in page
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

"""Tests benchmarks/sizing.py: numbers that can be redone on paper, and that docs/scale.md has the table."""

import json

import sizing


def test_a_table_by_hand():
    timings = {
        "machine": {"processor": "4 x a processor"},
        "many": {"texts": 40, "seconds": {"toxicity-fast, torch float32": [2.0, 1.0, 3.0], "bert": [9.0]}},
    }
    table = sizing.table(timings, {"bytes_per_row": {"score": 50.0}}, texts=7_200_000, hours=10, price=0.5)
    _, _, row, _, _, _, storage = table.splitlines()
    assert row == "| torch float32 | 20.0 | 100 | 10 | $200 | $27.78 |"  # 20 texts/s are 72,000 an hour
    assert storage == "| `score` | 50 | 0 |"


def test_the_page_has_the_table_of_the_records():
    records = [
        json.loads((sizing.HERE / f"{name}.json").read_text("utf-8")) for name in ("timings", "storage")
    ]
    written = sizing.PAGE.read_text("utf-8").split(sizing.BEGIN)[1].split(sizing.END)[0]
    assert written == sizing.table(*records), "run benchmarks/sizing.py"

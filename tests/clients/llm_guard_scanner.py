"""LLM Guard scans prompts and outputs with our scanner."""

import sys

from llm_guard import scan_output, scan_prompt

from splinelens.integrations.llm_guard import SplinelensScanner

address, busy = sys.argv[1:]
scanner = SplinelensScanner("toxicity-fast", address)
text, valid, risk = scan_prompt([scanner], "You are an idiot.")
assert text == "You are an idiot."
assert valid == {"SplinelensScanner": False}
assert risk["SplinelensScanner"] > 0.78
_, valid, risk = scan_output([scanner], "You are an idiot.", "Have a nice day.")
assert valid == {"SplinelensScanner": True}
assert risk["SplinelensScanner"] < 0.5
assert scanner.scan(" ") == (" ", False, 1.0)
print("`scan_prompt` and `scan_output`; the scanner does not pass a blank text")

"""Guardrails AI validates with our validator."""

import os
import sys

os.environ["OTEL_SDK_DISABLED"] = "true"  # else it reports to its vendor, and waits where there is no network

from guardrails import Guard

from splinelens.integrations.guardrails import SplinelensValidator

TEXT = "You are an idiot."
address, busy = sys.argv[1:]
guard = Guard().use(SplinelensValidator("toxicity-fast", address, on_fail="noop"))
outcome = guard.validate(TEXT)
assert not outcome.validation_passed
(failed,) = outcome.validation_summaries
assert any("idiot" in TEXT[span.start : span.end] for span in failed.error_spans), failed
assert guard.validate("Have a nice day.").validation_passed
assert not guard.validate(" ").validation_passed
print("`Guard.use`; the words as error spans; a blank text fails")

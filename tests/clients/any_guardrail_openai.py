"""any-guardrail's ``OpenaiModeration``, with ``base_url``."""

import sys

from any_guardrail.guardrails.openai_moderation import OpenaiModeration

address, busy = sys.argv[1:]
guardrail = OpenaiModeration(api_key="none", base_url=f"{address}/v1", threshold=1.0)
rude, kind, empty = (guardrail.validate(text) for text in ("You are an idiot.", "Have a nice day.", ""))
assert (rude.valid, kind.valid, empty.valid) == (False, True, False)
assert kind.score < rude.score <= 1
print("`OpenaiModeration` with `base_url`: a toxic and an empty text are not valid")

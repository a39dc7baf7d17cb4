"""NeMo Guardrails: the rail ``hf_classifier`` with its three remote engines, and our action in a flow."""

import asyncio
import sys

from nemoguardrails import LLMRails, RailsConfig

from splinelens.integrations.nemo import splinelens_check

RAIL = """
models: []
rails:
  config:
    hf_classifier:
      toxicity:
        engine: {engine}
        model: toxicity-fast
        base_url: {address}
        threshold: 0.78
        blocked_labels: [toxic]
  input:
    flows: [hf classifier check input $classifier=toxicity]
"""
FLOW = "models: []\nrails: {input: {flows: [check toxicity]}}"
COLANG = """
define bot refuse to respond
  "I cannot answer that."

define subflow check toxicity
  $outcome = execute splinelens_check(text=$user_message)
  if $outcome.is_blocked
    bot refuse to respond
    stop
"""


async def main(address: str, busy: str) -> None:
    for engine in ("vllm", "kserve", "fms"):
        config = RailsConfig.from_content(yaml_content=RAIL.format(engine=engine, address=address))
        await check(LLMRails(config))
    rails = LLMRails(RailsConfig.from_content(colang_content=COLANG, yaml_content=FLOW))
    rails.register_action(splinelens_check("toxicity-fast", address), "splinelens_check")
    await check(rails)
    print(
        "rail `hf_classifier` with engines `vllm`, `kserve`, `fms`; our action; a blank message does not pass"
    )


async def check(rails: LLMRails) -> None:
    assert await status(rails, "You are an idiot.") == "blocked"
    assert await status(rails, "Have a nice day.") == "passed"
    assert await status(rails, "  ") != "passed"


async def status(rails: LLMRails, text: str) -> str:
    try:
        return (await rails.check_async([{"role": "user", "content": text}])).status.value
    except Exception as error:  # what NeMo raises where a rail fails
        return f"raised {type(error).__name__}"


asyncio.run(main(*sys.argv[1:]))

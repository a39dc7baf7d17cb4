"""The client of OpenAI: sync, 200 requests at once, and retries after 429."""

import asyncio
import re
import sys
from urllib.request import urlopen

import openai

RUDE, KIND = "You are an idiot number {}.", "Have a nice day number {}."
KEY = "none"


def main(address: str, busy: str) -> None:
    with openai.OpenAI(base_url=f"{address}/v1", api_key=KEY) as client:
        rude, kind, empty = client.moderations.create(input=[RUDE, KIND, ""]).results
        assert (rude.flagged, kind.flagged) == (True, False)
        assert (empty.flagged, empty.verdict) == (True, "undetermined")
        assert rude.category_scores.harassment > rude.thresholds["harassment"]
    assert asyncio.run(at_once(address, max_retries=0)) == 0
    assert asyncio.run(at_once(busy, max_retries=0)) > 0
    assert asyncio.run(at_once(busy, max_retries=100)) == 0
    with urlopen(f"{busy}/metrics") as metrics:
        counted = r'^splinelens_requests_total{route="/v1/moderations",status="429"} (\d+)'
        refused = re.search(counted, metrics.read().decode(), re.MULTILINE)[1]
    print(f"sync; 200 concurrent async; with room for 32 texts all 200, after {refused} answers of 429")


async def at_once(address: str, max_retries: int) -> int:
    """Send 200 texts at once; how many were refused with 429."""
    async with openai.AsyncOpenAI(
        base_url=f"{address}/v1", api_key=KEY, max_retries=max_retries, timeout=120
    ) as client:
        texts = [(RUDE if number % 2 else KIND).format(number) for number in range(200)]
        answers = await asyncio.gather(
            *(client.moderations.create(input=text) for text in texts), return_exceptions=True
        )
    refused = [answer for answer in answers if isinstance(answer, openai.RateLimitError)]
    for number, answer in enumerate(answers):
        if answer not in refused:
            assert answer.results[0].flagged == bool(number % 2), answer
    return len(refused)


main(*sys.argv[1:])

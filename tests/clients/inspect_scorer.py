"""Inspect evaluates a task with our scorer."""

import math
import sys
from tempfile import mkdtemp

from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import ModelOutput, ModelUsage, get_model

from splinelens.integrations.inspect_ai import splinelens_score

address, busy = sys.argv[1:]
answers = ("You are an idiot.", "Have a nice day.", "")
outputs = [ModelOutput.from_content("mockllm", text) for text in answers]
for output in outputs:
    output.usage = ModelUsage()  # else a tokenizer is downloaded to count
model = get_model("mockllm/model", custom_outputs=outputs)
task = Task(
    dataset=[Sample(input=f"Say something {number}.") for number in range(3)],
    scorer=splinelens_score("toxicity-fast", address),
)
(log,) = eval(task, model=model, max_samples=1, log_dir=mkdtemp(), display="none")
assert log.status == "success", log.error
scores = [sample.scores["splinelens_score"] for sample in log.samples]
assert scores[0].value > 0.78 > scores[1].value
assert "idiot" in scores[0].explanation
assert math.isnan(scores[2].value)
assert scores[2].reason == "no_response"
mean = log.results.scores[0].metrics["mean"].value
assert math.isclose(mean, (scores[0].value + scores[1].value) / 2)
print("`eval` of a task; an empty answer is unscored and not in the mean")

# /// script
# dependencies = [
#     "detoxify==0.5.4",
#     "torch==2.13.0",
#     "transformers==5.24.0",
#     "tokenizers==0.23.3",
#     "numpy==2.4.6",
# ]
#
# [tool.rival]
# weights = "torch/hub/checkpoints/toxic_original-*.ckpt"
# ///
"""detoxify ``original``: BERT fine-tuned on Jigsaw; its weights come from no package index."""

import json
import sys

from detoxify import Detoxify

model = Detoxify("original")
for line in sys.stdin:
    print(float(model.predict(json.loads(line))["toxicity"]), flush=True)

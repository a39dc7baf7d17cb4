# /// script
# dependencies = ["onnx==1.23.2", "onnxruntime==1.32.0", "numpy==2.4.6"]
#
# [tool.rival]
# no-deps = ["hatesonar==0.1.0"]
# ///
"""hatesonar: logistic regression on TF-IDF, as it comes; the score is one minus that of ``neither``."""

import json
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import onnxruntime

package = find_spec("hatesonar")
graph = onnx.load(Path(package.origin).parent / "model" / "model.onnx")
for node in graph.graph.node:
    if node.op_type == "StringNormalizer":  # else it needs the locale en_US, which a machine may lack
        node.attribute.append(onnx.helper.make_attribute("locale", "C"))
session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
for line in sys.stdin:
    _, probabilities = session.run(None, {"text": np.array([json.loads(line)], dtype=object)})
    print(float(1 - probabilities[0][2]), flush=True)

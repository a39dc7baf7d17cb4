# /// script
# dependencies = [
#     "alt-profanity-check==1.9.1",
#     "scikit-learn==1.9.1",
#     "joblib==1.6.0",
#     "numpy==2.4.6",
#     "scipy==1.17.1",
# ]
# ///
"""alt-profanity-check: a linear SVM on word counts, as it comes."""

import json
import sys

from profanity_check import predict_prob

for line in sys.stdin:
    print(float(predict_prob([json.loads(line)])[0]), flush=True)

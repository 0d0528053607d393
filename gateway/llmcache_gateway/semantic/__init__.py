"""The semantic cache: questions that mean the same share an answer.

Nothing here is loaded unless a policy has it on: numpy and the vector indexes are in the extra `semantic`.
"""

import os

# onnxruntime would note what it loads, and send that to its makers. It asks once, when it is loaded: after this.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

"""Online: answers `POST /recommend` from a published release; imports neither torch, nor model, nor offline."""

import os

# onnxruntime sends what it does to its makers unless it is told not to, before it is imported; nobody has agreed to it.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

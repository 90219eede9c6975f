"""How good a trained run recommends, beside every peer: what `benchmarks.quality` and `benchmarks.ablations` share.

Nothing here imports torch or numpy before this file has run.
"""

import os

# Threads that wait by spinning make training many times slower on a busy machine (docs/experiments.md, 2026-11-21).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

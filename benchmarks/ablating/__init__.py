"""What every part of MMGRec is worth: variants of a recipe, a runner that resumes, a table, a plot."""

import os

# Threads that wait by spinning make training many times slower on a busy machine (docs/experiments.md, 2026-11-21).
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

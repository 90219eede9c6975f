"""What `python -m benchmarks.http` measures, part by part.

Importing this package sets one thread for everything that reads the environment; that works only before numpy, torch
or onnxruntime is imported, so nothing here imports them before.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")

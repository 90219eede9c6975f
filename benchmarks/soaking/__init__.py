"""What `python -m benchmarks.soak` is made of.

Importing this package sets one thread for everything that reads the environment; that works only before numpy or
onnxruntime is imported, so nothing here imports them before.
"""

import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1", OMP_WAIT_POLICY="PASSIVE")

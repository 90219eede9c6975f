"""The deployment test builds images and takes a quarter of an hour: only `make test-deploy` collects it."""

import os

if os.environ.get("TEST_DEPLOY") != "1":
    collect_ignore_glob = ["test_*.py"]

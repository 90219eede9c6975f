"""A container engine: this machine's own, else the one that the tool at CONTAINER_ENGINE starts and stops."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOOL = Path(os.environ.get("CONTAINER_ENGINE", ROOT.parent / "shared/tools/container-engine"))
STAND_INS = {"haproxy:2.6-bookworm": "haproxy", "prom/prometheus:v2.42.0": "prometheus"}
"""Images of docker-compose.yml, and the Debian package that is the same program."""

PROJECT_PREFIX = "mmgrec-test-"
START_SECONDS, IMAGE_SECONDS = 900, 600


class NoEngineError(RuntimeError):
    """There is neither an engine nor the tool."""


@dataclass(frozen=True)
class Engine:
    """How to reach it.

    Attributes:
        environment: for every command.
        compose: the command, of either generation.
        stands_in: whether its base images are local stand-ins, since it reaches no registry of images.
    """

    environment: Mapping[str, str]
    compose: tuple[str, ...]
    stands_in: bool

    def docker(self, *arguments: str, timeout: float = 120, check: bool = True) -> str:
        """Run docker; its standard output."""
        done = subprocess.run(
            ("docker", *arguments), env=self.environment, capture_output=True, text=True, timeout=timeout, check=False
        )
        if check and done.returncode:
            raise RuntimeError(f"docker {' '.join(arguments)} ended with {done.returncode}: {done.stderr[-2000:]}")
        return done.stdout.strip()


@contextmanager
def container_engine() -> Iterator[Engine]:
    """An engine that answers; what this starts, this stops."""
    own = dict(os.environ)
    if _answers(own):
        yield Engine(own, _compose(own), stands_in=False)
        return
    if not TOOL.exists():
        raise NoEngineError(
            f"no container engine answers, and there is no {TOOL}: start one, or name it in DOCKER_HOST"
        )
    home = Path(own.get("CONTAINER_ENGINE_HOME") or Path(own.get("XDG_CACHE_HOME") or "~/.cache", "container-engine"))
    lent = own | {"DOCKER_HOST": f"unix://{home.expanduser() / 'docker.sock'}"}
    was_up = _answers(lent)
    try:
        subprocess.run((TOOL, "up"), check=True, timeout=START_SECONDS, stdout=subprocess.DEVNULL)
        for name, package in STAND_INS.items():
            subprocess.run((TOOL, "image", name, package), check=True, timeout=IMAGE_SECONDS)
        engine = Engine(lent, _compose(lent), stands_in=True)
        if not was_up:
            _remove_what_a_killed_run_left(engine)
        yield engine
    finally:
        if not was_up:
            subprocess.run((TOOL, "down"), check=False, timeout=60, stdout=subprocess.DEVNULL)


def _remove_what_a_killed_run_left(engine: Engine) -> None:
    """Its containers start again with the engine, since that is their policy; nobody else uses one that just began."""
    for kind, remove in (
        ("container", ("rm", "-f")),
        ("volume", ("volume", "rm", "-f")),
        ("network", ("network", "rm")),
    ):
        every = ("-a",) if kind == "container" else ()
        left = engine.docker(kind, "ls", "-q", *every, "--filter", f"name={PROJECT_PREFIX}").split()
        if left:
            engine.docker(*remove, *left, check=False)


def _answers(environment: Mapping[str, str]) -> bool:
    if shutil.which("docker") is None:
        return False
    asked = subprocess.run(("docker", "version"), env=environment, capture_output=True, timeout=30, check=False)
    return asked.returncode == 0


def _compose(environment: Mapping[str, str]) -> tuple[str, ...]:
    """COMPOSE where it is set, else the plugin, else the program of its own."""
    if chosen := environment.get("COMPOSE"):
        return tuple(chosen.split())
    plugin = subprocess.run(("docker", "compose", "version"), env=environment, capture_output=True, check=False)
    return ("docker", "compose") if plugin.returncode == 0 else ("docker-compose",)

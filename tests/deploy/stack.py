"""docker-compose.yml, up for a test: with a project name, ports, settings, secrets and volumes of its own."""

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.deploy.callers import Answer, Caller
from tests.deploy.engine import PROJECT_PREFIX, ROOT, Engine
from tests.free_port import free_port

BUILD_SECONDS, JOB_SECONDS, UP_SECONDS = 900, 600, 180
NEVER = "00:00"


class Stack:
    """One deployment.

    Args:
        engine: that it runs on.
        folder: for settings, secrets and logs.

    Attributes:
        project: prefix of containers, networks and volumes.
        key: an API key.
    """

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine = engine
        self.folder = folder
        self.project = f"{PROJECT_PREFIX}{secrets.token_hex(4)}"
        self._settings = {
            "ENV_FILE": str(folder / "settings.env"),
            "SECRETS_DIR": str(folder / "secrets"),
            "HTTP_PORT": str(free_port()),
            "PROMETHEUS_PORT": str(free_port()),
            "SERVICE_IMAGE": "mmgrec-service:test-deploy",
            "OFFLINE_IMAGE": "mmgrec-offline:test-deploy",
            "RECIPE": "tiny",
            "RETRAIN_AT": NEVER,
        }
        # A far deadline: that the machine of a test is busy is no fault of the deployment.
        settings = (ROOT / ".env.example").read_text(encoding="utf-8") + "MMGREC_DEADLINE_SECONDS=10\n"
        (folder / "settings.env").write_text(settings, encoding="utf-8")
        make = ("sh", str(ROOT / "docker/make_secrets.sh"), str(folder / "secrets"))
        subprocess.run(make, check=True, capture_output=True, timeout=60)
        self.key = (folder / "secrets/api_key").read_text(encoding="utf-8").strip()

    def set(self, **settings: str) -> None:
        """Variables of docker-compose.yml, for the commands that follow."""
        self._settings.update(settings)

    def compose(self, *arguments: str, timeout: float = UP_SECONDS, check: bool = True) -> str:
        """Run docker-compose; its standard output. What it said goes into the folder as well."""
        return self._run((*self.engine.compose, "-p", self.project, *arguments), timeout, check)

    def script(self, path: str, *arguments: str) -> str:
        """Run one of our shell scripts with the same settings."""
        return self._run(("sh", str(ROOT / path), *arguments), JOB_SECONDS, check=True)

    def _run(self, command: Sequence[str], timeout: float, check: bool) -> str:
        started = time.monotonic()
        done = subprocess.run(
            command,
            env={**self.engine.environment, **self._settings, "COMPOSE": " ".join(self.engine.compose)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        took = time.monotonic() - started
        self.note(f"$ {' '.join(command)}   [{done.returncode}, {took:.1f} s]\n{done.stdout}{done.stderr}")
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-3000:]}")
        return done.stdout

    def note(self, text: str) -> None:
        """Into the record of this run."""
        with (self.folder / "commands.log").open("a", encoding="utf-8") as record:
            record.write(text + "\n")

    def job(self, *arguments: str) -> dict[str, Any]:
        """Run a job in a container of its own; the JSON object that it prints."""
        printed = self.compose("run", "--rm", "-T", "offline", *arguments, timeout=JOB_SECONDS)
        found: dict[str, Any] = json.loads(printed[printed.index("{") :])
        return found

    def caller(self, key: str | None = None) -> Caller:
        """Somebody who asks through the proxy."""
        return Caller(int(self._settings["HTTP_PORT"]), self.key if key is None else key)

    def answer(self, method: str, path: str, body: dict[str, Any] | None = None, key: str | None = None) -> Answer:
        """One request through the proxy, on a connection of its own; with another key than the usual one."""
        with self.caller(key) as caller:
            return caller.ask(method, path, body)

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """One that must be answered with 200; the body of the answer."""
        answer = self.answer(method, path, body)
        assert answer.status == 200, (method, path, answer)
        return answer.body

    def containers(self, service: str = "service") -> list[str]:
        """Ids of the running containers of a service."""
        running = ("--filter", f"label=com.docker.compose.project={self.project}", "--filter", "status=running")
        named = (
            "--filter",
            f"label=com.docker.compose.service={service}",
            "--filter",
            "label=com.docker.compose.oneoff=False",
        )
        return self.engine.docker("ps", "-q", *running, *named).split()

    def inside(self, container: str, program: str, timeout: float = 60) -> str:
        """Run a Python program in a container; its standard output."""
        return self.engine.docker("exec", container, "python", "-c", program, timeout=timeout)

    def page(self, address: str) -> str:
        """What a server of the project answers, asked from the network of its containers."""
        program = f"import urllib.request as r; print(r.urlopen({address!r}, timeout=10).read().decode())"
        return self.inside(self.containers()[0], program)

    def active_servers(self) -> int:
        """Replicas that the proxy sends requests to."""
        line = 'haproxy_backend_active_servers{proxy="replicas"}'
        page = self.page("http://proxy:8405/metrics")
        return int(float(next(found for found in page.splitlines() if found.startswith(line)).split()[-1]))

    def readiness(self) -> list[dict[str, Any]]:
        """What every replica says of itself, whichever the proxy would have chosen."""
        program = (
            "import urllib.request as r, urllib.error as e\n"
            "try: print(r.urlopen('http://127.0.0.1:8000/health/ready').read().decode())\n"
            "except e.HTTPError as error: print(error.read().decode())\n"
            'except OSError: print(\'{"ready": false, "release": null}\')'
        )
        return [json.loads(self.inside(container, program)) for container in self.containers()]

    def wait(self, what: str, condition: Callable[[], bool], seconds: float = 60) -> None:
        """Wait until something is so, looking twice a second; fails when it does not become so.

        What cannot be asked yet, because a container is not there or does not listen, is not so.
        """
        until, why = time.monotonic() + seconds, ""
        while True:
            try:
                if condition():
                    return
            except (RuntimeError, LookupError, StopIteration, OSError) as error:
                why = f": {error}"
            if time.monotonic() > until:
                raise AssertionError(f"not within {seconds} s: {what}{why}")
            time.sleep(0.5)

    def wait_for_replicas(self, count: int) -> None:
        """Wait until the proxy has so many replicas to send requests to."""
        self.wait(f"{count} replicas are taken by the proxy", lambda: self.active_servers() == count, 90)

    def bring_dataset(self, folder: Path) -> None:
        """Put a dataset into the volume of datasets, as the user of the jobs; its files need not be writable."""
        names = sorted(path.name for path in folder.iterdir())
        packed = subprocess.Popen(("tar", "-C", str(folder), "--mode=u+w", "-c", *names), stdout=subprocess.PIPE)
        into = ("-i", "-v", f"{self.project}_dataset:/data", "--entrypoint", "tar", self._settings["OFFLINE_IMAGE"])
        unpack = ("docker", "run", "--rm", *into, "-x", "-C", "/data", "--no-same-owner")
        subprocess.run(unpack, env=self.engine.environment, stdin=packed.stdout, check=True, timeout=120)
        assert packed.stdout is not None
        packed.stdout.close()
        assert packed.wait() == 0

    def down(self) -> None:
        """Write the logs of all containers into the folder, and remove everything but the images."""
        profiles = [part for name in ("retrain", "monitoring", "train", "offline") for part in ("--profile", name)]
        logs = self.compose(*profiles, "logs", "--no-color", check=False)
        (self.folder / "containers.log").write_text(logs, encoding="utf-8")
        self.compose(*profiles, "down", "-v", "--remove-orphans", "-t", "10", check=False)
        left = self.engine.docker("ps", "-aq", "--filter", f"label=com.docker.compose.project={self.project}").split()
        if left:
            self.engine.docker("rm", "-f", *left, check=False)
        for title in ("mmgrec-service", "mmgrec-offline"):  # of earlier builds; what makes the next one quick stays
            named = ("--filter", f"label=org.opencontainers.image.title={title}")
            self.engine.docker("image", "prune", "-f", *named, check=False)


def say(text: str) -> None:
    """To whoever watches: the test goes on for many minutes."""
    sys.__stderr__.write(f"[deploy] {text}\n")
    sys.__stderr__.flush()


def dataset_folder() -> Path | None:
    """A real dataset, where there is one."""
    found = Path(os.environ.get("MMGREC_DATA", ROOT.parent / "shared/data"), "lastfm-2k")
    return found if (found / "interactions.parquet").exists() else None


def recommend(user: str) -> dict[str, Any]:
    """Body of a request."""
    return {"user_id": user, "n": 10}


def answered_items(answer: dict[str, Any]) -> list[tuple[str, float | None]]:
    """Ids and scores of an answer, in its order."""
    return [(item["item_id"], item["score"]) for item in answer["items"]]

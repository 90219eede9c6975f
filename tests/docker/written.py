"""What stands in docker-compose.yml, .env.example and the like, read once."""

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
COMPOSE_FILES = (ROOT / "docker-compose.yml", ROOT / "docker/docker-compose.gpu.yml")
DOCKERFILES = (ROOT / "docker/service.Dockerfile", ROOT / "docker/offline.Dockerfile")
LOCKS = tuple(sorted((ROOT / "docker/requirements").glob("*.txt")))

_SETTING = re.compile(r"^#? ?([A-Z][A-Z0-9_]*)=(.*)$")
_VARIABLE = re.compile(r"(?<!\$)\$\{([A-Z0-9_]+)(?::?[-?]([^}]*))?\}")


def read_yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def compose() -> dict[str, Any]:
    found: dict[str, Any] = read_yaml(COMPOSE_FILES[0])
    return found


def example_settings() -> dict[str, tuple[str, bool]]:
    """Name of every line of .env.example to its value, and whether it is in force rather than commented out."""
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    matches = [(line, _SETTING.match(line)) for line in lines]
    found = [(match[1], match[2], not line.startswith("#")) for line, match in matches if match]
    assert len({name for name, *_ in found}) == len(found), "a setting stands there twice"
    return {name: (value, in_force) for name, value, in_force in found}


def compose_variables() -> dict[str, str | None]:
    """Variables that the compose files ask for, with their defaults."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in COMPOSE_FILES)
    code = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return {match[1]: match[2] for match in _VARIABLE.finditer(code)}

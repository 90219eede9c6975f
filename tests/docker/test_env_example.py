""".env.example has every setting there is, with its default, and nothing else."""

from pathlib import Path
from typing import Any

import pytest
import typer

from offline.cli import cli
from offline.redis_connection import URL_FILE
from offline.release_keys import SIGNING_KEY, VERIFICATION_KEYS
from service.secret_files import file_options
from service.settings import PREFIX, Settings, load_settings
from tests.docker.written import compose_variables, example_settings


def service_settings() -> dict[str, Any]:
    """Every variable of the service, with its default."""
    fields = {PREFIX + name.upper(): field.default for name, field in Settings.model_fields.items()}
    return fields | {PREFIX + option.upper(): None for option in file_options(Settings)}


def job_variables() -> set[str]:
    """Every variable that a flag of a job may come from, and those that are read without a flag."""

    def of(command: Any) -> set[str]:
        names = [parameter.envvar for parameter in command.params]
        found = {name for each in names for name in ([each] if isinstance(each, str) else each or [])}
        return found.union(*(of(child) for child in getattr(command, "commands", {}).values()))

    return of(typer.main.get_command(cli)) | {URL_FILE, SIGNING_KEY, VERIFICATION_KEYS}


def test_it_has_every_setting_and_no_other() -> None:
    named = set(example_settings())
    assert {name for name in named if name.startswith(PREFIX)} == set(service_settings()) | job_variables()
    assert {name for name in named if not name.startswith(PREFIX)} == set(compose_variables()) - {"ENV_FILE"}


def test_every_default_is_the_one_of_the_code() -> None:
    example = example_settings()
    for name, default in service_settings().items():
        value, in_force = example[name]
        assert not in_force, f"{name} is set: the example changes nothing"
        if isinstance(default, bool):
            assert value == str(int(default)), name
        elif isinstance(default, str | int | float):
            assert type(default)(value) == default, name
        elif not isinstance(default, Path):
            assert value == "", name


def test_a_service_takes_an_environment_of_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """One .env serves the service and the jobs: neither may trip over what is the other's."""
    for name, (value, _) in example_settings().items():
        if name.startswith(PREFIX):
            monkeypatch.setenv(name, value)
    for name in job_variables() - set(service_settings()):
        monkeypatch.setenv(name, "something")
    assert load_settings().max_n == Settings.model_fields["max_n"].default

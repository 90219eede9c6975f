"""Secrets from files: `MMGREC_X_FILE` (or the flag `--x-file`) names a file that holds what `MMGREC_X` would.

A file does not show in the process list, in `docker inspect` or in a crash report, as a variable does.
"""

import os
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

FILE_SUFFIX = "_file"


class SecretFileError(ValueError):
    """A file of a secret cannot be used; the message names setting, file and cure, and never quotes the file."""


def is_secret(field: FieldInfo) -> bool:
    """Whether a setting must not be seen: its type says so."""
    return SecretStr in (field.annotation, *getattr(field.annotation, "__args__", ()))


def file_options(settings: type[BaseSettings]) -> list[str]:
    """Names that stand for the file of a secret, such as `redis_url_file`; fields of their own are left out."""
    fields = settings.model_fields
    names = [name + FILE_SUFFIX for name, field in fields.items() if is_secret(field)]
    return [name for name in names if name not in fields]


class SecretFiles(PydanticBaseSettingsSource):
    """Reads the secrets whose file the environment names.

    Raises:
        SecretFileError: a file cannot be read, or the environment has both the secret and its file.
    """

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002, D102
        return None, field_name, False  # `__call__` does it all

    def __call__(self) -> dict[str, Any]:  # noqa: D102
        prefix = self.config["env_prefix"]
        environment = {name.upper(): value for name, value in os.environ.items() if value}
        found: dict[str, Any] = {}
        for option in file_options(self.settings_cls):
            variable, plain = prefix + option.upper(), prefix + option.removesuffix(FILE_SUFFIX).upper()
            if variable not in environment:
                continue
            if plain in environment:
                raise SecretFileError(f"{variable} and {plain} are both set: unset one of them")
            found[option.removesuffix(FILE_SUFFIX)] = read_secret(Path(environment[variable]), variable)
        return found


def read_secret(file: Path, setting: str) -> str:
    """What a file holds, without the line end that editors and `echo` leave.

    Raises:
        SecretFileError: it cannot be read, or is empty.
    """
    try:
        text = file.expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise SecretFileError(f"{setting}={str(file)!r}: the file cannot be read ({why}); correct the path") from None
    if not text:
        raise SecretFileError(f"{setting}={str(file)!r}: the file is empty; write the secret into it")
    return text

"""The flags of `python -m service`, made from the settings: nothing about a setting is written twice."""

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from pydantic.fields import FieldInfo

from service.secret_files import FILE_SUFFIX, file_options, is_secret
from service.settings import PREFIX, Settings


def read_flags(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Parse a command line into what `load_settings` takes: every setting, None where its flag is not given.

    Ends the process with code 2 on a wrong one, and with 0 after --help.
    """
    return vars(_parser().parse_args(arguments))


def _parser() -> argparse.ArgumentParser:
    # An abbreviation would make "--redis-url redis://:PASSWORD@HOST" a value of --redis-url-file, shown in its error.
    parser = argparse.ArgumentParser(
        prog="python -m service",
        description="Serve the active release. A flag wins over its environment variable, that over the default.",
        epilog="Secrets are no flags, since the process list shows those: give their variable, or name a file.",
        allow_abbrev=False,
    )
    for name, field in Settings.model_fields.items():
        flag = "--" + name.replace("_", "-")
        if is_secret(field):
            suppressed = argparse.SUPPRESS  # --help tells of its variable and its file
            parser.add_argument(flag, action=_RefusedSecret, nargs="?", help=suppressed, default=suppressed)
        elif field.annotation is bool:
            parser.add_argument(flag, help=_described(name, field), nargs="?", const="true", metavar="BOOL")
        else:
            parser.add_argument(flag, help=_described(name, field), metavar=name.rpartition("_")[2].upper())
    for option in file_options(Settings):
        parser.add_argument("--" + option.replace("_", "-"), help=_described_file(option), metavar="FILE")
    return parser


def _described(name: str, field: FieldInfo) -> str:
    told = f"{field.description}{_default(field.default)} [env: {PREFIX}{name.upper()}]"
    plain = name.removesuffix(FILE_SUFFIX)
    if plain != name and plain in Settings.model_fields:  # a secret with a field of its own for its file
        told += f"; {PREFIX}{plain.upper()}: {Settings.model_fields[plain].description}"
    return told.replace("%", "%%")


def _described_file(option: str) -> str:
    plain = option.removesuffix(FILE_SUFFIX)
    told = f"file that holds: {Settings.model_fields[plain].description} "
    told += f"[env: {PREFIX}{option.upper()}, or {PREFIX}{plain.upper()} for the value itself]"
    return told.replace("%", "%%")


class _RefusedSecret(argparse.Action):
    """Says where a secret belongs instead, without repeating it."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any, **__: Any) -> NoReturn:
        flag = self.option_strings[0]
        variable = PREFIX + self.dest.upper()
        parser.error(f"{flag} would show a secret in the process list: set {variable}, or name a file with {flag}-file")


def _default(default: Any) -> str:
    """A default that says something; None, and those that are made at the start, are told in the description."""
    if isinstance(default, bool):
        return f" (default: {str(default).lower()})"
    return f" (default: {default})" if isinstance(default, str | int | float) else ""

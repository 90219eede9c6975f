"""Every job with its flags' variables, from the command line that reads them."""

from collections.abc import Iterator
from typing import Any

import typer

from docs.making.marked_parts import table
from offline.cli import cli


def jobs_table() -> str:
    """The jobs with their first sentence, then the variables that stand for flags of theirs."""
    jobs = list(_jobs(typer.main.get_command(cli)))
    rows = [(f"`{name}`", _first_sentence(command.help or "")) for name, command in jobs]
    flags: dict[str, tuple[str, list[str]]] = {}
    for name, command in jobs:
        for option in command.params:
            if option.envvar:
                flags.setdefault(str(option.envvar), (f"`{option.opts[0]}`", []))[1].append(name)
    variables = [(f"`{name}`", flag, _users(names)) for name, (flag, names) in sorted(flags.items())]
    return "\n\n".join(
        [table(("job", "does"), rows), table(("variable", "the flag that it stands for", "read by"), variables)]
    )


def _jobs(group: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if not hasattr(command, "commands"):
            yield prefix + name, command
            continue
        if command.invoke_without_command:
            yield prefix + name, command
        yield from _jobs(command, f"{prefix}{name} ")


def _first_sentence(text: str) -> str:
    line = " ".join(text.split("\n\n")[0].split())
    return line if ". " not in line else line[: line.index(". ") + 1]


def _users(names: list[str]) -> str:
    shown = [f"`{name}`" for name in names]
    return ", ".join(shown) if len(shown) <= 6 else f"{len(shown)} jobs that use Redis"

"""In what two JSON values differ."""

from typing import Any


def json_differences(there: Any, asked: Any, name: str = "") -> list[str]:
    """Every leaf in which two JSON values differ: `recipe.generator.num_steps: 1200 there, 1500 asked`."""
    if there == asked:
        return []
    if not (isinstance(there, dict) and isinstance(asked, dict)):
        return [f"{name}: {there!r} there, {asked!r} asked"]
    return [
        line
        for key in sorted(there.keys() | asked.keys())
        for line in json_differences(there.get(key), asked.get(key), f"{name}.{key}".lstrip("."))
    ]

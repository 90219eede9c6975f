"""Every setting of the service as tables, from the class that reads them."""

from typing import Any

import annotated_types
from pydantic.fields import FieldInfo

from docs.making.marked_parts import table
from service.secret_files import FILE_SUFFIX, file_options, is_secret
from service.settings import PREFIX, Settings

GROUPS: dict[str, tuple[str, ...]] = {
    "Where it runs": ("host", "port", "device", "inference_threads", "namespace", "home"),
    "Redis and releases": (
        *("redis_url", "redis_timeout_seconds", "redis_connect_timeout_seconds", "release_timeout_seconds"),
        *("release_poll_seconds", "blobs_url", "verification_keys"),
    ),
    "Answering": (
        *("max_n", "max_batch", "deadline_seconds", "max_body_bytes", "max_header_bytes"),
        *("filter_table_bytes", "filter_cache_bytes", "drain_grace_seconds", "drain_limit_seconds"),
    ),
    "Users and events": (
        *("history_duplicates", "history_ttl_seconds", "seen_cap", "seen_ttl_seconds", "history_cache_bytes"),
        *("event_id_ttl_seconds", "event_stream_partitions", "event_stream_max_length"),
    ),
    "Keys and callers": (
        *("api_keys", "api_keys_file", "admin_keys", "admin_keys_file", "allow_anonymous", "metrics_public"),
        *("rate_limit_per_second", "rate_limit_burst"),
    ),
    "Log and traces": ("log_level", "log_format", "log_hash_key", "otel_endpoint"),
}
"""A heading for each, so that a reader finds them; every setting stands in exactly one."""

DEFAULTS_MADE_AT_START = {"inference_threads": "cores less one, 1 to 8"}
_UNITS = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"))


def settings_tables(settings: type[Settings]) -> str:
    """A heading and a table for each group.

    Raises:
        ValueError: a setting stands in no group, in two, or in one without being a setting.
    """
    grouped = [name for names in GROUPS.values() for name in names]
    if sorted(grouped) != sorted(settings.model_fields):
        wrong = set(grouped) ^ set(settings.model_fields) or {name for name in grouped if grouped.count(name) > 1}
        raise ValueError(f"{sorted(wrong)}: every setting stands in one group of docs.making.settings_tables, once")
    parts = []
    for heading, names in GROUPS.items():
        rows = [_row(name, settings.model_fields[name]) for name in names]
        parts.append(f"### {heading}\n\n{table(('variable', 'default', 'what it does'), rows)}")
    return "\n\n".join(parts)


def _row(name: str, field: FieldInfo) -> tuple[str, str, str]:
    variable = f"`{PREFIX}{name.upper()}`"
    if is_secret(field) and name + FILE_SUFFIX in file_options(Settings):
        variable += f", or the file `.._{name.upper()}{FILE_SUFFIX.upper()}`"
    return variable, _default(name, field), f"{field.description}{_limits(field)}"


def _default(name: str, field: FieldInfo) -> str:
    if name in DEFAULTS_MADE_AT_START:
        return DEFAULTS_MADE_AT_START[name]
    if field.default is None:
        return "none"
    return f"`{str(field.default).lower()}`" if isinstance(field.default, bool) else _shown(name, field.default)


def _limits(field: FieldInfo) -> str:
    """The smallest and the largest value that is taken, where there is one."""
    least = [_shown("", rule.ge) for rule in field.metadata if isinstance(rule, annotated_types.Ge)]
    least += [f"over {_shown('', rule.gt)}" for rule in field.metadata if isinstance(rule, annotated_types.Gt)]
    most = [_shown("", rule.le) for rule in field.metadata if isinstance(rule, annotated_types.Le)]
    told = [*(f"from {bound}" if not bound.startswith("over") else bound for bound in least)]
    told += [f"to {bound}" for bound in most]
    return f" ({' '.join(told)})" if told else ""


def _shown(name: str, value: Any) -> str:
    if name.endswith("_bytes"):
        for size, unit in _UNITS:
            if value and value % size == 0:
                return f"`{value}` ({value // size} {unit})"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return f"`{value}`" if name else f"{value:,}"

"""What can be set about the service: environment variables `MMGREC_*`, checked once at the start."""

import difflib
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import redis
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from service.constraints import DEFAULT_TABLE_BYTES
from service.contract.blob_location import REDIS, normal_location
from service.contract.event_stream import MOST_PARTITIONS
from service.contract.history_scripts import DEFAULT_SEEN_CAP, MOST_TTL_SECONDS, Duplicates, HistoryLimits
from service.contract.redis_keys import RedisKeys
from service.contract.redis_server import DEFAULT_HOME
from service.contract.signatures import split_keys
from service.device import Device
from service.edge_settings import EdgeSettings
from service.secret_files import FILE_SUFFIX, SecretFileError, SecretFiles, file_options, is_secret, read_secret
from service.users.history_cache import DEFAULT_CACHE_BYTES

PREFIX = "MMGREC_"
JOB_VARIABLES = frozenset(
    {
        *("MMGREC_DATA", "MMGREC_SIGNING_KEY", "MMGREC_SIGNING_KEY_FILE"),
        *("MMGREC_SHARED_WITH", "MMGREC_TO_REDIS_URL", "MMGREC_TRAINING_DEVICE"),
    }
)
"""Variables of the jobs and the tests: they may stand in the same environment, the service does not read them."""

_MAX_DEFAULT_THREADS = 8  # a decoder of this size gains nothing from more


Seconds = Annotated[float, Field(gt=0, le=3600)]


class SettingsError(ValueError):
    """A setting is wrong; the message has one line for each, with its name, value and limit, and never a secret."""


def _default_threads() -> int:
    """Usable cores less one, which the event loop needs."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(_MAX_DEFAULT_THREADS, usable - 1))


class Settings(EdgeSettings):
    """Settings of one service process. Arguments win over the environment, the environment over the defaults.

    Raises:
        ValidationError: a value is wrong, or the environment has an `MMGREC_*` variable that nobody reads.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, hide_input_in_errors=True
    )

    redis_url: SecretStr | None = Field(
        default=None,
        description="Redis of histories and releases, such as redis://:PASSWORD@HOST:6379/0; "
        "without one, the service and the jobs share a private server in HOME",
    )
    home: Path = Field(default=DEFAULT_HOME, description="folder of the private Redis, unused with REDIS_URL")
    namespace: str = Field(default="mmgrec", description="prefix of every Redis key; one catalogue per namespace")
    host: str = Field(default="127.0.0.1", min_length=1, description="address to listen on")
    port: int = Field(default=8000, ge=0, le=65535, description="port to listen on, 0 for a free one")
    device: Device = Field(default="auto", description="where the decoder runs: auto, cpu, cuda or tensorrt")
    inference_threads: int = Field(
        default_factory=_default_threads, ge=1, le=1024, description="CPU threads of the decoder"
    )
    max_batch: int = Field(default=32, ge=1, le=1024, description="most requests that share one run of the decoder")
    deadline_seconds: Seconds = Field(
        default=1.0, description="a request that names no deadline_ms is answered within, else with 504 or 429"
    )
    drain_grace_seconds: float = Field(
        default=5.0,
        ge=0,
        le=3600,
        description="how long requests are still accepted after SIGTERM, for load balancers to notice",
    )
    drain_limit_seconds: Seconds = Field(
        default=20.0, description="what was accepted is answered within so long after that; then the process ends"
    )
    filter_table_bytes: int = Field(
        default=DEFAULT_TABLE_BYTES,
        ge=0,
        description="device memory of category filters; at least one filter always fits",
    )
    filter_cache_bytes: int = Field(
        default=256 * 2**20, ge=0, description="memory of counted category filters; at least one is always kept"
    )
    release_poll_seconds: Seconds = Field(default=2.0, description="how often to look for a new active release")
    blobs_url: str = Field(
        default=REDIS,
        description="where the chunks of releases may be read from beside Redis: a folder or a URL such as s3://bucket/x",
    )
    verification_keys: SecretStr | None = Field(
        default=None,
        description="keys, with commas between, of which one must have signed a release; without any, all are taken",
    )
    max_n: int = Field(default=100, ge=1, le=10_000, description="most items that one request may ask for")
    redis_timeout_seconds: Seconds = Field(default=0.25, description="limit for one answer of Redis to a request")
    redis_connect_timeout_seconds: Seconds = Field(default=0.25, description="limit for connecting to Redis")
    release_timeout_seconds: Seconds = Field(default=10.0, description="limit for one piece of a release from Redis")
    max_body_bytes: int = Field(default=2 * 1024 * 1024, ge=1024, description="largest accepted request body")
    history_duplicates: Duplicates = Field(
        default="keep_first",
        description="an item that a history already has: keep_first (as in training), move_to_end or keep_all",
    )
    history_ttl_seconds: int = Field(
        default=0, ge=0, le=MOST_TTL_SECONDS, description="a history ends this much after its last event, 0 for never"
    )
    seen_cap: int = Field(
        default=DEFAULT_SEEN_CAP, ge=1, le=100_000, description="most seen items per user, the newest; all are read"
    )
    seen_ttl_seconds: int = Field(
        default=0, ge=0, le=MOST_TTL_SECONDS, description="seen items end this much after the last event, 0 for never"
    )
    history_cache_bytes: int = Field(
        default=DEFAULT_CACHE_BYTES, ge=0, description="memory of last known histories, used while Redis is away"
    )
    event_id_ttl_seconds: int = Field(
        default=86_400, ge=1, le=MOST_TTL_SECONDS, description="how long a repeated event is known by its event_id"
    )
    event_stream_partitions: int = Field(
        default=4,
        ge=1,
        le=MOST_PARTITIONS,
        description="streams that events are spread over by user; alike in every process",
    )
    event_stream_max_length: int = Field(
        default=250_000, ge=1, description="events that each stream keeps, about; the oldest leave first"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments before files of secrets and variables, of which only one may be set."""
        return init_settings, SecretFiles(settings_cls), env_settings

    @model_validator(mode="before")
    @classmethod
    def _no_unknown_variables(cls, values: Any) -> Any:
        known = {PREFIX + name.upper() for name in (*cls.model_fields, *file_options(cls))}
        unknown = sorted(name for name in os.environ if name.upper().startswith(PREFIX))
        unknown = [name for name in unknown if name.upper() not in known | JOB_VARIABLES]
        if unknown:
            nearest = [difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.0)[0] for name in unknown]
            raise ValueError(
                "; ".join(
                    f"{name} is no setting, the nearest is {near}: correct or unset it"
                    for name, near in zip(unknown, nearest, strict=True)
                )
            )
        return values

    @field_validator("namespace")
    @classmethod
    def _usable_namespace(cls, namespace: str) -> str:
        RedisKeys(namespace)
        return namespace

    @field_validator("redis_url")
    @classmethod
    def _usable_redis_url(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            try:
                redis.Redis.from_url(url.get_secret_value()).connection_pool.make_connection()  # does not connect yet
            except (ValueError, TypeError):  # the text may quote a part of the password
                raise ValueError(
                    "this is no Redis URL: write redis://, rediss:// or unix://, such as redis://127.0.0.1:6379/0, "
                    "with special characters of a password percent-encoded"
                ) from None
        return url

    def secrets(self) -> list[str]:
        """Every secret that is set, for whoever keeps them out of sight."""
        values = (getattr(self, name) for name, field in type(self).model_fields.items() if is_secret(field))
        found = [value.get_secret_value() for value in values if value is not None]
        return [*found, self.blobs_url] if "@" in self.blobs_url else found

    @property
    def history_limits(self) -> HistoryLimits:
        """How much of a user is kept, and for how long."""
        return HistoryLimits(
            seen_cap=self.seen_cap,
            history_ttl_seconds=self.history_ttl_seconds,
            seen_ttl_seconds=self.seen_ttl_seconds,
        )

    @field_validator("blobs_url")
    @classmethod
    def _usable_blobs_url(cls, url: str) -> str:
        return normal_location(url)

    @field_validator("verification_keys")
    @classmethod
    def _usable_verification_keys(cls, keys: SecretStr | None) -> SecretStr | None:
        if keys is not None:
            split_keys(keys.get_secret_value())
        return keys

    @property
    def accepted_keys(self) -> tuple[bytes, ...]:
        """Keys of which one must have signed a release; empty where nothing need be signed."""
        return () if self.verification_keys is None else split_keys(self.verification_keys.get_secret_value())

    @property
    def redis_kind(self) -> Literal["embedded", "external"]:
        """Whose Redis it is: the private one of `home`, or one that `redis_url` names."""
        return "embedded" if self.redis_url is None else "external"


def load_settings(**flags: Any) -> Settings:
    """Read the settings; `flags` that are not None win over the environment.

    A flag `x_file` of a secret `x` names the file that holds it.

    Raises:
        SettingsError: something is wrong with them, in words for whoever starts the service.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        for option in file_options(Settings):
            if option in given:
                flag = "--" + option.replace("_", "-")
                given[option.removesuffix(FILE_SUFFIX)] = read_secret(Path(given.pop(option)), flag)
        return Settings(**given)
    except SecretFileError as error:
        raise SettingsError(str(error)) from None
    except ValidationError as error:
        raise SettingsError("\n".join(_in_words(problem) for problem in error.errors())) from None


def _in_words(problem: Any) -> str:
    reason = str(problem["msg"]).removeprefix("Value error, ")
    if not problem["loc"]:
        return reason
    name = str(problem["loc"][0])
    field = Settings.model_fields.get(name)
    # A secret is never shown, and neither is what may be one that stands in the wrong place.
    hidden = field is None or is_secret(field) or name in ("otel_endpoint", "blobs_url")
    value = "" if hidden else f"={problem['input']!r}"
    return f"{PREFIX}{name.upper()}{value}: {reason}"

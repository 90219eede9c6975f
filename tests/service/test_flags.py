"""Settings by flag, by variable and by file: one model, three ways in, and secrets by two of them."""

from pathlib import Path

import pytest

from service.flags import read_flags
from service.secret_files import file_options, is_secret
from service.settings import Settings, SettingsError, load_settings

SECRETS = [name for name, field in Settings.model_fields.items() if is_secret(field)]
PLAIN = [name for name in Settings.model_fields if name not in SECRETS]


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*Settings.model_fields, *file_options(Settings)]:
        monkeypatch.delenv(f"MMGREC_{name.upper()}", raising=False)


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text("redis://:hunter2@h\n")
    return file


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as caught:
        read_flags(arguments)
    assert caught.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("name", Settings.model_fields)
def test_help_tells_every_setting_its_variable_and_what_it_does(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        read_flags(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    field = Settings.model_fields[name]
    assert field.description
    assert field.description in shown
    assert f"MMGREC_{name.upper()}" in shown
    flag = f"--{name.replace('_', '-')}"
    assert (f"{flag}-file FILE" if name in SECRETS and f"{name}_file" in file_options(Settings) else flag) in shown
    if name in PLAIN:
        assert f"[env: MMGREC_{name.upper()}]" in shown


def test_a_flag_wins_over_its_variable_and_that_over_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings(**read_flags([])).max_n == Settings.model_fields["max_n"].default
    monkeypatch.setenv("MMGREC_MAX_N", "7")
    assert load_settings(**read_flags([])).max_n == 7
    assert load_settings(**read_flags(["--max-n", "8"])).max_n == 8


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], False),
        (["--allow-anonymous"], True),
        (["--allow-anonymous", "true"], True),
        (["--allow-anonymous=0"], False),
    ],
)
def test_a_switch_may_stand_alone(arguments: list[str], said: bool) -> None:
    assert load_settings(**read_flags(arguments)).allow_anonymous is said


@pytest.mark.parametrize("name", SECRETS)
def test_a_secret_is_no_flag(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    flag = f"--{name.replace('_', '-')}"
    for arguments in ([flag, "hunter2"], [f"{flag}=hunter2"]):
        message = refusal(capsys, *arguments)
        assert "hunter2" not in message
        assert f"MMGREC_{name.upper()}" in message
        assert f"{flag}-file" in message


def test_flags_are_not_abbreviated(capsys: pytest.CaptureFixture[str]) -> None:
    assert "unrecognized" in refusal(capsys, "--redis-url-fil", "x")


def test_a_secret_comes_from_its_file(secret_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    by_flag = load_settings(**read_flags(["--redis-url-file", str(secret_file)]))
    monkeypatch.setenv("MMGREC_REDIS_URL_FILE", str(secret_file))
    for settings in (by_flag, load_settings()):
        assert settings.redis_url is not None
        assert settings.redis_url.get_secret_value() == "redis://:hunter2@h"
        assert "hunter2" not in repr(settings)


def test_a_flag_wins_over_variables_here_as_well(secret_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMGREC_REDIS_URL", "redis://other")
    settings = load_settings(**read_flags(["--redis-url-file", str(secret_file)]))
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == "redis://:hunter2@h"


def test_a_secret_and_its_file_at_once_are_refused(secret_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMGREC_REDIS_URL", "redis://:hunter2@other")
    monkeypatch.setenv("MMGREC_REDIS_URL_FILE", str(secret_file))
    with pytest.raises(SettingsError, match="MMGREC_REDIS_URL_FILE and MMGREC_REDIS_URL are both set") as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "named"), [(None, "No such file"), (b"", "empty"), (b" \n", "empty"), (b"\xff", "UTF-8")]
)
@pytest.mark.parametrize("by_flag", [True, False])
def test_a_file_that_cannot_be_used_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, named: str, by_flag: bool
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    if not by_flag:
        monkeypatch.setenv("MMGREC_LOG_HASH_KEY_FILE", str(file))
    with pytest.raises(SettingsError, match=named) as caught:
        load_settings(**({"log_hash_key_file": str(file)} if by_flag else {}))
    assert str(file) in str(caught.value)
    assert ("--log-hash-key-file" if by_flag else "MMGREC_LOG_HASH_KEY_FILE") in str(caught.value)


def test_what_is_wrong_within_a_file_is_not_shown(secret_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret_file.write_text("http://:hunter2@h")
    monkeypatch.setenv("MMGREC_REDIS_URL_FILE", str(secret_file))
    with pytest.raises(SettingsError, match="MMGREC_REDIS_URL: this is no Redis URL") as caught:
        load_settings()
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["rediss://app:hunter2@redis.example:6380/1", "rediss://app:hunter2@h?ssl_cert_reqs=required", "unix:///s?db=1"],
)
def test_tls_and_acl_are_a_matter_of_the_url(url: str) -> None:
    import redis

    settings = load_settings(redis_url=url)
    assert settings.redis_url is not None
    connection = redis.Redis.from_url(settings.redis_url.get_secret_value()).connection_pool.make_connection()
    if url.startswith("rediss"):
        assert isinstance(connection, redis.SSLConnection)
        assert (connection.username, connection.password) == ("app", "hunter2")
    assert "hunter2" not in f"{settings!r} {settings.model_dump()} {settings.model_dump_json()}"


@pytest.mark.parametrize(
    "endpoint", ["127.0.0.1:4318", "grpc://h:4317", "http://", "https://user:hunter2@h", "http://:hunter2@h:4318"]
)
def test_an_endpoint_without_scheme_or_with_credentials_is_refused(endpoint: str) -> None:
    with pytest.raises(SettingsError, match="MMGREC_OTEL_ENDPOINT: write http:// or https://") as caught:
        load_settings(otel_endpoint=endpoint)
    assert "hunter2" not in str(caught.value)

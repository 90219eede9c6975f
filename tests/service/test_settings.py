from pathlib import Path

import pytest

from service.contract.redis_server import DEFAULT_HOME
from service.settings import Settings, SettingsError, load_settings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"MMGREC_{name.upper()}", raising=False)


def refusal(**flags: object) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(**flags)
    return str(caught.value)


def test_defaults_need_nothing() -> None:
    settings = load_settings()
    assert (settings.host, settings.port, settings.device) == ("127.0.0.1", 8000, "auto")
    assert (settings.home, settings.namespace, settings.redis_kind) == (DEFAULT_HOME, "mmgrec", "embedded")
    assert settings.inference_threads >= 1


def test_flags_win_over_the_environment_and_none_is_no_flag(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMGREC_PORT", "9000")
    monkeypatch.setenv("MMGREC_HOME", "/somewhere")
    settings = load_settings(port="9001", home=None)
    assert settings.port == 9001
    assert settings.home == Path("/somewhere")


def test_an_empty_variable_is_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMGREC_REDIS_URL", "")
    assert load_settings().redis_kind == "embedded"


def test_an_unknown_variable_is_refused_with_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMGREC_REDIS_ULR", "redis://:hunter2@h")
    message = refusal()
    assert "MMGREC_REDIS_ULR is no setting" in message
    assert "MMGREC_REDIS_URL" in message
    assert "hunter2" not in message


def test_variables_of_the_jobs_are_none_of_our_business(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMGREC_DATA", "/data")
    assert not hasattr(load_settings(), "data")


@pytest.mark.parametrize(
    ("name", "value", "limit"),
    [
        ("port", "70000", "65535"),
        ("port", "http", "integer"),
        ("device", "tpu", "'auto', 'cpu', 'cuda' or 'tensorrt'"),
        ("namespace", "a b", "letters"),
        ("max_n", "0", "greater than or equal to 1"),
        ("inference_threads", "0", "greater than or equal to 1"),
        ("release_poll_seconds", "0", "greater than 0"),
        ("redis_timeout_seconds", "nan", "3600"),
        ("history_duplicates", "keep_last", "'keep_first', 'move_to_end' or 'keep_all'"),
        ("history_ttl_seconds", "-1", "greater than or equal to 0"),
        ("seen_cap", "0", "greater than or equal to 1"),
        ("event_stream_partitions", "0", "greater than or equal to 1"),
    ],
)
def test_a_wrong_value_is_named_with_its_limit(
    name: str, value: str, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"MMGREC_{name.upper()}", value)
    message = refusal()
    assert message.startswith(f"MMGREC_{name.upper()}={value!r}: ")
    assert limit in message


def test_every_wrong_value_has_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMGREC_PORT", "-1")
    monkeypatch.setenv("MMGREC_DEVICE", "tpu")
    assert [line.partition("=")[0] for line in refusal().splitlines()] == ["MMGREC_PORT", "MMGREC_DEVICE"]


@pytest.mark.parametrize(
    "url", ["http://:hunter2@h", "redis://u:hunter2/x@h", "redis://u:pw@h:hunter2", "redis://h?hunter2=1", "hunter2"]
)
def test_a_wrong_redis_url_is_refused_without_showing_it(url: str) -> None:
    message = refusal(redis_url=url)
    assert message.startswith("MMGREC_REDIS_URL: ")
    assert "redis://" in message
    assert "hunter2" not in message


def test_a_password_is_in_no_representation() -> None:
    settings = load_settings(redis_url="redis://:hunter2@h")
    assert "hunter2" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert settings.redis_kind == "external"

"""Settings about releases: wrong ones end the start with one line, and keys are never shown."""

import pytest

from service.settings import SettingsError, load_settings

FIRST, SECOND = "the-first-key-of-this-test", "the-second-key-of-this-test"


def refusal(**flags: object) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(**flags)
    return str(caught.value)


def test_by_default_releases_come_from_redis_and_need_no_signature() -> None:
    settings = load_settings()
    assert (settings.blobs_url, settings.accepted_keys) == ("redis", ())


def test_several_keys_so_that_they_rotate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMGREC_VERIFICATION_KEYS", f"{FIRST}, {SECOND}")
    settings = load_settings()
    assert settings.accepted_keys == (FIRST.encode(), SECOND.encode())
    assert "key-of-this-test" not in repr(settings)


def test_a_key_that_is_none_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMGREC_VERIFICATION_KEYS", f"{FIRST},short")
    message = refusal()
    assert "MMGREC_VERIFICATION_KEYS: give keys of at least 16 characters" in message
    assert "short" not in message
    assert FIRST not in message


def test_one_spelling_of_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMGREC_BLOBS_URL", "/srv/blobs/")
    assert load_settings().blobs_url == "file:///srv/blobs"
    assert load_settings(blobs_url="s3://bucket/x/").blobs_url == "s3://bucket/x"


@pytest.mark.parametrize("url", ["blobs", "s3://user:hunter2@bucket", "/srv/../etc"])
def test_a_place_that_is_none_is_refused(url: str) -> None:
    message = refusal(blobs_url=url)
    assert "MMGREC_BLOBS_URL: blobs cannot be at" in message
    assert "hunter2" not in message


def test_the_signing_key_may_stand_in_the_same_environment_and_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MMGREC_SIGNING_KEY", FIRST)
    monkeypatch.setenv("MMGREC_SIGNING_KEY_FILE", "/nowhere")
    assert FIRST not in repr(load_settings())

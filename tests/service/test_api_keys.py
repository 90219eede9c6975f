"""Keys at rest, their file while the service runs, and the command that makes them."""

import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from service.api_keys import LOOK_SECONDS, MAX_KEYS, KeyRing, main
from service.settings import SettingsError

OLD, NEW = "old-key-old-key-old-key", "new-key-new-key-new-key"


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now

    def pass_look(self) -> None:
        self.now += LOOK_SECONDS


def line(name: str, key: str) -> str:
    return f"{name}:{hashlib.sha256(key.encode()).hexdigest()}\n"


def ring_of(file: Path | None = None, plain: str | None = None, clock: Clock | None = None) -> KeyRing:
    secret = None if plain is None else SecretStr(plain)
    return KeyRing(secret, file, setting="MMGREC_API_KEYS", clock=clock or Clock())


def refusal(file: Path | None = None, plain: str | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        ring_of(file, plain)
    return str(caught.value)


@pytest.fixture
def keys_file(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def test_without_keys_the_ring_is_empty_and_opens_nothing() -> None:
    ring = ring_of()
    assert not ring
    assert ring.owner(b"") is None
    assert ring.owner(b"anything") is None


def test_plain_keys_are_hashed_and_numbered() -> None:
    ring = ring_of(plain=f" {OLD} ,{NEW}")
    assert ring
    assert (ring.owner(OLD.encode()), ring.owner(NEW.encode())) == ("key-1", "key-2")
    assert OLD not in str(vars(ring))


def test_a_file_names_its_keys_and_two_may_share_a_name(keys_file: Path) -> None:
    keys_file.write_text(f"# who may come\n\n{line('web', OLD)}  {line('web', NEW).upper().replace('WEB', 'web')}")
    ring = ring_of(keys_file, plain="a-third-key-in-the-environment")
    assert ring.owner(OLD.encode()) == ring.owner(NEW.encode()) == "web"
    assert ring.owner(b"a-third-key-in-the-environment") == "key-1"
    assert ring.owner(hashlib.sha256(OLD.encode()).hexdigest().encode()) is None  # what is stored opens nothing


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])  # every example writes the file anew
@given(
    stored=st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=8, unique=True),
    shown=st.lists(st.text(max_size=20), max_size=8),
)
def test_exactly_the_keys_of_the_file_open(keys_file: Path, stored: list[str], shown: list[str]) -> None:
    """Beside the constant-time loop: is it in the list?"""
    keys_file.write_text("".join(line(f"n{at}", key) for at, key in enumerate(stored)))
    ring = ring_of(keys_file)
    for key in [*shown, *stored]:
        assert ring.owner(key.encode()) == (f"n{stored.index(key)}" if key in stored else None)


def test_the_file_is_read_again_when_it_changes(keys_file: Path) -> None:
    clock = Clock()
    keys_file.write_text(line("web", OLD))
    ring = ring_of(keys_file, clock=clock)
    keys_file.write_text(line("web", OLD) + line("web", NEW))
    assert ring.owner(NEW.encode()) is None  # not looked at yet
    clock.pass_look()
    assert (ring.owner(OLD.encode()), ring.owner(NEW.encode())) == ("web", "web")
    keys_file.write_text(line("web", NEW))
    clock.pass_look()
    assert (ring.owner(OLD.encode()), ring.owner(NEW.encode())) == (None, "web")


def test_an_exchanged_link_is_noticed_although_time_and_size_are_equal(tmp_path: Path) -> None:
    """As Kubernetes does with a mounted secret."""
    clock = Clock()
    for name, key in (("first", OLD), ("second", NEW)):
        (tmp_path / name).write_text(line("web", key))
        os.utime(tmp_path / name, ns=(1, 1))
    link = tmp_path / "keys"
    link.symlink_to("first")
    ring = ring_of(link, clock=clock)
    (tmp_path / "new link").symlink_to("second")
    (tmp_path / "new link").rename(link)
    clock.pass_look()
    assert (ring.owner(OLD.encode()), ring.owner(NEW.encode())) == (None, "web")


@pytest.mark.parametrize("broken", ["", "# nobody\n", "web:123\n", OLD, None])
def test_a_broken_file_leaves_the_keys_and_is_told_once_without_quoting_it(
    keys_file: Path, broken: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    clock = Clock()
    keys_file.write_text(line("web", OLD))
    ring = ring_of(keys_file, clock=clock)
    if broken is None:
        keys_file.unlink()
    else:
        keys_file.write_text(broken)
    for _ in range(3):
        clock.pass_look()
        assert ring.owner(OLD.encode()) == "web"
    assert caplog.text.count("API keys stay as they were") == 1
    assert OLD not in caplog.text
    keys_file.write_text(line("web", NEW))
    clock.pass_look()
    assert (ring.owner(OLD.encode()), ring.owner(NEW.encode())) == (None, "web")


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "0 keys"),
        ("web:12\n", "line 1 is not NAME:SHA256"),
        (line("web", OLD) + "\n" + OLD + "\n", "line 3 is not NAME:SHA256"),
        (line("we b", OLD), "line 1"),
        (line("w" * 65, OLD), "line 1"),
        ("".join(line(f"n{at}", str(at)) for at in range(MAX_KEYS + 1)), f"{MAX_KEYS + 1} keys"),
        ("\xff", "UTF-8"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_at_the_start(keys_file: Path, text: str, named: str) -> None:
    keys_file.write_bytes(text.encode("latin-1"))
    message = refusal(keys_file)
    assert "MMGREC_API_KEYS_FILE" in message
    assert named in message
    assert OLD not in message


def test_a_missing_file_is_refused_with_the_cure(keys_file: Path) -> None:
    assert "python -m service.api_keys" in refusal(keys_file)


@pytest.mark.parametrize("plain", ["short", f"{OLD},short", "sixteen letters with spaces", ",", "schlüssel-schlüssel"])
def test_a_weak_plain_key_is_refused_without_showing_it(plain: str) -> None:
    message = refusal(plain=plain)
    assert message.startswith("MMGREC_API_KEYS: ")
    assert "short" not in message
    assert OLD not in message


def test_the_command_makes_a_key_and_its_line(capsys: pytest.CaptureFixture[str], keys_file: Path) -> None:
    assert main(["web"]) == 0
    key, made = capsys.readouterr().out.splitlines()
    assert made == line("web", key).strip()
    keys_file.write_text(made)
    assert ring_of(keys_file).owner(key.encode()) == "web"
    main(["web"])
    assert capsys.readouterr().out.splitlines()[0] != key


def test_the_command_hashes_a_key_of_ones_own(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "key").write_text(OLD + "\n")
    with (tmp_path / "key").open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        assert main(["web", "--stdin"]) == 0
    assert capsys.readouterr().out == line("web", OLD)


@pytest.mark.parametrize("arguments", [["we b"], [""], []])
def test_the_command_refuses_a_name_that_the_file_would_not_take(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2

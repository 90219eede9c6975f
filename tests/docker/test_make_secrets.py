"""docker/make_secrets.sh: what it makes fits together, stays what it was, and can be read where it is needed."""

import hashlib
import os
import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from service.api_keys import KeyRing
from service.contract.signatures import split_keys
from tests.docker.written import ROOT


def make(folder: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    command = ["sh", str(ROOT / "docker/make_secrets.sh"), str(folder)]
    return subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False
    )


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made") / "secrets"
    assert make(folder).returncode == 0
    return folder


def test_the_passwords_of_the_urls_are_those_of_the_users(folder: Path) -> None:
    users = dict(re.findall(r"^user (\w+) on #([0-9a-f]{64})", (folder / "redis_acl").read_text(), re.MULTILINE))
    assert set(users) == {"service", "offline"}
    for name, digest in users.items():
        url = urlsplit((folder / f"redis_url_{name}").read_text().strip())
        assert (url.username, url.hostname, url.port) == (name, "redis", 6379)
        assert hashlib.sha256((url.password or "").encode()).hexdigest() == digest


def test_nobody_is_the_default_user_and_the_health_check_can_only_ping(folder: Path) -> None:
    lines = (folder / "redis_acl").read_text().splitlines()
    assert lines[0] == "user default off resetpass ~* &* +@all"  # see docker/make_secrets.sh
    assert lines[1].split() == [*("user", "health", "on", "nopass", "resetkeys", "resetchannels", "-@all", "+ping")]


@pytest.mark.parametrize(("which", "owner"), [("api", "web"), ("admin", "operator")])
def test_the_key_opens_its_door_of_the_service_and_no_other(folder: Path, which: str, owner: str) -> None:
    keys = KeyRing(None, folder / f"{which}_keys", setting=f"MMGREC_{which.upper()}_KEYS")
    for other in ("api", "admin"):
        expected = owner if other == which else None
        assert keys.owner((folder / f"{other}_key").read_bytes().strip()) == expected
    assert keys.owner(b"mmgrec_another") is None


def test_nothing_secret_is_printed(tmp_path: Path) -> None:
    done = make(tmp_path)
    for text in contents(tmp_path).values():
        assert not any(word in done.stdout + done.stderr for word in text.split() if len(word) > 30)


def test_what_is_signed_is_trusted(folder: Path) -> None:
    assert split_keys((folder / "signing_key").read_text()) == split_keys((folder / "verification_keys").read_text())


def test_containers_can_read_it_and_other_people_of_this_machine_cannot(folder: Path) -> None:
    assert folder.stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}
    assert (modes.pop("api_key"), modes.pop("admin_key")) == (0o400, 0o400)
    assert set(modes.values()) == {0o444}


def test_a_second_call_changes_nothing(folder: Path) -> None:
    before = contents(folder)
    done = make(folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert contents(folder) == before


def test_what_is_missing_is_made_anew_and_the_rest_stays(folder: Path, tmp_path: Path) -> None:
    make(tmp_path / "other")
    before = contents(tmp_path / "other")
    (tmp_path / "other/log_hash_key").unlink()
    assert make(tmp_path / "other").returncode == 0
    after = contents(tmp_path / "other")
    assert {name for name in before if before[name] != after[name]} == {"log_hash_key"}
    assert not set(before.values()) & set(contents(folder).values()), "two folders never share a secret"


def test_another_namespace_and_another_address(tmp_path: Path) -> None:
    assert make(tmp_path, NAMESPACE="shop", REDIS_ADDRESS="mmgrec-redis:6379/1").returncode == 0
    assert "~shop:history:*" in (tmp_path / "redis_acl").read_text()
    assert "mmgrec:" not in (tmp_path / "redis_acl").read_text()
    assert (tmp_path / "redis_url_offline").read_text().endswith("@mmgrec-redis:6379/1\n")


def test_the_namespace_of_users_that_are_there_cannot_be_changed_unnoticed(tmp_path: Path) -> None:
    make(tmp_path, NAMESPACE="shop.a")
    before = contents(tmp_path)
    done = make(tmp_path, NAMESPACE="shop")
    assert done.returncode == 2
    assert "NAMESPACE=shop," in done.stderr
    assert "bound to 'shop.a'" in done.stderr
    assert "remove redis_acl" in done.stderr
    assert contents(tmp_path) == before
    assert make(tmp_path, NAMESPACE="shop.a").returncode == 0
    assert make(tmp_path, NAMESPACE="").returncode == 0, "nobody asked for one"


def test_make_passes_on_what_it_was_given_and_nothing_that_stands_in_the_environment(tmp_path: Path) -> None:
    def made(*given: str) -> str:
        command = ["make", "-n", "secrets", *given]
        environment = os.environ | {"NAMESPACE": "stray", "REDIS_ADDRESS": "stray:1", "SECRETS_DIR": "/stray"}
        printed = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout
        recipe = printed.partition("[ -e .env ]")[0]
        subprocess.run(["sh", "-c", recipe], cwd=tmp_path, env=environment, check=True, capture_output=True)
        return printed

    (tmp_path / "docker").mkdir()
    (tmp_path / "docker/make_secrets.sh").symlink_to(ROOT / "docker/make_secrets.sh")
    assert "stray" not in made()
    assert "~mmgrec:history:*" in (tmp_path / "docker/secrets/redis_acl").read_text()
    assert "stray" not in made("NAMESPACE=shop", "SECRETS_DIR=of our own", "REDIS_ADDRESS=there:6379/0")
    assert "~shop:history:*" in (tmp_path / "of our own/redis_acl").read_text()
    assert (tmp_path / "of our own/redis_url_service").read_text().endswith("@there:6379/0\n")


def test_a_wrong_namespace_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    done = make(tmp_path / "none", NAMESPACE="a b")
    assert done.returncode == 2
    assert "NAMESPACE=a b" in done.stderr
    assert not (tmp_path / "none").exists()


def test_users_without_their_passwords_are_told(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / "redis_url_service").unlink()
    done = make(tmp_path)
    assert done.returncode == 2
    assert "remove redis_acl" in done.stderr

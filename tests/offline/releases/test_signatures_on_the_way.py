"""Signed releases from one place to another: who is believed, and who signs what arrives."""

import json
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.offline.releases.tiny_releases import KEY, OTHER_KEY, Side, moved, refusal, write_tiny


def test_a_signed_release_keeps_its_bytes(
    staging: Side, production: Side, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny(staging.signing(KEY), "v1")
    staging.call("save", "v1", tmp_path / "v1.tar")
    monkeypatch.setenv("MMGREC_VERIFICATION_KEYS", f"{OTHER_KEY},{KEY}")
    assert production.call("load", tmp_path / "v1.tar").result["signed"] is True
    assert production.store.manifest_bytes("v1") == staging.store.manifest_bytes("v1")
    production.strict(KEY).verify("v1")
    assert production.call("verify", "v1").result["signature_checked"] is True


@pytest.mark.parametrize(("signed_with", "problem"), [(None, "is not signed"), (OTHER_KEY, "none of the 1 keys")])
def test_what_is_not_signed_as_it_must_be_is_refused(
    staging: Side, production: Side, tmp_path: Path, signed_with: str | None, problem: str, client: redis.Redis
) -> None:
    write_tiny(staging.signing(signed_with) if signed_with else staging.store, "v1")
    staging.call("save", "v1", tmp_path / "v1.tar")
    (tmp_path / "key").write_text(f"{KEY}\n")
    for flag in ("--verification-keys-file", "--signing-key-file"):  # a signing key vouches for nothing but its own
        for ended in moved(staging, production, tmp_path / "v1.tar", flag, tmp_path / "key", "--activate"):
            message = refusal(ended)
            assert problem in message
            assert (
                "publish it signed (MMGREC_SIGNING_KEY), or add the key it is signed with to MMGREC_VERIFI" in message
            )
    assert list(client.scan_iter(match=f"{production.namespace}:*")) == []
    assert "signed" in refusal(staging.call("verify", "v1", "--verification-keys-file", tmp_path / "key"))
    assert "signed" in refusal(
        staging.call("save", "v1", tmp_path / "v2.tar", "--verification-keys-file", tmp_path / "key")
    )


def test_a_signed_release_for_another_place_is_signed_again_or_refused(
    staging: Side, side: Any, tmp_path: Path, client: redis.Redis
) -> None:
    production = side("production", "folder")
    write_tiny(staging.signing(KEY), "v1")
    staging.call("save", "v1", tmp_path / "v1.tar")
    (tmp_path / "staging").write_text(KEY)
    (tmp_path / "production").write_text(OTHER_KEY)
    for ended in moved(staging, production, tmp_path / "v1.tar", "--verification-keys-file", tmp_path / "staging"):
        message = refusal(ended)
        assert f"signed with its blobs at redis, and here they would be at file://{tmp_path}" in message
        assert "MMGREC_SIGNING_KEY or --signing-key-file" in message
    assert list(client.scan_iter(match=f"{production.namespace}:*")) == []
    flags = ("--verification-keys-file", tmp_path / "staging", "--signing-key-file", tmp_path / "production")
    first, second = moved(staging, production, tmp_path / "v1.tar", *flags)
    assert (first.result["was_there"], second.result["was_there"]) == (False, True)
    production.strict(OTHER_KEY).verify("v1")
    assert production.store.read_manifest("v1").blobs == production.store.blobs
    changed = json.loads(staging.store.manifest_bytes("v1")), json.loads(production.store.manifest_bytes("v1"))
    assert {name for name in changed[0] if changed[0][name] != changed[1][name]} >= {"blobs", "signature"}
    assert changed[0]["arrays"] == changed[1]["arrays"]


def test_the_target_signs_with_its_own_key(staging: Side, production: Side, tmp_path: Path) -> None:
    write_tiny(staging.signing(KEY), "v1")
    (tmp_path / "staging").write_text(KEY)
    (tmp_path / "production").write_text(OTHER_KEY)
    flags = ("--verification-keys-file", tmp_path / "staging", "--signing-key-file", tmp_path / "production")
    there = ("--to", production.url, "--to-namespace", production.namespace, *flags)
    assert staging.call("copy", "v1", *there).result["signed"] is True
    production.strict(OTHER_KEY).verify("v1")
    staging.strict(KEY).verify("v1")


def test_what_is_there_unsigned_does_not_pass_for_signed(staging: Side, tmp_path: Path) -> None:
    """Somebody with write access to the target laid the same release there, without the signature."""
    write_tiny(staging.signing(KEY), "v1")
    staging.call("save", "v1", tmp_path / "v1.tar")
    raw = json.loads(staging.store.manifest_bytes("v1")) | {"signature": None}
    staging.client.set(staging.keys.release("v1"), json.dumps(raw))
    (tmp_path / "key").write_text(KEY)
    message = refusal(staging.call("load", tmp_path / "v1.tar", "--verification-keys-file", tmp_path / "key"))
    assert "so it stands there already: remove it first (python -m offline releases delete v1)" in message


def test_what_is_there_with_another_signature_is_not_taken_for_signed_again(
    staging: Side, production: Side, tmp_path: Path
) -> None:
    write_tiny(staging.signing(KEY), "v1")
    (tmp_path / "staging").write_text(KEY)
    (tmp_path / "production").write_text(OTHER_KEY)
    there = ("--to", production.url, "--to-namespace", production.namespace)
    trusting = ("--verification-keys-file", tmp_path / "staging")
    staging.call("copy", "v1", *there, *trusting)
    assert staging.call("copy", "v1", *there, *trusting).result["was_there"] is True
    again = (*there, *trusting, "--signing-key-file", tmp_path / "production")
    assert "so it stands there already" in refusal(staging.call("copy", "v1", *again))
    production.call("delete", "v1")
    assert staging.call("copy", "v1", *again).result["signed"] is True
    production.strict(OTHER_KEY).verify("v1")

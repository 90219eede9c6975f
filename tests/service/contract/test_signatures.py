"""Signed manifests: what was signed is taken, whatever was changed afterwards is not."""

import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.contract.blobs import ArraySpec
from service.contract.manifest import Manifest, ModelSettings
from service.contract.signatures import SignatureError, require_signature, signature_of, split_keys

KEY, OTHER = b"the key of this test", b"the key of another test"
MANIFEST = Manifest(
    version="v1",
    created="2026-11-21T00:00:00Z",
    parent=None,
    dataset="süß ✓",
    model=ModelSettings(
        codebook_sizes=(3, 2),
        popularity_size=4,
        max_history=6,
        vector_dim=2,
        beam_widths=(10,),
        dense_weight=0.1,
        ordered_history=False,
    ),
    arrays={"a": ArraySpec(dtype="int32", shape=(1,), chunks=("ab" * 32,))},
    metrics={"recall@20": 0.1 + 0.2, "odd": float("nan"), "large": 1e300},
    gate={"passed": True, "nested": {"b": [1, 2.5, None]}},
)


def test_the_signature_by_hand() -> None:
    raw = {"b": 1, "a": "ü", "signature": "what stood here before"}
    expected = hmac.new(KEY, b'mmgrec release manifest\n{"a":"\\u00fc","b":1}', hashlib.sha256).hexdigest()
    assert signature_of(raw, KEY) == f"hmac-sha256:{expected}"


def test_a_signed_manifest_survives_json() -> None:
    text = MANIFEST.signed(KEY).to_json()
    read = Manifest.from_json(text, [KEY])
    assert read.signature is not None
    assert read.to_json() == text
    assert Manifest.from_json(json.dumps(json.loads(text), indent=3), [OTHER, KEY]).to_json() == text  # other spaces


def test_without_keys_nothing_need_be_signed() -> None:
    assert Manifest.from_json(MANIFEST.to_json()).signature is None
    assert Manifest.from_json(MANIFEST.signed(KEY).to_json()).signature is not None


def test_keys_rotate() -> None:
    """Services take both keys, jobs sign with the new one, then services drop the old one."""
    old, new = MANIFEST.signed(KEY).to_json(), MANIFEST.signed(OTHER).to_json()
    for text in (old, new):
        Manifest.from_json(text, [KEY, OTHER])
    Manifest.from_json(new, [OTHER])
    with pytest.raises(
        SignatureError, match="signed with none of the 1 keys in MMGREC_VERIFICATION_KEYS: publish again"
    ):
        Manifest.from_json(old, [OTHER])


@pytest.mark.parametrize("signature", [None, 1, [], {}, True])
def test_an_unsigned_manifest_is_refused_with_the_cure(signature: Any) -> None:
    raw = json.loads(MANIFEST.to_json()) | {"signature": signature}
    with pytest.raises(SignatureError, match=r"is not signed.*MMGREC_SIGNING_KEY.*rollback"):
        Manifest.from_json(json.dumps(raw), [KEY])


def test_what_is_no_object_is_unsigned() -> None:
    with pytest.raises(SignatureError):
        Manifest.from_json("[]", [KEY])


@pytest.mark.parametrize(
    "change", ["", "x", "hmac-sha256:", "hmac-sha256:" + "0" * 64, "md5:" + "0" * 32, "ü" * 70, "\ud800"]
)
def test_another_signature_is_refused(change: str) -> None:
    raw = json.loads(MANIFEST.signed(KEY).to_json()) | {"signature": change}
    with pytest.raises(SignatureError):
        require_signature(raw, [KEY, OTHER])


def leaves(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    if isinstance(value, dict):
        return [path, *(leaf for key, each in value.items() for leaf in leaves(each, (*path, key)))]
    if isinstance(value, list):
        return [path, *(leaf for key, each in enumerate(value) for leaf in leaves(each, (*path, key)))]
    return [path]


SIGNED = json.loads(MANIFEST.signed(KEY).to_json())
PATHS = [path for path in leaves(SIGNED) if path]


@given(st.sampled_from(PATHS), st.sampled_from(["removed", "replaced", "added"]))
def test_nothing_in_it_can_be_changed(path: tuple[Any, ...], change: str) -> None:
    raw = json.loads(json.dumps(SIGNED))
    at = raw
    for key in path[:-1]:
        at = at[key]
    if change == "removed":
        del at[path[-1]]
    elif change == "replaced":
        at[path[-1]] = "something else"
    elif isinstance(at, dict):
        at["one more"] = 1
    else:
        at.append(1)
    with pytest.raises(SignatureError):
        require_signature(raw, [KEY])


def test_keys_of_a_setting_or_a_file() -> None:
    first, second = "a" * 16, "b" * 40
    for text in (f"{first},{second}", f"{first}\n{second}\n", f" {first} , {second} ", f"{first}\r\n\r\n{second}"):
        assert split_keys(text) == (first.encode(), second.encode())


@pytest.mark.parametrize("text", ["", " \n", ",", "a" * 15, f"{'a' * 16},short"])
def test_what_is_no_secret_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match=r"at least 16 characters.*openssl rand") as caught:
        split_keys(text)
    assert "short" not in str(caught.value)
    assert "aaaa" not in str(caught.value)

"""Signed manifests: write access to Redis or to the blobs is not enough to plant a model.

HMAC-SHA256 over the manifest, which holds the sha256 of every chunk, so nothing of a release can be changed. The key is
shared: who can read a service's verification keys can sign as well. What a signature does not say is *when*: whoever
can write the pointer can have an earlier release served that was signed with a key still in use (a replay, also of
another namespace's release with the same key). Against that: a key per namespace, and taking a key out of
`MMGREC_VERIFICATION_KEYS` when nothing that it signed should be served again.
"""

import hmac
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

MIN_KEY_LENGTH = 16
CURE = (
    "publish again with MMGREC_SIGNING_KEY set to a key that is in MMGREC_VERIFICATION_KEYS, "
    "or roll back: python -m offline rollback"
)
_ALGORITHM = "hmac-sha256"
_PURPOSE = b"mmgrec release manifest\n"
"""In front of what is signed, so that a key used elsewhere as well signs nothing that could pass for a manifest."""


class SignatureError(ValueError):
    """A manifest is not signed, or not with a key that is trusted here; the message holds the cure of a service."""

    def __init__(self, problem: str) -> None:
        super().__init__(f"{problem}: {CURE}")
        self.problem = problem


def split_keys(text: str) -> tuple[bytes, ...]:
    """Keys of a setting or a file: separated by commas, spaces or lines.

    Raises:
        ValueError: a key is too short to be a secret, or there is none; no key is repeated.
    """
    keys = [key.encode() for key in re.split(r"[,\s]+", text) if key]
    if not keys or min(map(len, keys)) < MIN_KEY_LENGTH:
        raise ValueError(
            f"give keys of at least {MIN_KEY_LENGTH} characters, with commas between, made by: openssl rand -hex 32"
        )
    return tuple(keys)


def signature_of(manifest: Mapping[str, Any], key: bytes) -> str:
    """Signature of a manifest as JSON gives it; what stands under "signature" does not count."""
    unsigned = {name: value for name, value in manifest.items() if name != "signature"}
    canonical = json.dumps(unsigned, sort_keys=True, separators=(",", ":")).encode()
    return f"{_ALGORITHM}:{hmac.digest(key, _PURPOSE + canonical, 'sha256').hex()}"


def require_signature(manifest: Mapping[str, Any], keys: Sequence[bytes]) -> None:
    """Refuse a manifest that none of the keys signed; in constant time for every key.

    Raises:
        SignatureError: it is not signed, or with another key.
    """
    found = manifest.get("signature")
    if not isinstance(found, str):
        raise SignatureError("the manifest is not signed, and only signed ones are taken here")
    matches = [
        hmac.compare_digest(signature_of(manifest, key).encode(), found.encode("utf-8", "replace")) for key in keys
    ]
    if not any(matches):
        raise SignatureError(f"the manifest is signed with none of the {len(keys)} keys in MMGREC_VERIFICATION_KEYS")

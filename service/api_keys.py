"""API keys: kept as SHA-256 alone, compared in constant time, rotated by writing their file anew.

`python -m service.api_keys NAME` makes a key and the line of the file that lets it in. A key has 256 random bits, so
one round of SHA-256 is enough: there is no dictionary to try, as there is for passwords. Plain keys of
`MMGREC_API_KEYS` are hashed at the start; they must be long for the same reason.
"""

import argparse
import hashlib
import hmac
import logging
import re
import secrets
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from pydantic import SecretStr

from service.settings import SettingsError

logger = logging.getLogger(__name__)

MIN_KEY_LENGTH = 16
MAX_KEYS = 256
"""Every request is compared with all of them: 0.15 µs each."""

LOOK_SECONDS = 1.0
"""How often the file is looked at; a removed line is refused at most this much later."""

_LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,63}):([0-9a-fA-F]{64})")
_KEY = re.compile(r"[\x21-\x2b\x2d-\x7e]+")  # printable, neither space nor comma: what a header and our list can carry
_HOW = "python -m service.api_keys NAME"


class ApiKey(NamedTuple):
    """One key at rest.

    Attributes:
        name: whose it is, for log and rate limit; two keys may share one while they are being exchanged.
        digest: SHA-256 of the key.
    """

    name: str
    digest: bytes


class KeyRing:
    """The keys that open one door; keys of the file come and go while the service runs.

    A file that has become unreadable, wrong or empty changes nothing, so that a half-written one locks nobody out: the
    log says so, and the keys before it stay.

    Args:
        plain: keys themselves, comma-separated.
        file: lines `name:sha256`; empty lines and those that begin with # are skipped.
        setting: name of the setting of `plain`, for messages; that of `file` is `<setting>_FILE`.
        clock: seconds that only grow; tests pass their own.

    Raises:
        SettingsError: a key or the file cannot be used.
    """

    def __init__(
        self,
        plain: SecretStr | None,
        file: Path | None,
        *,
        setting: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = None if file is None else file.expanduser()
        self._setting = setting
        self._clock = clock
        self._fixed = () if plain is None else _hash_all(plain.get_secret_value(), setting)
        self._mark: object = None
        self._look_at = clock() + LOOK_SECONDS
        self._keys = self._fixed
        if self._file is not None:
            self._mark = self._marked()
            self._keys = (*self._fixed, *self._read())

    def __bool__(self) -> bool:
        """Whether there are keys at all; stays true once it is."""
        return bool(self._keys)

    def owner(self, presented: bytes) -> str | None:
        """Name of the key that is shown, None when it is nobody's.

        Takes the same time whichever key matches: all are compared, each in constant time.
        """
        if self._file is not None and self._clock() >= self._look_at:
            self._look()
        digest = hashlib.sha256(presented).digest()
        found = None
        for key in self._keys:
            if hmac.compare_digest(key.digest, digest):
                found = key.name
        return found

    def _look(self) -> None:
        """Read the file again if it is another one than before."""
        self._look_at = self._clock() + LOOK_SECONDS
        mark = self._marked()
        if mark == self._mark:
            return
        self._mark = mark
        try:
            keys = self._read()
        except SettingsError as error:
            logger.error("API keys stay as they were: %s", error)
            return
        self._keys = (*self._fixed, *keys)
        logger.info("%s_FILE: read again, %d keys", self._setting, len(keys))

    def _marked(self) -> object:
        """What differs once the file was written or exchanged, as by a symbolic link of Kubernetes."""
        assert self._file is not None
        try:
            found = self._file.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

    def _read(self) -> tuple[ApiKey, ...]:
        assert self._file is not None
        where = f"{self._setting}_FILE={str(self._file)!r}"
        try:
            text = self._file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
            raise SettingsError(
                f"{where}: the file cannot be read ({why}); correct the path, or make it: {_HOW}"
            ) from None
        lines = enumerate((line.strip() for line in text.splitlines()), 1)
        keys = tuple(_parsed(line, f"{where}, line {at}") for at, line in lines if line and not line.startswith("#"))
        if not 0 < len(keys) <= MAX_KEYS:
            raise SettingsError(f"{where}: {len(keys)} keys, from 1 to {MAX_KEYS} are possible; make one: {_HOW}")
        return keys


def _parsed(line: str, where: str) -> ApiKey:
    match = _LINE.fullmatch(line)
    if match is None:  # never quoted: someone may have written the key itself
        raise SettingsError(f"{where} is not NAME:SHA256 (64 hexadecimal digits); make a line: {_HOW}")
    return ApiKey(match[1], bytes.fromhex(match[2]))


def _hash_all(plain: str, setting: str) -> tuple[ApiKey, ...]:
    given = [part.strip() for part in plain.split(",") if part.strip()]
    if not 0 < len(given) <= MAX_KEYS:
        raise SettingsError(f"{setting}: {len(given)} keys, from 1 to {MAX_KEYS} are possible, separated by commas")
    for place, key in enumerate(given, 1):
        if len(key) < MIN_KEY_LENGTH or not _KEY.fullmatch(key):
            raise SettingsError(
                f"{setting}: key {place} has {len(key)} characters; a key has at least {MIN_KEY_LENGTH}, printable "
                f"ASCII without spaces and commas; make one: {_HOW}"
            )
    return tuple(ApiKey(f"key-{place}", digest_of(key)) for place, key in enumerate(given, 1))


def digest_of(key: str) -> bytes:
    """What is stored of a key."""
    return hashlib.sha256(key.encode()).digest()


def main(arguments: Sequence[str] | None = None) -> int:
    """Make a key: the key on the first line of the output, its line for the file on the second."""
    parser = argparse.ArgumentParser(
        prog="python -m service.api_keys",
        description="Make an API key. Prints the key, which is stored nowhere, and the line for MMGREC_API_KEYS_FILE "
        "(or MMGREC_ADMIN_KEYS_FILE).",
        allow_abbrev=False,
    )
    parser.add_argument("name", help="whose key it is: letters, digits, dot, dash and underscore, at most 64")
    parser.add_argument("--stdin", action="store_true", help="hash the key that stands on standard input instead")
    given = parser.parse_args(arguments)
    key = sys.stdin.readline().strip() if given.stdin else "mmgrec_" + secrets.token_urlsafe(32)
    line = f"{given.name}:{digest_of(key).hex()}"
    try:
        _parsed(line, f"name {given.name!r}")
        _hash_all(key, "the key")
    except SettingsError as error:
        parser.error(str(error))
    sys.stdout.write(f"{line}\n" if given.stdin else f"{key}\n{line}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

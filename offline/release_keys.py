"""Keys of the jobs about releases: what signs, and what is trusted; from the environment or from files."""

import os
from pathlib import Path

from offline.errors import BadInputError
from service.contract.signatures import split_keys

SIGNING_KEY, VERIFICATION_KEYS = "MMGREC_SIGNING_KEY", "MMGREC_VERIFICATION_KEYS"


def signing_key(file: Path | None) -> bytes | None:
    """The key of the environment or of a file; None where there is neither.

    Raises:
        BadInputError: both are given, the file cannot be read, or it holds no key or more than one.
    """
    keys = _keys(SIGNING_KEY, file, "the signing key", "--signing-key-file")
    if (file is not None and len(keys) != 1) or len(keys) > 1:
        raise BadInputError(f"give one signing key, not {len(keys)}; services may accept several")
    return keys[0] if keys else None


def verification_keys(file: Path | None) -> tuple[bytes, ...]:
    """The keys of the environment or of a file, as services take them; none where there is neither.

    Raises:
        BadInputError: both are given, the file cannot be read, or it holds no key.
    """
    keys = _keys(VERIFICATION_KEYS, file, "the verification keys", "--verification-keys-file")
    if file is not None and not keys:
        raise BadInputError(f"--verification-keys-file {file} holds no key; write one in each line")
    return keys


def _keys(variable: str, file: Path | None, what: str, flag: str) -> tuple[bytes, ...]:
    text = os.environ.get(variable)
    if file is not None and text:
        raise BadInputError(f"both {variable} and {variable}_FILE are set; unset one of them")
    try:
        text = file.read_text() if file is not None else text
        return split_keys(text) if text else ()
    except OSError as error:
        raise BadInputError(f"{flag} {file} cannot be read ({error.strerror})") from error
    except ValueError as error:  # also of a file that is no text
        problem = "it is no text in UTF-8" if isinstance(error, UnicodeError) else str(error)
        raise BadInputError(f"{what} cannot be used: {problem}") from None

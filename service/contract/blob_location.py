"""Where the chunks of a release are: "redis", or a URL; and which URLs a reader lets a manifest name.

A manifest lies in Redis, and what lies there must not make a reader open any URL that it likes. So a reader takes the
location from a manifest only if it is "redis" (its own) or the URL of its own `MMGREC_BLOBS_URL`, or lies below that.
"""

import re
from urllib.parse import urlsplit

REDIS = "redis"
CURE = "write an absolute path or a URL such as /srv/blobs, file:///srv/blobs or s3://bucket/blobs"


class BlobLocationError(ValueError):
    """A location cannot be used here; the message holds the cure."""


def normal_location(text: str) -> str:
    """One way to write each location, so that locations can be compared.

    Args:
        text: "redis" or nothing at all, an absolute path, or a URL. A URL has no credentials (they would stand in every
            manifest; object stores take them from their own environment), no query, and no ".." in its path.

    Raises:
        BlobLocationError: it is none of these.
    """
    if text in ("", REDIS):
        return REDIS
    url = f"file://{text}" if text.startswith("/") else text
    parts = urlsplit(url)
    plain = re.fullmatch(r"[a-z][a-z0-9+.-]*://[^\s\\?#@%\x00-\x1f]*", url) and "::" not in url
    path = parts.path.split("/")
    is_folder = parts.scheme == "file"
    if not plain or ".." in path or "." in path or (is_folder and (parts.netloc or not parts.path.strip("/"))):
        raise BlobLocationError(f"blobs cannot be at {_shown(text)}; {CURE}")
    joined = "/".join(part for part in path if part)
    if not parts.netloc and not joined:
        raise BlobLocationError(f"blobs cannot be at {_shown(text)}; {CURE}")
    return f"{parts.scheme}://{parts.netloc}{'/' if joined else ''}{joined}"


def require_allowed(location: str, allowed: str) -> None:
    """Refuse the location of a manifest that this reader was not told of.

    Args:
        location: as the manifest has it.
        allowed: what `MMGREC_BLOBS_URL` says, in its normal form.

    Raises:
        BlobLocationError: naming both.
    """
    if location == REDIS:
        return
    is_below = allowed != REDIS and (location == allowed or location.startswith(f"{allowed}/"))
    if not is_below or normal_location(location) != location:
        raise BlobLocationError(
            f"the blobs of the release are at {_shown(location)}, and MMGREC_BLOBS_URL allows {allowed}: "
            "set it to that URL, or to one above it, if this is where releases come from"
        )


def _shown(location: str) -> str:
    """A location without whatever may be a password in it."""
    return repr(re.sub(r"//[^/]*@", "//***@", location))

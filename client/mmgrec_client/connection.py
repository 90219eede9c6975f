"""How both clients set up their connections."""

import re
from typing import Any
from urllib.parse import urlsplit

from mmgrec_client.version import VERSION

DEFAULT_TIMEOUT_SECONDS = 5.0


def connection_options(base_url: str, api_key: str | None, timeout_seconds: float) -> dict[str, Any]:
    """Arguments for httpx's clients. Redirects are not followed: the key is for this service alone.

    Raises:
        ValueError: an argument is wrong; the message never shows the key.
    """
    if not _is_usable(base_url):
        raise ValueError(
            "base_url must be http:// or https:// and a host, without credentials or a query, such as "
            f"http://127.0.0.1:8000, but it is {re.sub('//.*@', '//***@', base_url)!r}"
        )
    if not 0 < timeout_seconds < float("inf"):
        raise ValueError(f"timeout_seconds must be a positive number of seconds, but it is {timeout_seconds}")
    headers = {"User-Agent": f"mmgrec-client/{VERSION}", "Accept": "application/json"}
    if api_key is not None:
        if not (api_key.isascii() and api_key.isprintable() and api_key.strip() == api_key and api_key):
            raise ValueError(
                f"api_key must be printable ASCII without spaces around it; the one given has {len(api_key)} characters"
            )
        headers["Authorization"] = f"Bearer {api_key}"
    return {"base_url": base_url, "headers": headers, "follow_redirects": False}


def _is_usable(base_url: str) -> bool:
    try:
        url = urlsplit(base_url)
        named = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:  # a port that is no number, or brackets that do not close
        return False
    return named and "@" not in url.netloc and not url.query and not url.fragment

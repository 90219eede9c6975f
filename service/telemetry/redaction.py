"""Keeps what must not be seen out of text that is written for operators: secrets, and who a user is."""

import hashlib
import json
import re
import secrets
from collections.abc import Iterable
from urllib.parse import parse_qs, quote, unquote, urlsplit

HIDDEN = "***"
MIN_HIDDEN_LENGTH = 4
"""A shorter password occurs by chance in every second line, and hiding it there would tell it."""

_SHORT_ID = 4  # shorter user ids are hidden only where they stand alone


class Redaction:
    """Hides configured secrets in any text, and names users by a keyed hash.

    Args:
        hidden: secrets; of a URL the password is hidden alone as well.
        hash_key: key of the hashes; None takes a random one, so that hashes of two processes cannot be compared.
    """

    def __init__(self, hidden: Iterable[str] = (), hash_key: str | None = None) -> None:
        parts = {part for secret in hidden for part in _parts(secret) if len(part) >= MIN_HIDDEN_LENGTH}
        written = {form for part in parts for form in _forms(part)}
        self._hidden = sorted(written, key=len, reverse=True)  # the longest first: one may be a part of another
        key = secrets.token_bytes(32) if hash_key is None else hash_key.encode()
        self._key = hashlib.sha256(key).digest()

    def without_secrets(self, text: str) -> str:
        """The text with every secret replaced."""
        for secret in self._hidden:
            if secret in text:
                text = text.replace(secret, HIDDEN)
        return text

    def user_hash(self, user_id: str) -> str:
        """16 hexadecimal digits that stand for a user: equal for equal users, and nobody's id without the key."""
        return hashlib.blake2b(user_id.encode("utf-8", "surrogatepass"), digest_size=8, key=self._key).hexdigest()

    def without_users(self, text: str, user_ids: Iterable[str]) -> str:
        """The text with every one of these user ids replaced by its hash, however it is written.

        In one pass, so that no id is looked for in the name of another; and only for what occurs at all, since a
        pattern of five hundred ids takes seconds to compile.
        """
        found = {form: user_id for user_id in user_ids for form in _forms(user_id) if form and form in text}
        if not found:
            return text
        names = {form: f"user:{self.user_hash(user_id)}" for form, user_id in found.items()}
        patterns = (_where_it_is_hidden(form) for form in sorted(names, key=len, reverse=True))
        return re.sub("|".join(patterns), lambda match: names[match.group()], text)


def _where_it_is_hidden(form: str) -> str:
    return re.escape(form) if len(form) >= _SHORT_ID else rf"(?<!\w){re.escape(form)}(?!\w)"


def _parts(secret: str) -> set[str]:
    """A secret and those parts of it that are secret alone."""
    parts = {secret, *(part.strip() for part in secret.split(","))}
    if "://" in secret:
        url = urlsplit(secret)
        passwords = {url.password or "", *parse_qs(url.query).get("password", [])} - {""}
        parts = {secret, *passwords, *(unquote(password) for password in passwords)}
    return parts


def _forms(text: str) -> set[str]:
    """The ways in which a text may stand in a log line: itself, in a Python or JSON string, in a URL."""
    return {
        text,
        repr(text)[1:-1],
        ascii(text)[1:-1],
        json.dumps(text)[1:-1],
        json.dumps(text, ensure_ascii=False)[1:-1],
        quote(text, safe="", errors="surrogatepass"),
        quote(text, errors="surrogatepass"),
    }

"""The head of a usual request, read in one piece: enough to refuse it, for a fraction of what a parser costs.

Whatever is unusual is left to the parser, which answers it as it deserves.
"""

import re
from typing import NamedTuple

_HEAD = re.compile(rb"POST ([!-~]++) HTTP/1\.1\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t -~\x80-\xff]*+\r\n)++)\r\n")
_UNUSUAL = re.compile(
    rb"^(?:transfer-encoding:|expect:|upgrade:|connection:(?![ \t]*keep-alive[ \t]*\r))", re.MULTILINE
)
_LENGTH = re.compile(rb"^content-length:[ \t]*([^\r]*?)[ \t]*\r", re.MULTILINE)
_ID = re.compile(rb"^x-request-id:[ \t]*([^\r]*?)[ \t]*\r", re.MULTILINE | re.IGNORECASE)
_MOST_DIGITS = 15


class RequestHead(NamedTuple):
    """What a refusal has to know.

    Attributes:
        target: of the request line.
        request_id: of the last X-Request-ID, None without one.
        num_bytes: of the head, with the empty line at its end.
        body_bytes: of the body, which comes after it.
    """

    target: bytes
    request_id: bytes | None
    num_bytes: int
    body_bytes: int


def read_usual_head(data: bytes) -> RequestHead | None:
    """The head that `data` begins with.

    None for a head that is not complete or no HTTP/1.1, another method than POST, a body that has no length or two, a
    connection that is to be closed or changed, and a caller who waits to be told to go on.
    """
    match = _HEAD.match(data)
    if match is None:
        return None
    headers = match[2].lower()
    if _UNUSUAL.search(headers):
        return None
    lengths = _LENGTH.findall(headers)
    if len(lengths) != 1 or not lengths[0].isdigit() or len(lengths[0]) > _MOST_DIGITS:
        return None
    ids = _ID.findall(match[2])
    return RequestHead(match[1], ids[-1] if ids else None, match.end(), int(lengths[0]))

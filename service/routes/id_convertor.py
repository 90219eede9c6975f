"""`{name:id}` in the path of a route: an id of any characters. Starlette's own `path` ends at a line break.

With that one, /users/a%0Ab/history was no route at all, and /items/a%0A the item "a".
"""

from typing import ClassVar

from starlette.convertors import PathConvertor, register_url_convertor


class IdConvertor(PathConvertor):
    """As `path`, and line breaks too."""

    regex: ClassVar[str] = r"[\s\S]*"


register_url_convertor("id", IdConvertor())

"""How large a generated shop is."""

from typing import NamedTuple


class ShopSize(NamedTuple):
    """How large a generated shop is.

    Attributes:
        users: how many there are.
        items: of the catalogue.
        interactions: of every user, each with another item; at most half of the catalogue.
    """

    users: int
    items: int
    interactions: int

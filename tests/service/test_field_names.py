from types import SimpleNamespace

import pytest
from pydantic import BaseModel

from service.schemas.field_names import field_names


class Inner(BaseModel):
    deep: int = 0


class Outer(BaseModel):
    one: Inner | None = None
    many: list[Inner] = []
    plain: int = 0


ROUTE = SimpleNamespace(body_field=SimpleNamespace(field_info=SimpleNamespace(annotation=Outer)))


@pytest.mark.parametrize(
    ("path", "names"),
    [
        (["oen"], ["one", "many", "plain"]),
        (["one", "depe"], ["deep"]),
        (["many", "3", "depe"], ["deep"]),
    ],
)
def test_the_fields_beside_a_misspelt_one(path: list[str], names: list[str]) -> None:
    assert field_names(ROUTE, path) == names

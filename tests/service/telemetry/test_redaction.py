"""What must not be seen is not seen, however it is written."""

import json
import re
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from service.telemetry import redaction as module
from service.telemetry.redaction import HIDDEN, Redaction

user_ids = st.text(min_size=4, max_size=30)


@pytest.mark.parametrize(
    "text",
    [
        "redis://default:hunter2%40home@10.0.0.1:6379/0",
        "cannot log in with hunter2@home at 10.0.0.1",
        "password hunter2%40home is wrong",
        'the keys "first-key-first-key" and second-key-second-key',
        "password third-secret is wrong",
    ],
)
def test_secrets_and_their_parts_are_hidden(text: str) -> None:
    redaction = Redaction(
        [
            "redis://default:hunter2%40home@10.0.0.1:6379/0",
            "first-key-first-key, second-key-second-key",
            "unix:///redis.sock?password=third-secret",
        ]
    )
    shown = redaction.without_secrets(text)
    assert HIDDEN in shown
    for part in ("hunter2", "first-key", "second-key", "third-secret"):
        assert part not in shown


def test_what_is_no_secret_stays() -> None:
    redaction = Redaction(["redis://127.0.0.1:6379/0", "redis://:ab@h"])
    text = "about the cabbage at 127.0.0.1"  # of a password of two letters nothing could be told but its letters
    assert redaction.without_secrets(text) == text


@given(st.text(), st.text())
def test_hashes_are_equal_for_equal_users_and_need_the_key(one: str, other: str) -> None:
    redaction = Redaction(hash_key="a key")
    assert (redaction.user_hash(one) == redaction.user_hash(other)) == (one == other)
    assert redaction.user_hash(one) == Redaction(hash_key="a key").user_hash(one)
    assert redaction.user_hash(one) != Redaction(hash_key="another key").user_hash(one)
    assert redaction.user_hash(one) != Redaction().user_hash(one)
    assert len(redaction.user_hash(one)) == 16


@given(user_ids)
@example("user")
def test_a_user_is_hidden_in_every_way_of_writing(user_id: str) -> None:
    redaction = Redaction(hash_key="a key")
    name = f"user:{redaction.user_hash(user_id)}"
    for written in (user_id, repr(user_id), ascii(user_id), json.dumps(user_id), quote(user_id, safe="")):
        shown = redaction.without_users(written, [user_id])
        assert shown in (name, f"'{name}'", f'"{name}"')


def test_a_short_id_is_hidden_where_it_stands_alone() -> None:
    redaction = Redaction(hash_key="a key")
    shown = redaction.without_users("KeyError: 'an' in history:{an} of an animal", ["an"])
    assert shown.count("user:") == 3
    assert "animal" in shown


def test_an_id_within_another_does_not_spoil_it() -> None:
    redaction = Redaction(hash_key="a key")
    shown = redaction.without_users("anna-maria and anna", ["anna", "anna-maria"])
    assert shown == f"user:{redaction.user_hash('anna-maria')} and user:{redaction.user_hash('anna')}"


def test_an_id_within_the_name_of_another_does_not_spoil_it() -> None:
    redaction = Redaction(hash_key="a key")
    name = f"user:{redaction.user_hash('anna')}"
    others = ["user", "u", name[-5:], name[5:9]]
    assert redaction.without_users("<anna>", ["anna", *others]) == f"<{name}>"
    assert redaction.without_users("<anna>", ["", "anna"]) == f"<{name}>"
    assert redaction.without_users("<anna>", [""]) == "<anna>"


def test_of_two_ids_written_alike_one_hides_both() -> None:
    redaction = Redaction(hash_key="a key")
    shown = redaction.without_users("a%20user and a user", ["a user", "a%20user"])
    assert "a user" not in shown
    assert "a%20user" not in shown


def test_only_what_occurs_is_looked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pattern of five hundred ids in all their forms takes seconds to compile, and requests wait meanwhile."""
    looked_for: list[str] = []

    def noted(form: str) -> str:
        looked_for.append(form)
        return re.escape(form)

    monkeypatch.setattr(module, "_where_it_is_hidden", noted)
    others = [f"user-{number}-\u00e4" for number in range(500)]
    redaction = Redaction(hash_key="a key")
    assert redaction.without_users("a line of anna", others) == "a line of anna"
    assert looked_for == []
    assert (
        redaction.without_users("a line of anna", [*others, "anna"]) == f"a line of user:{redaction.user_hash('anna')}"
    )
    assert looked_for == ["anna"]

"""Every method of both clients against the real service."""

import uuid
from typing import Any

import pytest
from mmgrec_client import (
    AuthenticationError,
    CategoryConditions,
    Event,
    InvalidRequestError,
    NotFoundError,
    RecommendRequest,
    ServiceError,
    SimilarQuery,
)
from pydantic import ValidationError

from service.app import create_app
from service.settings import Settings
from tests.client.conftest import KEY, MakeClient

ODD_IDS = ["a/b", "..", ".", "%2F", "ü ñ 漢字 🎉?#", "x/history", "a\nb", " ", "u" * 256]


def test_recommend(client: Any) -> None:
    answer = client.recommend(RecommendRequest(history=["item-05"], n=2, explain=True, request_id="r-1"))
    assert [item.item_id for item in answer.items] == ["item-04", "item-06"]
    assert [item.rank for item in answer.items] == [1, 2]
    assert answer.items[0].title == "Title 4"
    assert answer.items[0].explanation.rec_id == [1, 1, 0]
    assert (answer.request_id, answer.release, answer.source, answer.degraded) == ("r-1", "v1", "model", False)


def test_filters_arrive(client: Any) -> None:
    asked = RecommendRequest(
        history=["item-05"],
        n=3,
        exclude_items=["item-07"],
        categories=CategoryConditions(any=["category-1"]),
        candidates=["item-01", "item-03", "item-07", "item-04"],
        include_metadata=False,
    )
    answer = client.recommend(asked)
    assert [item.item_id for item in answer.items] == ["item-03", "item-01"]
    assert (answer.exhausted, answer.items[0].title) == (True, None)


def test_a_batch_is_answered_in_its_order(client: Any) -> None:
    asked = [RecommendRequest(history=[item_id], n=1) for item_id in ("item-09", "item-02")]
    answers = client.recommend_batch(asked).answers
    assert [answer.items[0].item_id for answer in answers] == ["item-08", "item-01"]


def test_items_and_what_goes_with_them(client: Any) -> None:
    assert client.item("item-03").categories == ["category-1"]
    assert client.similar("item-05").returned == 10
    asked = SimilarQuery(n=2, offset=1, categories=["category-0", "category-1"], include_metadata=False)
    found = client.similar("item-05", asked).items
    assert [(item.item_id, item.rank, item.title) for item in found] == [("item-06", 2, None), ("item-03", 3, None)]


@pytest.mark.parametrize("user_id", ODD_IDS)
def test_a_history_lives_and_ends(client: Any, user_id: str) -> None:
    assert client.put_history(user_id, ["item-09", "item-05"]).history == ["item-09", "item-05"]
    event = Event(user_id=user_id, item_id="item-02", event="view", weight=0.5, event_id=uuid.uuid4().hex)
    first, again = client.post_events([event]), client.post_events([event])
    assert (first.accepted, again.accepted, again.duplicates) == (1, 0, 1)
    assert client.recommend(RecommendRequest(user_id=user_id, n=1)).items[0].item_id == "item-01"
    stored = client.get_history(user_id)
    assert (stored.user_id, stored.history) == (user_id, ["item-09", "item-05", "item-02"])
    client.delete_history(user_id)
    assert client.get_history(user_id).history == []


def test_info_and_ready(client: Any) -> None:
    info = client.info()
    assert (info.service, info.release.version, info.release.beam_widths) == ("mmgrec", "v1", [10, 20])
    assert info.limits.max_batch_requests == 32
    assert client.ready().ready is True


def test_a_service_without_a_release_says_so_and_is_no_error(
    make_client: MakeClient, redis_url: str, namespace: str, running: Any, fake_decoder: Any
) -> None:
    app = create_app(Settings(redis_url=redis_url, namespace=namespace), decoder_factory=fake_decoder)
    with running(app) as of_http:
        found = make_client(str(of_http.base_url)).ready()
    assert found.ready is False
    assert set(found.reasons) <= {"starting", "no_release"}
    assert found.reasons


@pytest.mark.parametrize(
    ("method", "arguments", "kind", "status", "code"),
    [
        ("item", ("gone",), NotFoundError, 404, "unknown_item"),
        ("recommend", (RecommendRequest(history=[], n=0),), InvalidRequestError, 422, "validation_failed"),
        ("recommend", (RecommendRequest(history=[], n=11),), InvalidRequestError, 422, "limit_exceeded"),
        ("recommend", (RecommendRequest(),), InvalidRequestError, 422, "validation_failed"),
        ("recommend_batch", ([RecommendRequest(history=[])] * 33,), InvalidRequestError, 413, "batch_too_large"),
        ("post_events", ([],), InvalidRequestError, 422, "validation_failed"),
    ],
)
def test_errors_keep_what_the_service_says(
    client: Any, method: str, arguments: Any, kind: type[ServiceError], status: int, code: str
) -> None:
    with pytest.raises(kind) as caught:
        getattr(client, method)(*arguments)
    error = caught.value
    assert (error.status, error.code, error.retryable) == (status, code, False)
    assert error.request_id
    assert error.message in str(error)
    assert error.request_id in str(error)


@pytest.mark.parametrize("key", [None, "not-the-key-of-anybody"])
def test_a_wrong_key_is_told_and_not_shown(make_client: MakeClient, service_url: str, key: str | None) -> None:
    client = make_client(service_url, api_key=key)
    with pytest.raises(AuthenticationError) as caught:
        client.info()
    assert (caught.value.status, caught.value.code) == (401, "unauthenticated")
    assert str(key) not in str(caught.value)
    assert client.ready().ready is True  # asks for none


@pytest.mark.parametrize(
    "base_url",
    ["127.0.0.1:8000", "", "ftp://host", "http://", "http://host:port", f"http://web:{KEY}@host", "http://host?a=b"],
)
def test_a_wrong_address_is_named(make_client: MakeClient, base_url: str) -> None:
    with pytest.raises(ValueError, match="base_url must be") as caught:
        make_client(base_url)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize("key", ["", " a-key-with-spaces ", "break\nX-Other: 1", "schlüssel"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(make_client: MakeClient, key: str) -> None:
    with pytest.raises(ValueError, match="api_key must be") as caught:
        make_client("http://127.0.0.1:1", api_key=key)
    assert not key or key not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (RecommendRequest, {"user": "a"}),
        (RecommendRequest, {"user_id": 3}),
        (RecommendRequest, {"history": "item-05"}),
        (RecommendRequest, {"n": "3"}),
        (Event, {"user_id": "a"}),
        (Event, {"user_id": "a", "item_id": "b", "weight": float("nan")}),
    ],
)
def test_a_request_of_other_types_is_refused_before_it_is_sent(model: Any, fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        model(**fields)


@pytest.mark.parametrize(
    ("method", "arguments", "name"),
    [
        ("item", ("x" * 100_000,), "item_id"),
        ("item", ("\u00fc" * 11_000,), "item_id"),
        ("similar", ("x" * 100_000,), "item_id"),
        ("similar", ("item-05", SimilarQuery(categories=["x" * 100_000])), "query"),
        ("get_history", ("x" * 100_000,), "user_id"),
        ("put_history", ("x" * 100_000, []), "user_id"),
        ("delete_history", ("x" * 100_000,), "user_id"),
        ("item", ("\ud800",), "item_id"),
        ("similar", ("\ud800",), "item_id"),
        ("similar", ("item-05", SimilarQuery(categories=["fine", "\ud800"])), "categories"),
        ("get_history", ("\ud800",), "user_id"),
    ],
)
def test_what_no_url_can_hold_is_named_before_it_is_sent(
    make_client: MakeClient, method: str, arguments: Any, name: str
) -> None:
    with pytest.raises(ValueError, match=f"^{name} must ") as caught:
        getattr(make_client("http://127.0.0.1:1"), method)(*arguments)
    assert type(caught.value) is ValueError
    assert len(str(caught.value)) < 200


def test_a_long_id_reaches_the_service_which_names_its_limit(client: Any) -> None:
    with pytest.raises(InvalidRequestError):
        client.item("x" * 30_000)


@pytest.mark.parametrize("method", ["get_history", "item", "recommend"])
def test_half_of_a_character_cannot_be_sent(make_client: MakeClient, method: str) -> None:
    asked = RecommendRequest(user_id="\ud800") if method == "recommend" else "\ud800"
    with pytest.raises(ValueError, match="surrogate"):
        getattr(make_client("http://127.0.0.1:1"), method)(asked)

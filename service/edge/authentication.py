"""Asks callers for their key, before anything of a request's body is read."""

from collections.abc import Iterable
from typing import Any

from fastapi import HTTPException, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api_keys import KeyRing
from service.edge.doors import door_of
from service.edge.exposure import is_this_machine_alone
from service.errors import UNAUTHENTICATED, Kind, error_response
from service.request_context import RequestContext, context_of

WITHOUT_KEY = "this service asks for an API key: send Authorization: Bearer KEY or X-API-Key: KEY"
_CHALLENGE = {"WWW-Authenticate": "Bearer"}
_NO_KEY_SET = Kind(403, "authentication", "no_api_key_set")
_NO_KEY_SET_CURE = (
    "this service is reachable from other machines and has no API key, so it answers nobody: whoever runs it sets "
    "MMGREC_API_KEYS_FILE, or MMGREC_ALLOW_ANONYMOUS=1 where something else keeps strangers away"
)


class AuthenticationMiddleware:
    """Lets a request in, or answers 401; a missing key and a wrong one get the same answer.

    Without API keys everybody is let in who comes from this machine, or anybody where that was said explicitly: a
    server that was started without `python -m service` has not been kept from listening to the world.

    Args:
        app: what is behind the door.
        keys: for everything but what follows; an empty ring asks nobody.
        admin_keys: for `/admin/*`; an empty ring lets nobody in, `require_admin` answers.
        metrics_public: whether `GET /metrics` asks for no key.
        allow_anonymous: whether other machines may come without keys being set.
    """

    def __init__(
        self, app: ASGIApp, *, keys: KeyRing, admin_keys: KeyRing, metrics_public: bool, allow_anonymous: bool
    ) -> None:
        self._app = app
        self._keys = keys
        self._admin_keys = admin_keys
        self._metrics_public = metrics_public
        self._allow_anonymous = allow_anonymous

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102
        refused = self._refusal(scope) if scope["type"] == "http" else None
        await (self._app if refused is None else refused)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        door = door_of(scope["path"])
        if door == "open" or (door == "metrics" and self._metrics_public):
            return None
        context = context_of(scope)
        if door == "admin":
            return self._refusal_of_admin(scope, context)
        if self._keys:
            context.caller = owner_of_key(scope["headers"], self._keys)
            return _unauthenticated(context) if context.caller is None else None
        server = scope.get("server")
        if self._allow_anonymous or server is None or is_this_machine_alone(server[0]):
            return None
        return error_response(_NO_KEY_SET, _NO_KEY_SET_CURE, context)

    def _refusal_of_admin(self, scope: Scope, context: RequestContext) -> Response | None:
        if not self._admin_keys:
            return None  # there is no such route then, which `require_admin` says
        context.caller = owner_of_key(scope["headers"], self._admin_keys)
        context.is_admin = context.caller is not None
        return None if context.is_admin else _unauthenticated(context)


def presented_key(headers: Iterable[tuple[bytes, bytes]]) -> bytes | None:
    """The key that a request shows, X-API-Key before Authorization, which a proxy may have filled for itself."""
    bearer = None
    for name, value in headers:
        if name == b"x-api-key":
            return value.strip()
        if name == b"authorization" and value[:7].lower() == b"bearer ":
            bearer = value[7:].strip()
    return bearer


def owner_of_key(headers: Iterable[tuple[bytes, bytes]], keys: KeyRing) -> str | None:
    """Name of the key that a request shows; None without one, or when it is nobody's."""
    key = presented_key(headers)
    return None if key is None else keys.owner(key)


def _unauthenticated(context: RequestContext) -> Response:
    return error_response(UNAUTHENTICATED, WITHOUT_KEY, context, _CHALLENGE)


async def require_admin(request: Request) -> None:
    """Dependency of every admin route. The middleware has looked at the path, this looks at the route itself.

    Raises:
        HTTPException: 404 where no admin keys are set, 401 where none was shown.
    """
    settings: Any = request.app.state.settings
    if settings.admin_keys is None and settings.admin_keys_file is None:
        raise HTTPException(404)
    if not context_of(request.scope).is_admin:
        raise HTTPException(401, headers=_CHALLENGE)

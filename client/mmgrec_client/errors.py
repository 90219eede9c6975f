"""What goes wrong, as exceptions; the service's errors keep its code, message and request id."""

from mmgrec_client.responses import ErrorDetail


class MMGRecError(Exception):
    """Whatever a call raises that is not a mistake in its arguments."""


class NoAnswerError(MMGRecError):
    """The service could not be reached, or the answer did not come in time. `__cause__` is httpx's own error."""


class UnexpectedAnswerError(MMGRecError):
    """An answer came that is none of the service's: `base_url` leads elsewhere, or the versions do not fit."""


class ServiceError(MMGRecError):
    """The service, or something in front of it, answered with an error.

    Attributes:
        status: HTTP status.
        type: the service's class of errors, such as "invalid_request"; "unknown" when something else answered.
        code: what went wrong, such as "unknown_item"; "http_502" and the like when something else answered.
        message: what is wrong, with value, limit and cure.
        retryable: whether the same request may succeed later.
        request_id: under which the service's log has it; None when something else answered.
        retry_after_seconds: when to come back, where the answer said so.
    """

    def __init__(self, status: int, detail: ErrorDetail, retry_after_seconds: float | None) -> None:
        super().__init__(f"{status} {detail.code}: {detail.message} (request {detail.request_id or 'without id'})")
        self.status = status
        self.type = detail.type
        self.code = detail.code
        self.message = detail.message
        self.retryable = detail.retryable
        self.request_id = detail.request_id or None
        self.retry_after_seconds = retry_after_seconds


class InvalidRequestError(ServiceError):
    """The request is wrong, too large, or beyond a limit: repeating it does not help."""


class AuthenticationError(ServiceError):
    """The key is missing or wrong, or the service has none and will not serve strangers."""


class NotFoundError(ServiceError):
    """The release has no such item, or the service no such route."""


class OverloadedError(ServiceError):
    """The queue is full, or this key asks too often; see `retry_after_seconds`."""


class UnavailableError(ServiceError):
    """No release is loaded, Redis does not take it, or the process is about to end."""


class DeadlineExceededError(ServiceError):
    """No answer within `deadline_ms`, or within the service's own deadline."""


BY_STATUS: dict[int, type[ServiceError]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    403: AuthenticationError,
    404: NotFoundError,
    413: InvalidRequestError,
    422: InvalidRequestError,
    429: OverloadedError,
    431: InvalidRequestError,
    503: UnavailableError,
    504: DeadlineExceededError,
}

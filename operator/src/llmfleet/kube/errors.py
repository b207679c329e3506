"""What can go wrong between us and the API server, as a small tree.

    KubeError
    ├── ConfigurationError     the kubeconfig or service account cannot be used; the text names the remedy
    └── ApiError               a request failed; carries status, reason, causes, retry_after_s
        ├── BadRequest         400: the request is malformed
        ├── Unauthorized       401: the credentials are not accepted
        ├── Forbidden          403: RBAC, quota or an admission policy says no
        ├── NotFound           404; `reason` is empty when not the object but its whole kind is unknown (no CRD)
        ├── Conflict           409: somebody else wrote first, or owns the field
        │   └── AlreadyExists  409 of a create
        ├── Gone               410: the resourceVersion or continue token is too old
        ├── Invalid            422: the object breaks its schema or a rule; `causes` names the fields
        ├── TooManyRequests    429: slow down for `retry_after_s`, or an eviction that a budget forbids
        ├── ServerError        5xx
        ├── Unreachable        no usable answer at all: network, TLS, timeout, not JSON
        └── NotLeading         not asked: this process has lost the Lease and must not write

Messages are the API server's own. They never hold a token; Secrets are none of the resources that are asked for.
"""

# The names are those of Kubernetes' reasons, which everybody who handles them knows.
# ruff: noqa: N818

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_BODY_EXCERPT_CHARACTERS = 300
# How the API server (1.36 and before) words an apply that breaks the schema. It answers 500 without a reason,
# which would look like a fault of its own that goes away by waiting.
_SCHEMA_BROKEN = "failed to create typed patch object"


class KubeError(Exception):
    """Anything this package raises on purpose."""


class ConfigurationError(KubeError):
    """The way to the API server cannot be worked out; a person has to change something."""


@dataclass(frozen=True, slots=True)
class Cause:
    """One finding of the API server: about one field, or with a reason of its own such as NamespaceTerminating."""

    field: str
    message: str
    reason: str = ""


class ApiError(KubeError):
    """The API server refused a request, or could not be asked.

    Attributes:
        status: HTTP status code; 0 when there was no usable answer.
        reason: Kubernetes' machine-readable reason such as `NotFound`, or one of our own for `Unreachable`.
        message: the API server's own sentence.
        causes: what is wrong with which field; empty where the server names none.
        retry_after_s: how long the server asks to wait, in seconds; None when it does not ask.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 0,
        reason: str = "",
        causes: tuple[Cause, ...] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.reason = reason
        self.causes = causes
        self.retry_after_s = retry_after_s


class BadRequest(ApiError):
    """400."""


class Unauthorized(ApiError):
    """401."""


class Forbidden(ApiError):
    """403."""


class NotFound(ApiError):
    """404."""


class Conflict(ApiError):
    """409."""


class AlreadyExists(Conflict):
    """409 because an object of this name is there."""


class Gone(ApiError):
    """410."""


class Invalid(ApiError):
    """422."""


class TooManyRequests(ApiError):
    """429."""


class ServerError(ApiError):
    """5xx."""


class Unreachable(ApiError):
    """There was no usable answer."""


class NotLeading(ApiError):
    """Nothing was sent: another process may lead by now."""


_BY_STATUS: Mapping[int, type[ApiError]] = {
    HTTPStatus.BAD_REQUEST: BadRequest,
    HTTPStatus.UNAUTHORIZED: Unauthorized,
    HTTPStatus.FORBIDDEN: Forbidden,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.CONFLICT: Conflict,
    HTTPStatus.GONE: Gone,
    HTTPStatus.UNPROCESSABLE_ENTITY: Invalid,
    HTTPStatus.TOO_MANY_REQUESTS: TooManyRequests,
}


def error_from_status(body: Mapping[str, Any], *, status: int = 0, retry_after: str | None = None) -> ApiError:
    """Build the error that a `metav1.Status` means.

    Args:
        body: the Status object, from an answer's body or from an ERROR event of a watch.
        status: HTTP status code of the answer; 0 takes the code from the body.
        retry_after: the Retry-After header in seconds; the body's retryAfterSeconds is the fallback.
    """
    code = status or int(body.get("code") or 0)
    reason = str(body.get("reason") or "")
    details = body.get("details") or {}
    causes = tuple(
        Cause(
            field=str(cause.get("field") or ""),
            message=str(cause.get("message") or ""),
            reason=str(cause.get("reason") or ""),
        )
        for cause in details.get("causes") or ()
    )
    sentence = str(body.get("message") or "")
    if code == HTTPStatus.INTERNAL_SERVER_ERROR and sentence.startswith(_SCHEMA_BROKEN):
        code, reason = HTTPStatus.UNPROCESSABLE_ENTITY, "Invalid"
    otherwise = ServerError if code >= HTTPStatus.INTERNAL_SERVER_ERROR else ApiError
    kind = AlreadyExists if reason == "AlreadyExists" else _BY_STATUS.get(code, otherwise)
    return kind(
        sentence or reason or f"HTTP {code}",
        status=code,
        reason=reason,
        causes=causes,
        retry_after_s=_seconds(retry_after) if retry_after else _seconds(details.get("retryAfterSeconds")),
    )


def error_from_text(text: str, *, status: int, retry_after: str | None = None) -> ApiError:
    """Build the error for an answer that is no Status, such as a proxy's page or the server's plain 429."""
    excerpt = " ".join(text.split())[:_BODY_EXCERPT_CHARACTERS]
    return error_from_status({"message": f"HTTP {status}: {excerpt}"}, status=status, retry_after=retry_after)


def _seconds(value: Any) -> float | None:
    """Read a number of seconds; the date form of Retry-After is not used by API servers and counts as absent."""
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        return None
    return seconds if seconds > 0 else None

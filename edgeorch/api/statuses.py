"""Status answers that belong to HTTP rather than to objects, in the API server's words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeorch.model import errors

if TYPE_CHECKING:
    from edgeorch.model.kinds import Object


def unknown_path() -> errors.StatusError:
    return errors.StatusError(404, "NotFound", "the server could not find the requested resource")


def method_not_allowed() -> errors.StatusError:
    return errors.StatusError(
        405,
        "MethodNotAllowed",
        "the server does not allow this method on the requested resource",
    )


def forbidden_path(why: str) -> errors.StatusError:
    return errors.StatusError(403, "Forbidden", f"forbidden: {why}")


def too_many_requests(message: str) -> errors.StatusError:
    return errors.StatusError(429, "TooManyRequests", message, details={"retryAfterSeconds": 1})


def not_in_time() -> errors.StatusError:
    message = "Timeout: request did not complete within the allotted timeout"
    return errors.StatusError(504, "Timeout", message)


def body_not_in_time() -> errors.StatusError:
    message = "the body of the request did not come within the allotted time"
    return errors.StatusError(408, "Timeout", message)


def version_too_large(asked: int, current: int) -> errors.StatusError:
    """The client knows a future that this store does not (yet)."""
    message = f"Too large resource version: {asked}, current: {current}"
    error = errors.StatusError(504, "Timeout", message, details={"retryAfterSeconds": 1})
    error.details["causes"] = [
        {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
    ]
    return error


def success(code: int, details: Object | None = None) -> Object:
    body: Object = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}
    if details:
        body["details"] = details
    return {**body, "code": code} if code != 200 else body

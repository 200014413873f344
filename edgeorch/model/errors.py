"""What a client is told when a request fails: metav1.Status as an exception.

One class, named constructors. The wording is Kubernetes' own (apimachinery api/errors), because
people and scripts match on it. Field errors (`Cause`) read `FIELD: Invalid value: VALUE: why`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from edgeorch.lib import json


class Cause(Struct, frozen=True):
    """One field error. `reason` is a metav1.CauseType; `message` comes without the field."""

    reason: str
    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


def required(field: str, detail: str = "") -> Cause:
    text = f"Required value: {detail}" if detail else "Required value"
    return Cause("FieldValueRequired", field, text)


def invalid_value(field: str, value: Any, detail: str) -> Cause:
    return Cause("FieldValueInvalid", field, f"Invalid value: {_shown(value)}: {detail}")


def not_supported(field: str, value: Any, supported: Sequence[str]) -> Cause:
    """The supported values are told in the order given."""
    names = ", ".join(f'"{name}"' for name in supported)
    return Cause(
        "FieldValueNotSupported",
        field,
        f"Unsupported value: {_shown(value)}: supported values: {names}",
    )


def duplicate(field: str, value: Any, detail: str = "") -> Cause:
    told = f"Duplicate value: {_shown(value)}"
    return Cause("FieldValueDuplicate", field, f"{told}: {detail}" if detail else told)


def forbidden_field(field: str, detail: str) -> Cause:
    return Cause("FieldValueForbidden", field, f"Forbidden: {detail}")


def too_long(field: str, limit: int) -> Cause:
    return Cause("FieldValueTooLong", field, f"Too long: may not be more than {limit} bytes")


def not_found_field(field: str, value: Any, detail: str = "") -> Cause:
    told = f"Not found: {_shown(value)}"
    return Cause("FieldValueNotFound", field, f"{told}: {detail}" if detail else told)


def too_many(field: str, actual: int, limit: int) -> Cause:
    items = "item" if limit == 1 else "items"
    return Cause(
        "FieldValueTooMany", field, f"Too many: {actual}: must have at most {limit} {items}"
    )


def _shown(value: Any) -> str:
    """As Go prints it. Who shows an object gives its members in the order of the Go type."""
    return json.encode(value).decode()


class StatusError(Exception):
    """A request that failed, as the client will read it."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        *,
        details: dict[str, Any] | None = None,
        causes: list[Cause] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = dict(details or {})
        if causes:
            self.details["causes"] = [
                {"reason": c.reason, "message": c.message, "field": c.field} for c in causes
            ]

    def status(self) -> dict[str, Any]:
        """The metav1.Status body."""
        body: dict[str, Any] = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
        }
        if self.details:
            body["details"] = self.details
        body["code"] = self.code
        if not self.reason:
            del body["reason"]
        return body


def _details(resource: str, name: str) -> dict[str, Any]:
    """`resource` is `plural.group`; Status splits it into `kind` (the plural) and `group`."""
    plural, _, group = resource.partition(".")
    found = {"name": name, "group": group, "kind": plural}
    return {key: value for key, value in found.items() if value}


def not_found(resource: str, name: str) -> StatusError:
    return StatusError(
        404, "NotFound", f'{resource} "{name}" not found', details=_details(resource, name)
    )


def already_exists(resource: str, name: str) -> StatusError:
    return StatusError(
        409,
        "AlreadyExists",
        f'{resource} "{name}" already exists',
        details=_details(resource, name),
    )


def conflict(resource: str, name: str, why: str) -> StatusError:
    return StatusError(
        409,
        "Conflict",
        f'Operation cannot be fulfilled on {resource} "{name}": {why}',
        details=_details(resource, name),
    )


MODIFIED = (
    "the object has been modified; please apply your changes to the latest version and try again"
)


def invalid(kind: str, group: str, name: str, causes: list[Cause]) -> StatusError:
    """422 with every field error at once, as field.ErrorList aggregates them."""
    texts = list(dict.fromkeys(str(cause) for cause in causes))
    told = texts[0] if len(texts) == 1 else "[" + ", ".join(texts) + "]"
    qualified = f"{kind}.{group}" if group else kind
    details = {k: v for k, v in {"name": name, "group": group, "kind": kind}.items() if v}
    return StatusError(
        422, "Invalid", f'{qualified} "{name}" is invalid: {told}', details=details, causes=causes
    )


def bad_request(message: str) -> StatusError:
    return StatusError(400, "BadRequest", message)


def unauthorized() -> StatusError:
    return StatusError(401, "Unauthorized", "Unauthorized")


def forbidden(resource: str, name: str, why: str) -> StatusError:
    told = f'{resource} "{name}" is forbidden: {why}' if name else f"{resource} is forbidden: {why}"
    return StatusError(403, "Forbidden", told, details=_details(resource, name))


def method_not_allowed(resource: str, verb: str) -> StatusError:
    return StatusError(
        405,
        "MethodNotAllowed",
        f'{verb} is not supported on resources of kind "{resource}"',
        details=_details(resource, ""),
    )


def unsupported_media_type(message: str) -> StatusError:
    return StatusError(415, "UnsupportedMediaType", message)


def not_acceptable(message: str) -> StatusError:
    return StatusError(406, "NotAcceptable", message)


def too_large(message: str) -> StatusError:
    return StatusError(413, "RequestEntityTooLarge", message)


def expired(message: str) -> StatusError:
    """410: the watch or continue token asks for history that is gone."""
    return StatusError(410, "Expired", message)


def internal(message: str) -> StatusError:
    return StatusError(500, "InternalError", f"Internal error occurred: {message}")


def unavailable(message: str, retry_after: int = 1) -> StatusError:
    return StatusError(
        503, "ServiceUnavailable", message, details={"retryAfterSeconds": retry_after}
    )


def insufficient_storage(message: str) -> StatusError:
    """507: waiting does not help, somebody has to make room. Clients tell it at once, where a 503
    that says when to come again is tried ten times first."""
    return StatusError(507, "InsufficientStorage", message)


def unwritable(message: str) -> StatusError:
    """503 that does not say when to come again."""
    return StatusError(503, "ServiceUnavailable", message)

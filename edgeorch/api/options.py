"""ListOptions, write options and DeleteOptions: from the query and the body, checked.

Pure. Rules and words as in apimachinery (apis/meta/v1/validation, internalversion/validation).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from edgeorch.model import errors

if TYPE_CHECKING:
    from edgeorch.api.call import Call
    from edgeorch.model.kinds import Object

EXACT, NOT_OLDER_THAN = "Exact", "NotOlderThan"
IGNORE, WARN, STRICT = "Ignore", "Warn", "Strict"
_PROPAGATION = ["Background", "Foreground", "Orphan"]
_MAX_TIMEOUT = 24 * 3600


class ListOptions(Struct, frozen=True):
    """`version` None: not given. `initial_events` None: not given. `timeout` in seconds."""

    labels: str = ""
    fields: str = ""
    limit: int = 0
    start: str = ""
    version: int | None = None
    match: str = ""
    bookmarks: bool = False
    initial_events: bool | None = None
    timeout: int | None = None


def listing(call: Call, *, watch: bool) -> ListOptions:
    """Raises StatusError (400, 422)."""
    initial = call.flag("sendInitialEvents") if "sendInitialEvents" in call.query else None
    options = ListOptions(
        labels=call.query.get("labelSelector", ""),
        fields=call.query.get("fieldSelector", ""),
        limit=max(0, call.integer("limit") or 0),
        start=call.query.get("continue", ""),
        version=resource_version(call.query.get("resourceVersion", "")),
        match=call.query.get("resourceVersionMatch", ""),
        bookmarks=call.flag("allowWatchBookmarks"),
        initial_events=initial,
        timeout=_timeout(call.integer("timeoutSeconds")),
    )
    causes = _watch_causes(options) if watch else _list_causes(options)
    if causes:
        raise errors.invalid("ListOptions", "meta.k8s.io", "", causes)
    return options


def resource_version(text: str) -> int | None:
    """Raises StatusError (400)."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        raise errors.bad_request(
            f'Invalid value: "{text}": strconv.ParseUint: parsing "{text}": invalid syntax'
        )
    return int(text)


def _timeout(seconds: int | None) -> int | None:
    return min(seconds, _MAX_TIMEOUT) if seconds is not None and seconds > 0 else None


def _watch_causes(options: ListOptions) -> list[errors.Cause]:
    if options.initial_events is None:
        if options.match:
            return [
                errors.forbidden_field(
                    "resourceVersionMatch",
                    "resourceVersionMatch is forbidden for watch unless sendInitialEvents is "
                    "provided",
                )
            ]
        return []
    if options.match != NOT_OLDER_THAN:
        return [
            errors.forbidden_field(
                "resourceVersionMatch",
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            )
        ]
    return []


def _list_causes(options: ListOptions) -> list[errors.Cause]:
    field = "resourceVersionMatch"
    if options.initial_events is not None:
        return [
            errors.forbidden_field("sendInitialEvents", "sendInitialEvents is forbidden for list")
        ]
    if not options.match:
        return []
    causes = []
    if options.version is None:
        causes.append(
            errors.forbidden_field(
                field, "resourceVersionMatch is forbidden unless resourceVersion is provided"
            )
        )
    if options.start:
        causes.append(
            errors.forbidden_field(
                field, "resourceVersionMatch is forbidden when continue is provided"
            )
        )
    if options.match not in (EXACT, NOT_OLDER_THAN):
        causes.append(errors.not_supported(field, options.match, [EXACT, NOT_OLDER_THAN]))
    if options.match == EXACT and options.version == 0:
        causes.append(
            errors.forbidden_field(
                field, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'
            )
        )
    return causes


class WriteOptions(Struct, frozen=True):
    dry_run: bool
    validation: str
    force: bool = False


_OPTIONS_KIND = {"create": "CreateOptions", "update": "UpdateOptions", "patch": "PatchOptions"}


def writing(call: Call, *, applying: bool = False) -> WriteOptions:
    """`applying`: a server-side apply. Raises StatusError (422)."""
    dry_run = call.query.get("dryRun")
    validation = call.query.get("fieldValidation", "") or WARN
    manager = call.query.get("fieldManager", "")
    causes = []
    if dry_run not in (None, "All"):
        causes.append(errors.not_supported("dryRun", [dry_run], ["All"]))
    if validation not in (IGNORE, WARN, STRICT):
        causes.append(errors.not_supported("fieldValidation", validation, [IGNORE, WARN, STRICT]))
    if len(manager.encode(errors="replace")) > 128:
        causes.append(errors.too_long("fieldManager", 128))
    if applying and not manager:
        causes.append(errors.required("fieldManager", "is required for apply patch"))
    force = call.flag("force")
    if call.verb == "patch" and "force" in call.query and not applying:
        causes.append(errors.forbidden_field("force", "may not be specified for non-apply patch"))
    if causes:
        raise errors.invalid(_OPTIONS_KIND[call.verb], "meta.k8s.io", "", causes)
    call.dry_run = dry_run == "All"
    return WriteOptions(call.dry_run, validation, force)


def deletion(call: Call, body: Object | None) -> tuple[Object, bool]:
    """DeleteOptions, and whether it is a dry run. A body goes before the query, as in Kubernetes.

    Raises StatusError (400, 422).
    """
    options = dict(body) if body else _from_query(call)
    causes = _delete_causes(options)
    if causes:
        raise errors.invalid("DeleteOptions", "meta.k8s.io", "", causes)
    orphan = options.get("orphanDependents")
    if orphan is not None:
        options["propagationPolicy"] = "Orphan" if orphan else "Background"
    call.dry_run = bool(options.pop("dryRun", None))
    return options, call.dry_run


def _from_query(call: Call) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if (grace := call.integer("gracePeriodSeconds")) is not None:
        options["gracePeriodSeconds"] = grace
    if policy := call.query.get("propagationPolicy", ""):
        options["propagationPolicy"] = policy
    if "orphanDependents" in call.query:
        options["orphanDependents"] = call.flag("orphanDependents")
    if "dryRun" in call.query:
        options["dryRun"] = [call.query["dryRun"]]
    return options


_DELETE_TYPES: dict[str, tuple[type, str]] = {
    "gracePeriodSeconds": (int, "int64"),
    "propagationPolicy": (str, "string"),
    "orphanDependents": (bool, "bool"),
    "preconditions": (dict, "object"),
    "dryRun": (list, "array of strings"),
}


def _delete_causes(options: Object) -> list[errors.Cause]:
    for name, (kind, told) in _DELETE_TYPES.items():
        value = options.get(name)
        if value is None:
            options.pop(name, None)
        elif not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise errors.bad_request(f"DeleteOptions: {name}: must be of type {told}")
    causes = []
    preconditions = options.get("preconditions", {})
    for name in ("uid", "resourceVersion"):
        if not isinstance(preconditions.get(name, ""), str):
            raise errors.bad_request(f"DeleteOptions: preconditions.{name}: must be a string")
    policy = options.get("propagationPolicy")
    if policy is not None and "orphanDependents" in options:
        causes.append(
            errors.invalid_value(
                "propagationPolicy",
                policy,
                "orphanDependents and deletionPropagation cannot be both set",
            )
        )
    if policy is not None and policy not in _PROPAGATION:
        causes.append(errors.not_supported("propagationPolicy", policy, [*_PROPAGATION]))
    if options.get("dryRun") not in (None, [], ["All"]):
        causes.append(errors.not_supported("dryRun", options["dryRun"], ["All"]))
    grace = options.get("gracePeriodSeconds", 0)
    if not -(2**63) <= grace < 2**63:
        raise errors.bad_request("DeleteOptions: gracePeriodSeconds: must be of type int64")
    return causes

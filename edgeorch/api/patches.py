"""PATCH bodies: the patch types of Kubernetes, each as one function on the current object.

A server-side apply (application/apply-patch+yaml) is no patch but a configuration: `read_config`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec import Struct

from edgeorch.api import bodies, negotiation
from edgeorch.model import errors, patch, strategic, strict

if TYPE_CHECKING:
    from edgeorch.api.call import Call
    from edgeorch.model import schema
    from edgeorch.model.kinds import Kind, Object

JSON_PATCH = "application/json-patch+json"
MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"
SUPPORTED = (JSON_PATCH, MERGE, STRATEGIC)


class Patch(Struct, frozen=True):
    media: str
    content: Any
    text: str
    duplicates: list[str]
    table: schema.Schema
    kind: Kind

    def merged(self, current: Object) -> Any:
        """The patched document, unchecked. Raises StatusError (400, 413, 422)."""
        match self.media:
            case "application/json-patch+json":
                return patch.json_patch(current, self.content)
            case "application/merge-patch+json":
                return patch.merge_patch(current, self.content)
            case _:
                return strategic.merge(self.table, self.kind, current, self.content)

    def applied(self, current: Object) -> tuple[Object, list[str]]:
        """The patched object as the schema has it, and findings. Raises StatusError."""
        changed = self.merged(current)
        for field, expected in (("apiVersion", self.kind.api_version), ("kind", self.kind.kind)):
            if changed.get(field) not in (None, "", expected):
                raise strict.patch_refused(
                    self.text, f"{field} must stay {expected}, not {changed[field]!r}"
                )
        obj, findings = strict.conform_patched(self.table, self.kind, changed, self.text)
        return obj, [*self.duplicates, *findings]

    def refused(self, findings: list[str]) -> errors.StatusError:
        return strict.patch_refused_strictly(self.text, findings)


async def read(call: Call, table: schema.Schema, kind: Kind) -> Patch:
    """Raises StatusError (400, 413, 415)."""
    media = bodies.media_type(call)
    if media not in SUPPORTED:
        raise bodies.unknown_format(", ".join(SUPPORTED))
    body = await bodies.read(call)
    try:
        content, duplicates = strict.read(body, negotiation.JSON)
    except strict.ParseError as error:
        raise errors.bad_request(f"error decoding patch: {error}") from None
    text = body.decode(errors="replace")
    return Patch(media, content, text, duplicates, table, kind)


def is_apply(call: Call) -> bool:
    return bodies.media_type(call) == APPLY


async def read_config(call: Call, table: schema.Schema, kind: Kind) -> Object:
    """What is to be applied, as the schema has it. Raises StatusError (400, 413).

    The body may be JSON, which is YAML too, and is then read the quick way.
    """
    body = await bodies.read(call)
    media = negotiation.JSON if body.lstrip()[:1] == b"{" else negotiation.YAML
    try:
        content, duplicates = strict.read(body, media)
    except strict.ParseError as error:
        raise errors.bad_request(f"error decoding YAML: {error}") from None
    if not isinstance(content, dict) or not content.get("kind") or not content.get("apiVersion"):
        raise errors.bad_request("error decoding YAML: apiVersion and kind must be set")
    obj, findings = strict.conform(table, kind, content)
    if findings:
        raise errors.bad_request(
            f"failed to create typed patch object ({_named(kind, obj)}): "
            + ", ".join(_undeclared(finding) for finding in findings)
        )
    if duplicates:
        raise errors.bad_request(f"error strict decoding YAML: {', '.join(duplicates)}")
    return obj


def _named(kind: Kind, obj: Object) -> str:
    meta = obj.get("metadata") or {}
    name = f"{meta.get('namespace', '')}/{meta.get('name', '')}"
    return f"{name}; {kind.api_version}, Kind={kind.kind}"


def _undeclared(finding: str) -> str:
    """`unknown field "spec.x"` in the words of structured-merge-diff."""
    path = finding.removeprefix('unknown field "').removesuffix('"')
    return finding if path == finding else f".{path}: field not declared in schema"

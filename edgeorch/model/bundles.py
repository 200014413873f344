"""Bundles: everything that one sender wants on the device, as one unit.

A version of a bundle is named by the SHA-256 of its manifests as they were sent, unpacked. Here the
manifests become checked objects, all errors of all documents at once; and here is the shape of what
is stored: the Bundle that people see, and one BundleRevision for each version that may be needed
again, with the manifests packed.
"""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct, field, structs

from edgeorch.model import bundle_header, errors, kinds, schema, strict, views, walk
from edgeorch.model.kinds import Kind, Object

DEADLINE = 600
"""Seconds in which a version has to become ready, unless the bundle says otherwise."""
MIN_READY = 10
"""Seconds for which workloads have to stay ready before a version counts as good: what ends soon
after its start was ready for a moment, too."""
MAX_MIN_READY = 3600
MAX_DEADLINE = 7 * 24 * 3600
MAX_OBJECTS = 1000
FINALIZER = "edgeorch.io/bundle"
"""Keeps a deleted Bundle until its objects are gone."""
LABEL = "edgeorch.io/bundle"
SEQUENCES = (kinds.CONFIG_MAP.resource, "kube-system", "bundle-sequences")
"""Resource, namespace and name of what keeps the highest sequences."""
_MANAGER = "bundle:"
_HASH = "sha256:"
_SHORT = 12
"""Digits of a version that tell it from others."""
_YAML, _JSON = "application/yaml", "application/json"
# What the device makes for itself, and what is no part of anybody's application.
_REFUSED = frozenset(
    kind.resource
    for kind in (kinds.NODE, kinds.EVENT, kinds.LEASE, kinds.BUNDLE, kinds.BUNDLE_REVISION)
)


class BundleSpec(views.View, frozen=True, kw_only=True):
    version: str = ""
    """The version that is wanted."""
    deadline_seconds: int = DEADLINE
    min_ready_seconds: int = MIN_READY
    health_url: str = msgspec.field(default="", name="healthURL")


class RefusedVersion(views.View, frozen=True, kw_only=True):
    version: str
    reason: str
    time: str | None = None


class BundleStatus(views.View, frozen=True, kw_only=True):
    """`version`: whose objects are on the device, all of them. `starts`: of this process while that
    version had yet to become ready."""

    phase: str = ""
    version: str = ""
    last_good_version: str = ""
    starts: int = 0
    refused_versions: tuple[RefusedVersion, ...] = ()


class Bundle(views.View, frozen=True, kw_only=True):
    metadata: views.Meta
    spec: BundleSpec = BundleSpec()
    status: BundleStatus = BundleStatus()


class _Container(views.View, frozen=True, kw_only=True):
    image: str


class Revision(views.View, frozen=True, kw_only=True):
    """Of a BundleRevision what can be told without unpacking it."""

    containers: tuple[_Container, ...] = ()


class Item(Struct, frozen=True):
    """One object of a bundle. `place` names it in errors: document 2 (Deployment shop/web)."""

    kind: Kind
    obj: Object
    place: str

    @property
    def key(self) -> tuple[str, str, str]:
        meta = self.obj["metadata"]
        return self.kind.resource, meta.get("namespace", ""), meta["name"]


class Changes(Struct):
    """What a push did, or would do: objects by "Kind namespace/name"."""

    created: list[str] = field(default_factory=list)
    configured: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    pruned: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    """No longer in the bundle, but held by others as well: let go."""
    leaving: list[str] = field(default_factory=list)
    """No longer in the bundle, but data would go with it: goes when the version is ready."""
    failed: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        told = [f"{len(names)} {what}" for what, names in self.lists().items() if names]
        return ", ".join(told) or "nothing"

    def any(self) -> bool:
        """Whether anything becomes otherwise at once."""
        return bool(self.created or self.configured or self.pruned or self.kept)

    def lists(self) -> dict[str, list[str]]:
        return {each.name: getattr(self, each.name) for each in structs.fields(self)}


class Push(Struct, frozen=True):
    """What a sender asks for. What is None is as the bundle has it."""

    name: str
    manifests: bytes
    items: list[Item]
    deadline: int | None = None
    min_ready: int | None = None
    health_url: str | None = None
    sequence: int | None = None
    """What the manifests say of their place among the versions."""
    force: bool = False
    dry_run: bool = False


class Outcome(Struct):
    """`held`: why nothing was changed yet."""

    version: str
    is_new: bool
    changes: Changes = field(default_factory=Changes)
    phase: str = "Progressing"
    held: str = ""
    warnings: list[str] = field(default_factory=list)


def manager(bundle: str) -> str:
    """The field manager that a bundle's objects are applied under."""
    return _MANAGER + bundle


def managers_in(obj: Object) -> list[str]:
    """Names of the bundles that hold fields of an object."""
    entries = obj.get("metadata", {}).get("managedFields") or ()
    return [
        entry["manager"].removeprefix(_MANAGER)
        for entry in entries
        if entry.get("operation") == "Apply" and entry.get("manager", "").startswith(_MANAGER)
    ]


def version_of(manifests: bytes) -> str:
    return _HASH + hashlib.sha256(manifests).hexdigest()


def short(version: str) -> str:
    return version.removeprefix(_HASH)[:_SHORT]


# --- revisions -----------------------------------------------------------------------------------


def revision_name(bundle: str, version: str) -> str:
    return f"{bundle}-{short(version)}"


def is_revision_of(bundle: str, name: str) -> bool:
    return name[: -1 - _SHORT] == bundle


def revision(bundle: Object, version: str, manifests: bytes, images: Sequence[str]) -> Object:
    """`images` are spared by image garbage collection as long as the revision is kept."""
    meta = bundle["metadata"]
    return {
        "apiVersion": kinds.BUNDLE_REVISION.api_version,
        "kind": kinds.BUNDLE_REVISION.kind,
        "metadata": {
            "name": revision_name(meta["name"], version),
            "ownerReferences": [
                {
                    "apiVersion": kinds.BUNDLE.api_version,
                    "kind": kinds.BUNDLE.kind,
                    "name": meta["name"],
                    "uid": meta["uid"],
                    "controller": True,
                }
            ],
        },
        "version": version,
        "containers": [{"image": image} for image in sorted(images)],
        "manifests": base64.b64encode(zlib.compress(manifests, 9)).decode(),
    }


def unpacked(revision: Object) -> bytes:
    """The manifests as they were sent."""
    return zlib.decompress(base64.b64decode(revision["manifests"]))


# --- manifests -----------------------------------------------------------------------------------


def parse(
    manifests: bytes, table: schema.Schema, registry: kinds.Registry
) -> tuple[list[Item], list[errors.Cause]]:
    """The objects as the schema has them, and what is wrong with any of them.

    Raises StatusError (400) for a text that cannot be read at all.
    """
    items, causes, _ = parse_all(manifests, table, registry)
    return items, causes


def parse_all(
    manifests: bytes, table: schema.Schema, registry: kinds.Registry
) -> tuple[list[Item], list[errors.Cause], bundle_header.Header | None]:
    """And what they say of the bundle, if anything. Raises StatusError as `parse` does."""
    items: list[Item] = []
    causes: list[errors.Cause] = []
    header: bundle_header.Header | None = None
    seen: dict[tuple[str, str, str], str] = {}
    for place, value, duplicates in _documents(manifests):
        causes += [errors.Cause("FieldValueDuplicate", place, each) for each in duplicates]
        if bundle_header.is_header(value):
            if header is not None:
                causes.append(errors.Cause("FieldValueDuplicate", place, "a second Bundle"))
            header, found = bundle_header.read(value, place)
            causes += found
            continue
        item, found = _item(value, place, table, registry)
        causes += found
        if item is None:
            continue
        if (before := seen.setdefault(item.key, item.place)) != item.place:
            causes.append(
                errors.Cause("FieldValueDuplicate", item.place, f"the same object as {before}")
            )
        items.append(item)
    if len(items) > MAX_OBJECTS:
        causes.append(errors.too_many("manifests", len(items), MAX_OBJECTS))
    if not items and not causes:
        causes.append(errors.required("manifests", "at least one object"))
    return items, causes, header


def _documents(manifests: bytes) -> list[tuple[str, Any, list[str]]]:
    """(place, value, duplicate fields) of each object, Lists taken apart."""
    # JSON documents apart by --- are YAML.
    is_json = manifests.lstrip()[:1] in (b"{", b"[") and b"\n---" not in manifests
    try:
        if is_json:
            value, duplicates = strict.read(manifests, _JSON)
            listed = value if isinstance(value, list) else [value]
            whole: list[tuple[Any, list[str]]] = [(each, []) for each in listed]
            whole[:1] = [(each, duplicates) for each, _ in whole[:1]]
        else:
            whole = strict.read_all(manifests)
    except strict.ParseError as error:
        raise errors.bad_request(f"cannot read the manifests: {error}") from None
    found: list[tuple[str, Any, list[str]]] = []
    for number, (value, duplicates) in enumerate(whole, 1):
        place = f"document {number}"
        if value is None:
            continue
        if isinstance(value, dict) and str(value.get("kind", "")).endswith("List"):
            items = value.get("items")
            for index, each in enumerate(items if isinstance(items, list) else []):
                found.append((f"{place} items[{index}]", each, duplicates if not index else []))
        else:
            found.append((place, value, duplicates))
    return found


def _item(
    value: Any, place: str, table: schema.Schema, registry: kinds.Registry
) -> tuple[Item | None, list[errors.Cause]]:
    if not isinstance(value, dict):
        told = f"is {walk.json_name(value)}, not an object with apiVersion, kind and metadata"
        return None, [errors.Cause("FieldValueInvalid", place, told)]
    api_version, name = value.get("apiVersion"), value.get("kind")
    if not isinstance(api_version, str) or not isinstance(name, str) or not api_version or not name:
        return None, [errors.required(f"{place} apiVersion, kind", "text")]
    kind = registry.of(api_version, name)
    if kind is None or kind.resource in _REFUSED:
        served = f'no matches for kind "{name}" in version "{api_version}"'
        told = served if kind is None else f"a bundle cannot hold a {name}"
        return None, [errors.Cause("FieldValueNotSupported", f"{place} kind", told)]
    meta = value.get("metadata")
    named = meta.get("name") if isinstance(meta, dict) else None
    if not isinstance(named, str) or not named:
        return None, [
            errors.required(f"{place} ({name}) metadata.name", "a bundle's objects have names")
        ]
    return _checked(kind, value, place, table)


def _checked(
    kind: Kind, value: Object, place: str, table: schema.Schema
) -> tuple[Item | None, list[errors.Cause]]:
    meta = value["metadata"]
    namespace = meta.get("namespace") or ("default" if kind.namespaced else "")
    place = f"{place} ({kind.kind} {f'{namespace}/' if namespace else ''}{meta['name']})"
    causes = []
    if (kind.resource, namespace, meta["name"]) == SEQUENCES:
        causes.append(errors.forbidden_field(place, "it is the device's own"))
    if not kind.namespaced and meta.get("namespace"):
        causes.append(
            errors.forbidden_field(f"{place} metadata.namespace", "not allowed on this type")
        )
    if meta.get("managedFields"):
        causes.append(errors.forbidden_field(f"{place} metadata.managedFields", "must be empty"))
    try:
        obj, findings = strict.conform(table, kind, value)
    except errors.StatusError as error:
        return None, [*causes, errors.Cause("FieldValueInvalid", place, error.message)]
    causes += [errors.Cause("FieldValueInvalid", place, finding) for finding in findings]
    obj = {name: part for name, part in obj.items() if name != "status"}
    if kind.namespaced:
        obj["metadata"]["namespace"] = namespace
    for server_set in ("uid", "resourceVersion", "generation", "creationTimestamp"):
        obj["metadata"].pop(server_set, None)
    return Item(kind, obj, place), causes

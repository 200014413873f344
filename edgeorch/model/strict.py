"""Request bodies to checked objects: parsing, and the walk against the schema table.

`parse` reads JSON or YAML and finds duplicate fields; `conform` checks every field's name and
type, drops what Kubernetes would not know, and normalises what Go's decoding normalises (null and
empty lists and maps vanish, quantities and times take their canonical form). What is wrong is
worded as kube-apiserver words it: sigs.k8s.io/json for findings, encoding/json for type errors.

Findings are never errors here: the caller rejects, warns or ignores, as `fieldValidation` says.
"""

from __future__ import annotations

import json as stdjson
from collections.abc import Iterable
from typing import Any

from edgeorch.lib import json, jsonsyntax
from edgeorch.model import errors, kinds, schema, walk

Object = dict[str, Any]

_MAX_FINDINGS = 100
_TYPE_META = (
    r'struct { APIVersion string "json:\"apiVersion,omitempty\""; '
    r'Kind string "json:\"kind,omitempty\"" }'
)
_TOO_DEEP = "exceeded max depth"
# So few brackets cannot nest too deep.
_FLAT = 200


class ParseError(ValueError):
    """The text is malformed."""


def read(body: bytes, media_type: str) -> tuple[Any, list[str]]:
    """Any value, and its findings (duplicate fields). Raises ParseError."""
    if media_type.endswith("yaml"):
        return _read_yaml(body)
    try:
        value = json.decode(body)
        if body.count(b"{") + body.count(b"[") > _FLAT and jsonsyntax.too_deep(value):
            raise ParseError(_TOO_DEEP)
        return value, _duplicates(body)
    except json.DecodeError as error:
        raise ParseError(jsonsyntax.explain(body) or str(error)) from None
    except UnicodeDecodeError:
        raise ParseError("invalid UTF-8 in string") from None
    except RecursionError:
        raise ParseError(_TOO_DEEP) from None


def _read_yaml(body: bytes) -> tuple[Any, list[str]]:
    from edgeorch.lib import yaml  # bodies in YAML are rare: kubectl sends JSON

    try:
        value, duplicates = yaml.decode(body)
    except yaml.YamlError as error:
        raise ParseError(str(error)) from None
    if jsonsyntax.too_deep(value):
        raise ParseError(_TOO_DEEP)
    if not duplicates:
        return value, []
    return value, ["\n  ".join(["yaml: unmarshal errors:", *duplicates])]


def read_all(body: bytes) -> list[tuple[Any, list[str]]]:
    """Every document of a YAML text, each with its findings. Raises ParseError."""
    from edgeorch.lib import yaml

    try:
        found = yaml.decode_all(body)
    except yaml.YamlError as error:
        raise ParseError(str(error)) from None
    if any(jsonsyntax.too_deep(value) for value, _ in found):
        raise ParseError(_TOO_DEEP)
    return found


def parse(body: bytes, media_type: str, expected: str = "") -> tuple[Object, list[str]]:
    """An object, and its duplicate fields as findings. `expected` is the kind that is asked for.

    Raises StatusError 400.
    """
    try:
        value, duplicates = read(body, media_type)
        return _with_type_meta(value), duplicates
    except ParseError as error:
        told = str(error)
        if not media_type.endswith("yaml") and not told.startswith("unexpected GroupVersion"):
            told = f"couldn't get version/kind; json parse error: {told}"
        must_be = f" (must be of type {expected})" if expected else ""
        raise errors.bad_request(
            f"the object provided is unrecognized{must_be}: {told} ({_summary(body)})"
        ) from None


def _with_type_meta(value: Any) -> Object:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ParseError(
            f"json: cannot unmarshal {walk.json_name(value)} into Go value of type {_TYPE_META}"
        )
    for name in ("apiVersion", "kind"):
        told = value.get(name)
        if told is not None and not isinstance(told, str):
            raise ParseError(
                f"json: cannot unmarshal {walk.json_name(told)} "
                f"into Go struct field .{name} of type string"
            )
    if (value.get("apiVersion") or "").count("/") > 1:
        raise ParseError(f"unexpected GroupVersion string: {value['apiVersion']}")
    return value


def _summary(body: bytes) -> str:
    if not body:
        return "<empty>"
    more = " ..." if len(body) > 30 else ""
    if body.startswith(b"{"):
        return body[:30].decode("utf-8", "replace") + more
    return body[:30].hex() + more


class _Repeats(dict[str, Any]):
    """An object some of whose keys came twice."""

    names: tuple[str, ...] = ()


def _duplicates(body: bytes) -> list[str]:
    found = False

    def paired(pairs: list[tuple[str, Any]]) -> Object:
        nonlocal found
        value = dict(pairs)
        if len(value) == len(pairs):
            return value
        found = True
        seen: set[str] = set()
        repeated = _Repeats(value)
        repeated.names = tuple(
            dict.fromkeys(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        )
        return repeated

    value = stdjson.loads(body, object_pairs_hook=paired)
    return [f'duplicate field "{path}"' for path in _repeated(value, "")] if found else []


def _repeated(value: Any, path: str) -> Iterable[str]:
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _repeated(item, f"{path}[{index}]")
    elif isinstance(value, dict):
        prefix = f"{path}." if path else ""
        if isinstance(value, _Repeats):
            for name in value.names:
                yield prefix + name
        for name, item in value.items():
            yield from _repeated(item, prefix + name)


def conform(table: schema.Schema, kind: kinds.Kind, obj: Object) -> tuple[Object, list[str]]:
    """The object without unknown fields, in canonical form, and what was unknown as findings.

    `apiVersion` and `kind` are filled in where they are missing. Raises StatusError 400 for a
    wrong type, another kind or another version.
    """
    api_version = obj.get("apiVersion") or kind.api_version
    name = obj.get("kind") or kind.kind
    version = api_version.rpartition("/")[2]
    prefix = f'{name} in version "{version}" cannot be handled as a {kind.kind}: '
    if name != kind.kind:
        raise errors.bad_request(prefix + _unknown_kind(table, api_version, name, kind))
    if api_version != kind.api_version:
        raise errors.bad_request(
            f"the API version in the data ({api_version}) does not match "
            f"the expected API version ({kind.api_version})"
        )
    try:
        checked, findings = check(table.type_of(api_version, name), obj)
    except walk.Mismatch as error:
        raise errors.bad_request(prefix + str(error)) from None
    return {"apiVersion": api_version, "kind": name} | checked, findings


def _unknown_kind(table: schema.Schema, api_version: str, name: str, kind: kinds.Kind) -> str:
    if table.has(api_version, name):
        given = table.type_of(api_version, name).go_name
        version = api_version.rpartition("/")[2]
        group = kind.group.partition(".")[0] or "core"
        return f"converting ({version}.{given}) to ({group}.{kind.kind}): unknown conversion"
    return f'no kind "{name}" is registered for version "{api_version}" in scheme "edgeorch"'


def check(struct: schema.Struct, obj: Object) -> tuple[Object, list[str]]:
    """`conform` for any type of the table. Raises walk.Mismatch, worded as encoding/json does."""
    walker = walk.Walk()
    return walker.struct(obj, struct), walker.findings


def conform_patched(
    table: schema.Schema, kind: kinds.Kind, obj: Object, patch_text: str
) -> tuple[Object, list[str]]:
    """`conform` for what a patch made; type errors are 422 on the field `patch`."""
    try:
        checked, findings = check(table.type_of(kind.api_version, kind.kind), obj)
    except walk.Mismatch as error:
        raise patch_refused(patch_text, str(error)) from None
    return {"apiVersion": kind.api_version, "kind": kind.kind} | checked, findings


def refused(kind: kinds.Kind, findings: list[str]) -> errors.StatusError:
    """What fieldValidation=Strict answers to a create or update with these findings."""
    return errors.bad_request(
        f'{kind.kind} in version "{kind.version}" cannot be handled as a {kind.kind}: '
        + _listed(findings)
    )


def patch_refused_strictly(patch_text: str, findings: list[str]) -> errors.StatusError:
    """What fieldValidation=Strict answers to a patch with these findings."""
    return patch_refused(patch_text, _listed(findings))


def patch_refused(patch_text: str, why: str) -> errors.StatusError:
    return errors.invalid("", "", "", [errors.invalid_value("patch", patch_text, why)])


def _listed(findings: list[str]) -> str:
    return "strict decoding error: " + ", ".join(dict.fromkeys(findings[:_MAX_FINDINGS]))


def warnings(findings: list[str]) -> list[str]:
    """The texts of the HTTP Warning headers (code 299) for fieldValidation=Warn."""
    return list(dict.fromkeys(findings[:_MAX_FINDINGS]))

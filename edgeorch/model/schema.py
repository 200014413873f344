"""The schema table: what fields every type has, as facts.

One table drives validation, patches, server-side apply, OpenAPI and `kubectl explain`. It is made
by scripts/gen_schema from the published Kubernetes OpenAPI and never edited. Types are decoded
when they are first asked for: what a device never uses costs it a short string.

schema.bin is zlib over JSON: `kinds` maps "apiVersion Kind" to a type name, `types` maps a type
name to its fields, "name[!]:SHAPE[,attribute]..." apart by spaces, `!` for required. SHAPE:
s string, i int32, l int64, b boolean, d double, q quantity, o int-or-string, t time, u microtime,
y bytes, j any, @NAME a type, [SHAPE a list, {SHAPE a map with string keys. Attributes: a atomic,
s set, mKEY+KEY list map, g granular map; patch strategy M merge, R merge and retainKeys,
K retainKeys, X replace; kKEY patch merge key. A type that is atomic begins with "atomic".

Kinds that arrive at run time add a `Struct` of their own with `Schema.add`.
"""

from __future__ import annotations

import functools
import pathlib
import zlib
from typing import Any

from edgeorch.lib import json

_SCALARS = {
    "s": ("string", "string"),
    "i": ("int32", "int32"),
    "l": ("int64", "int64"),
    "b": ("boolean", "bool"),
    "d": ("number", "float64"),
    "q": ("quantity", "resource.Quantity"),
    "o": ("int-or-string", "intstr.IntOrString"),
    "t": ("time", "v1.Time"),
    "u": ("microtime", "v1.MicroTime"),
    "y": ("bytes", "[]uint8"),
    "j": ("any", "runtime.RawExtension"),
}
_STRATEGIES = {
    "M": ("merge",),
    "R": ("merge", "retainKeys"),
    "K": ("retainKeys",),
    "X": ("replace",),
}
_LIST_TYPES = {"a": "atomic", "s": "set", "g": "granular"}
_META = "meta.v1."
_FULL_META = "io.k8s.apimachinery.pkg.apis.meta.v1."


class Shape:
    """The type of a value. `kind` is string, int32, int64, boolean, number, quantity,
    int-or-string, time, microtime, bytes, any, ref, array or map."""

    __slots__ = ("_schema", "_struct", "exact", "go", "item", "kind", "ref")

    def __init__(
        self,
        kind: str,
        go: str,
        *,
        item: Shape | None = None,
        ref: str = "",
        schema: Schema | None = None,
        struct: Struct | None = None,
    ) -> None:
        self.kind = kind
        self.go = go
        """The Go type as Kubernetes' error messages name it."""
        self.item = item
        """What a list or map holds."""
        self.ref = ref
        self.exact = {"string": str, "boolean": bool}.get(kind)
        """A Python type whose every value fits as it is."""
        self._schema = schema
        self._struct = struct

    @property
    def struct(self) -> Struct:
        if self._struct is None:
            if self._schema is None:
                raise KeyError(f"{self.kind} has no fields")
            self._struct = self._schema.struct(self.ref)
        return self._struct

    def fields(self) -> Struct | None:
        """The type of a ref, or of what a list or map holds; None for scalars."""
        shape: Shape | None = self
        while shape is not None and shape.kind in ("array", "map"):
            shape = shape.item
        return shape.struct if shape is not None and shape.kind == "ref" else None


class Field:
    """One field of a type."""

    __slots__ = (
        "list_keys",
        "list_type",
        "merge_key",
        "name",
        "omit_empty",
        "required",
        "shape",
        "strategy",
    )

    def __init__(
        self,
        name: str,
        shape: Shape,
        *,
        required: bool = False,
        list_type: str = "",
        list_keys: tuple[str, ...] = (),
        strategy: tuple[str, ...] = (),
        merge_key: str = "",
    ) -> None:
        self.name = name
        self.shape = shape
        self.required = required
        self.list_type = list_type
        """atomic, set, map; for maps atomic or granular."""
        self.list_keys = list_keys
        self.strategy = strategy
        """Of merge, retainKeys, replace; empty means replace for lists, merge for the rest."""
        self.merge_key = merge_key
        self.omit_empty = not required and shape.kind in ("array", "map")


class Struct:
    """A type with named fields."""

    __slots__ = ("atomic", "fields", "go_name", "name", "preserve_unknown")

    def __init__(
        self,
        name: str,
        fields: dict[str, Field],
        *,
        atomic: bool = False,
        preserve_unknown: bool = False,
    ) -> None:
        self.name = name
        self.go_name = name.rpartition(".")[2]
        self.fields = fields
        self.atomic = atomic
        self.preserve_unknown = preserve_unknown

    @property
    def openapi_name(self) -> str:
        return full_name(self.name)


def full_name(name: str) -> str:
    """The name of a type in the published OpenAPI."""
    if name.startswith(_META):
        return _FULL_META + name[len(_META) :]
    return "io.k8s.api." + name


class Schema:
    """Every type, by name, and the type of every kind."""

    def __init__(self, kinds: dict[str, str], types: dict[str, str], release: str = "") -> None:
        self.release = release
        self._kinds = kinds
        self._rows = types
        self._structs: dict[str, Struct] = {}
        self._shapes: dict[str, Shape] = {}

    def type_of(self, api_version: str, kind: str) -> Struct:
        """Raises KeyError for a kind that is not in the table."""
        return self.struct(self._kinds[f"{api_version} {kind}"])

    def has(self, api_version: str, kind: str) -> bool:
        return f"{api_version} {kind}" in self._kinds

    def kinds(self) -> dict[str, str]:
        """ "apiVersion Kind" to type name."""
        return dict(self._kinds)

    def struct(self, name: str) -> Struct:
        """Raises KeyError for an unknown type."""
        found = self._structs.get(name)
        if found is None:
            found = self._structs[name] = self._decode(name, self._rows[name])
        return found

    def add(self, api_version: str, kind: str, struct: Struct) -> None:
        """A kind that arrived at run time; replaces an earlier one of that name."""
        self._structs[struct.name] = struct
        self._kinds[f"{api_version} {kind}"] = struct.name

    def remove(self, api_version: str, kind: str) -> None:
        name = self._kinds.pop(f"{api_version} {kind}")
        self._structs.pop(name, None)

    def built_in(self, name: str) -> bool:
        """Whether the type came with the release, not at run time."""
        return name in self._rows

    def shape(self, code: str) -> Shape:
        found = self._shapes.get(code)
        if found is None:
            found = self._shapes[code] = self._shape(code)
        return found

    def _shape(self, code: str) -> Shape:
        match code[0]:
            case "@":
                version, _, name = code[1:].rpartition(".")
                go = f"{version.rpartition('.')[2]}.{name}"
                return Shape("ref", go, ref=code[1:], schema=self)
            case "[":
                item = self.shape(code[1:])
                return Shape("array", "[]" + item.go, item=item)
            case "{":
                item = self.shape(code[1:])
                go = "v1.ResourceList" if item.kind == "quantity" else "map[string]" + item.go
                return Shape("map", go, item=item)
            case _:
                kind, go = _SCALARS[code]
                return Shape(kind, go)

    def _decode(self, name: str, row: str) -> Struct:
        cells = row.split()
        atomic = cells[:1] == ["atomic"]
        fields = map(self._field, cells[1:] if atomic else cells)
        return Struct(name, {field.name: field for field in fields}, atomic=atomic)

    def _field(self, cell: str) -> Field:
        name, _, rest = cell.partition(":")
        code, *attributes = rest.split(",")
        told: dict[str, Any] = {}
        for text in attributes:
            match text[0]:
                case "m":
                    told |= {"list_type": "map", "list_keys": tuple(text[1:].split("+"))}
                case "k":
                    told["merge_key"] = text[1:]
                case letter if letter in _STRATEGIES:
                    told["strategy"] = _STRATEGIES[letter]
                case letter:
                    told["list_type"] = _LIST_TYPES[letter]
        return Field(name.rstrip("!"), self.shape(code), required=name.endswith("!"), **told)


# Versions that Kubernetes has left behind and old clients still ask in.
SAME_FIELDS = {
    "batch/v1beta1 CronJob": "batch/v1 CronJob",
    "batch/v1beta1 CronJobList": "batch/v1 CronJobList",
    "policy/v1beta1 PodDisruptionBudget": "policy/v1 PodDisruptionBudget",
    "policy/v1beta1 PodDisruptionBudgetList": "policy/v1 PodDisruptionBudgetList",
}


@functools.cache
def load() -> Schema:
    """The table of this release; read once."""
    packed = pathlib.Path(__file__).with_name("schema.bin").read_bytes()
    content = json.decode(zlib.decompress(packed))
    kinds = content["kinds"]
    for old, new in SAME_FIELDS.items():
        kinds.setdefault(old, kinds[new])
    return Schema(kinds, content["types"], content["release"])

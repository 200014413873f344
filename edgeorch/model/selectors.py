"""Label and field selectors: text or LabelSelector in, a function on objects out.

The label grammar is that of apimachinery's labels.Parse:

    requirement (, requirement)*
    requirement = [!] KEY | KEY (= | == | !=) VALUE | KEY (in | notin) (VALUE, ...) | KEY (< | >) N

Errors are 400s worded as Kubernetes words them. Selectors hold no state and may be shared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import Struct

from edgeorch.model import errors, kinds
from edgeorch.model.kinds import Object
from edgeorch.model.validation import formats

Match = Callable[[Object], bool]
LabelMatch = Callable[[Mapping[str, str]], bool]

_OPERATORS = ("in", "notin", "=", "==", "!=", "gt", "lt")
_SYMBOLS = frozenset("=!(),><")
_SPACES = frozenset(" \t\r\n")
_TOKENS = frozenset((")", ",", "!", "==", "=", ">", "in", "<", "!=", "notin", "("))
_BINARY = {
    "in": "in", "notin": "notin", "=": "=", "==": "==", "!=": "!=", ">": "gt", "<": "lt",
}  # fmt: skip


class Requirement(Struct, frozen=True):
    """`operator` is one of `_OPERATORS`, "exists" or "!"; `values` are sorted and unique."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "in" | "=" | "==":
                return value is not None and value in self.values
            case "notin" | "!=":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
            case _:
                return value is not None and self._compares(value)

    def _compares(self, value: str) -> bool:
        number = _int64(value)
        limit = _int64(self.values[0])
        if number is None or limit is None:
            return False
        return number > limit if self.operator == "gt" else number < limit

    def __str__(self) -> str:
        match self.operator:
            case "!":
                return f"!{self.key}"
            case "exists":
                return self.key
            case "in" | "notin":
                return f"{self.key} {self.operator} ({','.join(self.values)})"
            case "gt" | "lt":
                return f"{self.key}{'>' if self.operator == 'gt' else '<'}{self.values[0]}"
            case _:
                return f"{self.key}{self.operator}{self.values[0]}"


def labels(text: str) -> Match:
    """A labelSelector parameter, as a function on whole objects."""
    requirements = parse_labels(text)

    def match(obj: Object) -> bool:
        found = (obj.get("metadata") or {}).get("labels") or {}
        return all(requirement.matches(found) for requirement in requirements)

    return match


def parse_labels(text: str) -> tuple[Requirement, ...]:
    """Raises StatusError (400)."""
    try:
        return _Parser(text).parse()
    except ValueError as problem:
        raise errors.bad_request(str(problem)) from None


def format_labels(requirements: Iterable[Requirement]) -> str:
    return ",".join(str(requirement) for requirement in requirements)


def label_selector(selector: Object | None) -> LabelMatch:
    """A metav1.LabelSelector, as a function on labels: none selects nothing, `{}` everything."""
    if selector is None:
        return lambda found: False
    requirements = of_selector(selector)
    return lambda found: all(requirement.matches(found) for requirement in requirements)


def map_selector(selector: Mapping[str, str] | None) -> LabelMatch:
    """A plain map, as Services have it: none and empty select nothing."""
    if not selector:
        return lambda found: False
    wanted = dict(selector)
    return lambda found: all(found.get(key) == value for key, value in wanted.items())


def of_selector(selector: Object) -> tuple[Requirement, ...]:
    """The requirements of a valid metav1.LabelSelector, sorted by key."""
    words = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}
    found = [
        Requirement(key, "=", (value,))
        for key, value in (selector.get("matchLabels") or {}).items()
    ]
    for rule in selector.get("matchExpressions") or []:
        operator = words.get(rule.get("operator", ""))
        if operator is None:
            raise ValueError(f'"{rule.get("operator", "")}" is not a valid label selector operator')
        values = tuple(sorted(set(rule.get("values") or [])))
        found.append(Requirement(rule.get("key", ""), operator, values))
    return tuple(sorted(found, key=lambda requirement: requirement.key))


def format_selector(selector: Object | None) -> str:
    """As tables show it."""
    try:
        return format_labels(of_selector(selector or {})) or "<none>"
    except ValueError:
        return "<error>"


def _int64(text: str) -> int | None:
    digits = text[1:] if text[:1] in ("+", "-") else text
    if not (digits.isascii() and digits.isdigit()):
        return None
    value = int(text)
    return value if -(2**63) <= value < 2**63 else None


class _Parser:
    """Recursive descent over a list of (sign, text); the sign of an identifier is ""."""

    def __init__(self, text: str) -> None:
        self._items = [*_lex(text), ("end", "")]
        self._position = 0

    def parse(self) -> tuple[Requirement, ...]:
        found: list[Requirement] = []
        while True:
            sign, text = self._look()
            if sign == "end":
                break
            if sign not in ("", "!"):
                raise ValueError(f"found '{text}', expected: !, identifier, or 'end of string'")
            try:
                found.append(self._requirement())
            except ValueError as problem:
                raise ValueError(f"unable to parse requirement: {problem}") from None
            sign, text = self._take()
            if sign == "end":
                break
            if sign != ",":
                raise ValueError(f"found '{text}', expected: ',' or 'end of string'")
            sign, text = self._look()
            if sign not in ("", "!"):
                raise ValueError(f"found '{text}', expected: identifier after ','")
        return tuple(sorted(found, key=lambda requirement: requirement.key))

    def _look(self) -> tuple[str, str]:
        sign, text = self._items[self._position]
        return ("" if sign in ("in", "notin") else sign), text

    def _take(self) -> tuple[str, str]:
        found = self._look()
        self._position += 1
        return found

    def _requirement(self) -> Requirement:
        sign, text = self._take()
        absent = sign == "!"
        if absent:
            sign, text = self._take()
        if sign != "":
            raise ValueError(f"found '{text}', expected: identifier")
        reasons = formats.qualified_name(text)
        if reasons:
            raise ValueError(str(errors.invalid_value("<nil>", text, "; ".join(reasons))))
        if absent:
            return Requirement(text, "!")
        if self._look()[0] in ("end", ","):
            return Requirement(text, "exists")
        return self._with_values(text)

    def _with_values(self, key: str) -> Requirement:
        sign, text = self._items[self._position]
        self._position += 1
        operator = _BINARY.get(sign)
        if operator is None:
            raise ValueError(f"found '{text}', expected: {', '.join(_OPERATORS)}")
        several = operator in ("in", "notin")
        values = tuple(sorted(self._values() if several else {self._exact()}))
        _check_values(key, operator, values)
        return Requirement(key, operator, values)

    def _values(self) -> set[str]:
        sign, text = self._take()
        if sign != "(":
            raise ValueError(f"found '{text}' expected: '('")
        sign, text = self._look()
        if sign == ")":
            self._take()
            return {""}
        if sign not in ("", ","):
            raise ValueError(f"found '{text}', expected: ',', ')' or identifier")
        values = self._identifiers()
        self._take()
        return values

    def _identifiers(self) -> set[str]:
        """Up to the closing bracket; nothing between commas is the empty value."""
        values: set[str] = set()
        while True:
            sign, text = self._take()
            following, next_text = self._look() if sign in ("", ",") else ("", "")
            if sign == "":
                values.add(text)
                if following == ")":
                    return values
                if following != ",":
                    raise ValueError(f"found '{next_text}', expected: ',' or ')'")
            elif sign == ",":
                if not values:
                    values.add("")
                if following in (")", ","):
                    values.add("")
                if following == ")":
                    return values
            else:
                raise ValueError(f"found '{text}', expected: ',', or identifier")

    def _exact(self) -> str:
        sign, text = self._look()
        if sign in ("end", ","):
            return ""
        self._take()
        if sign != "":
            raise ValueError(f"found '{text}', expected: identifier")
        return text


def _check_values(key: str, operator: str, values: tuple[str, ...]) -> None:
    found = []
    if operator in ("gt", "lt") and _int64(values[0]) is None:
        why = "for 'Gt', 'Lt' operators, the value must be an integer"
        found.append(str(errors.invalid_value("values[0]", values[0], why)))
    for index, value in enumerate(values):
        reasons = formats.label_value(value)
        if reasons:
            path = f"values[{index}][{key}]"
            found.append(str(errors.invalid_value(path, value, "; ".join(reasons))))
    if found:
        raise ValueError(found[0] if len(found) == 1 else f"[{', '.join(found)}]")


def _lex(text: str) -> Iterable[tuple[str, str]]:
    position = 0
    while position < len(text):
        char = text[position]
        if char in _SPACES:
            position += 1
        elif char in _SYMBOLS:
            length = 2 if text[position : position + 2] in ("==", "!=") else 1
            symbol = text[position : position + length]
            yield symbol, symbol
            position += length
        else:
            start = position
            while position < len(text) and text[position] not in _SYMBOLS | _SPACES:
                position += 1
            word = text[start:position]
            yield (word if word in _TOKENS else ""), word


# -- field selectors ---------------------------------------------------------------------------

_META = ("metadata.name", "metadata.namespace")
_FIELDS: dict[str, tuple[str, ...]] = {
    "pods": (
        *_META,
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.podIPs",
        "status.nominatedNodeName",
    ),
    "nodes": ("metadata.name", "spec.unschedulable"),
    "namespaces": ("metadata.name", "status.phase"),
    "secrets": (*_META, "type"),
    "services": (*_META, "spec.clusterIP", "spec.type"),
    "replicasets.apps": (*_META, "status.replicas"),
    "events": (
        *_META,
        "involvedObject.kind",
        "involvedObject.namespace",
        "involvedObject.name",
        "involvedObject.uid",
        "involvedObject.apiVersion",
        "involvedObject.resourceVersion",
        "involvedObject.fieldPath",
        "reason",
        "reportingComponent",
        "source",
        "type",
    ),
}


def fields(kind: kinds.Kind, text: str) -> Match:
    """A fieldSelector parameter; raises StatusError (400) for a field this kind cannot select."""
    terms = [(_label(kind, label), equal, value) for label, equal, value in parse_fields(text)]

    def match(obj: Object) -> bool:
        return all((_value(obj, label) == value) == equal for label, equal, value in terms)

    return match


def parse_fields(text: str) -> list[tuple[str, bool, str]]:
    """(field, whether it must be equal, value); raises StatusError (400)."""
    found = []
    for term in sorted(_split_terms(text)):
        if not term:
            continue
        for index in range(len(term)):
            operator = next((op for op in ("!=", "==", "=") if term.startswith(op, index)), "")
            if operator:
                value = _unescape(term[index + len(operator) :])
                found.append((term[:index], operator != "!=", value))
                break
        else:
            raise errors.bad_request(f"invalid selector: '{text}'; can't understand '{term}'")
    return found


def _label(kind: kinds.Kind, label: str) -> str:
    supported = _FIELDS.get(kind.resource)
    if kind.resource == "pods" and label == "spec.host":
        return "spec.nodeName"
    if supported is not None and label not in supported:
        raise errors.bad_request(f"field label not supported: {label}")
    if supported is None and label not in _META:
        raise errors.bad_request(
            f'"{label}" is not a known field selector: only "metadata.name", "metadata.namespace"'
        )
    return label


def _value(obj: Object, label: str) -> str:
    if label == "source":
        component = (obj.get("source") or {}).get("component")
        return component or obj.get("reportingComponent") or ""
    if label == "status.podIPs":
        label = "status.podIP"
    found: Any = obj
    for part in label.split("."):
        found = (found or {}).get(part)
    if label in ("spec.hostNetwork", "spec.unschedulable"):
        return "true" if found else "false"
    if label == "status.replicas":
        return str(found or 0)
    return str(found or "")


def _split_terms(text: str) -> list[str]:
    """At commas that no backslash protects."""
    terms, start, escaped = [], 0, False
    for index, char in enumerate(text):
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == ",":
            terms.append(text[start:index])
            start = index + 1
    terms.append(text[start:])
    return terms


def escape_field(value: str) -> str:
    return value.replace("\\", "\\\\").replace(",", "\\,").replace("=", "\\=")


def _unescape(text: str) -> str:
    found, escaped = [], False
    for char in text:
        if escaped:
            if char not in "\\,=":
                sequence = f"\\{char}"
                told = f"invalid field selector: invalid escape sequence: {sequence}"
                raise errors.bad_request(told)
            found.append(char)
            escaped = False
        elif char == "\\":
            escaped = True
        elif char in ",=":
            told = f"invalid field selector: unescaped character in value: {ord(char)}"
            raise errors.bad_request(told)
        else:
            found.append(char)
    if escaped:
        raise errors.bad_request("invalid field selector: invalid escape sequence: \\")
    return "".join(found)

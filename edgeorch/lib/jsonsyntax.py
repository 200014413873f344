"""Why a text is not JSON, in the words of Go's encoding/json, which clients of Kubernetes know.

Used only after the decoder refused a text; slow and simple: one pass, a stack of open brackets.
Beside it the check that keeps deep nesting from the recursive walks.
"""

from __future__ import annotations

import re
from typing import Any

END = "unexpected end of JSON input"
_SPACE = re.compile(rb"[ \t\r\n]*")
_STRING = re.compile(rb'"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*')
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_PART = re.compile(rb"(-?)(0|[1-9][0-9]*)?(\.[0-9]*)?([eE][+-]?[0-9]*)?")
_LITERALS = {ord("t"): b"true", ord("f"): b"false", ord("n"): b"null"}
_CLOSERS: dict[int | None, int] = {0x7B: 0x7D, 0x5B: 0x5D}
_MAX_DEPTH = 10_000


def too_deep(value: Any, limit: int = 200) -> bool:
    """Whether lists and objects nest deeper than the walks over them may recurse."""
    level = [value]
    for _ in range(limit):
        level = [
            item
            for holder in level
            if isinstance(holder, (dict, list))
            for item in (holder.values() if isinstance(holder, dict) else holder)
            if isinstance(item, (dict, list))
        ]
        if not level:
            return False
    return True


class _Bad(Exception):
    pass


def explain(body: bytes) -> str:
    """The first fault; "" when the text is well-formed."""
    try:
        _Scanner(body).document()
    except _Bad as fault:
        return str(fault)
    return ""


def _quoted(char: int) -> str:
    special = {0x27: r"'\''", 0x22: "'\"'", 0x5C: r"'\\'", 10: r"'\n'", 13: r"'\r'", 9: r"'\t'"}
    if char in special:
        return special[char]
    # Go quotes the byte as the rune of that number.
    return f"'{chr(char)}'" if 0x20 <= char < 0x7F or char > 0xA0 else f"'\\x{char:02x}'"


class _Scanner:
    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def document(self) -> None:
        closers: list[int] = []
        self._value(closers)
        while closers:
            char = self._peek()
            if char == closers[-1]:
                self._at += 1
                closers.pop()
            elif char != 0x2C:
                in_object = closers[-1] == 0x7D
                self._fail("after object key:value pair" if in_object else "after array element")
            else:
                self._at += 1
                if closers[-1] == 0x7D:
                    self._key()
                self._value(closers)
        if self._peek(optional=True) is not None:
            self._fail("after top-level value")

    def _peek(self, *, optional: bool = False) -> int | None:
        match = _SPACE.match(self._body, self._at)
        self._at = match.end() if match else self._at
        if self._at < len(self._body):
            return self._body[self._at]
        if optional:
            return None
        raise _Bad(END)

    def _fail(self, where: str) -> None:
        if self._at >= len(self._body):
            raise _Bad(END)
        raise _Bad(f"invalid character {_quoted(self._body[self._at])} {where}")

    def _value(self, closers: list[int]) -> None:
        """A scalar whole, or opening brackets up to the first scalar or empty bracket."""
        while (char := self._peek()) in _CLOSERS:
            self._at += 1
            closers.append(_CLOSERS[char])
            if len(closers) > _MAX_DEPTH:
                self._fail("exceeded max depth")
            if self._peek() == closers[-1]:
                return
            if char == 0x7B:
                self._key()
        self._scalar(char)

    def _key(self) -> None:
        if self._peek() != 0x22:
            self._fail("looking for beginning of object key string")
        self._string()
        if self._peek() != 0x3A:
            self._fail("after object key")
        self._at += 1

    def _scalar(self, char: int | None) -> None:
        if char == 0x22:
            self._string()
        elif char is not None and (char == 0x2D or 0x30 <= char <= 0x39):
            self._number()
        elif char in _LITERALS:
            self._literal(_LITERALS[char])
        else:
            self._fail("looking for beginning of value")

    def _string(self) -> None:
        match = _STRING.match(self._body, self._at)
        self._at = match.end() if match else self._at
        if self._at < len(self._body) and self._body[self._at] == 0x22:
            self._at += 1
            return
        if self._at < len(self._body) and self._body[self._at] == 0x5C:
            self._at += 1
            if self._body[self._at : self._at + 1] != b"u":
                self._fail("in string escape code")
            self._at += 1
            while self._body[self._at : self._at + 1].isalnum():
                if self._body[self._at] not in b"0123456789abcdefABCDEF":
                    break
                self._at += 1
            self._fail("in \\u hexadecimal character escape")
        self._fail("in string literal")

    def _number(self) -> None:
        match = _NUMBER.match(self._body, self._at)
        part = _PART.match(self._body, self._at)
        end = part.end() if part else self._at
        if match is not None and match.end() == end:
            self._at = end
            return
        self._at = end
        last = self._body[end - 1 : end]
        if last == b".":
            self._fail("after decimal point in numeric literal")
        self._fail("in numeric literal" if last == b"-" and part and not part[4]
                   else "in exponent of numeric literal")  # fmt: skip

    def _literal(self, word: bytes) -> None:
        for index in range(1, len(word)):
            if self._body[self._at + index : self._at + index + 1] != word[index : index + 1]:
                self._at += index
                self._fail(f"in literal {word.decode()} (expecting '{chr(word[index])}')")
        self._at += len(word)

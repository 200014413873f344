"""Kubernetes quantities: exact amounts such as `500m`, `1.5Gi`, `12e6`.

An amount is held as a whole number of nano units, the finest step Kubernetes keeps; what is finer
is rounded away from zero. The canonical form follows apimachinery's resource.Quantity: no
fractions, the largest suffix that leaves a whole number, the suffix family that was written.
"""

from __future__ import annotations

import functools
import re
from typing import Literal

from msgspec import Struct

Format = Literal["DecimalSI", "BinarySI", "DecimalExponent"]

NANO = 10**9
_MAX_BINARY = 2**63 - 1
_PATTERN = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?([eEinumkKMGTP]*[-+]?[0-9]*)")
_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL = {
    "n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18,
}  # fmt: skip
_BINARY_NAMES = ("", *_BINARY)
_DECIMAL_NAMES = {exponent: name for name, exponent in _DECIMAL.items()}
_EXPONENT = re.compile(r"[eE]([-+]?[0-9]+)")
_FAST_DIGITS = 18
_MAX_EXPONENT = 1000

WRONG_FORMAT = (
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
)
WRONG_SUFFIX = "unable to parse quantity's suffix"


class QuantityError(ValueError):
    """The text is no quantity; worded as Kubernetes words it."""


class Quantity(Struct, frozen=True):
    """`nano` is the amount times 10^9; `text` is the canonical form, or what was written when
    that already was canonical."""

    nano: int
    format: Format
    text: str

    def __str__(self) -> str:
        return self.text

    def __add__(self, other: Quantity) -> Quantity:
        # Zero takes the family of what is added to it.
        family = self.format if self.nano else other.format
        return of_nano(self.nano + other.nano, family)

    def __sub__(self, other: Quantity) -> Quantity:
        family = self.format if self.nano else other.format
        return of_nano(self.nano - other.nano, family)

    def __lt__(self, other: Quantity) -> bool:
        return self.nano < other.nano

    def __le__(self, other: Quantity) -> bool:
        return self.nano <= other.nano

    def same(self, other: Quantity) -> bool:
        """Equal amounts, however written."""
        return self.nano == other.nano

    def value(self) -> int:
        """Whole units, rounded up as Kubernetes rounds."""
        return -(-self.nano // NANO)

    def milli(self) -> int:
        """Thousandths, rounded up."""
        return -(-self.nano // 10**6)


def of_nano(nano: int, family: Format) -> Quantity:
    return Quantity(nano, family, _render(nano, family))


def parse(text: str) -> Quantity:
    """Raises QuantityError."""
    match = _PATTERN.fullmatch(text) if text else None
    if match is None:
        raise QuantityError(WRONG_FORMAT)
    sign, whole, fraction, suffix = match.groups(default="")
    family, base, exponent = _suffix(suffix)
    whole = whole.lstrip("0") or "0"
    digits = int(whole + fraction)
    nano = _nano(digits, len(fraction), base, exponent)
    if family == "BinarySI":
        nano = min(nano, _MAX_BINARY * NANO)
        if 0 < nano < NANO:
            family = "DecimalSI"
    if sign == "-":
        nano = -nano
    if _is_canonical(whole, fraction, family, base, exponent):
        return Quantity(nano, family, text)
    return of_nano(nano, family)


@functools.lru_cache(maxsize=256)
def canonical(text: str) -> str:
    """`0.5` becomes `500m`, `1024Mi` becomes `1Gi`. Raises QuantityError."""
    return parse(text).text


def _suffix(suffix: str) -> tuple[Format, int, int]:
    """The family, the base, and the power of it."""
    if suffix in _DECIMAL:
        return "DecimalSI", 10, _DECIMAL[suffix]
    if suffix in _BINARY:
        return "BinarySI", 1024, _BINARY[suffix]
    match = _EXPONENT.fullmatch(suffix)
    # A bound, so that a few bytes cannot ask for gigabytes of digits.
    if match is None or len(match[1]) > 5 or abs(int(match[1])) > _MAX_EXPONENT:
        raise QuantityError(WRONG_SUFFIX)
    return "DecimalExponent", 10, int(match[1])


def _nano(digits: int, places: int, base: int, exponent: int) -> int:
    if base == 1024:
        top, bottom = digits * (NANO << 10 * exponent), _ten(places)
    else:
        power = exponent - places + 9
        top, bottom = (digits * _ten(power), 1) if power >= 0 else (digits, _ten(-power))
    return -(-top // bottom)


def _ten(power: int) -> int:
    return int(10**power)


def _is_canonical(whole: str, fraction: str, family: Format, base: int, exponent: int) -> bool:
    """Whether apimachinery keeps what was written instead of rendering it again."""
    digits = whole + fraction
    if len(digits) > _FAST_DIGITS:
        return False
    if base == 1024:
        value = int(digits)
        return family == "BinarySI" and not fraction and value & 7 != 0 and value * 1024**exponent \
            <= _MAX_BINARY  # fmt: skip
    scale = exponent - len(fraction)
    return scale >= -9 and scale % 3 == 0 and not digits.endswith("000") and digits[0] != "0"


def _render(nano: int, family: Format) -> str:
    if nano == 0:
        return "0"
    if family == "BinarySI" and abs(nano) >= 1024 * NANO and nano % NANO == 0:
        amount, power = nano // NANO, 0
        while amount % 1024 == 0 and power < len(_BINARY):
            amount, power = amount // 1024, power + 1
        return f"{amount}{_BINARY_NAMES[power]}"
    amount, exponent = nano, -9
    while amount % 1000 == 0 and (family == "DecimalExponent" or exponent < 18):
        amount, exponent = amount // 1000, exponent + 3
    if family == "DecimalExponent":
        return f"{amount}e{exponent}" if exponent else str(amount)
    return f"{amount}{_DECIMAL_NAMES[exponent]}"

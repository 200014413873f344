"""metav1.Time and metav1.MicroTime: RFC 3339 in, UTC out, errors as Go's time.Parse words them."""

from __future__ import annotations

import datetime
import functools
import re

LAYOUT = "2006-01-02T15:04:05Z07:00"
MICRO_LAYOUT = "2006-01-02T15:04:05.000000Z07:00"

_PARTS = (
    ("2006", r"\d{4}"), ("-", "-"), ("01", r"\d\d"), ("-", "-"), ("02", r"\d\d"), ("T", "T"),
    ("15", r"\d\d"), (":", ":"), ("04", r"\d\d"), (":", ":"), ("05", r"\d\d"),
)  # fmt: skip
_FRACTION = re.compile(r"[.,](\d+)")
_ZONE = re.compile(r"Z|([+-])(\d\d):(\d\d)")
_RANGES = (
    ("month", 5, 1, 12), ("hour", 11, 0, 23), ("minute", 14, 0, 59), ("second", 17, 0, 59),
)  # fmt: skip


class TimeError(ValueError):
    """The text is no time."""


@functools.lru_cache(maxsize=256)
def normal(text: str, *, micro: bool = False) -> str:
    """`2024-01-01T02:00:00+02:00` becomes `2024-01-01T00:00:00Z`. Raises TimeError."""
    moment = parse(text, micro=micro)
    stamp = moment.strftime("%Y-%m-%dT%H:%M:%S").rjust(19, "0")
    return f"{stamp}.{moment.microsecond:06d}Z" if micro else f"{stamp}Z"


def parse(text: str, *, micro: bool = False) -> datetime.datetime:
    layout = MICRO_LAYOUT if micro else LAYOUT
    rest = _date_and_time(text, layout)
    fraction = _FRACTION.match(rest)
    if micro and (fraction is None or len(fraction[1]) != 6):
        raise _cannot(text, layout, rest, ".000000")
    if fraction:
        rest = rest[fraction.end() :]
    zone = _ZONE.match(rest)
    if zone is None:
        raise _cannot(text, layout, rest, "Z07:00")
    if rest[zone.end() :]:
        raise TimeError(f'parsing time "{text}": extra text: "{rest[zone.end() :]}"')
    return _moment(text, fraction[1] if fraction else "", zone)


def _date_and_time(text: str, layout: str) -> str:
    rest = text
    for name, pattern in _PARTS:
        match = re.match(pattern, rest, re.ASCII)
        if match is None:
            raise _cannot(text, layout, rest, name)
        rest = rest[match.end() :]
    for name, at, low, high in _RANGES:
        if not low <= int(text[at : at + 2]) <= high:
            raise TimeError(f'parsing time "{text}": {name} out of range')
    return rest


def _cannot(text: str, layout: str, rest: str, part: str) -> TimeError:
    return TimeError(f'parsing time "{text}" as "{layout}": cannot parse "{rest}" as "{part}"')


def _moment(text: str, fraction: str, zone: re.Match[str]) -> datetime.datetime:
    sign, hours, minutes = zone.groups()
    offset = datetime.timedelta(0)
    if sign:
        if int(hours) > 24 or int(minutes) > 60:
            raise TimeError(f'parsing time "{text}": time zone offset out of range')
        offset = datetime.timedelta(hours=int(hours), minutes=int(minutes))
    year, month, day, hour, minute, second = map(int, re.split("[-T:]", text[:19]))
    micros = int(fraction[:6].ljust(6, "0")) if fraction else 0
    try:
        local = datetime.datetime(
            year, month, day, hour, minute, second, micros, tzinfo=datetime.UTC
        )
        return local + offset if sign == "-" else local - offset
    except (ValueError, OverflowError):
        raise TimeError(f'parsing time "{text}": day out of range') from None

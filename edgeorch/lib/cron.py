"""When a cron schedule comes due: the grammar and the next time, as values.

The grammar is that of Kubernetes' parser (github.com/robfig/cron v3, ParseStandard) with its
errors: five fields with names, lists, ranges, steps and `?`, the descriptors (`@daily`), `@every`
with a Go duration, and a leading `TZ=` or `CRON_TZ=`. A schedule is due in the minutes whose wall
clock reading, in its zone, fits the fields: a reading that daylight saving skips is never due, one
that comes twice is due twice. Day of month and day of week: both must fit when one of them is `*`
(a plain star), either otherwise.
"""

from __future__ import annotations

import bisect
import datetime
import re
from collections.abc import Iterator, Mapping
from typing import Protocol

from msgspec import Struct

UTC = datetime.UTC
_MINUTE = datetime.timedelta(minutes=1)
_DAY = datetime.timedelta(days=1)
_YEARS = 5
"""How far to look: a schedule that fits nothing for so long never does."""


class ScheduleError(ValueError):
    """The text is no schedule; the message is the parser's."""


class Schedule(Protocol):
    def after(self, moment: datetime.datetime) -> datetime.datetime | None:
        """The first time due later than `moment` (aware), in UTC; None: never."""


class _Field(Struct, frozen=True):
    name: str
    low: int
    high: int
    names: Mapping[str, int]


def _named(first: int, text: str) -> dict[str, int]:
    return {name: number for number, name in enumerate(text.split(), first)}


_FIELDS = (
    _Field("minute", 0, 59, {}),
    _Field("hour", 0, 23, {}),
    _Field("day of month", 1, 31, {}),
    _Field("month", 1, 12, _named(1, "jan feb mar apr may jun jul aug sep oct nov dec")),
    _Field("day of week", 0, 6, _named(0, "sun mon tue wed thu fri sat")),
)
_DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


class Fields(Struct, frozen=True):
    """A schedule of five fields, each as the values it fits, ascending."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """0 is Sunday."""
    any_day: bool
    """One of the two day fields is a star, so that both must fit."""
    zone: datetime.tzinfo

    def fits_day(self, day: datetime.date) -> bool:
        if day.month not in self.months:
            return False
        fits = (day.day in self.days, day.isoweekday() % 7 in self.weekdays)
        return all(fits) if self.any_day else any(fits)

    def after(self, moment: datetime.datetime) -> datetime.datetime | None:
        moment = moment.astimezone(UTC)
        try:
            day = moment.astimezone(self.zone).date()
            limit = day.year + _YEARS
            while day.year <= limit:
                if day.month not in self.months:
                    day = _next_month(day)
                    continue
                found = self._in_day(day, moment) if self.fits_day(day) else None
                if found is not None:
                    return found
                day += _DAY
        except OverflowError:
            pass  # The calendar ends here.
        return None

    def _in_day(self, day: datetime.date, moment: datetime.datetime) -> datetime.datetime | None:
        start = datetime.datetime.combine(day, datetime.time(), self.zone)
        offset = start.utcoffset()
        if offset == (start + _DAY).utcoffset():
            # No change of the clocks: readings and times go together.
            reading = (moment + (offset or datetime.timedelta())).replace(tzinfo=None)
            found = self._reading_after(day, reading)
            return None if found is None else found.replace(tzinfo=self.zone).astimezone(UTC)
        return min((each for each in self._times(day) if each > moment), default=None)

    def _reading_after(
        self, day: datetime.date, reading: datetime.datetime
    ) -> datetime.datetime | None:
        """The first reading of that day that fits and is later than `reading`; both naive."""
        if reading.date() > day:
            return None
        if reading.date() < day:
            if not self.hours or not self.minutes:
                return None
            return datetime.datetime.combine(day, datetime.time(self.hours[0], self.minutes[0]))
        for hour in self.hours[bisect.bisect_left(self.hours, reading.hour) :]:
            first = bisect.bisect_right(self.minutes, reading.minute) if hour == reading.hour else 0
            if first < len(self.minutes):
                return datetime.datetime.combine(day, datetime.time(hour, self.minutes[first]))
        return None

    def _times(self, day: datetime.date) -> Iterator[datetime.datetime]:
        """All times of a day whose reading fits and exists: none or two for some readings."""
        for hour in self.hours:
            for minute in self.minutes:
                reading = datetime.datetime.combine(day, datetime.time(hour, minute))
                for fold in (0, 1):
                    time = reading.replace(tzinfo=self.zone, fold=fold).astimezone(UTC)
                    if time.astimezone(self.zone).replace(tzinfo=None) == reading:
                        yield time


def _next_month(day: datetime.date) -> datetime.date:
    return (day.replace(day=1) + 31 * _DAY).replace(day=1)


class Every(Struct, frozen=True):
    """Due at a constant distance from whatever moment it is asked for."""

    seconds: int

    def after(self, moment: datetime.datetime) -> datetime.datetime | None:
        try:
            whole = moment.astimezone(UTC).replace(microsecond=0)
            return whole + datetime.timedelta(seconds=self.seconds)
        except OverflowError:
            return None


def parse(text: str, zone: datetime.tzinfo = UTC) -> Schedule:
    """`zone` is where a schedule without a zone of its own is read. Raises ScheduleError."""
    if not text:
        raise ScheduleError("empty spec string")
    if text.startswith(("TZ=", "CRON_TZ=")):
        head, _, text = text.partition(" ")
        name = head.partition("=")[2]
        try:
            zone = location(name)
        except ScheduleError as error:
            raise ScheduleError(f"provided bad location {name}: {error}") from None
        text = text.strip()
    if text.startswith("@"):
        return _descriptor(text, zone)
    parts = text.split()
    if len(parts) != len(_FIELDS):
        raise ScheduleError(f"expected exactly 5 fields, found {len(parts)}: [{' '.join(parts)}]")
    return _of_fields(parts, zone)


def _of_fields(parts: list[str], zone: datetime.tzinfo) -> Fields:
    minutes, hours, days, months, weekdays = (
        _values(part, each) for part, each in zip(parts, _FIELDS, strict=True)
    )
    return Fields(
        tuple(sorted(minutes[0])),
        tuple(sorted(hours[0])),
        frozenset(days[0]),
        frozenset(months[0]),
        frozenset(weekdays[0]),
        days[1] or weekdays[1],
        zone,
    )


def _descriptor(text: str, zone: datetime.tzinfo) -> Schedule:
    if text in _DESCRIPTORS:
        return _of_fields(_DESCRIPTORS[text].split(), zone)
    if text.startswith("@every "):
        try:
            return Every(max(1, int(_go_duration(text.removeprefix("@every ")))))
        except ValueError as error:
            raise ScheduleError(f"failed to parse duration {text}: {error}") from None
    raise ScheduleError(f"unrecognized descriptor: {text}")


def location(name: str) -> datetime.tzinfo:
    """A zone of the IANA database. Raises ScheduleError when it is not known here."""
    if name in ("", "UTC"):
        return UTC
    import zoneinfo  # half a MiB that few devices need

    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        raise ScheduleError(f"unknown time zone {name}") from None


def has_zones() -> bool:
    """Whether this machine has a time zone database at all."""
    import zoneinfo

    try:
        zoneinfo.ZoneInfo("Etc/UTC")
    except (zoneinfo.ZoneInfoNotFoundError, OSError):
        return False
    return True


# --- one field ----------------------------------------------------------------------------------


def _values(text: str, field: _Field) -> tuple[set[int], bool]:
    """The values that fit, and whether the field is a plain star."""
    found: set[int] = set()
    star = False
    for part in text.split(","):
        if part:
            values, whole = _range(part, field)
            found |= set(values)
            star = star or whole
    return found, star


def _range(text: str, field: _Field) -> tuple[range, bool]:
    ends, *steps = text.split("/")
    low, *rest = ends.split("-")
    single, star = not rest, False
    if low in ("*", "?"):
        start, end, star = field.low, field.high, True
    else:
        start = _number(low, field)
        if len(rest) > 1:
            raise ScheduleError(f"too many hyphens: {text}")
        end = _number(rest[0], field) if rest else start
    if len(steps) > 1:
        raise ScheduleError(f"too many slashes: {text}")
    step = 1
    if steps:
        step = _whole(steps[0])
        # N/STEP means from N to the end.
        end = field.high if single else end
        star = star and step <= 1
    if start < field.low:
        raise ScheduleError(f"beginning of range ({start}) below minimum ({field.low}): {text}")
    if end > field.high:
        raise ScheduleError(f"end of range ({end}) above maximum ({field.high}): {text}")
    if start > end:
        raise ScheduleError(f"beginning of range ({start}) beyond end of range ({end}): {text}")
    if step == 0:
        raise ScheduleError(f"step of range should be a positive number: {text}")
    return range(start, end + 1, step), star


def _number(text: str, field: _Field) -> int:
    named = field.names.get(text.lower())
    return named if named is not None else _whole(text)


def _whole(text: str) -> int:
    if not re.fullmatch(r"[+-]?\d+", text, re.ASCII):
        why = f'strconv.Atoi: parsing "{text}": invalid syntax'
        raise ScheduleError(f"failed to parse int from {text}: {why}")
    number = int(text)
    if abs(number) >= 1 << 63:
        why = f'strconv.Atoi: parsing "{text}": value out of range'
        raise ScheduleError(f"failed to parse int from {text}: {why}")
    if number < 0:
        raise ScheduleError(f"negative number ({number}) not allowed: {text}")
    return number


# --- Go's durations -----------------------------------------------------------------------------

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)")


def _go_duration(text: str) -> float:
    """Seconds of `1h30m`. Raises ValueError as time.ParseDuration words it."""
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return 0.0
    total, at = 0.0, 0
    while match := _PART.match(rest, at):
        total += float(match[1]) * _UNITS[match[2]]
        at = match.end()
    if not rest or at != len(rest):
        if rest and re.fullmatch(r"\d+\.?\d*|\.\d+", rest[at:]):
            raise ValueError(f'time: missing unit in duration "{text}"')
        raise ValueError(f'time: invalid duration "{text}"')
    return -total if text.startswith("-") else total

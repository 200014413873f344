"""Schedules are due in the minutes whose reading fits, as a minute stepper finds them."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeorch.lib import cron, intervals

UTC = datetime.UTC
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata")


def at(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


def stepped(schedule: cron.Fields, moment: datetime.datetime) -> datetime.datetime | None:
    """The plain way: look at each minute of three days."""
    minute = moment.astimezone(UTC).replace(second=0, microsecond=0)
    for _ in range(3 * 1440):
        minute += datetime.timedelta(minutes=1)
        local = minute.astimezone(schedule.zone)
        fits = local.hour in schedule.hours and local.minute in schedule.minutes
        if fits and schedule.fits_day(local.date()):
            return minute
    return None


def field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    span = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    step = st.tuples(st.one_of(st.just("*"), span), st.integers(1, 9)).map(
        lambda pair: f"{pair[0]}/{pair[1]}"
    )
    return st.one_of(st.sampled_from(["*", "?"]), number.map(str), span, step)


EDGES = ("2026-03-28T22:00:00", "2026-10-24T22:00:00", "2026-03-08T05:00:00", "2026-11-01T04:00:00")


@settings(max_examples=150)
@given(
    st.tuples(field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 6)),
    st.sampled_from(ZONES),
    st.one_of(
        st.integers(86_400, 2_200_000_000).map(lambda s: datetime.datetime.fromtimestamp(s, UTC)),
        st.sampled_from([at(f"{edge}+00:00") for edge in EDGES]),
    ),
)
def test_as_the_minute_stepper(
    parts: tuple[str, ...], zone: str, moment: datetime.datetime
) -> None:
    schedule = cron.parse(" ".join(parts), cron.location(zone))
    assert isinstance(schedule, cron.Fields)
    wanted, found = stepped(schedule, moment), schedule.after(moment)
    if wanted is None:
        assert found is None or found - moment >= datetime.timedelta(days=2, hours=23)
    else:
        assert found == wanted


@pytest.mark.parametrize(
    ("text", "zone", "moment", "wanted"),
    [
        ("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00+00:00", "2026-03-30T00:30+00:00"),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T00:30+00:00", "2026-10-25T01:30+00:00"),
        ("0 0 29 2 *", "UTC", "2026-01-01T00:00+00:00", "2028-02-29T00:00+00:00"),
        ("0 0 13 * fri", "UTC", "2026-02-01T00:00+00:00", "2026-02-06T00:00+00:00"),
        ("0 0 */2 * fri", "UTC", "2026-02-01T00:00+00:00", "2026-02-03T00:00+00:00"),
        ("@weekly", "UTC", "2026-01-01T00:00+00:00", "2026-01-04T00:00+00:00"),
        ("@every 90m", "UTC", "2026-01-01T00:00+00:00", "2026-01-01T01:30+00:00"),
        ("CRON_TZ=Asia/Kolkata 0 6 * * *", "UTC", "2026-01-01T00:00+00:00", "2026-01-01T00:30Z"),
    ],
    ids=lambda value: str(value),
)
def test_next(text: str, zone: str, moment: str, wanted: str) -> None:
    assert cron.parse(text, cron.location(zone)).after(at(moment)) == at(wanted)


def test_what_never_comes_is_never_due() -> None:
    assert cron.parse("0 0 30 2 *").after(at("2026-01-01T00:00Z")) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty spec string"),
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("5-2 * * * *", "beginning of range (5) beyond end of range (2): 5-2"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("* * * * 7", "end of range (7) above maximum (6): 7"),
        ("@never", "unrecognized descriptor: @never"),
        ("TZ=Nowhere/Land * * * * *", "provided bad location Nowhere/Land"),
        ("@every soon", 'time: invalid duration "soon"'),
    ],
    ids=lambda value: str(value)[:20],
)
def test_errors(text: str, why: str) -> None:
    with pytest.raises(cron.ScheduleError) as caught:
        cron.parse(text)
    assert why in str(caught.value)


@given(st.sets(st.integers(0, 300)))
def test_intervals_round_trip(numbers: set[int]) -> None:
    assert intervals.parse(intervals.render(numbers)) == numbers

"""When CronJobs run, also when the clock jumps by decades."""

from __future__ import annotations

import datetime

import hypothesis
import pytest
from hypothesis import strategies as st

from edgeorch.core import cron_jobs
from edgeorch.lib import cron
from edgeorch.model import batch, views


def at(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)


def often(last: str = "", created: str = "2026-01-01T00:00:00Z", **spec: object) -> batch.CronJob:
    return batch.CronJob(
        metadata=views.Meta(name="often", creation_timestamp=created),
        spec=batch.CronJobSpec(**{"schedule": "*/5 * * * *", **spec}),  # type: ignore[arg-type]
        status=batch.CronJobStatus(last_schedule_time=last),
    )


@pytest.mark.parametrize(
    ("last", "now", "run", "many"),
    [
        ("2026-06-01T12:00:00Z", "2026-06-01T12:03:00Z", None, False),
        ("2026-06-01T12:00:00Z", "2026-06-01T12:05:00Z", "2026-06-01T12:05:00Z", False),
        ("2026-06-01T12:00:00Z", "2026-06-01T12:21:00Z", "2026-06-01T12:20:00Z", False),
        ("1970-01-01T00:10:00Z", "2026-06-01T12:03:00Z", "2026-06-01T12:00:00Z", True),
        ("2026-06-01T12:00:00Z", "2026-06-01T11:00:00Z", None, False),
    ],
    ids=["not yet", "now", "only the latest", "1970 to 2026: one", "back by an hour: none again"],
)
def test_due(last: str, now: str, run: str | None, many: bool) -> None:
    view = often(last)
    floor = cron_jobs.since(view, at(now))
    assert floor is not None
    found = cron_jobs.decide(view, [], at(now), floor)
    assert (found.start.time if found.start else None) == (at(run) if run else None)
    assert any(told.reason == "TooManyMissedTimes" for told in found.events) is many
    assert found.wake is not None
    assert found.wake > at(now)


def test_a_clock_that_lost_its_time_is_noticed_and_counts_from_then() -> None:
    view, now = often("2026-06-01T12:00:00Z"), at("1970-01-01T00:01:00Z")
    assert cron_jobs.since(view, now) is None
    assert cron_jobs.decide(view, [], now, now).start is None
    later = cron_jobs.decide(view, [], at("1970-01-01T00:05:30Z"), now)
    assert later.start is not None
    assert later.start.time == at("1970-01-01T00:05:00Z")


def test_years_of_schedules_are_never_walked_through() -> None:
    walked = 0

    class Counting:
        def after(self, moment: datetime.datetime) -> datetime.datetime | None:
            nonlocal walked
            walked += 1
            return cron.parse("* * * * *").after(moment)

    found = cron_jobs.due(Counting(), at("1970-01-01T00:00:00Z"), at("2026-06-01T12:03:30Z"))
    assert found.run == at("2026-06-01T12:03:00Z")
    assert walked < 200


@pytest.mark.parametrize("policy", ["Forbid", "Replace", "Allow"])
def test_concurrency(policy: str) -> None:
    view = often("2026-06-01T12:00:00Z", concurrency_policy=policy)
    now = at("2026-06-01T12:05:10Z")
    active = [batch.ActiveJob(name="often-1", uid="u")]
    found = cron_jobs.decide(view, active, now, at("2026-06-01T12:00:00Z"))
    if policy == "Forbid":
        assert found.start is None
        assert found.events[0].reason == "JobAlreadyActive"
    else:
        assert found.start is not None
        assert found.start.replace is (policy == "Replace")


def test_a_start_too_late_is_no_start() -> None:
    view = often("2026-06-01T12:00:00Z", starting_deadline_seconds=60)
    now = at("2026-06-01T12:08:00Z")
    assert cron_jobs.decide(view, [], now, at("2026-06-01T12:00:00Z")).start is None


SCHEDULES = st.sampled_from(
    ["* * * * *", "*/5 * * * *", "0 3 * * *", "30 2 29 2 *", "@every 90s", "@yearly", "0 0 31 2 *"]
)
ZONES = st.sampled_from([None, "Europe/Berlin", "America/St_Johns", "Asia/Kolkata"])
_CENTURY = int(datetime.timedelta(days=47000).total_seconds())
MOMENTS = st.integers(0, _CENTURY).map(
    lambda seconds: datetime.datetime.fromtimestamp(seconds, datetime.UTC)
)


@hypothesis.settings(deadline=None)
@hypothesis.given(
    SCHEDULES, ZONES, st.lists(MOMENTS, min_size=1, max_size=6), st.none() | st.integers(1, 10**6)
)
def test_wherever_the_clock_jumps_one_look_makes_one_job_at_most(
    schedule: str, zone: str | None, moments: list[datetime.datetime], deadline: int | None
) -> None:
    """As the controller does it: each look starts at most one, and the next look at the same
    moment none; what has run is never run again."""
    last, runs = "", list[datetime.datetime]()
    lost: datetime.datetime | None = None
    for now in moments:
        for look in range(2):
            view = often(
                last, schedule=schedule, time_zone=zone, starting_deadline_seconds=deadline
            )
            known = cron_jobs.since(view, now)
            if known is not None:
                lost, floor = None, known
            else:
                lost = floor = now if lost is None or lost > now else lost
            found = cron_jobs.decide(view, [], now, floor)
            assert found == cron_jobs.decide(view, [], now, floor)
            assert found.wake is None or found.wake > now
            if found.start is None:
                continue
            time = found.start.time
            assert look == 0
            assert floor < time <= now
            assert deadline is None or time > now - datetime.timedelta(seconds=deadline)
            assert known is None or time not in runs
            runs.append(time)
            last = max(last, time.strftime("%Y-%m-%dT%H:%M:%SZ"))
            if lost is not None:
                lost = time

"""A credential's end on a device whose clock may lie."""

from __future__ import annotations

import datetime

import pytest

from edgeorch.core import credentials

MADE = datetime.datetime(2026, 5, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
LIFE = credentials.Life(MADE + 30 * DAY, "boot-1", 1000.0 + 30 * 86400)
UNBOOTED = credentials.Life(MADE + 30 * DAY)


def moment(
    wall: datetime.datetime, uptime: float, boot: str, synchronized: bool
) -> credentials.Moment:
    return credentials.Moment(wall, uptime, boot, lambda: synchronized)


@pytest.mark.parametrize(
    ("life", "now", "over"),
    [
        # In the boot that made it only the time that has passed counts, whatever the clock says.
        pytest.param(LIFE, moment(MADE, 2000, "boot-1", True), False, id="young"),
        pytest.param(LIFE, moment(MADE + 900 * DAY, 2000, "boot-1", True), False, id="jump ahead"),
        pytest.param(LIFE, moment(MADE, 31 * 86400, "boot-1", False), True, id="old by uptime"),
        # In another boot the wall clock counts, if somebody keeps it.
        pytest.param(LIFE, moment(MADE + 31 * DAY, 5, "boot-2", True), True, id="old"),
        pytest.param(LIFE, moment(MADE + 29 * DAY, 9e9, "boot-2", True), False, id="not yet"),
        pytest.param(LIFE, moment(MADE + 9999 * DAY, 5, "boot-2", False), False, id="unkept clock"),
        pytest.param(
            LIFE, moment(datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC), 5, "boot-2", True),
            False, id="1970",
        ),
        # A certificate knows no boot.
        pytest.param(UNBOOTED, moment(MADE + 31 * DAY, 5, "boot-1", True), True, id="certificate"),
        pytest.param(UNBOOTED, moment(MADE + 31 * DAY, 5, "", False), False, id="it, unkept clock"),
        pytest.param(credentials.Life(), moment(MADE, 5, "", True), False, id="endless"),
    ],
)  # fmt: skip
def test_when_a_credential_is_over(
    life: credentials.Life, now: credentials.Moment, over: bool
) -> None:
    assert credentials.is_over(life, now) is over


@pytest.mark.parametrize(("text", "seconds"), [("30m", 1800), ("12h", 43200), ("1y", 31536000)])
def test_spans(text: str, seconds: int) -> None:
    assert credentials.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "h", "-1h", "0d", "1w", "1.5h", "9999999d", "1d "])
def test_what_is_no_span(text: str) -> None:
    with pytest.raises(ValueError, match="no span of time"):
        credentials.seconds(text)


@pytest.mark.parametrize("name", ["ci", "fleet.west-1", "a", "7"])
def test_names(name: str) -> None:
    assert not credentials.name_error(name)


@pytest.mark.parametrize("name", ["", "system:admin", "A", "-a", "a_b", "a" * 64, "a b", "a\n"])
def test_what_is_no_name(name: str) -> None:
    assert credentials.name_error(name)

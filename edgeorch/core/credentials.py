"""When a credential is over, on a device whose clock may lie.

Within the boot in which it was made a token's life is counted by CLOCK_BOOTTIME. Otherwise the wall
clock has to do, and only one that is kept in step: a device that comes up in 1970 or in 2099 must
not shut out who looks after it.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable

import msgspec
from msgspec import Struct

from edgeorch.core import roles

_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?")
_SPAN = re.compile(r"([1-9][0-9]{0,5})([mhdy])")
_UNITS = {"m": 60, "h": 3600, "d": 86400, "y": 365 * 86400}
_LONGEST = 1000 * 365 * 86400
"""Seconds: dates of X.509 and of Python end with the year 9999."""


class Token(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A token as it is kept: `digest` is the SHA-256 in hex. `until` is CLOCK_BOOTTIME of `boot`;
    0 without an end."""

    name: str
    role: str
    digest: str
    created: datetime.datetime
    expires: datetime.datetime | None = None
    boot: str = ""
    until: float = 0.0

    def life(self) -> Life:
        return Life(self.expires, self.boot, self.until)


class Life(Struct, frozen=True):
    """Until when: by the wall clock, and in one boot also by CLOCK_BOOTTIME."""

    expires: datetime.datetime | None = None
    boot: str = ""
    until: float = 0.0


class Moment(Struct, frozen=True):
    """Now, by all clocks there are."""

    wall: datetime.datetime
    uptime: float
    boot: str
    synchronized: Callable[[], bool]
    """Asked only where it matters."""


def is_over(life: Life, now: Moment) -> bool:
    if life.expires is None:
        return False
    if life.boot and life.boot == now.boot:
        return now.uptime >= life.until
    return now.wall >= life.expires and now.synchronized()


def name_error(name: str) -> str:
    """Why a token or certificate cannot have this name; "" when it can.

    Never a name of Kubernetes' own (`system:`), nor one that a group could have.
    """
    if _NAME.fullmatch(name):
        return ""
    return f"{name!r} is no name: use up to 63 lower-case letters, digits, '-' and '.'"


def role_error(role: str) -> str:
    return "" if role in roles.ROLES else f"no role {role!r}: there is {', '.join(roles.ROLES)}"


def seconds(span: str) -> int:
    """`30m`, `12h`, `90d`, `10y`; 1000 years at most. Raises ValueError."""
    match = _SPAN.fullmatch(span)
    if match is None:
        raise ValueError(f"{span!r} is no span of time: write it like 12h, 90d or 10y")
    found = int(match[1]) * _UNITS[match[2]]
    if found > _LONGEST:
        raise ValueError(f"{span!r} is longer than 1000y: use less")
    return found

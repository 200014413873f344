"""What the readings of a device's hardware mean: its supply, its temperature, its storage.

Sources: the Raspberry Pi's get_throttled bits (raspberrypi.com, documentation of vcgencmd), JEDEC
eMMC 5.1 (EXT_CSD 267 to 269), the kernel's Documentation/ABI/testing/sysfs-fs-ext4 and
drivers/mmc/core/debugfs.c.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct, field

WEAK_NOW, CAPPED_NOW, THROTTLED_NOW, HOT_NOW = 0x1, 0x2, 0x4, 0x8
SINCE_BOOT = 16
"""Each bit again, this much higher: it has been so since boot."""

_LOCKED, _ERRORS = "ReadonlyFilesystem", "FilesystemErrors"
MEDIA = frozenset((_LOCKED, _ERRORS))
"""Conditions after which a medium may no longer take writes, or take them again."""
NEAR_ITS_END = 10
"""Tenths of its life that an eMMC has used: 0x0A is 90 to 100 %, 0x0B is beyond."""
_CARD_ERRORS = ("Data Timeout", "Data CRC", "ADMA Error", "Request Timedout")
"""Commands that time out are how absent functions of a card are found at boot: no errors."""


class Wear(Struct, frozen=True):
    """Of an eMMC, by its own account. Tenths of life used by the two kinds of cells, 0 unknown;
    `reserve` 1 normal, 2 four fifths of the spare blocks used, 3 nine tenths, 0 unknown."""

    used: tuple[int, ...] = ()
    reserve: int = 0


class Readings(Struct, frozen=True):
    """None, or nothing, where the machine does not tell."""

    throttled: int | None = None
    """The firmware's bits."""
    low_voltage: bool | None = None
    """Of the supply's own alarm."""
    read_only: Mapping[str, bool] = field(default_factory=dict)
    """By directory that is written to."""
    file_system_errors: Mapping[str, int] = field(default_factory=dict)
    """By block device."""
    wear: Mapping[str, Wear] = field(default_factory=dict)
    card_errors: Mapping[str, int] = field(default_factory=dict)
    """Since boot, by host controller."""


class Judged(Struct, frozen=True):
    type: str
    wrong: bool
    reason: str
    message: str
    fix: str = ""


def judge(found: Readings) -> Iterator[Judged]:
    """A condition for everything that the machine tells about."""
    if found.throttled is not None or found.low_voltage is not None:
        yield _supply(found)
    if found.throttled is not None:
        yield _speed(found.throttled)
    if found.read_only:
        yield _read_only(name for name, locked in found.read_only.items() if locked)
    if found.file_system_errors:
        yield _file_systems(found.file_system_errors)
    if found.wear:
        yield _wear(found.wear)
    if found.card_errors:
        yield _card(found.card_errors)


def _supply(found: Readings) -> Judged:
    kind, fix = "UnderVoltage", "use the supply and the cable that the board is sold with"
    bits = found.throttled or 0
    if found.low_voltage or bits & WEAK_NOW:
        return Judged(kind, True, "SupplyIsWeak", "the supply voltage is too low", fix)
    if bits & WEAK_NOW << SINCE_BOOT:
        text = "the supply voltage has been too low since boot"
        return Judged(kind, True, "SupplyWasWeak", text, fix)
    return Judged(kind, False, "SupplyIsFine", "the supply voltage holds")


def _speed(bits: int) -> Judged:
    kind, fix = "Throttled", "cool the board, and give it a stronger supply"
    heat = {
        CAPPED_NOW: "the frequency is capped",
        THROTTLED_NOW: "the processor is throttled",
        HOT_NOW: "the soft temperature limit holds",
    }
    if now := [text for bit, text in heat.items() if bits & bit]:
        return Judged(kind, True, "RunsSlower", ", ".join(now), fix)
    return Judged(kind, False, "RunsAtFullSpeed", "the processor runs at full speed")


def _read_only(locked: Iterable[str]) -> Judged:
    # As node-problem-detector names it.
    kind, names = _LOCKED, ", ".join(sorted(locked))
    if not names:
        return Judged(kind, False, "FilesystemIsNotReadOnly", "Filesystem is not read-only")
    fix = "dmesg says why; mount -o remount,rw, or reboot so that it is checked; a card that does "
    fix += "it again is to be replaced"
    return Judged(kind, True, "FilesystemIsReadOnly", f"Filesystem is read-only: {names}", fix)


def _file_systems(errors: Mapping[str, int]) -> Judged:
    kind = _ERRORS
    bad = [f"{name}: {count}" for name, count in sorted(errors.items()) if count]
    if not bad:
        return Judged(kind, False, "NoFilesystemErrors", "no errors are recorded on ext4")
    fix = "have it checked at the next boot: add fsck.mode=force to the kernel's command line"
    text = f"ext4 has recorded errors ({', '.join(bad)})"
    return Judged(kind, True, "Ext4ErrorsRecorded", text, fix)


def _wear(devices: Mapping[str, Wear]) -> Judged:
    kind, fix = "StorageWornOut", "replace it, or have less written to it"
    told = [_life(name, wear) for name, wear in sorted(devices.items())]
    worn = any(
        max(wear.used, default=0) >= NEAR_ITS_END or wear.reserve > 1 for wear in devices.values()
    )
    if worn:
        return Judged(kind, True, "StorageNearItsEnd", "; ".join(told), fix)
    return Judged(kind, False, "StorageHasLifeLeft", "; ".join(told))


def _life(name: str, wear: Wear) -> str:
    used = max(wear.used, default=0)
    share = f"up to {used * 10} % of its life used" if 0 < used <= 10 else "beyond its life"
    reserve = {2: ", four fifths of its spare blocks used", 3: ", nine tenths of its spare used"}
    return f"{name}: {share if used else 'age unknown'}{reserve.get(wear.reserve, '')}"


def _card(errors: Mapping[str, int]) -> Judged:
    kind, fix = "CardErrors", "reseat the card; one that does it again is to be replaced"
    bad = [f"{name}: {count}" for name, count in sorted(errors.items()) if count]
    if bad:
        text = f"transfers to the card failed since boot ({', '.join(bad)})"
        return Judged(kind, True, "CardTransfersFail", text, fix)
    return Judged(kind, False, "CardTransfersWell", "no transfer to the card failed since boot")


def count_card_errors(text: str) -> int:
    """Of a host's err_stats those that cost data: lines `# NAME:<tab> COUNT`."""
    total = 0
    for line in text.splitlines():
        match = re.fullmatch(r"#?\s*(.+?):\s*(\d+)\s*", line)
        if match and match[1].startswith(_CARD_ERRORS):
            total += int(match[2])
    return total

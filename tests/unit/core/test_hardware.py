"""What a device's hardware tells, and what that means."""

from __future__ import annotations

import pytest

from edgeorch.core import hardware
from edgeorch.core.hardware import Readings, Wear


def judged(found: Readings) -> dict[str, tuple[bool, str, str]]:
    return {each.type: (each.wrong, each.reason, each.message) for each in hardware.judge(found)}


def test_a_machine_that_tells_nothing_has_no_conditions() -> None:
    assert judged(Readings()) == {}


@pytest.mark.parametrize(
    ("bits", "alarm", "supply", "speed"),
    [
        (0x0, None, "SupplyIsFine", "RunsAtFullSpeed"),
        (0x50005, None, "SupplyIsWeak", "RunsSlower"),
        (0x50000, None, "SupplyWasWeak", "RunsAtFullSpeed"),
        (0x0, True, "SupplyIsWeak", "RunsAtFullSpeed"),
        (0x2, False, "SupplyIsFine", "RunsSlower"),
        (0x8, None, "SupplyIsFine", "RunsSlower"),
    ],
)
def test_supply_and_speed(bits: int, alarm: bool | None, supply: str, speed: str) -> None:
    found = judged(Readings(throttled=bits, low_voltage=alarm))
    assert (found["UnderVoltage"][1], found["Throttled"][1]) == (supply, speed)
    assert found["UnderVoltage"][0] == (supply != "SupplyIsFine")
    assert found["Throttled"][0] == (speed != "RunsAtFullSpeed")


@pytest.mark.parametrize(
    ("wear", "wrong", "text"),
    [
        (Wear((1, 2), 1), False, "mmcblk0: up to 20 % of its life used"),
        (Wear((9, 2), 1), False, "mmcblk0: up to 90 % of its life used"),
        (Wear((1, 10), 1), True, "mmcblk0: up to 100 % of its life used"),
        (Wear((11, 1), 1), True, "mmcblk0: beyond its life"),
        (Wear((), 0), False, "mmcblk0: age unknown"),
        (
            Wear((3, 3), 2),
            True,
            "mmcblk0: up to 30 % of its life used, four fifths of its spare blocks used",
        ),
    ],
)
def test_the_age_of_an_emmc(wear: Wear, wrong: bool, text: str) -> None:
    found = judged(Readings(wear={"mmcblk0": wear}))["StorageWornOut"]
    assert (found[0], found[2]) == (wrong, text)


def test_errors_are_told_with_where_they_are() -> None:
    found = judged(
        Readings(
            read_only={"/var/lib/edgeorch": True, "/var/log/pods": False},
            file_system_errors={"mmcblk0p2": 3, "sda1": 0},
            card_errors={"mmc0": 7},
        )
    )
    assert found == {
        "ReadonlyFilesystem": (
            True,
            "FilesystemIsReadOnly",
            "Filesystem is read-only: /var/lib/edgeorch",
        ),
        "FilesystemErrors": (
            True,
            "Ext4ErrorsRecorded",
            "ext4 has recorded errors (mmcblk0p2: 3)",
        ),
        "CardErrors": (
            True,
            "CardTransfersFail",
            "transfers to the card failed since boot (mmc0: 7)",
        ),
    }


def test_commands_that_time_out_while_a_card_is_found_are_no_errors_of_it() -> None:
    stats = (
        "# Command Timeout Occurred:\t 8\n# Command CRC Errors Occurred:\t 1\n"
        "# Data Timeout Occurred:\t 2\n# Data CRC Errors Occurred:\t 3\n"
        "# ADMA Error Occurred:\t 0\n# Request Timedout:\t 1\n"
    )
    assert hardware.count_card_errors(stats) == 6

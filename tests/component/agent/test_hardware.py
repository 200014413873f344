"""The device's hardware, read from a tree like sysfs and from real mounts."""

from __future__ import annotations

import asyncio
import pathlib
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from edgeorch.agent import hardware
from edgeorch.lib import conditions, tasks


def write(root: pathlib.Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


PI = {
    "devices/platform/soc/soc:firmware/get_throttled": "0\n",
    "class/hwmon/hwmon0/name": "cpu_thermal\n",
    "class/hwmon/hwmon1/name": "rpi_volt\n",
    "class/hwmon/hwmon1/in0_lcrit_alarm": "0\n",
    "fs/ext4/mmcblk0p2/errors_count": "0\n",
    "fs/ext4/features/lazy_itable_init": "supported\n",
    "block/mmcblk0/device/life_time": "0x02 0x01\n",
    "block/mmcblk0/device/pre_eol_info": "0x01\n",
    "kernel/debug/mmc0/err_stats": "# Command Timeout Occurred:\t 4\n# Data CRC Errors:\t 0\n",
}


def held(board: conditions.Board) -> dict[str, str]:
    return {each.type: each.reason for each in board.all() if each.wrong}


async def until(board: conditions.Board, wanted: dict[str, str]) -> None:
    changed = asyncio.Event()
    board.listen(lambda _, __: changed.set())
    async with asyncio.timeout(20):
        while held(board) != wanted:
            changed.clear()
            await changed.wait()


async def test_a_pi_that_is_well_and_one_that_is_not(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "LOOK_AGAIN", 0.05)
    write(tmp_path, PI)
    board = conditions.Board()
    watch = hardware.Hardware(board, [tmp_path], tmp_path)
    async with tasks.running({"hardware": watch.run}):
        await until(board, {})
        write(
            tmp_path,
            {
                "devices/platform/soc/soc:firmware/get_throttled": "50005\n",
                "fs/ext4/mmcblk0p2/errors_count": "2\n",
                "block/mmcblk0/device/life_time": "0x0b 0x01\n",
                "kernel/debug/mmc0/err_stats": "# Data CRC Errors Occurred:\t 3\n",
            },
        )
        await until(
            board,
            {
                "UnderVoltage": "SupplyIsWeak",
                "Throttled": "RunsSlower",
                "FilesystemErrors": "Ext4ErrorsRecorded",
                "StorageWornOut": "StorageNearItsEnd",
                "CardErrors": "CardTransfersFail",
            },
        )
        write(tmp_path, {**PI, "class/hwmon/hwmon1/in0_lcrit_alarm": "1\n"})
        await until(board, {"UnderVoltage": "SupplyIsWeak"})


@pytest.fixture
def medium(tmp_path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A file system of the test's own."""
    subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path], check=True)
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.system
async def test_a_file_system_that_turns_read_only_is_told_of_at_once(
    medium: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No look comes in time but the one that the kernel's word brings."""
    monkeypatch.setattr(hardware, "LOOK_AGAIN", 3600.0)
    board = conditions.Board()
    async with tasks.running({"hardware": hardware.Hardware(board, [medium], medium / "no").run}):
        await until(board, {})
        for mode, wanted in (
            ("ro", {"ReadonlyFilesystem": "FilesystemIsReadOnly"}),
            ("rw", {}),
        ):
            subprocess.run(["mount", "-o", f"remount,{mode}", medium], check=True)
            await until(board, wanted)


@pytest.mark.ask(1)
@pytest.mark.system
async def test_what_containers_mount_is_no_reason_to_read_everything(
    medium: pathlib.Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "LOOK_AGAIN", 3600.0)
    monkeypatch.setattr(hardware, "_SETTLE", 0.01)
    read, file_systems = hardware.read, hardware.file_systems
    looks = {"all": 0, "file systems": 0}

    def whole(*arguments: Any) -> Any:
        looks["all"] += 1
        return read(*arguments)

    def part(*arguments: Any) -> Any:
        looks["file systems"] += 1
        return file_systems(*arguments)

    async def looked(times: int) -> None:
        async with asyncio.timeout(20):
            while looks["file systems"] < times:
                await asyncio.sleep(0.01)

    monkeypatch.setattr(hardware, "read", whole)
    monkeypatch.setattr(hardware, "file_systems", part)
    board = conditions.Board()
    async with tasks.running({"hardware": hardware.Hardware(board, [medium], medium / "no").run}):
        await looked(1)
        other = tmp_path_factory.mktemp("other")
        subprocess.run(["mount", "-t", "tmpfs", "none", other], check=True)
        subprocess.run(["umount", other], check=True)
        await looked(2)
        assert looks["all"] == 1
        subprocess.run(["mount", "-o", "remount,ro", medium], check=True)
        await until(board, {"ReadonlyFilesystem": "FilesystemIsReadOnly"})
        assert looks["all"] == 2

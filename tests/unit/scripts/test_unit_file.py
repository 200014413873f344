"""systemd/edgeorch.service: systemd takes it, and nothing in it hides mounts from the host."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).resolve().parents[3] / "systemd/edgeorch.service"

# systemd.exec(5): each of these gives the service a mount namespace of its own.
MOUNT_NAMESPACE = re.compile(
    r"^(PrivateTmp|PrivateDevices|PrivateMounts|PrivateIPC|MountAPIVFS|MountFlags|DynamicUser"
    r"|ProtectSystem|ProtectHome|ProtectKernelTunables|ProtectKernelModules|ProtectKernelLogs"
    r"|ProtectControlGroups|ProtectProc|ProcSubset|ReadWritePaths|ReadOnlyPaths|ExecPaths"
    r"|NoExecPaths|InaccessiblePaths|BindPaths|BindReadOnlyPaths|TemporaryFileSystem"
    r"|RootDirectory|RootImage|LogNamespace)=",
    re.MULTILINE,
)


def test_mounts_are_made_where_the_host_sees_them() -> None:
    assert MOUNT_NAMESPACE.findall(UNIT.read_text()) == []


@pytest.mark.parametrize(
    "line",
    [
        "Type=notify",
        "WatchdogSec=60",
        "Restart=always",
        "KillMode=process",
        "FileDescriptorStoreMax=2048",
        "RuntimeDirectoryPreserve=yes",
    ],
)
def test_containers_outlive_the_service_and_it_comes_back(line: str) -> None:
    assert line in UNIT.read_text().splitlines()


@pytest.mark.ask(8)
def test_it_waits_for_no_network() -> None:
    settings = [line for line in UNIT.read_text().splitlines() if not line.startswith("#")]
    assert not any("network" in line for line in settings)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_has_nothing_to_say_about_it(tmp_path: Path) -> None:
    # The program is not installed here, and systemd looks whether it is there.
    copy = tmp_path / UNIT.name
    copy.write_text(re.sub(r"(?m)^ExecStart=\S+", "ExecStart=/bin/true", UNIT.read_text()))
    command = ["systemd-analyze", "verify", "--man=no", str(copy)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")

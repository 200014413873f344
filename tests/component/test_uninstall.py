"""scripts/uninstall on the file system of a device: what is edgeorch's goes, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "scripts/uninstall"
VOLUME = "pvc-0b2f6f1e-0000-4000-8000-000000000000_default_data"
POD = "default_web_0b2f6f1e-0000-4000-8000-000000000000"

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
]

Uninstall = Callable[..., subprocess.CompletedProcess[str]]


def put(path: Path, text: str = "x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


class Disk:
    """A device's file system: what an installation and its life leave on it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = root / "var/lib/edgeorch"
        for name in ("state.db", "state.db.backup", "tokens.csv", "pods/uid/volumes/e/f", "tls/k"):
            put(self.data / name)
        put(root / f"var/log/pods/{POD}/c/0.log")
        links = root / "var/log/containers"
        links.mkdir()
        (links / "web.log").symlink_to(root / f"var/log/pods/{POD}/c/0.log")
        put(root / "etc/systemd/system/edgeorch.service")
        (root / "opt/edgeorch/1").mkdir(parents=True)
        (root / "opt/edgeorch/current").symlink_to("1")
        (root / "usr/local/bin").mkdir(parents=True)
        (root / "usr/local/bin/edgeorch").symlink_to("/opt/edgeorch/current/bin/edgeorch")
        self.configure("")

    def configure(self, text: str) -> None:
        put(self.root / "etc/edgeorch/config.yaml", text)

    def program(self) -> None:
        """One that answers."""
        current = self.root / "opt/edgeorch/current"
        current.unlink()
        current.symlink_to(sys.prefix)

    def volume(self, folder: str) -> Path:
        return put(self.root / folder.lstrip("/") / VOLUME / "data")

    def ours(self) -> list[str]:
        """What there must not be any more."""
        names = (
            "var/lib/edgeorch/state.db", "var/lib/edgeorch/tokens.csv", "var/lib/edgeorch/pods/uid",
            "opt/edgeorch", "etc/edgeorch", "usr/local/bin/edgeorch", f"var/log/pods/{POD}",
            "etc/systemd/system/edgeorch.service", "var/log/containers/web.log",
        )  # fmt: skip
        return [name for name in names if os.path.lexists(self.root / name)]


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    return Disk(tmp_path / "root")


@pytest.fixture
def uninstall(disk: Disk) -> Uninstall:
    def run(*options: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(SCRIPT), "--root", str(disk.root), *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return run


@pytest.fixture
def stick(disk: Disk) -> Iterator[Callable[[Path], Path]]:
    """Mounts a medium with a file on it."""
    points: list[Path] = []

    def mount(point: Path) -> Path:
        point.mkdir(parents=True, exist_ok=True)
        subprocess.run(["mount", "-t", "tmpfs", "stick", str(point)], check=True)
        points.append(point)
        return put(point / "film")

    yield mount
    for point in reversed(points):
        subprocess.run(["umount", "--lazy", str(point)], check=True)


def test_everything_that_was_made_goes(disk: Disk, uninstall: Uninstall) -> None:
    disk.program()
    uninstall()
    assert disk.ours() == []
    assert not disk.data.exists()
    assert "kept" not in uninstall().stdout


@pytest.mark.ask(28)
def test_volumes_stay_until_they_are_not_wanted(disk: Disk, uninstall: Uninstall) -> None:
    disk.program()
    volume = disk.volume("/var/lib/edgeorch/storage")
    assert f"kept: {disk.data}/storage (volumes" in uninstall().stdout
    assert (volume.read_text(), disk.ours()) == ("x", [])
    uninstall("--purge-volumes")
    assert not disk.data.exists()


@pytest.mark.ask(28)
def test_a_dry_run_names_what_would_go_and_stay_and_touches_nothing(
    disk: Disk, uninstall: Uninstall
) -> None:
    disk.program()
    disk.configure("storage: {path: /var/lib/edgeorch/pods/keep}")
    volume = disk.volume("/var/lib/edgeorch/pods/keep")
    before = sorted(disk.root.rglob("*"))
    told = uninstall("--dry-run").stdout.splitlines()
    assert sorted(disk.root.rglob("*")) == before
    assert f"delete {disk.data}/pods/uid" in told
    assert f"delete {disk.data}/pods" not in told
    assert any(line.startswith(f"kept: {volume.parent.parent} (volumes") for line in told)


CONFIGURED = [
    ("storage:\n  path: /var/lib/edgeorch/data\n", "/var/lib/edgeorch/data"),
    ("storage:\n  path: /var/lib/edgeorch/pods/mine\n", "/var/lib/edgeorch/pods/mine"),
    ("storage: {path: '/var/lib/edgeorch/images'}\n", "/var/lib/edgeorch/images"),
    ("storage: {path: /var/lib/edgeorch}\n", "/var/lib/edgeorch"),
    ("storage: {path: /etc/edgeorch/volumes}\n", "/etc/edgeorch/volumes"),
    ("storage: {path: /srv/volumes}\n", "/srv/volumes"),
    ("data_dir: /srv/edge\nstorage: {path: /srv/edge/pods/v}\n", "/srv/edge/pods/v"),
]


@pytest.mark.parametrize("state", ["good", "broken", "no program"])
@pytest.mark.parametrize(("text", "folder"), CONFIGURED, ids=[each[1] for each in CONFIGURED])
def test_volumes_stay_wherever_they_are(
    disk: Disk, uninstall: Uninstall, text: str, folder: str, state: str
) -> None:
    if state != "no program":
        disk.program()
    disk.configure(text + ("api: [\n" if state == "broken" else ""))
    volume = disk.volume(folder)
    told = uninstall().stdout
    assert ("cannot ask edgeorch" in told) is (state != "good")
    assert volume.read_text() == "x"
    if "data_dir" not in text and "/etc" not in folder:
        assert disk.ours() == []


def test_the_device_has_remembered_where_they_were(disk: Disk, uninstall: Uninstall) -> None:
    """The configuration was changed since, or is gone."""
    disk.program()
    volume = disk.volume("/var/lib/edgeorch/pods/former")
    put(disk.data / "volumes-root", "/var/lib/edgeorch/pods/former\n")
    uninstall()
    assert volume.read_text() == "x"
    uninstall("--purge-volumes")  # known to those that come later as well
    assert not disk.data.exists()


def test_what_is_not_known_stays_and_is_named(disk: Disk, uninstall: Uninstall) -> None:
    disk.program()
    film = put(disk.data / "films/one")
    other = put(disk.root / "var/log/pods/kube-system_dns_uid/c/0.log")
    told = uninstall().stdout
    assert f"kept: {disk.data}/films (not known to be edgeorch's)" in told
    assert (film.read_text(), other.read_text()) == ("x", "x")
    assert disk.ours() == []


def test_purging_takes_volumes_only_out_of_a_place_of_others(
    disk: Disk, uninstall: Uninstall
) -> None:
    disk.program()
    disk.configure("storage: {path: /srv/disk}")
    volume, film = disk.volume("/srv/disk"), put(disk.root / "srv/disk/films/one")
    uninstall("--purge-volumes")
    assert not volume.parent.exists()
    assert film.read_text() == "x"


@pytest.mark.ask(28)
@pytest.mark.parametrize("purge", [(), ("--purge-volumes",)], ids=["keep", "purge"])
@pytest.mark.parametrize("where", ["films", "images/usb", "storage/disk"])
def test_what_is_mounted_there_is_not_touched(
    disk: Disk, uninstall: Uninstall, stick: Callable[[Path], Path], where: str, purge: list[str]
) -> None:
    disk.program()
    put(disk.data / "images/app.tar")
    film = stick(disk.data / where)
    assert f"kept: {film.parent} (mounted there)" in uninstall(*purge).stdout
    assert film.read_text() == "x"
    assert not (disk.data / "images/app.tar").exists()
    assert disk.ours() == []


def test_a_disk_of_its_own_stays_mounted_and_is_emptied_of_what_is_ours(
    disk: Disk, uninstall: Uninstall, stick: Callable[[Path], Path]
) -> None:
    disk.program()
    film = stick(disk.data)
    put(disk.data / "state.db")
    volume = disk.volume("/var/lib/edgeorch/storage")
    uninstall()
    assert (film.read_text(), volume.read_text(), disk.ours()) == ("x", "x", [])
    assert os.path.ismount(disk.data)


def test_a_volume_that_lies_behind_a_link_is_not_followed(disk: Disk, uninstall: Uninstall) -> None:
    disk.program()
    film = put(disk.root / "srv/films/one")
    (disk.data / "pods/uid/link").symlink_to(film.parent)
    (disk.data / "images").symlink_to(film.parent)
    uninstall()
    assert film.read_text() == "x"
    assert not os.path.lexists(disk.data / "images")

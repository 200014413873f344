"""Device nodes on this machine: what the configuration's patterns and USB names stand for.

Nodes are found by looking: patterns in /dev, USB devices in sysfs. No udev is asked, but the stable
names that it makes are as good as any other. Everything here blocks for some milliseconds.
Sources: sysfs-bus-usb, sysfs-rules.rst, mknod(2).
"""

from __future__ import annotations

import contextlib
import glob
import os
import pathlib
import stat
from collections.abc import Iterable, Iterator, Mapping

from edgeorch.core import devices, oci_spec

DEV = pathlib.Path("/dev")
SYS = pathlib.Path("/sys")
_KINDS = {stat.S_IFCHR: "c", stat.S_IFBLK: "b"}


def find(
    selectors: Mapping[str, devices.Selector],
    dev: pathlib.Path = DEV,
    sys: pathlib.Path = SYS,
) -> dict[str, list[devices.Unit]]:
    """All units there are now, by name."""
    return {name: list(_units(selector, dev, sys)) for name, selector in selectors.items()}


def _units(
    selector: devices.Selector, dev: pathlib.Path, sys: pathlib.Path
) -> Iterator[devices.Unit]:
    seen: set[tuple[str, int]] = set()
    for path in _matches(selector.paths):
        found = look(path)
        # Two names of one device are one device.
        if found is not None and (found.type, os.makedev(found.major, found.minor)) not in seen:
            seen.add((found.type, os.makedev(found.major, found.minor)))
            yield _unit(path, (path,))
    if selector.group:
        parts = [[p for p in _matches([each]) if look(p) is not None] for each in selector.group]
        if all(parts):
            nodes = tuple(dict.fromkeys(path for part in parts for path in part))
            yield _unit(" ".join(selector.group), nodes)
    for wanted in selector.usb:
        yield from _usb(wanted, dev, sys)


def _unit(id_: str, nodes: tuple[str, ...]) -> devices.Unit:
    there = [found for node in nodes if (found := look(node)) is not None]
    numbers = tuple(f"{found.type}{found.major}:{found.minor}" for found in there)
    return devices.Unit(id_, nodes, numbers)


def _matches(patterns: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(path for each in patterns for path in sorted(glob.glob(each))))


def look(path: str | os.PathLike[str], access: str = "rw") -> oci_spec.Device | None:
    """The device that `path` is or leads to; None when it is none."""
    try:
        held = os.stat(path)
    except OSError:
        return None
    kind = _KINDS.get(stat.S_IFMT(held.st_mode))
    if kind is None:
        return None
    return oci_spec.Device(
        path=os.fspath(path),
        type=kind,
        major=os.major(held.st_rdev),
        minor=os.minor(held.st_rdev),
        mode=stat.S_IMODE(held.st_mode),
        uid=held.st_uid,
        gid=held.st_gid,
        access=access,
    )


# --- USB ----------------------------------------------------------------------------------------


def _usb(wanted: str, dev: pathlib.Path, sys: pathlib.Path) -> Iterator[devices.Unit]:
    vendor, product, serial = (*wanted.split(":", 2), "")[:3]
    seen: set[str] = set()
    for folder in _folders(sys / "bus/usb/devices"):
        found = [_text(folder / name) for name in ("idVendor", "idProduct", "serial")]
        same = [each.lower() for each in found[:2]] == [vendor.lower(), product.lower()]
        if not same or (serial and found[2] != serial):
            continue
        nodes = [str(dev / name) for name in _names(folder.resolve())]
        there = tuple(node for node in nodes if look(node) is not None)
        if there:
            # Where it is plugged in tells two of a kind apart when they have no serial number, or
            # both the same one, as cheap ones do.
            own = found[2] if found[2] and found[2] not in seen else folder.name
            seen.add(own)
            yield _unit(f"usb:{wanted.lower()}:{own}", there)


def _names(folder: pathlib.Path) -> list[str]:
    """Of the nodes of a device and of all its interfaces, but not of devices behind it."""
    found = []
    name = _device_name(folder)
    if name:
        found.append(name)
    for entry in _folders(folder):
        if entry.is_symlink() or (entry / "idVendor").exists():
            continue
        found += _names(entry)
    return found


def _device_name(folder: pathlib.Path) -> str:
    for line in _text(folder / "uevent").splitlines():
        key, _, value = line.partition("=")
        if key == "DEVNAME":
            return value.removeprefix("/dev/")
    return ""


def _folders(folder: pathlib.Path) -> list[pathlib.Path]:
    with contextlib.suppress(OSError):
        return sorted(entry for entry in folder.iterdir() if entry.is_dir())
    return []


def _text(path: pathlib.Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


# --- where to watch -----------------------------------------------------------------------------


def watched(
    selectors: Mapping[str, devices.Selector], dev: pathlib.Path = DEV
) -> set[pathlib.Path]:
    """The folders in which something may come or go that the selectors mean.

    A folder that is not there yet is waited for in the one above it.
    """
    found: set[pathlib.Path] = set()
    for selector in selectors.values():
        for pattern in (*selector.paths, *selector.group):
            found |= set(_on_the_way(pathlib.Path(pattern)))
        if selector.usb:
            found |= {dev, *_folders(dev / "bus/usb")} | set(_on_the_way(dev / "bus/usb/x"))
    return found


def _on_the_way(pattern: pathlib.Path) -> Iterator[pathlib.Path]:
    """Folders that hold what a pattern may match, or the nearest ones to where they would be."""
    here = [pathlib.Path(pattern.anchor)]
    for part in pattern.parts[1:-1]:
        below = [p for each in here for p in sorted(each.glob(part)) if p.is_dir()]
        if not below or glob.has_magic(part):
            yield from here
        if not below:
            return
        here = below
    yield from here

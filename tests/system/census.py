"""What there is on a device against what its stored objects explain.

`leaks(lab)` names everything that a pod may leave and that no stored pod accounts for, and
everything that a running pod should have and has not: containers, tasks, snapshots, leases,
ingests, shims, processes, cgroups, mounts, network namespaces, links, routes, records, FIFOs,
volumes and logs. On a device at rest there is nothing to name. `settled(lab)` waits for that: what
is on its way up or down explains nothing yet.

Everything is read from the kernel, from files and from containerd; only the pods come from the API.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from edgeorch.net import links, network
from edgeorch.wire import image_ref
from scripts.lablib import kernel

from . import lab as labs

UID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_RUNC_ROOT = Path("/run/containerd/runc/edgeorch")
_LONGEST_EXEC = 10.0
_WAITS = ("ErrImagePull", "ImagePullBackOff")


@dataclass
class Explained:
    """What the stored pods say there should be."""

    pods: dict[str, str] = field(default_factory=dict)
    """Uid → namespace/name, of every stored pod."""
    alive: set[str] = field(default_factory=set)
    """Pods that hold a sandbox: those that have not ended."""
    wired: set[str] = field(default_factory=set)
    """Of those the ones with a network of their own."""
    records: set[str] = field(default_factory=set)
    """Container ids that some status names as the latest of its container."""
    running: dict[str, str] = field(default_factory=dict)
    """Container id → pod's uid, of what runs."""
    pulling: bool = False
    """Somebody waits for an image: its download may stand half done."""
    images: set[str] = field(default_factory=set)
    """By full name. What was fetched of one may be held as long as a pod names it."""


def explain(pods: Iterable[labs.Object]) -> Explained:
    found = Explained()
    for pod in pods:
        meta, spec, status = pod["metadata"], pod["spec"], pod.get("status", {})
        uid = meta["uid"]
        found.pods[uid] = f"{meta['namespace']}/{meta['name']}"
        for container in [*spec["containers"], *spec.get("initContainers", [])]:
            found.images.add(str(image_ref.normalise(container["image"])))
        if status.get("phase") not in ("Succeeded", "Failed"):
            found.alive.add(uid)
            if not spec.get("hostNetwork"):
                found.wired.add(uid)
        for entry in _statuses(status):
            identity = entry.get("containerID", "").removeprefix("containerd://")
            if identity:
                found.records.add(identity)
            if "running" in entry.get("state", {}):
                found.running[identity] = uid
            if entry.get("state", {}).get("waiting", {}).get("reason") in _WAITS:
                found.pulling = True
    return found


def _statuses(status: labs.Object) -> Iterator[labs.Object]:
    for key in ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"):
        yield from status.get(key) or []


def leaks(lab: labs.Lab) -> list[str]:
    """One line for each thing too many or too few; empty on a device at rest."""
    wanted = explain(lab.api("GET", "/api/v1/pods").json["items"])
    return [
        *_containerd(lab, wanted),
        *_processes(lab, wanted),
        *_cgroups(lab, wanted),
        *_mounts(lab, wanted),
        *_network(lab, wanted),
        *_files(lab, wanted),
    ]


def settled(lab: labs.Lab, seconds: float = 60.0) -> None:
    """Raises AssertionError with all that is too many or too few after that time."""
    deadline = time.monotonic() + seconds
    while found := leaks(lab):
        if time.monotonic() > deadline:
            raise AssertionError(f"left after {seconds:.0f} s:\n" + "\n".join(found))
        time.sleep(0.1)


# --- containerd ----------------------------------------------------------------------------------


def _containerd(lab: labs.Lab, wanted: Explained) -> Iterator[str]:
    records = _words(lab, "container", "list", "-q")
    yield from _differ("container", records, wanted.records)
    tasks = _words(lab, "task", "list", "-q")
    yield from _differ("task", tasks, set(wanted.running))
    listed = lab.run("ctr", "snapshot", "list").stdout.splitlines()[1:]
    rows = [line.split() for line in listed if line.strip()]
    active = {row[0] for row in rows if row[-1] != "Committed"}
    yield from _differ("snapshot", active, wanted.records)
    if not wanted.pulling:
        for line in lab.run("ctr", "leases", "list").stdout.splitlines()[1:]:
            about = re.search(r"lease-about=([^,\s]+)", line)
            if not about or about[1] not in wanted.images:
                yield f"lease {line}"
        ingests = lab.run("ctr", "content", "active").stdout.splitlines()[1:]
        yield from (f"ingest {line.split()[0]}" for line in ingests if line.strip())
    bundles = lab.device.containerd_state / "io.containerd.runtime.v2.task/edgeorch"
    # Those with a dot before them containerd is about to remove.
    there = {name for name in _entries(bundles) if not name.startswith(".")}
    yield from _differ("bundle", there, set(wanted.running))
    states = {folder.name for folder in runc_states(lab)}
    yield from _differ("runc state", states, set(wanted.running))


def runc_states(lab: labs.Lab) -> list[Path]:
    """What runc knows of. The directory is every containerd's of this machine; whose it is stands
    inside."""
    found = _RUNC_ROOT.glob("*/state.json")
    return [state.parent for state in found if str(lab.device.run) in _text(state)]


def _words(lab: labs.Lab, *command: str) -> set[str]:
    return set(lab.run("ctr", *command).stdout.split())


# --- processes and cgroups -----------------------------------------------------------------------


def shims(lab: labs.Lab) -> dict[int, set[int]]:
    """Each shim with its children."""
    found: dict[int, set[int]] = {}
    for pid in kernel.pids_with_argument(str(lab.device.containerd_socket)):
        if kernel.started_at(pid) is not None and "containerd-shim" in _text(f"/proc/{pid}/comm"):
            found[pid] = set()
    for pid in kernel.processes():
        fields = _text(f"/proc/{pid}/stat").rpartition(") ")[2].split()
        if fields and fields[0] not in "ZX" and int(fields[1]) in found:
            found[int(fields[1])].add(pid)
    return found


def _processes(lab: labs.Lab, wanted: Explained) -> Iterator[str]:
    found = shims(lab)
    for pid, children in found.items():
        if not children:
            yield f"shim {pid} of no container"
    pods = set(wanted.running.values())
    if len(found) != len(pods):
        yield f"{len(found)} shims for {len(pods)} running pods"
    for pid in kernel.cgroup_pids(lab.device.cgroup):
        group = _text(f"/proc/{pid}/cgroup")
        match = UID.search(group)
        if match and match[0] not in wanted.alive:
            yield f"process {pid} ({_text(f'/proc/{pid}/comm')}) of pod {match[0]}"


def _cgroups(lab: labs.Lab, wanted: Explained) -> Iterator[str]:
    for folder in kernel.cgroup_dirs(lab.device.cgroup):
        name = folder.name
        if name.startswith("pod") and UID.search(name):
            if name.removeprefix("pod") not in wanted.alive:
                yield f"cgroup {folder}"
        elif folder.parent.name.startswith("pod") and name not in wanted.running:
            yield f"cgroup {folder}"


# --- mounts --------------------------------------------------------------------------------------


def _mounts(lab: labs.Lab, wanted: Explained) -> Iterator[str]:
    points = kernel.beneath(kernel.mounts(), [lab.device.run, lab.device.data])
    for point in points:
        for uid in UID.findall(point)[:1]:
            if uid not in wanted.alive:
                yield f"mount {point}"
    roots = [Path(point).parent.name for point in points if point.endswith("/rootfs")]
    yield from _differ("root file system", set(roots), set(wanted.running))
    pinned = [Path(point) for point in points if Path(point).parent.name == "netns"]
    yield from _differ("namespace", {pin.name for pin in pinned}, wanted.wired)
    if len(points) != len(set(points)):
        twice = sorted({point for point in points if points.count(point) > 1})
        # The directories of pins and sandboxes are mounted upon themselves, once each.
        yield from (f"mounted twice: {point}" for point in twice if UID.search(point))


# --- network -------------------------------------------------------------------------------------


def _network(lab: labs.Lab, wanted: Explained) -> Iterator[str]:
    shown = json.loads(lab.run("ip", "-j", "link").stdout)
    names = {entry["ifname"] for entry in shown if links.is_host_name(entry["ifname"])}
    yield from _differ("link", names, {links.host_name(uid) for uid in wanted.wired})
    records = lab.device.run / "edgeorch/sandboxes"
    addresses = {json.loads(path.read_text())["ip"] for path in records.glob("*.json")}
    routes = json.loads(lab.run("ip", "-j", "route", "show", "dev", "edgeorch0").stdout)
    hosts = {route["dst"] for route in routes if "/" not in route["dst"]}
    yield from _differ("route", {dst for dst in hosts if dst != "default"}, addresses)


# --- files ---------------------------------------------------------------------------------------


def _files(lab: labs.Lab, wanted: Explained) -> Iterator[str]:
    run, data = lab.device.run / "edgeorch", lab.device.data / "edgeorch"
    records = _stems(run / "sandboxes") - {network.LAST_ADDRESS}
    yield from _differ("network record", records, wanted.wired)
    yield from _differ("pin", _entries(run / "netns"), wanted.wired)
    yield from _differ("sandbox", _entries(run / "pods"), wanted.alive)
    yield from _differ("FIFO folder", _entries(run / "io"), set(wanted.running))
    for identity in _entries(run / "io"):
        for left in (run / "io" / identity).glob("exec-*"):
            with contextlib.suppress(FileNotFoundError):  # it was a probe's
                if time.time() - left.stat().st_mtime > _LONGEST_EXEC:
                    yield f"exec FIFO {left}"
    yield from _beyond("files", _entries(data / "pods"), wanted.pods)
    logged = {name.rpartition("_")[2] for name in _entries(lab.device.data / "pods")}
    yield from _beyond("logs", logged, wanted.pods)


def _entries(folder: Path) -> set[str]:
    try:
        return {entry.name for entry in folder.iterdir()}
    except FileNotFoundError:
        return set()


def _stems(folder: Path) -> set[str]:
    return {name.removesuffix(".json") for name in _entries(folder)}


# --- small ---------------------------------------------------------------------------------------


def _differ(what: str, there: set[str], wanted: set[str]) -> Iterator[str]:
    yield from (f"{what} {name}: nobody's" for name in sorted(there - wanted))
    yield from (f"{what} {name}: missing" for name in sorted(wanted - there))


def _beyond(what: str, there: set[str], wanted: Iterable[str]) -> Iterator[str]:
    yield from (f"{what} of {uid}" for uid in sorted(there - set(wanted)))


def _text(path: str | Path) -> str:
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""

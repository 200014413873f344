"""What pods leave behind (nothing), and what the process costs."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.lablib import kernel

from . import lab as labs
from . import manifests

MEMORY_KIB = 64 * 1024
"""Budget of proportional memory with 10 pods."""
BOARD = 384 << 20
"""Bytes that a board of 512 MB leaves beside its kernel and its system."""
WAKE_UPS = 150
"""In the quarter of a minute in which nothing happens."""
GROWTH_KIB = 4096
GROWTH_BLOCKS = labs.rounds(25_000, 5_000)
"""Of some 350 000. In a short run history, events and caches are still filling."""


@pytest.fixture(scope="module")
def own(no_stale_labs: None, images: dict[str, Path]) -> Iterator[labs.Lab]:
    """A device on which nothing else happens, and with little memory from the first image on."""
    device = labs.Lab(f"t{os.getpid()}-small")
    try:
        device.up()
        bound_memory(device)
        device.load(images["busybox-latest"])
        yield device
    finally:
        device.down()


def rollup(lab: labs.Lab, figure: str) -> int:
    """A figure of edgeorch's memory, KiB: Pss, or Anonymous, which nothing else on the machine
    can change (proc(5), smaps_rollup)."""
    text = Path(f"/proc/{lab.pid}/smaps_rollup").read_text()
    found = re.search(rf"^{figure}: +(\d+) kB", text, re.MULTILINE)
    assert found
    return int(found[1])


def bound_memory(lab: labs.Lab) -> None:
    """Of all that runs on the device: edgeorch, containerd, shims, pods, and what they cache."""
    for tree, controllers in kernel.hierarchies(kernel.mounts()).items():
        name = "memory.limit_in_bytes" if "memory" in controllers else "memory.max"
        file = tree / lab.device.cgroup.lstrip("/") / name
        if file.exists():
            file.write_text(str(BOARD))
            return
    pytest.skip("this machine bounds no memory")


def daemons(lab: labs.Lab) -> list[int | None]:
    return [kernel.read_pid(lab.device.pid_file(name)) for name in ("edgeorch", "containerd")]


@pytest.mark.ask(4, 30)
def test_memory_with_ten_pods(own: labs.Lab) -> None:
    before = daemons(own)
    own.apply(manifests.deployment("ten", replicas=10))
    own.rollout("deploy/ten", seconds=120)
    # Nothing has fallen to the bound.
    assert daemons(own) == before
    statuses = [each["status"]["containerStatuses"][0] for each in own.items("pods")]
    assert [each["restartCount"] for each in statuses] == [0] * 10
    assert rollup(own, "Pss") < MEMORY_KIB
    own.kubectl("delete", "deploy/ten")
    labs.until(lambda: not own.items("pods"), "no pods")


def kind_of(target: str) -> str:
    """An open file without what makes it one of many: `socket:[123]` is a socket."""
    return re.sub(r"\d+", "N", re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "UID", target))


def open_files(pid: int) -> Counter[str]:
    found: Counter[str] = Counter()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found[kind_of(os.readlink(entry))] += 1
        except FileNotFoundError:
            continue
    return found


def everything(lab: labs.Lab) -> dict[str, object]:
    """Whatever a pod may leave on the device."""
    edgeorch = kernel.read_pid(lab.device.pid_file("edgeorch"))
    assert edgeorch is not None
    tops = [lab.device.run, lab.device.data]
    sandboxes = lab.device.run / "edgeorch"
    return {
        "threads": len(os.listdir(f"/proc/{edgeorch}/task")) <= 40,
        "children": Path(f"/proc/{edgeorch}/task/{edgeorch}/children").read_text(),
        "tasks": lab.run("ctr", "task", "list", "-q").stdout,
        "containers": lab.run("ctr", "container", "list", "-q").stdout,
        "snapshots": lab.run("ctr", "snapshot", "list").stdout.count("Active"),
        "leases": lab.run("ctr", "leases", "list", "-q").stdout,
        "links": re.findall(r"^\d+: (\S+?)[:@]", lab.run("ip", "-o", "link").stdout, re.MULTILINE),
        "routes": lab.run("ip", "route", "show", "table", "all").stdout.count("veth"),
        "mounts": sorted(kernel.beneath(kernel.mounts(), tops)),
        "groups": len(kernel.cgroup_dirs(lab.device.cgroup)),
        "processes": kernel.cgroup_pids(lab.device.cgroup),
        "files": {
            name: sorted(path.name for path in (sandboxes / name).glob("*"))
            for name in ("io", "netns", "pods", "sandboxes")
        },
        "logs": sorted(path.name for path in (lab.device.data / "pods").glob("*")),
    }


def _pods(lab: labs.Lab, count: int) -> None:
    """As many pods as that, come and gone."""
    volumes = [{"name": "v", "emptyDir": {"medium": "Memory"}}]
    main = manifests.container(volumeMounts=[{"name": "v", "mountPath": "/v"}])
    made = manifests.deployment("many", main, replicas=count)
    made["spec"]["template"]["spec"] |= {"volumes": volumes}
    lab.apply(manifests.listed(made, manifests.service("many")))
    lab.rollout("deploy/many", seconds=120)
    lab.kubectl("delete", "deploy/many", "svc/many")
    labs.until(lambda: not lab.items("pods"), "no pods", 120)


@pytest.mark.ask(4)
def test_pods_leave_nothing(own: labs.Lab) -> None:
    pid = own.pid
    _pods(own, 3)  # what is opened once and kept
    before = labs.until(lambda: _at_rest(own), "rest")
    files = open_files(pid)
    _pods(own, 30)
    labs.until(lambda: everything(own) == before, "everything is as before")
    # A client's connections may still be closing.
    labs.until(
        lambda: sum(open_files(pid).values()) <= sum(files.values()) + 2,
        f"open files as before, not {open_files(pid) - files}",
    )


def _at_rest(lab: labs.Lab) -> dict[str, object] | None:
    first = everything(lab)
    return first if not first["tasks"] and not first["containers"] else None


def written(lab: labs.Lab) -> tuple[int, dict[str, int]]:
    """Bytes that the process has sent to disks, and when its files changed last."""
    counts = dict(line.split(": ") for line in Path(f"/proc/{lab.pid}/io").read_text().splitlines())
    data = lab.device.data / "edgeorch"
    changed = {str(p): p.stat().st_mtime_ns for p in data.rglob("*") if p.is_file()}
    return int(counts["write_bytes"]), changed


def _at_rest_on_disk(lab: labs.Lab) -> bytes:
    """The Deployment as it lies in the store, with its status as of the last batch."""
    path = lab.device.data / "edgeorch/state.db"
    query = "SELECT body FROM objects WHERE resource = 'deployments.apps' AND name = 'ten'"
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as reader:
        return bytes(reader.execute(query).fetchone()[0])


def wake_ups(pid: int) -> int:
    """How often its threads have gone to sleep by themselves, which they did to be woken."""
    found = 0
    for thread in Path(f"/proc/{pid}/task").iterdir():
        status = (thread / "status").read_text()
        found += int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0])
    return found


@pytest.mark.ask(1, 2)
def test_an_idle_device_writes_nothing_and_sleeps(own: labs.Lab) -> None:
    """With ten pods, and after the batch of statuses that is due within a minute."""
    own.apply(manifests.deployment("ten", replicas=10))
    own.rollout("deploy/ten", seconds=120)
    # The batch of a minute after the last change is on its way; a stretch is one without it.
    labs.until(lambda: b'"readyReplicas":10' in _at_rest_on_disk(own), "the batch", 90)
    settled, before = written(own), wake_ups(own.pid)
    with own.background("get", "pods", "-w", "--request-timeout=15s") as watch:
        assert watch.wait(40) in (0, 1)
    assert written(own) == settled
    # A few for its own looks, some more for kubectl, and one look for mounts of others on this
    # machine. What polls ten times a second would alone be as many.
    assert wake_ups(own.pid) - before < WAKE_UPS


PROBED = """
mkdir /www; echo up >/www/index.html; httpd -p 80 -h /www
trap 'exit 0' TERM; while :; do echo the quick brown fox jumps over the lazy dog; sleep 0.1; done
"""


def _config_map(name: str, **data: str) -> labs.Object:
    meta = {"name": name, "namespace": "default"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}


def _push(lab: labs.Lab, turn: int) -> None:
    made = _config_map("pushed", turn=str(turn), text="x" * 20000)
    url = "/apis/edgeorch.io/v1/bundles/day"
    headers = {"Content-Type": "application/yaml"}
    assert lab.api("PUT", f"{url}/manifests", json.dumps(made), headers=headers).status < 300
    assert lab.api("DELETE", url).status < 300


def _hours(lab: labs.Lab, turn: int) -> None:
    """What a device goes through in some hours: pods that come, are probed, looked at and go."""
    web = {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1}
    run = {"exec": {"command": ["true"]}, "periodSeconds": 1}
    main = manifests.container(PROBED, livenessProbe=run, readinessProbe=web)
    made = manifests.deployment("day", main, replicas=4, strategy={"type": "Recreate"})
    config = _config_map("c", **{f"key{n}": "x" * 500 for n in range(20)})
    with lab.background("get", "pods,endpointslices,events", "-w", "-o", "name"):
        lab.apply(manifests.listed(made, manifests.service("day"), config))
        lab.rollout("deploy/day", seconds=120)
        lab.kubectl("logs", "deploy/day", "--tail=5")
        lab.kubectl("exec", "deploy/day", "--", "sh", "-c", "head -c 200000 /dev/zero | base64")
        lab.kubectl("get", "all,events", "-A", "-o", "yaml")
        lab.kubectl("describe", "pods")
        lab.kubectl("explain", "pods.spec.containers")
        lab.kubectl("set", "env", "deploy/day", f"TURN={turn}")
        lab.kubectl("patch", "cm/c", "-p", f'{{"data": {{"turn": "{turn}"}}}}')
        _push(lab, turn)
        lab.rollout("deploy/day", seconds=120)
        lab.kubectl("delete", "deploy/day", "svc/day", "cm/c")
        labs.until(lambda: not lab.items("pods", "-l", "app=day"), "its pods have gone", 120)


def _at_rest_in_memory(lab: labs.Lab, turn: int) -> tuple[int, int]:
    """KiB of its own and blocks of Python's, after free pages were given back, as some time after
    any change of a pod."""
    before = _told(lab, "given_back_total")
    lab.kubectl("annotate", "pods", "-l", "app=ten", f"turn={turn}", "--overwrite")
    labs.until(lambda: _told(lab, "given_back_total") > before, "memory is given back", 60)
    return rollup(lab, "Anonymous"), _told(lab, "blocks")


def _told(lab: labs.Lab, figure: str) -> int:
    told = lab.api("GET", "/metrics").body.decode()
    found = re.search(rf"^edgeorch_memory_{figure} (\d+)", told, re.MULTILINE)
    assert found
    return int(found[1])


@pytest.mark.ask(4)
@pytest.mark.timeout(1200)
def test_days_of_ordinary_life_leave_no_memory_behind(own: labs.Lab) -> None:
    """The first half loads what is loaded once, and in a long run fills what is bounded."""
    half = labs.rounds(2, 28)
    own.apply(manifests.deployment("ten", replicas=10))
    own.rollout("deploy/ten", seconds=120)
    most: list[int] = []
    rest: list[tuple[int, int]] = []
    for turn in range(2 * half):
        _hours(own, turn)
        most.append(rollup(own, "Pss"))
        if turn % half == half - 1:
            rest.append(_at_rest_in_memory(own, turn))
    own.kubectl("delete", "deploy/ten")
    labs.until(lambda: not own.items("pods"), "no pods")
    (size, blocks), (later_size, later_blocks) = rest
    assert later_blocks - blocks < GROWTH_BLOCKS, (rest, most)
    # Beside a leak, pieces between what lives long grow ever slower.
    assert later_size - size < GROWTH_KIB, (rest, most)
    assert max(most) < MEMORY_KIB, most

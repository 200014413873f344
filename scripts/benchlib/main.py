"""The measurements of `scripts/bench`. Every speed is a ratio to `ctr run -d` in the same run."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pathlib
import signal
import statistics
import sys
import time
from typing import Any

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import api
import changes
import device as devices
import network
import pods
import pulls

Result = dict[str, Any]


def workload(name: str, replicas: int) -> devices.Object:
    """A Deployment of idle busybox pods, told apart by `app`."""
    container = {
        "name": "main",
        "image": devices.BUSYBOX,
        "command": ["sleep", "3600"],
        "imagePullPolicy": "IfNotPresent",
    }
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [container], "terminationGracePeriodSeconds": 0},
            },
        },
    }


def _running(pods: list[devices.Object], count: int) -> bool:
    return sum(pod["status"].get("phase") == "Running" for pod in pods) == count


def _ready(pods: list[devices.Object], count: int) -> bool:
    return sum(_is_ready(pod) for pod in pods) == count


def _is_ready(pod: devices.Object) -> bool:
    return any(
        c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions", [])
    )


def _restarts(pods: list[devices.Object]) -> int:
    return sum(c["restartCount"] for pod in pods for c in pod["status"]["containerStatuses"])


def baseline(device: devices.Device, rounds: int) -> float:
    """Median seconds of `ctr run -d`."""
    taken = []
    for number in range(rounds):
        name = f"bench-ctr-{number}"
        started = time.perf_counter()
        device.ctr("run", "-d", devices.BUSYBOX, name, "sleep", "3600")
        taken.append(time.perf_counter() - started)
        device.ctr("task", "rm", "-f", name)
        device.ctr("container", "rm", name)
    return statistics.median(taken)


async def apply(device: devices.Device, name: str, replicas: int) -> tuple[float, float]:
    """Seconds from the POST of a Deployment to all its pods Running, and Ready."""
    selector = f"app={name}"
    running = asyncio.ensure_future(device.until(selector, lambda pods: _running(pods, replicas)))
    ready = asyncio.ensure_future(device.until(selector, lambda pods: _ready(pods, replicas)))
    await asyncio.sleep(0.2)  # both watches are open
    started = time.perf_counter()
    await device.create("/apis/apps/v1/namespaces/default/deployments", workload(name, replicas))
    return await running - started, await ready - started


async def remove(device: devices.Device, name: str) -> None:
    await device.delete(f"/apis/apps/v1/namespaces/default/deployments/{name}")
    await device.until(f"app={name}", lambda pods: not pods)


async def replace(device: devices.Device, name: str) -> float:
    """Seconds from `kill -9` of a container's process to its successor running."""
    pods = await device.pods(f"app={name}")
    before = _restarts(pods)
    container = pods[0]["status"]["containerStatuses"][0]["containerID"].split("//")[1]
    line = next(row for row in device.ctr("task", "ls").splitlines() if row.startswith(container))
    replaced = asyncio.ensure_future(
        device.until(f"app={name}", lambda now: _restarts(now) > before and _ready(now, len(pods)))
    )
    await asyncio.sleep(0.2)
    started = time.perf_counter()
    os.kill(int(line.split()[1]), signal.SIGKILL)
    return await replaced - started


def memory(device: devices.Device) -> Result:
    shims = [size for pid in device.shims() if (size := devices.pss(pid))]
    return {
        "edgeorch": round(devices.pss(device.pid), 1),
        "shims": round(sum(shims), 1),
        "shim_count": len(shims),
        "containerd": round(devices.pss(device.containerd_pid()), 1),
    }


async def idle(device: devices.Device, seconds: float) -> Result:
    pid = device.pid
    beside = device.containerd_pid()
    cpu, written = devices.cpu_seconds(pid), devices.bytes_written(pid)
    woken, theirs = devices.wake_ups(pid), devices.wake_ups(beside)
    await asyncio.sleep(seconds)
    cpu, written = devices.cpu_seconds(pid) - cpu, devices.bytes_written(pid) - written
    woken, theirs = devices.wake_ups(pid) - woken, devices.wake_ups(beside) - theirs
    return {"seconds": seconds, "cpu_seconds": round(cpu, 3), "bytes_written": written,
            "core_percent": round(100 * cpu / seconds, 3),
            "wake_ups_per_second": round(woken / seconds, 2),
            "containerd_wake_ups_per_second": round(theirs / seconds, 2)}  # fmt: skip


async def measure(device: devices.Device, rounds: int, idle_seconds: float) -> Result:
    bare = baseline(device, rounds)
    found: Result = {"ctr_run_seconds": round(bare, 4)}
    one = []
    for number in range(rounds):
        one.append(await apply(device, f"one-{number}", 1))
        await remove(device, f"one-{number}")
    found["apply_1"] = _ratios(bare, [r for r, _ in one], [r for _, r in one])
    kills = []
    for number in range(rounds):
        # A fresh pod each time: a second restart in a row waits for its back-off.
        await apply(device, f"kill-{number}", 1)
        kills.append(await replace(device, f"kill-{number}"))
        await remove(device, f"kill-{number}")
    found["kill_to_replaced"] = _ratios(bare, kills)
    found["pss_idle_mib"] = memory(device)
    ten = await apply(device, "ten", 10)
    found["apply_10"] = _ratios(bare, [ten[0]], [ten[1]])
    found["pss_10_pods_mib"] = memory(device)
    found["changes"] = await changes.Changes(device, bare, workload).measure()
    await asyncio.sleep(75)  # what may be written late has been written
    found["idle_10_pods"] = await idle(device, idle_seconds)
    found["start_to_ready_seconds"] = round(
        statistics.median(device.restart() for _ in range(3)), 3
    )
    return found


def _ratios(bare: float, running: list[float], ready: list[float] | None = None) -> Result:
    found: Result = {"running_ratio": round(statistics.median(running) / bare, 2)}
    if ready is not None:
        found["ready_ratio"] = round(statistics.median(ready) / bare, 2)
    found["seconds"] = [round(value, 3) for value in running]
    return found


TARGETS = (
    ("1 pod to Running / ctr run -d", lambda f: f["apply_1"]["running_ratio"], 1.5),
    ("kill -9 to replaced / ctr run -d", lambda f: f["kill_to_replaced"]["running_ratio"], 1.5),
    ("PSS with 10 pods, MiB", lambda f: f["pss_10_pods_mib"]["edgeorch"], 64),
    ("bytes written per idle minute", lambda f: f["idle_10_pods"]["bytes_written"], 0),
    ("idle share of a core, %", lambda f: f["idle_10_pods"]["core_percent"], 0.3),
    ("wake-ups per idle second", lambda f: f["idle_10_pods"]["wake_ups_per_second"], 2),
    ("start to /readyz, s (lab included)", lambda f: f["start_to_ready_seconds"], 1.0),
)


def table(found: Result) -> str:
    rows = [
        ("ctr run -d, s", found["ctr_run_seconds"], ""),
        ("1 pod to Ready / ctr run -d", found["apply_1"]["ready_ratio"], ""),
        ("10 pods to Running / ctr run -d", found["apply_10"]["running_ratio"], ""),
        ("10 pods to Ready / ctr run -d", found["apply_10"]["ready_ratio"], ""),
        (
            "wake-ups per idle second: containerd",
            found["idle_10_pods"]["containerd_wake_ups_per_second"],
            "",
        ),
        ("PSS idle, MiB: edgeorch", found["pss_idle_mib"]["edgeorch"], ""),
        ("PSS 10 pods, MiB: shims", found["pss_10_pods_mib"]["shims"], ""),
        ("PSS 10 pods, MiB: containerd", found["pss_10_pods_mib"]["containerd"], ""),
    ]
    for name, value, target in ((n, get(found), t) for n, get, t in TARGETS):
        rows.append((name, value, f"target {target}: {'met' if value <= target else 'MISSED'}"))
    return "\n".join(f"{name:<40} {value:>10} {note}" for name, value, note in rows)


async def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--name", default="bench", help="lab device to make (default: bench)")
    parser.add_argument("--containerd", help="directory of containerd binaries, as for scripts/lab")
    parser.add_argument("--rounds", type=int, default=7, help="repetitions (median is reported)")
    parser.add_argument("--idle", type=float, default=60, help="idle seconds to observe")
    parser.add_argument("--json", type=pathlib.Path, default=devices.ROOT / "bench.json")
    parser.add_argument("--keep", action="store_true", help="leave the device up")
    parser.add_argument("--pods", action="store_true", help="only many pods, probes and output")
    parser.add_argument("--network", action="store_true", help="only Services and DNS")
    parser.add_argument("--changes", action="store_true", help="only rollouts, sizes and writes")
    parser.add_argument("--pulls", action="store_true", help="only pulls from a registry")
    parser.add_argument("--api", action="store_true", help="only requests and watches")
    parser.add_argument("--megabytes", type=int, default=200, help="size of the image to pull")
    chosen = parser.parse_args()
    async with devices.Device(chosen.name, chosen.containerd, keep=chosen.keep) as device:
        if chosen.network:
            print(json.dumps(await network.Network(device).measure(), indent=2))
            return
        many = pods.Pods(device, workload, remove)
        if chosen.pods:
            only = await many.measure(min(chosen.rounds, 3))
            chosen.json.write_text(json.dumps(only, indent=2) + "\n")
            print(pods.table(only))
            return
        size = chosen.megabytes * 1_000_000
        if chosen.pulls:
            only = await pulls.measure(device, chosen.rounds, size, 4)
            print(json.dumps(only, indent=2))
            print(pulls.table(only))
            return
        if chosen.changes:
            costs = changes.Changes(device, baseline(device, chosen.rounds), workload)
            only = await costs.measure()
            print(json.dumps(only, indent=2))
            print(changes.table(only))
            return
        if chosen.api:
            only = await api.Api(device).measure()
            print(json.dumps(only, indent=2))
            print(api.table(only))
            return
        found = await measure(device, chosen.rounds, chosen.idle)
        found["pods"] = await many.measure(min(chosen.rounds, 3))
        found["api"] = await api.Api(device).measure()
        found["pulls"] = await pulls.measure(device, min(chosen.rounds, 5), size, 4)
    chosen.json.write_text(json.dumps(found, indent=2) + "\n")
    print(table(found))
    print(api.table(found["api"]))
    print(changes.table(found["changes"]))
    print(pods.table(found["pods"]))
    print(pulls.table(found["pulls"]))


if __name__ == "__main__":
    asyncio.run(main())

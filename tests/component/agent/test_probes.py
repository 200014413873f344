"""Probes, hooks, init containers, sidecars, and the order in which a pod ends."""

from __future__ import annotations

import asyncio
import os
import pathlib
import time
from typing import Any

from edgeorch.agent import checks
from edgeorch.lib import json
from edgeorch.model import views
from tests.component.agent.conftest import IMAGE, Lab
from tests.system import lab as labs

SERVE = (
    "sh",
    "-c",
    "busybox mkdir -p /www; echo ok >/www/ok; exec busybox httpd -f -p 8080 -h /www",
)


def _container(name: str, *command: str, **more: Any) -> dict[str, Any]:
    return {
        "name": name, "image": IMAGE, "imagePullPolicy": "IfNotPresent",
        "command": list(command), **more,
    }  # fmt: skip


def _http(path: str, **more: Any) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": "web"}, "periodSeconds": 1, **more}


async def test_readiness_decides_and_says_why_not(lab: Lab) -> None:
    container = {
        "ports": [{"name": "web", "containerPort": 8080}],
        "readinessProbe": _http("/late", failureThreshold=1),
    }
    await lab.run("web", *SERVE, container=container)
    await lab.running("web")
    told = "Readiness probe failed: HTTP probe failed with statuscode: 404"
    await lab.until(lambda: ("Unhealthy", told) in lab.events("web"))
    assert lab.condition("web", "Ready") == "False"
    root = pathlib.Path(f"/proc/{await lab.pid('web')}/root")
    (root / "www" / "late").write_text("now")
    await lab.until(lambda: lab.condition("web", "Ready") == "True")

    (root / "www" / "late").unlink()
    await lab.until(lambda: lab.condition("web", "Ready") == "False")
    assert lab.container("web")["restartCount"] == 0


async def test_a_failed_liveness_probe_restarts(lab: Lab) -> None:
    container = {
        "livenessProbe": {
            "exec": {"command": ["cat", "/alive"]}, "periodSeconds": 1, "failureThreshold": 1
        }
    }  # fmt: skip
    await lab.run("web", container=container)
    await lab.running("web", restarts=1)

    events = lab.events("web")
    assert ("Killing", "Container main failed liveness probe, will be restarted") in events
    told = "Liveness probe failed: cat: can't open '/alive': No such file or directory\n"
    assert ("Unhealthy", told) in events


async def test_a_startup_probe_holds_the_others_back(lab: Lab) -> None:
    container = {
        "ports": [{"name": "web", "containerPort": 8080}],
        "startupProbe": _http("/up", failureThreshold=100),
        "livenessProbe": _http("/absent", failureThreshold=1),
    }
    await lab.run("web", *SERVE, container=container)
    entry = await lab.running("web")
    assert entry["started"] is False
    root = pathlib.Path(f"/proc/{await lab.pid('web')}/root")
    (root / "www").mkdir(exist_ok=True)
    (root / "www" / "up").write_text("")

    await lab.running("web", restarts=1)


async def test_tcp_probe(lab: Lab) -> None:
    container = {"readinessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 1}}
    await lab.run("web", *SERVE, container=container)
    await lab.until(lambda: lab.condition("web", "Ready") == "True")


async def test_init_containers_run_in_order_and_sidecars_stay(lab: Lab) -> None:
    mount = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    spec = {
        "nodeName": "edge",
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "volumes": [{"name": "v", "emptyDir": {}}],
        "initContainers": [
            _container("one", "sh", "-c", "echo one >>/v/order", **mount),
            _container(
                "side", "sh", "-c", "echo side >>/v/order; exec sleep 1000",
                restartPolicy="Always", **mount,
            ),
            _container("two", "sh", "-c", "echo two >>/v/order", **mount),
        ],
        "containers": [_container("main", "sh", "-c", "cat /v/order", **mount)],
    }  # fmt: skip
    pod = await lab.create(spec, "inits")
    await lab.phase("inits", "Succeeded")

    uid = pod["metadata"]["uid"]
    chunks = [chunk async for chunk in lab.agent.logs.read("default", "inits", uid, "main")]
    assert b"".join(chunks).decode().split()[0] == "one"
    assert set(b"".join(chunks).decode().split()) == {"one", "side", "two"}
    assert "terminated" in lab.container("inits", "side")["state"]
    assert lab.condition("inits", "Initialized") == "True"


async def test_a_failing_init_container_fails_the_pod(lab: Lab) -> None:
    spec = {
        "nodeName": "edge",
        "restartPolicy": "Never",
        "initContainers": [_container("one", "false")],
        "containers": [_container("main", "true")],
    }
    await lab.create(spec, "inits")
    await lab.phase("inits", "Failed")

    assert lab.container("inits")["state"] == {"waiting": {"reason": "PodInitializing"}}


async def test_the_end_hook_signal_kill(lab: Lab) -> None:
    log = lab.root / "order"
    volumes = [{"name": "h", "hostPath": {"path": str(lab.root)}}]
    container = {
        "volumeMounts": [{"name": "h", "mountPath": "/h"}],
        "lifecycle": {
            "postStart": {"exec": {"command": ["sh", "-c", "echo begun >>/h/order"]}},
            "preStop": {"exec": {"command": ["sh", "-c", "echo hook >>/h/order"]}},
        },
    }
    command = "trap 'echo term >>/h/order' TERM; while true; do sleep 0.1; done"
    await lab.run(
        "stubborn", "sh", "-c", command, volumes=volumes, container=container,
        terminationGracePeriodSeconds=2,
    )  # fmt: skip
    await lab.until(lambda: lab.condition("stubborn", "Ready") == "True")
    began = time.monotonic()
    await lab.delete("stubborn")
    await lab.until(
        lambda: lab.pod("stubborn") is None or lab.condition("stubborn", "Ready") == "False"
    )
    await lab.gone("stubborn")
    took = time.monotonic() - began

    assert log.read_text().split() == ["begun", "hook", "term"]
    assert 2.0 <= took < 6.0
    assert ("Killing", "Stopping container main") in lab.events("stubborn")


async def test_a_deadline_ends_a_pod(lab: Lab) -> None:
    await lab.run("late", activeDeadlineSeconds=1)
    await lab.running("late")
    await lab.phase("late", "Failed")

    assert lab.status("late")["reason"] == "DeadlineExceeded"


async def test_a_changed_image_restarts_the_container(lab: Lab) -> None:
    await lab.run("web")
    await lab.running("web")

    def change(obj: Any) -> Any:
        obj["spec"]["containers"][0]["image"] = "docker.io/library/busybox"
        obj["spec"]["containers"][0]["imagePullPolicy"] = "IfNotPresent"
        return obj

    await lab.objects.update("pods", "default", "web", change)
    await lab.running("web", restarts=1)
    told = "Container main definition changed, will be restarted"
    assert ("Killing", told) in lab.events("web")


async def test_probes_without_end_leave_nothing(lab: Lab) -> None:
    """No descriptor, task, FIFO or process for any of them, those that ran out of time included."""
    await lab.run("web", *SERVE)
    await lab.running("web")
    id_ = lab.container("web")["containerID"].removeprefix("containerd://")
    made = checks.Checks(lab.agent.execs)
    spec = views.Container(name="main")
    ip = lab.status("web")["podIP"]
    kinds = [
        {"exec": {"command": ["true"]}},
        {"exec": {"command": ["sh", "-c", "echo out; exit 3"]}},
        {"httpGet": {"port": 8080, "path": "/ok"}},
        {"httpGet": {"port": 1}},
        {"tcpSocket": {"port": 8080}},
        {"grpc": {"port": 8080}},
    ]
    probes = [json.convert(each, views.Probe) for each in kinds]

    def held() -> tuple[int, int, int]:
        fifos = sum(1 for path in lab.settings.run_dir.rglob("*") if path.is_fifo())
        return len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks()), fifos

    async def ask(number: int) -> None:
        await made.probe(probes[number % len(probes)], spec, id_, ip)

    await asyncio.gather(*(ask(number) for number in range(len(probes))))
    await lab.agent.execs.close()
    before = held()
    for _ in range(labs.rounds(4, 300)):
        await asyncio.gather(*(ask(number) for number in range(2 * len(probes))))
    slow = json.convert({"exec": {"command": ["sleep", "100"]}}, views.Probe)
    well, told = await made.probe(slow, spec, id_, ip)
    assert (well, told) == (False, 'command timed out: "sleep 100" timed out after 1s')

    def clean() -> bool:
        now = held()
        return now[0] <= before[0] + 2 and now[1] <= before[1] and now[2] <= before[2]

    await lab.agent.execs.close()
    await lab.until(clean, f"what {held()} holds beyond {before} to go")
    tasks = await lab.containers.list()
    assert [record.task.status for record in tasks if record.id == id_ and record.task] == [
        "running"
    ]  # fmt: skip

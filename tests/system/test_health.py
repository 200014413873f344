"""What a local monitor reads, and what mends itself."""

from __future__ import annotations

import functools
import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeorch.store import backup
from scripts.lablib import kernel

from . import clients, manifests
from . import lab as labs


@pytest.fixture(scope="module")
def own(no_stale_labs: None, images: dict[str, Path]) -> Iterator[labs.Lab]:
    """One device for this file: its tests break things."""
    device = labs.Lab(f"t{os.getpid()}-health")
    try:
        device.up()
        device.load(images["busybox-latest"])
        server = manifests.container(manifests.NAMES)
        server["readinessProbe"] = {"httpGet": {"path": "/", "port": 80}, "periodSeconds": 1}
        device.apply(
            manifests.listed(
                manifests.deployment("web", server, replicas=2), manifests.service("web")
            )
        )
        device.rollout("deploy/web")
        yield device
        assert "Traceback" not in device.log()
    finally:
        device.down()


def serves(lab: labs.Lab) -> bool:
    """By every way: node port from outside, cluster address, the pods themselves."""
    service = lab.api("GET", "/api/v1/namespaces/default/services/web").json["spec"]
    pods = lab.api("GET", "/api/v1/namespaces/default/pods?labelSelector=app%3Dweb").json["items"]
    try:
        lab.fetch(lab.address, service["ports"][0]["nodePort"], lan=True)
        lab.fetch(service["clusterIP"], 80)
        return all(lab.fetch(pod["status"]["podIP"], 80) for pod in pods)
    except OSError:
        return False


@pytest.mark.parametrize("url", ["/livez", "/readyz", "/healthz"])
def test_short_answers(own: labs.Lab, url: str) -> None:
    labs.until(lambda: own.health(url).status == 200, url)
    answer = own.health(url)
    assert answer.body == b"ok"
    assert answer.headers["Content-Type"].startswith("text/plain")


def test_each_check_is_named(own: labs.Lab) -> None:
    told = own.health("/readyz?verbose").body.decode()
    passed = set(re.findall(r"^\[\+\](\S+) ok$", told, re.MULTILINE))
    assert passed >= {"store", "containerd", "network"}
    assert told.rstrip().endswith("readyz check passed")
    # The same from kubectl, over the API.
    assert own.kubectl("get", "--raw", "/readyz") == "ok"
    assert "[+]containerd ok" in own.kubectl("get", "--raw", "/readyz?verbose")


def test_metrics_are_prometheus_text(own: labs.Lab) -> None:
    answer = own.health("/metrics")
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    names = set()
    for line in answer.body.decode().splitlines():
        sample = re.fullmatch(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(\{.*\})? (\S+)", line)
        assert line.startswith(("# HELP ", "# TYPE ")) or sample, line
        if sample:
            float(sample[3])
            names.add(sample[1])
    assert names >= {"process_cpu_seconds_total", "process_resident_memory_bytes"}
    assert any("requests" in name for name in names)


def test_the_door_is_local_and_only_reads(own: labs.Lab) -> None:
    with pytest.raises(OSError, match="refused"):
        own.fetch(own.address, 10248, "/livez", lan=True)
    assert own.health("/api/v1/pods").status == 404


def test_readyz_names_containerd_and_recovers(own: labs.Lab) -> None:
    pid = kernel.read_pid(own.device.pid_file("containerd"))
    assert pid is not None
    os.kill(pid, signal.SIGTERM)
    try:
        labs.until(lambda: own.health("/readyz").status == 500, "not ready")
        told = own.health("/readyz?verbose").body.decode()
        assert re.search(r"^\[-\]containerd failed: .+", told, re.MULTILINE), told
        assert "[+]store ok" in told
        assert own.health("/livez").status == 200
        # The node says so too, and Services go on.
        own.wait("node", "condition=Ready=false", "--all")
        conditions = own.items("nodes")[0]["status"]["conditions"]
        assert all(c["message"] for c in conditions if c["type"] == "Ready")
        assert serves(own)
    finally:
        own.lab("start")
    labs.until(lambda: own.health("/readyz").status == 200, "ready by itself")
    own.wait("node", "condition=Ready", "--all")


def _delete_bridge(lab: labs.Lab) -> None:
    lab.run("ip", "link", "delete", "edgeorch0")


def _bridge_down(lab: labs.Lab) -> None:
    lab.run("ip", "link", "set", "edgeorch0", "down")


def _flush_rules(lab: labs.Lab) -> None:
    lab.run("nft", "flush", "ruleset")


def _delete_table(lab: labs.Lab) -> None:
    for line in lab.run("nft", "list", "tables").stdout.splitlines():
        lab.run("nft", "delete", *line.split())


@pytest.mark.parametrize("harm", [_delete_table, _flush_rules, _delete_bridge, _bridge_down])
def test_the_network_is_mended(own: labs.Lab, harm: Callable[[labs.Lab], None]) -> None:
    labs.until(lambda: serves(own), "it serves")
    before = {p["metadata"]["uid"] for p in own.items("pods")}
    harm(own)
    labs.until(lambda: serves(own), "it serves again")
    labs.until(lambda: own.health("/readyz").status == 200, "it is ready")
    assert {p["metadata"]["uid"] for p in own.items("pods")} == before


def test_tables_of_others_are_left_alone(own: labs.Lab) -> None:
    own.run("nft", "add", "table", "inet", "theirs")
    own.run("nft", "add", "chain", "inet", "theirs", "forward")
    own.apply(manifests.service("more"))
    labs.until(lambda: own.health("/readyz").status == 200, "ready")
    own.kubectl("delete", "service", "more")
    assert "chain forward" in own.run("nft", "list", "table", "inet", "theirs").stdout


def test_a_device_without_containerd_starts_and_says_so(own: labs.Lab) -> None:
    """No order of starting is needed: the API is there, and says what is missing."""
    own.lab("stop")
    pid = kernel.read_pid(own.device.pid_file("containerd"))
    assert pid is not None
    os.kill(pid, signal.SIGTERM)
    labs.until(lambda: kernel.started_at(pid) is None, "containerd has ended")
    command, env = own.command(
        str(labs.CHECKOUT / ".venv/bin/python"), "-m", "edgeorch",
        "--config", str(own.device.config), "serve",
    )  # fmt: skip
    alone = labs.Background(command, env)
    try:
        labs.until(lambda: _livez(own), "alive")
        answer = own.health("/readyz")
        assert answer.status == 500
        assert b"containerd" in answer.body
        own.kubectl("scale", "deploy/web", "--replicas=3")
    finally:
        alone.stop()
    own.lab("start")
    own.rollout("deploy/web")
    assert len(own.items("pods")) == 3
    assert not [line for line in alone.lines if "Traceback" in line]


def test_a_damaged_store_is_mended_and_told_of(own: labs.Lab) -> None:
    store = own.device.data / "edgeorch/state.db"
    own.lab("stop")
    backup.make(store)  # which the device does once an hour
    with store.open("r+b") as file:
        file.write(b"not a database at all")
    own.lab("start")
    labs.until(lambda: own.health("/readyz").status == 200, "ready with what was saved")
    own.rollout("deploy/web")
    own.wait("node", "condition=StoreRestored", "--all")
    reasons = {event["reason"] for event in own.items("events")}
    assert "StoreWasDamaged" in reasons
    own.lab("stop")
    own.lab("start")
    own.wait("node", "condition=Ready", "--all")
    labs.until(lambda: own.health("/readyz").status == 200, "ready")


def test_a_loop_that_hangs_answers_nobody(own: labs.Lab) -> None:
    """Nobody else answers in its place, be it that it lives or that it is ready."""
    os.kill(own.pid, signal.SIGSTOP)
    try:
        for url in ("/livez", "/readyz"):
            ask = functools.partial(clients.fetch, "127.0.0.1", 10248, url, 0.3)
            with pytest.raises(TimeoutError):
                clients.in_netns(own.device.netns, ask)
    finally:
        os.kill(own.pid, signal.SIGCONT)
    assert own.health("/livez").status == 200


def _livez(lab: labs.Lab) -> bool:
    try:
        return lab.health("/livez").status == 200
    except OSError:
        return False

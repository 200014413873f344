"""hostPort: a pod's port on the device itself, one pod at a time."""

from __future__ import annotations

import contextlib

from . import lab as labs
from . import manifests


def served(lab: labs.Lab, address: str, port: int, *, lan: bool = False) -> str:
    """What is answered there; "" for nothing."""
    with contextlib.suppress(OSError):
        return lab.fetch(address, port, lan=lan).strip().decode()
    return ""


def holder(name: str, port: int, **fields: str) -> labs.Object:
    ports = [{"containerPort": 80, "hostPort": port, **fields}]
    return manifests.pod(name, manifests.container(manifests.NAMES, ports=ports))


def test_a_host_port_is_one_pod_s_and_passes_to_the_next(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    lab.apply(holder("first", 18080), *n)
    lab.wait("pod/first", "condition=Ready", *n)
    for address, lan in ((lab.address, True), (lab.address, False), ("127.0.0.1", False)):
        labs.until(
            lambda a=address, o=lan: served(lab, a, 18080, lan=o) == "first",  # type: ignore[misc]
            f"the pod answers at {address}",
        )
    lab.apply(holder("second", 18080), *n)
    lab.wait("pod/second", "condition=PodScheduled=false", *n)
    (condition,) = lab.get("pod/second", *n)["status"]["conditions"]
    assert condition["reason"] == "Unschedulable"
    assert "node(s) didn't have free ports for the requested pod ports" in condition["message"]
    lab.kubectl("delete", "pod", "first", *n)
    lab.wait("pod/second", "condition=Ready", *n)
    labs.until(lambda: served(lab, lab.address, 18080, lan=True) == "second", "the port has passed")
    lab.kubectl("delete", "pod", "second", *n)
    labs.until(lambda: not served(lab, lab.address, 18080, lan=True), "nobody answers")


def test_a_host_ip_limits_the_addresses(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    lab.apply(holder("inner", 18081, hostIP="127.0.0.1"), *n)
    lab.wait("pod/inner", "condition=Ready", *n)
    labs.until(lambda: served(lab, "127.0.0.1", 18081) == "inner", "it answers on loopback")
    assert not served(lab, lab.address, 18081, lan=True)

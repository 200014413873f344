"""Pods whose annotations limit what they send and receive."""

from __future__ import annotations

from . import lab as labs
from . import manifests


def test_bandwidth_annotations_shape_both_ways(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    tools = manifests.container() | {"image": "tools", "imagePullPolicy": "IfNotPresent"}
    slow = manifests.pod("slow", tools)
    slow["metadata"]["annotations"] = {
        "kubernetes.io/ingress-bandwidth": "8M",
        "kubernetes.io/egress-bandwidth": "4M",
    }
    lab.apply(slow, *n)
    lab.wait("pod/slow", "condition=Ready", *n)
    inside = lab.kubectl("exec", "slow", *n, "--", "tc", "qdisc", "show", "dev", "eth0")
    assert "tbf" in inside
    assert "rate 4Mbit" in inside
    assert "rate 8Mbit" in lab.run("tc", "qdisc").stdout

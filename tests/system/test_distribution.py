"""How requests spread over replicas, and what a change does to connections that are open."""

from __future__ import annotations

import socket
from collections import Counter

import pytest

from . import clients, manifests
from . import lab as labs

REQUESTS = 10_000
REPLICAS = 5

# Chi-square with four degrees of freedom exceeds this once in ten million fair draws.
TOO_UNEVEN = 37.3

# Says its name to everyone who connects, then repeats what it is told.
ECHO = "trap 'exit 0' TERM; nc -ll -p 80 -e sh -c 'hostname; exec cat' & wait"


def test_ten_thousand_requests_are_even(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    probe = {"tcpSocket": {"port": 80}, "periodSeconds": 1}
    lab.apply(
        manifests.listed(
            manifests.deployment("even", manifests.web(readinessProbe=probe), replicas=REPLICAS),
            manifests.service("even", "ClusterIP"),
        ),
        *n,
    )
    lab.rollout("deploy/even", *n)
    address = lab.get("svc/even", *n)["spec"]["clusterIP"]

    def ask() -> Counter[bytes]:
        return Counter(
            clients.fetch(address, 80, "/hostname").body.strip() for _ in range(REQUESTS)
        )

    labs.until(lambda: len(lab.get("endpoints/even", *n)["subsets"][0]["addresses"]) == 5, "five")
    seen = clients.in_netns(lab.device.netns, ask)
    pods = {p["metadata"]["name"].encode() for p in lab.items("pods", *n)}
    assert set(seen) == pods
    expected = REQUESTS / REPLICAS
    assert sum((count - expected) ** 2 / expected for count in seen.values()) < TOO_UNEVEN


@pytest.fixture
def echoes(lab: labs.Lab, namespace: str) -> str:
    """The address of a Service of two pods that keep connections open."""
    n = ("-n", namespace)
    probe = {"exec": {"command": ["test", "!", "-e", "/tmp/unready"]}, "periodSeconds": 1}
    main = manifests.container(ECHO, readinessProbe=probe | {"failureThreshold": 1})
    lab.apply(
        manifests.listed(
            manifests.deployment("echo", main, replicas=2), manifests.service("echo", "ClusterIP")
        ),
        *n,
    )
    lab.rollout("deploy/echo", *n)
    return str(lab.get("svc/echo", *n)["spec"]["clusterIP"])


class Open:
    """A connection that stays open, and the pod at its other end."""

    def __init__(self, address: str) -> None:
        self.socket = socket.create_connection((address, 80), timeout=5)
        self.file = self.socket.makefile("rw")
        self.pod = self.file.readline().strip()

    def echo(self, text: str) -> str:
        self.file.write(text + "\n")
        self.file.flush()
        return self.file.readline().strip()

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@pytest.mark.ask(19)
def test_an_unready_pod_gets_nothing_new_and_nothing_open_breaks(
    lab: labs.Lab, namespace: str, echoes: str
) -> None:
    n = ("-n", namespace)

    def connect() -> Open:
        return clients.in_netns(lab.device.netns, lambda: Open(echoes))

    def once() -> str:
        opened = connect()
        opened.close()
        return opened.pod

    labs.until(lambda: len({once() for _ in range(30)}) == 2, "both pods are reached")
    held = [connect() for _ in range(20)]
    try:
        leaving, staying = sorted({each.pod for each in held})
        lab.kubectl("exec", leaving, *n, "--", "touch", "/tmp/unready")
        lab.wait(f"pod/{leaving}", "condition=Ready=false", *n)
        labs.until(lambda: {once() for _ in range(10)} == {staying}, "only the other is asked")
        assert {once() for _ in range(100)} == {staying}
        # Another Service comes and goes; what is open does not notice, also to the unready pod.
        lab.apply(manifests.service("passing"), *n)
        lab.kubectl("delete", "svc", "passing", *n)
        for number, each in enumerate(held):
            assert each.echo(f"still {number}") == f"still {number}"
        lab.kubectl("delete", "pod", leaving, *n)
        for number, each in enumerate(e for e in held if e.pod == staying):
            assert each.echo(f"after {number}") == f"after {number}"
    finally:
        for each in held:
            each.close()


def test_affinity_holds_while_replicas_come(lab: labs.Lab, namespace: str, echoes: str) -> None:
    n = ("-n", namespace)
    sticky = manifests.service("sticky", "ClusterIP", sessionAffinity="ClientIP")
    sticky["spec"]["selector"] = {"app": "echo"}
    lab.apply(sticky, *n)
    address = lab.get("svc/sticky", *n)["spec"]["clusterIP"]

    def ask(count: int) -> set[str]:
        def run() -> set[str]:
            found = set()
            for _ in range(count):
                opened = Open(address)
                found.add(opened.pod)
                opened.close()
            return found

        return clients.in_netns(lab.device.netns, run)

    def answers() -> set[str]:
        try:
            return ask(1)
        except OSError:
            return set()

    mine = labs.until(answers, "it answers")
    assert ask(200) == mine
    lab.kubectl("scale", "deploy/echo", "--replicas=4", *n)
    lab.rollout("deploy/echo", *n)
    assert ask(200) == mine

"""Who goes first when the node runs short, and what it is told: the kubelet's order and words."""

from __future__ import annotations

from typing import Any

import pytest

from edgeorch.core import pressure
from edgeorch.core.pressure import Amount, Level, Signal, Threshold
from edgeorch.core.pressure_ranks import Candidate, Share, Usage, message, rank
from tests.unit.core import pods

MI = 1 << 20


def made(name: str, usage: Usage, *, priority: int = 0, **requests: str) -> Candidate:
    asked = {key.replace("_", "-"): value for key, value in requests.items()}
    container = {"name": "c", "resources": {"requests": asked}}
    pod = pods.pod(meta={"name": name}, containers=[container], priority=priority)
    return Candidate(pod, usage)


def names(ranked: list[Candidate]) -> list[str]:
    return [each.pod.metadata.name for each in ranked]


def memory(mebibytes: int) -> Usage:
    return Usage(memory=mebibytes * MI, containers={"c": mebibytes * MI})


def disk(rootfs: int = 0, logs: int = 0, volumes: int = 0, inodes: int = 0) -> Usage:
    return Usage(
        rootfs={"c": Share(rootfs * MI, inodes)},
        logs={"c": Share(logs * MI, 1)},
        volumes={"v": Share(volumes * MI, 1)},
        disk_measured=True,
    )


def test_memory() -> None:
    ranked = rank(
        Signal.MEMORY,
        [
            made("within", memory(50), memory="60Mi"),
            made("well-within", memory(10), memory="60Mi"),
            made("important", memory(500), priority=10),
            made("a-little-over", memory(61), memory="60Mi"),
            made("far-over", memory(30)),
            made("unknown", Usage()),
        ],
        own_imagefs=False,
    )
    assert names(ranked) == [
        "unknown", "far-over", "a-little-over", "important", "within", "well-within",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("signal", "own_imagefs", "first"),
    [
        (Signal.NODEFS, False, "all"),
        (Signal.NODEFS, True, "logs"),
        (Signal.IMAGEFS, False, "all"),
        (Signal.IMAGEFS, True, "layer"),
        (Signal.NODEFS_INODES, False, "files"),
        (Signal.NODEFS_INODES, True, "all"),
    ],
)
def test_disk(signal: Signal, own_imagefs: bool, first: str) -> None:
    many = {str(number): Share(0, 1) for number in range(10)}
    candidates = [
        made("all", Usage(rootfs={"c": Share(50 * MI, 1)}, logs={"c": Share(20 * MI, 1)},
                          volumes={"v": Share(10 * MI, 1), **many}, disk_measured=True)),
        made("logs", disk(rootfs=1, logs=40)),
        made("layer", disk(rootfs=60)),
        made("files", disk(inodes=5000)),
        made("asked", disk(rootfs=100), ephemeral_storage="1Gi"),
    ]  # fmt: skip
    assert names(rank(signal, candidates, own_imagefs=own_imagefs))[0] == first


def test_processes() -> None:
    ranked = rank(
        Signal.PIDS,
        [
            made("few", Usage(processes=3)),
            made("many", Usage(processes=300)),
            made("important", Usage(processes=3000), priority=1),
        ],
        own_imagefs=False,
    )
    assert names(ranked) == ["many", "few", "important"]


@pytest.mark.parametrize(
    ("signal", "level", "candidate", "told"),
    [
        (
            Signal.MEMORY,
            Level(52340 * 1024, 512 * MI),
            made("p", memory(200), memory="64Mi"),
            (
                "The node was low on resource: memory. Threshold quantity: 100Mi, available: "
                "52340Ki. Container c was using 200Mi, request is 64Mi, has larger consumption of "
                "memory. "
            ),
        ),
        (
            Signal.NODEFS,
            Level(MI, 512 * MI),
            made("p", disk(rootfs=3, logs=1)),
            (
                "The node was low on resource: ephemeral-storage. Threshold quantity: 100Mi, "
                "available: 1Mi. Container c was using 4Mi, request is 0, has larger consumption "
                "of ephemeral-storage. "
            ),
        ),
        (
            Signal.NODEFS_INODES,
            Level(5, 1000),
            made("p", disk(inodes=9)),
            "The node was low on resource: inodes. Threshold quantity: 100Mi, available: 5. ",
        ),
        (
            Signal.MEMORY,
            Level(MI, 512 * MI),
            made("p", memory(10), memory="64Mi"),
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 1Mi. ",
        ),
    ],
)
def test_words(signal: Signal, level: Level, candidate: Candidate, told: str) -> None:
    threshold = Threshold(signal, Amount(whole=100 * MI))
    assert message(threshold, {signal: level}, candidate) == told


def test_critical_ones_are_known_by_their_priority() -> None:
    of = {priority: pods.pod(priority=priority) for priority in (0, 1_999_999_999, 2_000_000_000)}
    assert {p: pressure.critical(pod) for p, pod in of.items()} == {
        0: False, 1_999_999_999: False, 2_000_000_000: True,
    }  # fmt: skip


def test_requests_of_the_whole_pod_count() -> None:
    both: list[Any] = [
        {"name": name, "resources": {"requests": {"memory": "40Mi"}}} for name in ("a", "b")
    ]
    sums = Candidate(pods.pod(meta={"name": "sums"}, containers=both), memory(79))
    over = made("over", memory(2), memory="1Mi")
    assert names(rank(Signal.MEMORY, [sums, over], own_imagefs=False)) == ["over", "sums"]

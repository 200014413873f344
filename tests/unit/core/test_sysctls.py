"""Which kernel parameters a pod may set, in the kubelet's words."""

from __future__ import annotations

from typing import Any

import pytest

from edgeorch.core import sysctls
from tests.unit.core import pods


@pytest.mark.parametrize(
    ("name", "dotted", "path"),
    [
        ("kernel.shmmax", "kernel.shmmax", "kernel/shmmax"),
        ("kernel/shmmax", "kernel.shmmax", "kernel/shmmax"),
        (
            "net/ipv4/conf/eth0.1/rp_filter",
            "net.ipv4.conf.eth0/1.rp_filter",
            "net/ipv4/conf/eth0.1/rp_filter",
        ),
        (
            "net.ipv4.conf.eth0/1.rp_filter",
            "net.ipv4.conf.eth0/1.rp_filter",
            "net/ipv4/conf/eth0.1/rp_filter",
        ),
    ],
)
def test_both_ways_to_write_a_name(name: str, dotted: str, path: str) -> None:
    assert sysctls.dotted(name) == dotted
    assert sysctls.path(name) == path


@pytest.mark.parametrize(
    ("name", "namespace"),
    [
        ("kernel.sem", "ipc"),
        ("kernel.shm_rmid_forced", "ipc"),
        ("kernel.msg*", "ipc"),
        ("fs.mqueue.msg_max", "ipc"),
        ("net.ipv4.tcp_syncookies", "net"),
        ("net/core/somaxconn", "net"),
        ("kernel.pid_max", None),
        ("vm.swappiness", None),
    ],
)
def test_whose_a_parameter_is(name: str, namespace: str | None) -> None:
    assert sysctls.namespace(name) == namespace


@pytest.mark.parametrize("name", sysctls.SAFE)
def test_safe_ones_belong_to_a_namespace_and_are_taken(name: str) -> None:
    assert sysctls.namespace(name) is not None
    assert _refusal([name]) is None


@pytest.mark.parametrize(
    ("names", "allowed", "told"),
    [
        (["kernel.msgmax"], [], 'forbidden sysctl: "kernel.msgmax" not allowlisted'),
        (["kernel.msgmax"], ["kernel.msg*"], None),
        (["kernel/msgmax"], ["kernel.msgmax"], None),
        (["net.core.somaxconn"], ["net/core/somaxconn"], None),
        (
            ["net.ipv4.tcp_syncookies", "vm.swappiness"],
            ["kernel.*"],
            'forbidden sysctl: "vm.swappiness" not allowlisted',
        ),
    ],
)
def test_unsafe_ones_need_the_administrators_word(
    names: list[str], allowed: list[str], told: str | None
) -> None:
    assert _refusal(names, allowed) == told


def test_what_belongs_to_the_host_is_refused() -> None:
    told = _refusal(["net.ipv4.tcp_syncookies"], hostNetwork=True)
    assert told == 'forbidden sysctl: "net.ipv4.tcp_syncookies" not allowed with host net enabled'
    told = _refusal(["kernel.shm_rmid_forced"], hostIPC=True)
    assert told == 'forbidden sysctl: "kernel.shm_rmid_forced" not allowed with host ipc enabled'


def _refusal(names: list[str], allowed: list[str] | None = None, **spec: Any) -> str | None:
    listed = [{"name": name, "value": "1"} for name in names]
    pod = pods.pod(securityContext={"sysctls": listed}, **spec)
    return sysctls.refusal(pod, allowed or [])

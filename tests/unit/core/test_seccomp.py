"""The default profile follows the container's capabilities and the node's architecture."""

from __future__ import annotations

from typing import Any

import pytest

from edgeorch.core import seccomp

Object = dict[str, Any]


def rules(name: str, *capabilities: str, architecture: str = "amd64") -> list[Object]:
    profile = seccomp.default_profile(capabilities, architecture)
    return [rule for rule in profile["syscalls"] if name in rule["names"]]


def allowed(name: str, *capabilities: str, architecture: str = "amd64") -> bool:
    """Whatever the arguments are."""
    found = rules(name, *capabilities, architecture=architecture)
    return any(rule["action"] == seccomp.ALLOW and not rule.get("args") for rule in found)


def test_what_is_not_named_is_refused() -> None:
    profile = seccomp.default_profile([], "amd64")
    assert profile["defaultAction"] == "SCMP_ACT_ERRNO"
    for name in ("keyctl", "add_key", "userfaultfd", "io_uring_setup"):
        assert not rules(name)
    names = profile["syscalls"][0]["names"]
    assert len(names) == len(set(names)) > 350


@pytest.mark.parametrize(
    ("capability", "call"),
    [
        ("CAP_BPF", "bpf"),
        ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
        ("CAP_PERFMON", "perf_event_open"),
        ("CAP_SYSLOG", "syslog"),
        ("CAP_SYS_ADMIN", "mount"),
        ("CAP_SYS_ADMIN", "clone3"),
        ("CAP_SYS_ADMIN", "setns"),
        ("CAP_SYS_BOOT", "reboot"),
        ("CAP_SYS_CHROOT", "chroot"),
        ("CAP_SYS_MODULE", "init_module"),
        ("CAP_SYS_NICE", "mbind"),
        ("CAP_SYS_PACCT", "acct"),
        ("CAP_SYS_PTRACE", "kcmp"),
        ("CAP_SYS_RAWIO", "iopl"),
        ("CAP_SYS_TIME", "clock_settime"),
        ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ],
)
def test_a_capability_is_not_taken_away_by_the_filter(capability: str, call: str) -> None:
    assert not allowed(call)
    assert allowed(call, "CAP_CHOWN", capability)


def test_new_namespaces_are_for_administrators() -> None:
    (clone,) = rules("clone")
    (argument,) = clone["args"]
    assert (argument["index"], argument["value"]) == (0, 0x7E020000)
    assert argument["op"] == "SCMP_CMP_MASKED_EQ"
    (clone3,) = rules("clone3")
    assert (clone3["action"], clone3["errnoRet"]) == ("SCMP_ACT_ERRNO", 38)
    assert allowed("clone", "CAP_SYS_ADMIN")


@pytest.mark.parametrize(
    ("family", "open_"), [(2, True), (37, True), (38, False), (39, True), (40, False), (41, True)]
)
def test_sockets_reach_neither_hypervisor_nor_the_kernels_ciphers(family: int, open_: bool) -> None:
    compare = {
        "SCMP_CMP_LT": lambda value: family < value,
        "SCMP_CMP_EQ": lambda value: family == value,
        "SCMP_CMP_GT": lambda value: family > value,
    }
    found = [rule["args"][0] for rule in rules("socket")]
    assert any(compare[each["op"]](each["value"]) for each in found) is open_


@pytest.mark.parametrize(
    ("architecture", "listed", "call"),
    [
        ("amd64", ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], "arch_prctl"),
        ("arm64", ["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"], "cacheflush"),
        ("arm", ["SCMP_ARCH_ARM"], "set_tls"),
    ],
)
def test_architectures(architecture: str, listed: list[str], call: str) -> None:
    assert seccomp.default_profile([], architecture)["architectures"] == listed
    assert allowed(call, architecture=architecture)
    other = "amd64" if architecture != "amd64" else "arm64"
    assert not rules(call, architecture=other)

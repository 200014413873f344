"""Errors of security contexts and of what a pod shares with the host, in Kubernetes' words."""

from __future__ import annotations

from typing import Any

import pytest

from edgeorch.model import kinds, validation

from . import made


def _own(**context: Any) -> dict[str, Any]:
    return {"containers": [{"name": "c", "image": "i", "securityContext": context}]}


_PROFILES = 'supported values: "Localhost", "RuntimeDefault", "Unconfined"'
_OWN = "spec.containers[0].securityContext"
_POD = "spec.securityContext"

CASES: list[Any] = [
    pytest.param(
        _own(procMount="Unmasked"),
        [
            (
                f'{_OWN}.procMount: Invalid value: "Unmasked": `hostUsers` must be false to use '
                "`Unmasked`"
            )
        ],
        id="unmasked",
    ),
    pytest.param({**_own(procMount="Unmasked"), "hostUsers": False}, [], id="unmasked in userns"),
    pytest.param(
        _own(procMount="Open"),
        [f'{_OWN}.procMount: Unsupported value: "Open": supported values: "Default", "Unmasked"'],
        id="proc mount",
    ),
    pytest.param(
        {"securityContext": {"seccompProfile": {}}},
        [
            (
                f"{_POD}.seccompProfile.type: Required value: type is required when seccompProfile "
                "is set"
            )
        ],
        id="seccomp without type",
    ),
    pytest.param(
        _own(seccompProfile={"type": "Strict"}),
        [f'{_OWN}.seccompProfile.type: Unsupported value: "Strict": {_PROFILES}'],
        id="seccomp type",
    ),
    pytest.param(
        _own(seccompProfile={"type": "Localhost"}),
        [
            (
                f"{_OWN}.seccompProfile.localhostProfile: Required value: must be set when seccomp "
                "type is Localhost"
            )
        ],
        id="seccomp without file",
    ),
    pytest.param(
        _own(seccompProfile={"type": "Localhost", "localhostProfile": "../x"}),
        [f"{_OWN}.seccompProfile.localhostProfile: Invalid value: \"../x\": must not contain '..'"],
        id="seccomp file outside",
    ),
    pytest.param(
        {"securityContext": {"sysctls": [{"name": "kernel.shm_rmid_forced", "value": "1"}] * 2}},
        [f'{_POD}.sysctls[1].name: Duplicate value: "kernel.shm_rmid_forced"'],
        id="sysctl twice",
    ),
    pytest.param(
        {
            "hostNetwork": True,
            "hostIPC": True,
            "securityContext": {
                "sysctls": [{"name": "net/core/somaxconn"}, {"name": "kernel.msgmax"}]
            },
        },
        [
            (
                f'{_POD}.sysctls[0].name: Invalid value: "net/core/somaxconn": may not be '
                "specified when 'hostNetwork' is true"
            ),
            (
                f'{_POD}.sysctls[1].name: Invalid value: "kernel.msgmax": may not be specified '
                "when 'hostIPC' is true"
            ),
        ],
        id="sysctls of the host",
    ),
    pytest.param(
        {"shareProcessNamespace": True, "hostPID": True},
        [
            (
                f"{_POD}.shareProcessNamespace: Invalid value: true: ShareProcessNamespace and "
                "HostPID cannot both be enabled"
            )
        ],
        id="processes shared twice",
    ),
    pytest.param(
        {"hostUsers": False, "hostNetwork": True},
        ["spec.hostNetwork: Forbidden: when `pod.Spec.HostUsers` is false"],
        id="host network in userns",
    ),
    pytest.param(
        {
            "os": {"name": "linux"},
            "securityContext": {"windowsOptions": {}},
            **_own(windowsOptions={"runAsUserName": "x"}),
        },
        [
            f"{_POD}.windowsOptions: Forbidden: windows options cannot be set for a linux pod",
            f"{_OWN}.windowsOptions: Forbidden: windows options cannot be set for a linux pod",
        ],
        id="windows options on linux",
    ),
    pytest.param(
        {"os": {"name": "windows"}, **_own(privileged=True)},
        [f"{_OWN}.privileged: Forbidden: cannot be set for a windows pod"],
        id="privileged on windows",
    ),
    pytest.param(
        {"hostnameOverride": "A"},
        ['spec.hostnameOverride: Invalid value: "A": a lowercase RFC 1123 subdomain'],
        id="override in upper case",
    ),
    pytest.param(
        {"hostnameOverride": "x" * 63 + ".yy", "setHostnameAsFQDN": True},
        [
            "spec.hostnameOverride: Too long: may not be more than 64 bytes",
            (
                "spec.hostnameOverride: Forbidden: may not be specified when `setHostnameAsFQDN` "
                "is true"
            ),
        ],
        id="override and fqdn",
    ),
    pytest.param(
        {"securityContext": {"appArmorProfile": {"type": "Localhost"}}},
        [
            (
                f"{_POD}.appArmorProfile.localhostProfile: Required value: must be set when "
                "AppArmor type is Localhost"
            )
        ],
        id="apparmor without profile",
    ),
    pytest.param(
        {"securityContext": {"supplementalGroupsPolicy": "Loose", "supplementalGroups": [-1]}},
        [
            (
                f"{_POD}.supplementalGroups[0]: Invalid value: -1: must be between 0 and "
                "2147483647, inclusive"
            ),
            (
                f'{_POD}.supplementalGroupsPolicy: Unsupported value: "Loose": supported values: '
                '"Merge", "Strict"'
            ),
        ],
        id="groups",
    ),
]


@pytest.mark.parametrize(("spec", "expected"), CASES)
def test_pod(spec: dict[str, Any], expected: list[str]) -> None:
    found = [str(cause) for cause in validation.create(kinds.POD, made.pod(**spec))]
    assert len(found) == len(expected), found
    for text, start in zip(found, expected, strict=True):
        assert text.startswith(start)

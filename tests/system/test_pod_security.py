"""Security contexts, shared namespaces, names and service accounts: seen from inside containers."""

from __future__ import annotations

import base64
import functools
import json
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from . import lab as labs
from . import manifests

N = ("-n", "secure")
ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
CALL = (
    f"curl -sS -o /dev/null -w '%{{http_code}}' --cacert {ACCOUNT}/ca.crt "
    f'-H "Authorization: Bearer $(cat {ACCOUNT}/token)" https://kubernetes.default.svc'
)
DEFAULT_CAPABILITIES = "00000000a80425fb"
"""What containerd's CRI plugin gives, as proc(5) shows it."""


@pytest.fixture(scope="module", autouse=True)
def space(lab: labs.Lab) -> Iterator[None]:
    lab.kubectl("create", "namespace", "secure")
    yield
    lab.kubectl("delete", "namespace", "secure", "--timeout=60s", seconds=70)


def facts(lab: labs.Lab, pod: labs.Object) -> dict[str, dict[str, str]]:
    """What each container of a pod that comes to its end has told as `name: value` lines."""
    lab.kubectl("create", "-f", "-", *N, stdin=pod)
    name = pod["metadata"]["name"]
    lab.wait(f"pod/{name}", "jsonpath={.status.phase}=Succeeded", *N)
    found = {}
    for container in pod["spec"]["containers"]:
        lines = lab.kubectl("logs", name, "-c", container["name"], *N).splitlines()
        split = (line.partition(":") for line in lines)
        found[container["name"]] = {key.strip(): value.strip() for key, _, value in split}
    return found


def waiting(lab: labs.Lab, name: str, reason: str) -> str:
    """The message of the reason that a container waits for."""

    def told() -> str | None:
        for status in lab.get("pod", name, *N)["status"].get("containerStatuses", []):
            state = status["state"].get("waiting", {})
            if state.get("reason") == reason:
                return str(state.get("message", ""))
        return None

    return labs.until(told, f"{name} waits: {reason}") or ""


def events(lab: labs.Lab, name: str, reason: str) -> list[str]:
    selector = f"involvedObject.name={name},reason={reason}"
    found = lab.items("events", f"--field-selector={selector}", *N)
    return [str(event["message"]) for event in found]


STATUS = "grep -E '^(Seccomp|NoNewPrivs|CapEff|CapBnd):' /proc/self/status"
PROBES = f"""{STATUS}
echo "id: $(id -u) $(id -g) $(id -G)"
echo "rootfs: $(touch /new 2>/dev/null && echo writable || echo closed)"
echo "sysctl: $(echo 1 2>/dev/null >/proc/sys/kernel/printk && echo writable || echo closed)"
echo "masked: $(head -c1 /proc/keys | wc -c)"
echo "namespaces: $(unshare -U true 2>/dev/null && echo allowed || echo refused)"
echo "devices: $(ls /dev | grep -c -E '^(vda|sda|nvme|mem|kmsg|loop)')"
"""


def test_what_a_container_may_do(lab: labs.Lab) -> None:
    """One pod, a container for each kind of trust."""

    def one(name: str, **context: Any) -> labs.Object:
        return manifests.container(PROBES, name, securityContext=context)

    drop = {"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}
    pod = manifests.pod(
        "trust",
        one("plain"),
        one("default", seccompProfile={"type": "RuntimeDefault"}, procMount="Default"),
        one("unconfined", seccompProfile={"type": "Unconfined"}),
        one("privileged", privileged=True),
        one("closed", readOnlyRootFilesystem=True, allowPrivilegeEscalation=False, **drop),
        one("admin", capabilities={"add": ["SYS_TIME"]}),
        one("user", runAsUser=1000, runAsGroup=3000, runAsNonRoot=True),
        restartPolicy="Never",
        securityContext={"fsGroup": 2000, "supplementalGroups": [4000]},
    )
    seen = facts(lab, pod)

    assert {name: told["Seccomp"] for name, told in seen.items()} == {
        name: "0" if name in ("unconfined", "privileged") else "2" for name in seen
    }
    assert {name for name, told in seen.items() if told["NoNewPrivs"] == "1"} == {"closed"}
    assert seen["plain"]["CapEff"] == seen["plain"]["CapBnd"] == DEFAULT_CAPABILITIES
    assert seen["closed"]["CapEff"] == f"{1 << 10:016x}"
    assert int(seen["admin"]["CapEff"], 16) & 1 << 25
    assert int(seen["privileged"]["CapEff"], 16) > int(DEFAULT_CAPABILITIES, 16)
    assert int(seen["user"]["CapEff"], 16) == 0
    assert seen["user"]["id"] == "1000 3000 3000 2000 4000"
    assert sorted(seen["plain"]["id"].split()[2:]) == ["0", "2000", "4000"]
    assert {name for name, told in seen.items() if told["rootfs"] == "closed"} == {"closed", "user"}
    assert {name for name, told in seen.items() if told["sysctl"] == "writable"} == {"privileged"}
    assert all(told["masked"] == "0" for name, told in seen.items() if name != "privileged")
    assert seen["plain"]["namespaces"] == "refused"
    assert seen["unconfined"]["namespaces"] == "allowed"
    assert seen["plain"]["devices"] == "0"
    assert int(seen["privileged"]["devices"]) > 0
    status = lab.get("pod/trust", *N)["status"]["containerStatuses"]
    user = next(entry["user"] for entry in status if entry["name"] == "user")
    assert user == {"linux": {"uid": 1000, "gid": 3000, "supplementalGroups": [2000, 3000, 4000]}}


def test_what_cannot_be_had_says_why(lab: labs.Lab) -> None:
    def broken(name: str, context: labs.Object, **spec: Any) -> None:
        container = manifests.container(securityContext=context)
        lab.apply(manifests.pod(name, container, **spec), *N)

    local = {"type": "Localhost", "localhostProfile": "no/such.json"}
    broken("no-profile", {"seccompProfile": local})
    broken("no-root", {"runAsNonRoot": True})
    broken("no-users", {}, hostUsers=False)
    broken(
        "no-name", {}, hostname="h" * 50, subdomain="s", setHostnameAsFQDN=True
    )  # fmt: skip
    broken("no-sysctl", {}, securityContext={"sysctls": [{"name": "vm.swappiness", "value": "1"}]})

    told = waiting(lab, "no-profile", "CreateContainerError")
    assert 'cannot load seccomp profile "' in told
    assert "seccomp/no/such.json: no such file or directory" in told
    told = waiting(lab, "no-root", "CreateContainerConfigError")
    assert told.startswith("container has runAsNonRoot and image will run as root (pod: ")
    broken("no-armor", {"appArmorProfile": {"type": "RuntimeDefault"}})
    if not Path("/sys/module/apparmor").exists():
        lab.wait("pod/no-armor", "jsonpath={.status.reason}=AppArmor", *N)
        told = lab.get("pod/no-armor", *N)["status"]["message"]
        assert told.endswith("Cannot enforce AppArmor: AppArmor is not enabled on the host")
    lab.wait("pod/no-sysctl", "jsonpath={.status.phase}=Failed", *N)
    status = lab.get("pod/no-sysctl", *N)["status"]
    assert status["reason"] == "SysctlForbidden"
    told = 'forbidden sysctl: "vm.swappiness" not allowlisted'
    assert status["message"] == f"Pod was rejected: {told}"
    assert events(lab, "no-sysctl", "SysctlForbidden") == [told]
    assert "SysctlForbidden" in lab.kubectl("get", "pod", "no-sysctl", *N)
    for name, start in (
        ("no-users", "can't set `spec.hostUsers: false`, runtime does not support user namespaces"),
        ("no-name", "failed to construct FQDN from pod hostname and cluster domain, FQDN hhh"),
    ):
        labs.until(functools.partial(events, lab, name, "FailedCreatePodSandBox"), "an event")
        (first, *_) = events(lab, name, "FailedCreatePodSandBox")
        assert first.startswith(f"Failed to create pod sandbox: {start}")
        assert lab.get("pod", name, *N)["status"]["phase"] == "Pending"


def test_kernel_parameters_and_names_of_a_pod(lab: labs.Lab) -> None:
    script = """
    for name in net/ipv4/ip_unprivileged_port_start net/ipv4/tcp_keepalive_time \
            kernel/shm_rmid_forced; do echo "$name: $(cat /proc/sys/$name)"; done
    echo "hostname: $(hostname)"; echo "file: $(cat /etc/hostname)"
    echo "self: $(grep -c "$(hostname)" /etc/hosts)"
    echo "alias: $(grep db.example.com /etc/hosts | tr '\t' ' ')"
    echo "search: $(grep ^search /etc/resolv.conf)"; echo "options: $(grep ^opt /etc/resolv.conf)"
    """
    sysctls = {
        "net.ipv4.ip_unprivileged_port_start": "80",
        "net/ipv4/tcp_keepalive_time": "333",
        "kernel.shm_rmid_forced": "1",
    }
    pod = manifests.pod(
        "names",
        manifests.container(script),
        restartPolicy="Never",
        hostname="web",
        subdomain="farm",
        setHostnameAsFQDN=True,
        hostAliases=[{"ip": "192.0.2.7", "hostnames": ["db", "db.example.com"]}],
        dnsConfig={"searches": ["example.com"], "options": [{"name": "ndots", "value": "2"}]},
        securityContext={"sysctls": [{"name": n, "value": v} for n, v in sysctls.items()]},
    )
    seen = facts(lab, pod)["main"]
    for name, value in sysctls.items():
        shown = seen[name if "/" in name else name.replace(".", "/")]
        assert shown == value
    full = "web.farm.secure.svc.cluster.local"
    assert seen["hostname"] == seen["file"] == full
    assert seen["self"] == "1"
    assert seen["alias"] == "192.0.2.7 db db.example.com"
    assert seen["search"].split()[1] == "secure.svc.cluster.local"
    assert "example.com" in seen["search"].split()
    assert seen["options"] == "options ndots:2"
    own = manifests.container('echo "hostname: $(hostname)"')
    pod = manifests.pod("other", own, restartPolicy="Never", hostnameOverride="a.example.com")
    assert facts(lab, pod)["main"]["hostname"] == "a.example.com"


def test_the_hosts_own_namespaces(lab: labs.Lab) -> None:
    script = 'for n in pid ipc net uts; do echo "$n: $(readlink /proc/self/ns/$n)"; done'
    kinds = ("pid", "ipc", "net", "uts")
    pod = manifests.pod(
        "host",
        manifests.container(script),
        restartPolicy="Never",
        hostPID=True,
        hostIPC=True,
        hostNetwork=True,
    )
    host = lab.run("sh", "-c", script).stdout.split()[1::2]
    assert facts(lab, pod)["main"] == dict(zip(kinds, host, strict=True))
    pod = manifests.pod("own", manifests.container(script), restartPolicy="Never")
    own = facts(lab, pod)["main"]
    assert all(own[kind] != here for kind, here in zip(kinds, host, strict=True))


CHILD = "sleep 4711"


def shared_pod(name: str) -> labs.Object:
    """Three containers that see each other; one has a child that outlives its parent."""
    child = f"({CHILD} &); {manifests.IDLE}"
    return manifests.pod(
        name,
        manifests.container(name="first"),
        manifests.container(child, "parent"),
        manifests.container(
            name="helper", securityContext={"capabilities": {"add": ["SYS_PTRACE"]}}
        ),
        shareProcessNamespace=True,
    )


def processes(lab: labs.Lab, name: str, *arguments: str) -> dict[int, str]:
    """Command lines by pid, as a container sees them; a zombie has none."""
    script = 'for p in /proc/[0-9]*; do echo "${p#/proc/} $(tr "\\0" " " <$p/cmdline)"; done'
    told = lab.kubectl("exec", name, "-c", "helper", *arguments, "--", "sh", "-c", script)
    found = {}
    for line in told.splitlines():
        pid, _, command = line.partition(" ")
        found[int(pid)] = command.strip()
    return found


def loops(lab: labs.Lab, name: str, *arguments: str) -> int:
    """How many of the three main processes are seen."""
    commands = processes(lab, name, *arguments).values()
    return sum(command.startswith("sh -c") and "while :;" in command for command in commands)


def restarts(lab: labs.Lab, name: str, *arguments: str) -> dict[str, int]:
    statuses = lab.get("pod", name, *arguments)["status"]["containerStatuses"]
    return {entry["name"]: entry["restartCount"] for entry in statuses}


def test_containers_that_share_their_processes(lab: labs.Lab) -> None:
    lab.apply(shared_pod("shared"), *N)
    lab.wait("pod/shared", "condition=Ready", *N)
    seen = processes(lab, "shared", *N)
    assert seen[1].startswith("/pause")
    assert loops(lab, "shared", *N) >= 3
    assert CHILD in seen.values()

    def helper(*command: str) -> str:
        return lab.kubectl("exec", "shared", "-c", "helper", *N, "--", *command)

    # Nothing of the host is to be seen through the first process.
    assert helper("ls", "/proc/1/root").split() == ["pause"]
    # Nobody inside can end it; another's orphan can be ended, and leaves no zombie.
    (child,) = (pid for pid, command in seen.items() if command == CHILD)
    helper("sh", "-c", f"kill -9 1; kill -9 {child}; kill -0 1")
    labs.until(lambda: child not in processes(lab, "shared", *N), "no zombie is left")

    # The end of one is its own affair.
    (parent,) = (pid for pid, command in seen.items() if f"({CHILD} &)" in command)
    helper("kill", "-9", str(parent))
    labs.until(lambda: restarts(lab, "shared", *N)["parent"] == 1, "parent was restarted")
    lab.wait("pod/shared", "condition=Ready", *N)
    assert restarts(lab, "shared", *N) == {"first": 0, "helper": 0, "parent": 1}
    assert list(processes(lab, "shared", *N).values()).count(CHILD) == 1
    uid = lab.get("pod/shared", *N)["metadata"]["uid"]
    lab.kubectl("delete", "pod", "shared", *N)
    assert not pauses(uid)


def pauses(uid: str) -> list[int]:
    """Host pids of the first processes of a pod."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cmdline").read_bytes() == f"/pause\0{uid}\0".encode():
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_shared_processes_outlive_edgeorch_and_are_made_anew_when_they_end(
    new_lab: Callable[..., labs.Lab], images: dict[str, Path], tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("pods:\n  allowed_unsafe_sysctls: [kernel.msgmax, net.core.*]\n")
    own = new_lab("--config", str(config), load=(images["busybox-latest"],))
    folder = own.device.data / "edgeorch/seccomp"
    folder.mkdir()
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    (folder / "no-mkdir.json").write_text(json.dumps(profile))
    pod = shared_pod("shared")
    pod["spec"]["securityContext"] = {
        "seccompProfile": {"type": "Localhost", "localhostProfile": "no-mkdir.json"},
        "sysctls": [
            {"name": "kernel.msgmax", "value": "9000"},
            {"name": "net.core.somaxconn", "value": "777"},
        ],
    }
    own.apply(pod)
    own.wait("pod/shared", "condition=Ready")
    script = "mkdir /x 2>&1; cat /proc/sys/kernel/msgmax /proc/sys/net/core/somaxconn"
    told = own.kubectl("exec", "shared", "-c", "helper", "--", "sh", "-c", script).splitlines()
    assert told == ["mkdir: can't create directory '/x': Operation not permitted", "9000", "777"]

    uid = own.get("pod/shared")["metadata"]["uid"]
    (before,) = pauses(uid)
    own.lab("kill")
    own.lab("start")
    own.wait("pod/shared", "condition=Ready")
    assert pauses(uid) == [before]
    assert restarts(own, "shared") == {"first": 0, "helper": 0, "parent": 0}

    # Its end takes all with it; the pod gets another and starts again in that.
    os.kill(before, signal.SIGKILL)
    labs.until(lambda: all(n >= 1 for n in restarts(own, "shared").values()), "all restarted")
    own.wait("pod/shared", "condition=Ready")
    (after,) = pauses(uid)
    assert after != before
    assert loops(own, "shared") >= 3
    own.kubectl("delete", "pod", "shared")
    assert not pauses(uid)


# --- service accounts ---------------------------------------------------------------------------


def test_a_pod_talks_to_the_api_as_its_account(lab: labs.Lab) -> None:
    lab.kubectl("create", "serviceaccount", "robot", *N)
    tools = manifests.container(image="tools", imagePullPolicy="IfNotPresent")
    first = manifests.container(f"test -s {ACCOUNT}/token", "first")
    pod = manifests.pod("client", tools, initContainers=[first], serviceAccountName="robot")
    lab.apply(pod, *N)
    lab.wait("pod/client", "condition=Ready", *N)

    def inside(script: str) -> str:
        return lab.kubectl("exec", "client", *N, "--", "sh", "-c", script)

    pods = f"{CALL}/api/v1/namespaces/$(cat {ACCOUNT}/namespace)/pods"
    assert inside(pods) == "403"
    lab.kubectl("create", "role", "reader", "--verb=list", "--resource=pods", *N)
    lab.kubectl(
        "create", "rolebinding", "robots", "--role=reader", "--serviceaccount=secure:robot", *N
    )
    assert inside(pods) == "200"
    assert inside(pods.replace("/pods", "/secrets")) == "403"
    assert inside(f"ls {ACCOUNT}").split() == ["ca.crt", "namespace", "token"]
    assert "closed" in inside(f"touch {ACCOUNT}/x 2>/dev/null || echo closed")
    token = inside(f"cat {ACCOUNT}/token")
    review = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token},
    }

    def reviewed() -> labs.Object:
        answer = lab.api("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review)
        found: labs.Object = answer.json["status"]
        return found

    status = reviewed()
    assert status["authenticated"]
    assert status["user"]["username"] == "system:serviceaccount:secure:robot"
    assert status["user"]["extra"]["authentication.kubernetes.io/pod-name"] == ["client"]
    who = lab.kubectl("--token", token, "auth", "whoami", "-o", "json")
    assert "system:serviceaccount:secure:robot" in who
    lab.kubectl("delete", "pod", "client", *N)
    assert not reviewed().get("authenticated")


def test_accounts_are_looked_up_and_their_wishes_kept(lab: labs.Lab) -> None:
    refused = lab.try_kubectl(
        "create", "-f", "-", *N, stdin=manifests.pod("lost", serviceAccountName="nobody")
    )
    assert refused.returncode == 1
    assert (
        'pods "lost" is forbidden: error looking up service account secure/nobody: '
        'serviceaccount "nobody" not found' in refused.stderr
    )
    account = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": "quiet"},
        "automountServiceAccountToken": False,
        "imagePullSecrets": [{"name": "registry"}],
    }
    lab.apply(account, *N)
    script = f"echo \"token: $(stat -c '%a %u %g' {ACCOUNT}/token 2>/dev/null || echo none)\""
    quiet = manifests.pod(
        "quiet", manifests.container(script), serviceAccountName="quiet", restartPolicy="Never"
    )
    assert facts(lab, quiet)["main"]["token"] == "none"
    assert lab.get("pod/quiet", *N)["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    script = script.replace("stat -c", "stat -Lc")
    loud = manifests.pod(
        "loud",
        manifests.container(script),
        serviceAccountName="quiet",
        automountServiceAccountToken=True,
        restartPolicy="Never",
        securityContext={"runAsUser": 1000, "fsGroup": 2000},
    )
    assert facts(lab, loud)["main"]["token"] == "640 1000 2000"


def test_a_secret_that_asks_for_a_token_gets_one(lab: labs.Lab) -> None:
    lab.kubectl("create", "serviceaccount", "legacy", *N)
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/service-account-token",
        "metadata": {
            "name": "legacy-key",
            "annotations": {"kubernetes.io/service-account.name": "legacy"},
        },
    }
    lab.apply(secret, *N)
    lab.wait("secret/legacy-key", "jsonpath={.data.token}", *N)
    data = lab.get("secret/legacy-key", *N)["data"]
    token = base64.b64decode(data["token"]).decode()
    assert base64.b64decode(data["namespace"]) == b"secure"
    assert b"BEGIN CERTIFICATE" in base64.b64decode(data["ca.crt"])
    who = lab.kubectl("--token", token, "auth", "whoami")
    assert "system:serviceaccount:secure:legacy" in who
    lab.kubectl("delete", "secret", "legacy-key", *N)
    assert lab.try_kubectl("--token", token, "get", "pods", *N).returncode == 1


def test_a_token_for_somebody_else(lab: labs.Lab) -> None:
    """A projected volume with an audience of its own is no key to the API."""
    source = {
        "serviceAccountToken": {"path": "vault", "audience": "vault", "expirationSeconds": 600}
    }
    pod = manifests.pod(
        "guest",
        manifests.container(
            'echo "token: $(cat /t/vault)"', volumeMounts=[{"name": "t", "mountPath": "/t"}]
        ),
        volumes=[{"name": "t", "projected": {"sources": [source]}}],
        automountServiceAccountToken=False,
        restartPolicy="Never",
    )
    token = facts(lab, pod)["main"]["token"]
    assert token.count(".") == 2
    told = lab.try_kubectl("--token", token, "get", "pods", *N)
    assert told.returncode == 1
    assert "must be logged in" in told.stderr or "Unauthorized" in told.stderr

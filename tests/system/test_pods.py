"""Pods of every shape: policies, configuration, volumes, init containers, endings, owners."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from . import lab as labs
from . import manifests

N = ("-n", "pods")


@pytest.fixture(scope="module", autouse=True)
def space(lab: labs.Lab) -> Iterator[None]:
    """One namespace for this file's pods, each test with names of its own."""
    lab.kubectl("create", "namespace", "pods")
    yield
    lab.kubectl("delete", "namespace", "pods", "--timeout=60s", seconds=70)


def finished(lab: labs.Lab, pod: labs.Object, phase: str = "Succeeded") -> labs.Object:
    """The pod when it has come to its end."""
    lab.kubectl("create", "-f", "-", *N, stdin=pod)
    name = pod["metadata"]["name"]
    lab.wait(f"pod/{name}", f"jsonpath={{.status.phase}}={phase}", *N)
    return lab.get("pod", name, *N)


def output(lab: labs.Lab, pod: labs.Object, *arguments: str) -> list[str]:
    """What a pod that succeeds has printed."""
    name = finished(lab, pod)["metadata"]["name"]
    return lab.kubectl("logs", name, *arguments, *N).splitlines()


def terminated(pod: labs.Object, number: int = 0) -> labs.Object:
    found: labs.Object = pod["status"]["containerStatuses"][number]["state"]["terminated"]
    return found


# --- restart policies and endings ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "script", "policy", "phase", "code", "reason"),
    [
        ("ok-never", "exit 0", "Never", "Succeeded", 0, "Completed"),
        ("bad-never", "exit 7", "Never", "Failed", 7, "Error"),
        ("ok-on-failure", "exit 0", "OnFailure", "Succeeded", 0, "Completed"),
        ("shot-never", "exit 137", "Never", "Failed", 137, "Error"),
        ("term-never", "trap - TERM; kill -TERM $$; exit 143", "Never", "Failed", 143, "Error"),
    ],
)
def test_endings(
    lab: labs.Lab, name: str, script: str, policy: str, phase: str, code: int, reason: str
) -> None:
    pod = finished(
        lab, manifests.pod(name, manifests.container(script), restartPolicy=policy), phase
    )
    ended = terminated(pod)
    assert (ended["exitCode"], ended["reason"]) == (code, reason)
    assert ended["finishedAt"] >= ended["startedAt"]
    assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
    shown = lab.kubectl("get", "pod", name, "--no-headers", *N).split()
    assert shown[1:3] == ["0/1", reason]


def test_on_failure_restarts_until_it_succeeds(lab: labs.Lab) -> None:
    script = "[ -e /data/tried ] && exit 0; touch /data/tried; exit 1"
    mount = [{"name": "data", "mountPath": "/data"}]
    volumes = [{"name": "data", "emptyDir": {}}]
    pod = finished(
        lab,
        manifests.pod(
            "tries",
            manifests.container(script, volumeMounts=mount),
            restartPolicy="OnFailure",
            volumes=volumes,
        ),
    )
    status = pod["status"]["containerStatuses"][0]
    assert status["restartCount"] == 1
    assert status["lastState"]["terminated"]["exitCode"] == 1


def test_always_restarts_what_succeeded_too(lab: labs.Lab) -> None:
    lab.apply(manifests.pod("again", manifests.container("exit 0")), *N)
    lab.wait("pod/again", "jsonpath={.status.containerStatuses[0].restartCount}=1", *N)
    last = lab.get("pod/again", *N)["status"]["containerStatuses"][0]["lastState"]
    assert last["terminated"]["exitCode"] == 0
    lab.kubectl("delete", "pod", "again", *N)


@pytest.mark.parametrize(
    ("name", "script", "fields", "message"),
    [
        ("message", "echo why >/dev/termination-log; exit 1", {}, "why\n"),
        ("elsewhere", "echo there >/tmp/end; exit 1", {"terminationMessagePath": "/tmp/end"},
         "there\n"),
        ("from-log", "echo first; echo last words; exit 1",
         {"terminationMessagePolicy": "FallbackToLogsOnError"}, "first\nlast words\n"),
    ],
)  # fmt: skip
def test_termination_messages(
    lab: labs.Lab, name: str, script: str, fields: labs.Object, message: str
) -> None:
    pod = finished(lab, manifests.once(name, script, **fields), "Failed")
    assert terminated(pod)["message"] == message


def test_the_grace_period_is_kept_and_then_ends(lab: labs.Lab) -> None:
    """A process that ignores SIGTERM gets SIGKILL when its time is up."""
    stubborn = manifests.container("trap '' TERM; echo ready; while :; do sleep 1; done")
    lab.apply(manifests.pod("stubborn", stubborn, terminationGracePeriodSeconds=2), *N)
    labs.until(lambda: lab.try_kubectl("logs", "stubborn", *N).stdout == "ready\n", "its trap")
    with lab.background(
        "get", "pod", "stubborn", "-w", "-o",
        "jsonpath={.status.containerStatuses[0].state.terminated.exitCode}{'\\n'}", *N,
    ) as watch:  # fmt: skip
        lab.kubectl("delete", "pod", "stubborn", *N)
        watch.until("^137$")


def test_a_pod_is_told_to_end_and_may_say_goodbye(lab: labs.Lab) -> None:
    polite = manifests.container(
        "trap 'echo goodbye >/data/said; exit 0' TERM; while :; do sleep 3600 & wait $!; done",
        volumeMounts=[{"name": "data", "mountPath": "/data"}],
        lifecycle={"preStop": {"exec": {"command": ["sh", "-c", "echo stopping >/data/hook"]}}},
    )
    where = lab.device.run / "polite"
    where.mkdir()
    volume = {"name": "data", "hostPath": {"path": str(where), "type": "Directory"}}
    lab.apply(
        manifests.pod("polite", polite, volumes=[volume], terminationGracePeriodSeconds=20), *N
    )
    lab.wait("pod/polite", "condition=Ready", *N)
    lab.kubectl("delete", "pod", "polite", *N)
    assert (where / "said").read_text() == "goodbye\n"
    assert (where / "hook").read_text() == "stopping\n"


# --- commands, environment, configuration -------------------------------------------------------


def test_command_args_and_env(lab: labs.Lab) -> None:
    container = {
        "name": "main",
        "image": "busybox",
        "command": ["sh", "-c", 'echo "$0 $1 $GREETING $NAME $(id -u)"; pwd', "zero"],
        "args": ["$(NAME)-arg"],
        "env": [
            {"name": "NAME", "value": "world"},
            {"name": "GREETING", "value": "hello $(NAME) $$(NAME) $(ABSENT)"},
        ],
        "workingDir": "/tmp",
    }
    told = output(lab, manifests.pod("echo", container, restartPolicy="Never"))
    assert told == ["zero world-arg hello world $(NAME) $(ABSENT) world 0", "/tmp"]


def test_the_pod_knows_itself(lab: labs.Lab) -> None:
    def field(name: str, path: str) -> labs.Object:
        return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}

    env = [field("NAME", "metadata.name"), field("NS", "metadata.namespace"),
           field("IP", "status.podIP"), field("NODE", "spec.nodeName"),
           field("HOST", "status.hostIP"), field("LABEL", "metadata.labels['a']"),
           {"name": "LIMIT", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory",
                                                                "divisor": "1Mi"}}}]  # fmt: skip
    container = manifests.container(
        "echo $NAME $NS $IP $NODE $HOST $LABEL $LIMIT; hostname; grep self /etc/hosts",
        env=env,
        resources={"limits": {"memory": "32Mi"}},
    )
    pod = manifests.pod("self", container, labels={"a": "b"}, restartPolicy="Never")
    told = output(lab, pod)
    ip = lab.get("pod/self", *N)["status"]["podIP"]
    assert told[0].split() == ["self", "pods", ip, lab.name, lab.address, "b", "32"]
    assert told[1] == "self"
    assert told[2].split() == [ip, "self"]


def test_config_maps_and_secrets(lab: labs.Lab) -> None:
    lab.kubectl(
        "create", "configmap", "cfg", "--from-literal=color=red", "--from-literal=size=9", *N
    )
    lab.kubectl("create", "secret", "generic", "sec", "--from-literal=password=hunter2", *N)
    env = [
        {"name": "C", "valueFrom": {"configMapKeyRef": {"name": "cfg", "key": "color"}}},
        {"name": "P", "valueFrom": {"secretKeyRef": {"name": "sec", "key": "password"}}},
    ]
    container = manifests.container(
        "echo $C $P $X_size; cat /cfg/color /sec/password; echo; ls /cfg /one; stat -f -c %T /sec",
        env=env,
        envFrom=[{"configMapRef": {"name": "cfg"}, "prefix": "X_"}],
        volumeMounts=[
            {"name": "cfg", "mountPath": "/cfg"},
            {"name": "sec", "mountPath": "/sec", "readOnly": True},
            {"name": "one", "mountPath": "/one"},
        ],
    )
    volumes: list[Any] = [
        {"name": "cfg", "configMap": {"name": "cfg"}},
        {"name": "sec", "secret": {"secretName": "sec"}},
        {"name": "one", "configMap": {"name": "cfg", "items": [{"key": "size", "path": "deep/n"}]}},
    ]
    told = output(
        lab, manifests.pod("configured", container, volumes=volumes, restartPolicy="Never")
    )
    assert told == [
        "red hunter2 9", "redhunter2", "/cfg:", "color", "size", "", "/one:", "deep", "tmpfs",
    ]  # fmt: skip


def test_a_changed_config_map_reaches_the_mounted_file(lab: labs.Lab) -> None:
    lab.kubectl("create", "configmap", "live", "--from-literal=v=old", *N)
    script = "while [ $(cat /live/v) = old ]; do sleep 0.1; done; cat /live/v"
    container = manifests.container(script, volumeMounts=[{"name": "v", "mountPath": "/live"}])
    volume = {"name": "v", "configMap": {"name": "live"}}
    pod = manifests.pod("follows", container, volumes=[volume], restartPolicy="Never")
    lab.apply(pod, *N)
    lab.wait("pod/follows", "condition=Ready", *N)
    lab.kubectl("patch", "configmap", "live", "-p", '{"data":{"v":"new"}}', *N)
    lab.wait("pod/follows", "jsonpath={.status.phase}=Succeeded", *N, seconds=120)
    assert lab.kubectl("logs", "follows", *N) == "new"


def test_empty_dir_and_host_path(lab: labs.Lab) -> None:
    where = lab.device.run / "given"
    where.mkdir()
    (where / "file").write_text("from the host\n")
    mounts = [
        {"name": "scratch", "mountPath": "/scratch"},
        {"name": "memory", "mountPath": "/memory"},
        {"name": "host", "mountPath": "/host"},
        {"name": "host", "mountPath": "/readonly", "readOnly": True},
        {"name": "host", "mountPath": "/single", "subPath": "file"},
    ]
    container = manifests.container(
        "echo x >/scratch/a && cat /scratch/a; stat -f -c %T /memory; cat /host/file /single;"
        "echo back >/host/back; touch /readonly/no 2>/dev/null || echo refused",
        volumeMounts=mounts,
    )
    volumes = [
        {"name": "scratch", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "host", "hostPath": {"path": str(where)}},
    ]
    told = output(lab, manifests.pod("volumes", container, volumes=volumes, restartPolicy="Never"))
    assert told == ["x", "tmpfs", "from the host", "from the host", "refused"]
    assert (where / "back").read_text() == "back\n"


# --- several containers -------------------------------------------------------------------------


def test_containers_of_a_pod_share_network_and_volumes(lab: labs.Lab) -> None:
    mount = [{"name": "shared", "mountPath": "/shared"}]
    server = manifests.container(
        "mkdir /www; echo served >/www/index.html; echo left >/shared/note;"
        "exec httpd -f -p 8080 -h /www",
        "server",
        volumeMounts=mount,
    )
    client = manifests.container(
        "until wget -q -O - http://127.0.0.1:8080/; do sleep 0.1; done; cat /shared/note;"
        + manifests.IDLE,
        "client",
        volumeMounts=mount,
    )
    lab.apply(
        manifests.pod("pair", server, client, volumes=[{"name": "shared", "emptyDir": {}}]), *N
    )
    lab.wait("pod/pair", "condition=Ready", *N)
    labs.until(
        lambda: lab.kubectl("logs", "pair", "-c", "client", *N).endswith("served\nleft\n"),
        "the client's log",
    )
    assert lab.kubectl("get", "pod", "pair", "--no-headers", *N).split()[1] == "2/2"
    # Without a name, logs are those of the first container.
    told = lab.try_kubectl("logs", "pair", *N)
    assert "Defaulted container" in told.stderr
    assert "[pod/pair/client] served" in lab.kubectl(
        "logs", "pair", "--all-containers", "--prefix", *N
    )
    told = lab.try_kubectl("logs", "pair", "-c", "nobody", *N)
    assert told.returncode == 1
    assert "container nobody is not valid for pod pair" in told.stderr


def test_init_containers_run_first_and_in_order(lab: labs.Lab) -> None:
    mount = [{"name": "order", "mountPath": "/order"}]

    def step(name: str) -> labs.Object:
        return manifests.container(
            f"echo {name} >>/order/list; sleep 0.2", name, volumeMounts=mount
        )

    main = manifests.container("cat /order/list", volumeMounts=mount)
    pod = manifests.pod(
        "ordered",
        main,
        initContainers=[step("first"), step("second")],
        volumes=[{"name": "order", "emptyDir": {}}],
        restartPolicy="Never",
    )
    with lab.background("get", "pods", "-w", "--no-headers", *N) as watch:
        assert output(lab, pod) == ["first", "second"]
        watch.until("ordered .*Completed")
    shown = [line.split()[2] for line in watch.lines if line.startswith("ordered")]
    states = list(dict.fromkeys(shown))
    assert [s for s in states if s.startswith("Init:")] == ["Init:0/2", "Init:1/2"]
    statuses = lab.get("pod/ordered", *N)["status"]["initContainerStatuses"]
    assert [s["state"]["terminated"]["reason"] for s in statuses] == ["Completed"] * 2


def test_an_init_container_that_fails_holds_the_pod_back(lab: labs.Lab) -> None:
    failing = manifests.container("exit 1", "setup")
    lab.apply(manifests.pod("held", initContainers=[failing]), *N)
    labs.until(
        lambda: "Init:CrashLoopBackOff" in lab.kubectl("get", "pod", "held", *N), "the state"
    )
    assert lab.get("pod/held", *N)["status"]["phase"] == "Pending"
    pod = finished(
        lab, manifests.pod("gives-up", initContainers=[failing], restartPolicy="Never"), "Failed"
    )
    assert pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "PodInitializing"
    assert "Init:Error" in lab.kubectl("get", "pod", "gives-up", *N)
    lab.kubectl("delete", "pod", "held", *N)


def test_a_sidecar_runs_beside_and_ends_after(lab: labs.Lab) -> None:
    sidecar = manifests.container(name="sidecar", restartPolicy="Always")
    pod = finished(
        lab,
        manifests.pod(
            "with-sidecar",
            manifests.container("exit 0"),
            initContainers=[sidecar],
            restartPolicy="Never",
        ),
    )
    assert "terminated" in pod["status"]["initContainerStatuses"][0]["state"]


# --- kubectl's own ways -------------------------------------------------------------------------


@pytest.mark.parametrize("version", labs.kubectl_ends())
def test_run_create_expose(lab: labs.Lab, version: str, namespace: str) -> None:
    n = ("-n", namespace)

    def kubectl(*arguments: str) -> str:
        return lab.kubectl(*arguments, *n, version=version)

    assert kubectl("run", "one", "--image=nginx:1.25", "--port=80") == "pod/one created\n"
    assert kubectl("create", "deployment", "two", "--image=nginx:1.26", "--replicas=2") == (
        "deployment.apps/two created\n"
    )
    assert kubectl("expose", "pod", "one") == "service/one exposed\n"
    assert kubectl("expose", "deployment", "two", "--port=8080", "--target-port=80",
                   "--type=NodePort") == "service/two exposed\n"  # fmt: skip
    lab.wait("pod/one", "condition=Ready", *n)
    lab.rollout("deploy/two", *n)
    for name, port, shown in (("one", 80, b"1.25"), ("two", 8080, b"1.26")):
        address = lab.get("svc", name, *n)["spec"]["clusterIP"]
        labs.until(lambda a=address, p=port: _serves(lab, a, p), f"{name} answers")  # type: ignore[misc]
        assert lab.fetch(address, port, "/version").strip() == shown
    assert kubectl("delete", "pod/one", "--now").startswith('pod "one" deleted')


def _serves(lab: labs.Lab, address: str, port: int) -> bool:
    try:
        return bool(lab.fetch(address, port))
    except OSError:
        return False


@pytest.mark.parametrize("version", labs.kubectl_ends())
def test_labels_annotations_patches_and_selectors(
    lab: labs.Lab, version: str, namespace: str
) -> None:
    n = ("-n", namespace)

    def kubectl(*arguments: str) -> str:
        return lab.kubectl(*arguments, *n, version=version)

    for name, tier in (("a", "front"), ("b", "back"), ("c", "")):
        made = {"name": name, "labels": {"tier": tier} if tier else {}}
        lab.apply(
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": made, "data": {"k": name}}, *n
        )

    def names(*selection: str) -> list[str]:
        told = kubectl("get", "configmaps", "-o", "name", *selection)
        return [line.partition("/")[2] for line in told.splitlines() if "kube-root" not in line]

    assert names("-l", "tier=front") == ["a"]
    assert names("-l", "tier!=front") == ["b", "c"]
    assert names("-l", "tier in (front,back)") == ["a", "b"]
    assert names("-l", "!tier") == ["c"]
    assert names("--field-selector", "metadata.name=b") == ["b"]
    assert kubectl("label", "configmap", "c", "tier=mid") == "configmap/c labeled\n"
    told = lab.try_kubectl("label", "configmap", "c", "tier=top", *n, version=version)
    assert "already has a value" in told.stderr
    kubectl("label", "configmap", "c", "tier-")
    assert kubectl("annotate", "configmap", "c", "note=x y").startswith("configmap/c annotate")
    for kind, patch in (
        ("strategic", '{"data":{"s":"1","k":null}}'),
        ("merge", '{"data":{"m":"2"}}'),
        ("json", '[{"op":"add","path":"/data/j","value":"3"}]'),
    ):
        assert kubectl("patch", "configmap", "c", "--type", kind, "-p", patch) == (
            "configmap/c patched\n"
        )
    found = json.loads(kubectl("get", "configmap", "c", "-o", "json"))
    assert found["data"] == {"s": "1", "m": "2", "j": "3"}
    assert found["metadata"]["annotations"]["note"] == "x y"
    assert "tier" not in found["metadata"].get("labels", {})
    found["data"] = {"new": "only"}
    lab.kubectl("replace", "-f", "-", *n, stdin=found, version=version)
    assert lab.get("configmap/c", *n)["data"] == {"new": "only"}


def test_pods_are_found_by_their_fields(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    lab.apply(manifests.listed(manifests.pod("runs"), manifests.once("ends", "exit 0")), *n)
    lab.wait("pod/runs", "condition=Ready", *n)
    lab.wait("pod/ends", "jsonpath={.status.phase}=Succeeded", *n)

    def names(selector: str) -> set[str]:
        return {p["metadata"]["name"] for p in lab.items("pods", "--field-selector", selector, *n)}

    assert names("status.phase=Running") == {"runs"}
    assert names("status.phase!=Running") == {"ends"}
    assert names(f"spec.nodeName={lab.name}") == {"runs", "ends"}
    assert names("spec.restartPolicy=Never,metadata.name!=x") == {"ends"}


# --- namespaces and owners ----------------------------------------------------------------------


def test_a_namespace_goes_with_all_that_is_in_it(lab: labs.Lab) -> None:
    n = ("-n", "doomed")
    lab.kubectl("create", "namespace", "doomed")
    lab.wait("serviceaccount/default", "jsonpath={.metadata.name}=default", *n)
    lab.apply(
        manifests.listed(
            manifests.deployment("web", replicas=2),
            manifests.service("web"),
            manifests.pod("lone"),
            {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}},
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}},
        ),
        *n,
    )
    lab.rollout("deploy/web", *n)
    with lab.background("get", "namespaces", "-w", "--no-headers") as watch:
        watch.until("doomed *Active")
        told = lab.kubectl("delete", "namespace", "doomed")
        assert told.startswith('namespace "doomed" deleted')
        watch.until("doomed *Terminating")
    everything = "pods,deploy,rs,svc,cm,secrets,sa,endpoints,endpointslices,events"
    assert lab.items(everything, *n) == []
    told = lab.try_kubectl("create", "configmap", "late", *n).stderr
    assert 'namespaces "doomed" not found' in told


def test_default_namespaces_are_protected(lab: labs.Lab) -> None:
    told = lab.try_kubectl("delete", "namespace", "kube-system")
    assert told.returncode == 1
    assert "Forbidden" in told.stderr


@pytest.mark.parametrize("cascade", ["background", "foreground", "orphan"])
def test_what_a_deployment_owns_goes_or_stays(lab: labs.Lab, namespace: str, cascade: str) -> None:
    n = ("-n", namespace)
    lab.apply(manifests.deployment("web", replicas=2), *n)
    lab.rollout("deploy/web", *n)
    lab.kubectl("delete", "deploy", "web", f"--cascade={cascade}", *n)
    if cascade == "orphan":
        (replica_set,) = lab.items("rs", *n)
        assert "ownerReferences" not in replica_set["metadata"]
        assert len(lab.items("pods", *n)) == 2
        # It is adopted by the next Deployment with its labels, and no pod is started anew.
        before = {p["metadata"]["uid"] for p in lab.items("pods", *n)}
        lab.apply(manifests.deployment("web", replicas=2), *n)
        lab.rollout("deploy/web", *n)
        assert {p["metadata"]["uid"] for p in lab.items("pods", *n)} == before
    elif cascade == "foreground":
        # kubectl waits for the Deployment, which waits for what it owns.
        assert lab.items("rs,pods", *n) == []
    else:
        labs.until(lambda: not lab.items("rs,pods", *n), "all is gone")


def test_a_finalizer_holds_an_object(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    made = {"name": "held", "finalizers": ["example.com/hold"]}
    lab.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": made}, *n)
    lab.kubectl("delete", "configmap", "held", "--wait=false", *n)
    assert "deletionTimestamp" in lab.get("configmap/held", *n)["metadata"]
    lab.kubectl("patch", "configmap", "held", "--type=merge", "-p",
                '{"metadata":{"finalizers":null}}', *n)  # fmt: skip
    assert "NotFound" in lab.try_kubectl("get", "configmap", "held", *n).stderr


# --- logs ---------------------------------------------------------------------------------------


def test_logs_in_every_way(lab: labs.Lab) -> None:
    script = "for n in 1 2 3 4 5; do echo line $n; done; printf unfinished"
    finished(lab, manifests.once("speaks", script))

    def logs(*arguments: str) -> str:
        return lab.kubectl("logs", "speaks", *arguments, *N)

    everything = logs()
    assert everything == "".join(f"line {n}\n" for n in range(1, 6)) + "unfinished"
    assert logs("--tail=2") == "line 5\nunfinished"
    assert logs("--tail=0") == ""
    assert logs("--limit-bytes=4") == "line"
    assert logs("--since=1h") == everything
    assert logs("--since-time=2100-01-01T00:00:00Z") == ""
    assert logs("-f") == everything
    stamped = logs("--timestamps").splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT[\d:.]+(Z|[+-]\d\d:\d\d) ", line) for line in stamped)


def test_logs_hold_both_streams(lab: labs.Lab) -> None:
    finished(lab, manifests.once("both", "echo out; echo err >&2"))
    assert sorted(lab.kubectl("logs", "both", *N).splitlines()) == ["err", "out"]
    (path,) = (lab.device.data / "pods").glob("pods_both_*/main/0.log")
    streams = {line.split()[3]: line.split()[1] for line in path.read_text().splitlines()}
    assert streams == {"out": "stdout", "err": "stderr"}


def test_long_lines_and_binary_output(lab: labs.Lab, tmp_path: Path) -> None:
    script = "head -c 100000 /dev/zero | tr '\\0' x; echo; printf 'a\\377\\000b\\n'"
    finished(lab, manifests.once("odd", script))
    answer = lab.api("GET", "/api/v1/namespaces/pods/pods/odd/log")
    assert answer.body == b"x" * 100_000 + b"\na\xff\x00b\n"


def test_logs_of_what_has_not_begun(lab: labs.Lab) -> None:
    lab.apply(manifests.pod("stuck", {"name": "main", "image": "nginx:no-such"}), *N)
    labs.until(lambda: "waiting to start" in lab.try_kubectl("logs", "stuck", *N).stderr, "a word")
    lab.kubectl("delete", "pod", "stuck", *N)

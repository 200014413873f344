"""The primer's app.yaml from an unmodified kubectl, old and new, reads as on Kubernetes."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator

import pytest
import yaml

from . import lab as labs
from . import manifests

NAMESPACE = "primer"
POD = r"my-app-[a-z0-9]{8,10}-[a-z0-9]{5}"
ADDRESS = r"10\.4[23]\.\d+\.\d+"
AGE = r"(\d+[smh])+"

pytestmark = pytest.mark.usefixtures("app")


@pytest.fixture(scope="module")
def app(lab: labs.Lab) -> Iterator[None]:
    lab.kubectl("create", "namespace", NAMESPACE)
    told = lab.apply(manifests.PRIMER, "-n", NAMESPACE)
    assert told.splitlines() == [
        "deployment.apps/my-app created",
        "service/my-app-service created",
    ]
    assert 'deployment "my-app" successfully rolled out' in lab.rollout("deploy/my-app", *N)
    yield
    told = lab.kubectl("delete", "-f", "-", *N, stdin=manifests.PRIMER)
    assert re.findall(r'^(\S+) "(\S+)" deleted', told, re.MULTILINE) == [
        ("deployment.apps", "my-app"),
        ("service", "my-app-service"),
    ]
    labs.until(lambda: not lab.items("pods", *N), "pods go with their Deployment")
    lab.kubectl("delete", "namespace", NAMESPACE)


N = ("-n", NAMESPACE)
versions = pytest.mark.parametrize("version", labs.kubectl_generations())


def table(text: str) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of kubectl's output; columns stand at least two spaces apart, or three."""
    header, *rows = text.splitlines()
    return re.split(r"\s{2,}", header), [re.split(r"\s{2,}", row) for row in rows]


def map_match(rows: list[list[str]], patterns: list[str]) -> None:
    for row in rows:
        shown = f"{row} against {patterns}"
        assert len(row) == len(patterns), shown
        assert all(re.fullmatch(want, cell) for want, cell in zip(patterns, row, strict=True)), (
            shown
        )


WIDE = {
    "pods": (
        ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE", "NOMINATED NODE",
         "READINESS GATES"],
        [POD, "1/1", "Running", "0", AGE, ADDRESS, r"[-\w]+", "<none>", "<none>"],
        3,
    ),
    "deploy": (
        ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE", "CONTAINERS", "IMAGES", "SELECTOR"],
        ["my-app", "3/3", "3", "3", AGE, "web", "nginx:1.25", "app=my-app"],
        1,
    ),
    "rs": (
        ["NAME", "DESIRED", "CURRENT", "READY", "AGE", "CONTAINERS", "IMAGES", "SELECTOR"],
        [r"my-app-[a-z0-9]+", "3", "3", "3", AGE, "web", "nginx:1.25",
         r"app=my-app,pod-template-hash=[a-z0-9]+"],
        1,
    ),
    "svc": (
        ["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE", "SELECTOR"],
        ["my-app-service", "NodePort", ADDRESS, "<none>", r"80:3[0-2]\d{3}/TCP", AGE,
         "app=my-app"],
        1,
    ),
    "nodes": (
        ["NAME", "STATUS", "ROLES", "AGE", "VERSION", "INTERNAL-IP", "EXTERNAL-IP", "OS-IMAGE",
         "KERNEL-VERSION", "CONTAINER-RUNTIME"],
        [r"[-\w]+", "Ready", "control-plane", AGE, r"v1\.\d+\.\d+\S*", r"[\d.]+", "<none>",
         r".+", r".+", r"containerd://.+"],
        1,
    ),
    "endpoints": (
        ["NAME", "ENDPOINTS", "AGE"],
        ["my-app-service", rf"{ADDRESS}:80,{ADDRESS}:80,{ADDRESS}:80", AGE],
        1,
    ),
    "endpointslices": (
        ["NAME", "ADDRESSTYPE", "PORTS", "ENDPOINTS", "AGE"],
        [r"my-app-service-[a-z0-9]{5}", "IPv4", "80", rf"{ADDRESS},{ADDRESS},{ADDRESS}", AGE],
        1,
    ),
    "configmaps": (["NAME", "DATA", "AGE"], ["kube-root-ca.crt", "1", AGE], 1),
    "namespaces": (["NAME", "STATUS", "AGE"], [r"[-\w]+", "Active", AGE], None),
    "serviceaccounts": (["NAME", "SECRETS", "AGE"], ["default", "0", AGE], 1),
}  # fmt: skip


@versions
@pytest.mark.parametrize("resource", list(WIDE))
def test_get_wide(lab: labs.Lab, version: str, resource: str) -> None:
    told = lab.try_kubectl("get", resource, "-o", "wide", *N, version=version)
    assert told.returncode == 0, told.stderr
    # A line of kubectl's own about a deprecated kind is as on Kubernetes; nothing else is said.
    assert all("deprecated" in line for line in told.stderr.splitlines())
    columns, patterns, count = WIDE[resource]
    header, rows = table(told.stdout)
    assert header == columns
    assert count is None or len(rows) == count
    map_match(rows, patterns)


@versions
def test_get_events(lab: labs.Lab, version: str) -> None:
    header, rows = table(lab.kubectl("get", "events", *N, version=version))
    assert header == ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    seen = {(row[2], row[3].partition("/")[0]) for row in rows}
    assert seen >= {
        ("ScalingReplicaSet", "deployment"),
        ("SuccessfulCreate", "replicaset"),
        ("Scheduled", "pod"),
        ("Pulled", "pod"),
        ("Created", "pod"),
        ("Started", "pod"),
    }
    (scaling,) = [row[4] for row in rows if row[2] == "ScalingReplicaSet"]
    assert re.fullmatch(r"Scaled up replica set my-app-[a-z0-9]+ from 0 to 3", scaling)


@versions
def test_get_all(lab: labs.Lab, version: str) -> None:
    names = lab.kubectl("get", "all", "-o", "name", *N, version=version).splitlines()
    kinds = [name.partition("/")[0] for name in names]
    assert kinds == ["pod"] * 3 + ["service", "deployment.apps", "replicaset.apps"]
    shown = lab.kubectl("get", "all", *N, version=version)
    headers = [line.split()[0] for line in shown.split("\n") if line.startswith("NAME")]
    assert len(headers) == 4
    assert re.search(r"^deployment\.apps/my-app\s+3/3\s+3\s+3\s", shown, re.MULTILINE)


@versions
@pytest.mark.parametrize("form", ["json", "yaml"])
def test_get_json_and_yaml(lab: labs.Lab, version: str, form: str) -> None:
    wanted = "pods,deploy,rs,svc,nodes,events,endpointslices"
    text = lab.kubectl("get", wanted, "-o", form, *N, version=version)
    found = json.loads(text) if form == "json" else yaml.safe_load(text)
    assert (found["kind"], found["apiVersion"]) == ("List", "v1")
    by_kind = {
        kind: list(items) for kind, items in itertools.groupby(found["items"], lambda i: i["kind"])
    }
    assert set(by_kind) == {
        "Pod", "Deployment", "ReplicaSet", "Service", "Node", "Event", "EndpointSlice",
    }  # fmt: skip
    (deployment,) = by_kind["Deployment"]
    assert deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"] == "1"
    status = deployment["status"]
    keys = ("observedGeneration", "replicas", "updatedReplicas", "readyReplicas")
    assert [status[key] for key in (*keys, "availableReplicas")] == [1, 3, 3, 3, 3]
    conditions = {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}
    assert conditions == {
        "Available": ("True", "MinimumReplicasAvailable"),
        "Progressing": ("True", "NewReplicaSetAvailable"),
    }
    (service,) = by_kind["Service"]
    expected = {"type": "NodePort", "sessionAffinity": "None", "ipFamilies": ["IPv4"],
                "externalTrafficPolicy": "Cluster", "internalTrafficPolicy": "Cluster",
                "ipFamilyPolicy": "SingleStack"}  # fmt: skip
    assert {key: service["spec"][key] for key in expected} == expected
    assert service["spec"]["clusterIPs"] == [service["spec"]["clusterIP"]]


def test_a_pod_has_what_kubernetes_fills_in(lab: labs.Lab) -> None:
    pod = lab.items("pods", *N)[0]
    spec, status = pod["spec"], pod["status"]
    defaults = {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "priority": 0,
                "schedulerName": "default-scheduler", "terminationGracePeriodSeconds": 30,
                "serviceAccountName": "default", "enableServiceLinks": True}  # fmt: skip
    assert {key: spec[key] for key in defaults} == defaults
    owner = pod["metadata"]["ownerReferences"][0]
    assert (owner["kind"], owner["controller"], owner["blockOwnerDeletion"]) == (
        "ReplicaSet", True, True,
    )  # fmt: skip
    assert (status["phase"], status["qosClass"]) == ("Running", "Burstable")
    assert status["podIPs"] == [{"ip": status["podIP"]}]
    assert status["hostIP"] == lab.address
    types = {c["type"] for c in status["conditions"] if c["status"] == "True"}
    assert types >= {"PodScheduled", "Initialized", "ContainersReady", "Ready"}
    (container,) = status["containerStatuses"]
    assert container["containerID"].startswith("containerd://")
    assert re.fullmatch(r"docker\.io/library/nginx@sha256:[0-9a-f]{64}", container["imageID"])
    assert container["ready"]
    assert container["started"]
    assert container["restartCount"] == 0
    assert set(container["state"]) == {"running"}


@versions
@pytest.mark.parametrize(
    ("what", "lines"),
    [
        ("deploy/my-app", [
            r"Replicas: +3 desired \| 3 updated \| 3 total \| 3 available \| 0 unavailable",
            r"StrategyType: +RollingUpdate",
            r"RollingUpdateStrategy: +25% max unavailable, 25% max surge",
            r"  Available +True +MinimumReplicasAvailable",
            r"NewReplicaSet: +my-app-\w+ \(3/3 replicas created\)",
            r"  Normal +ScalingReplicaSet .* deployment-controller +Scaled up .* to 3",
        ]),
        ("rs", [
            r"Controlled By: +Deployment/my-app",
            r"Replicas: +3 current / 3 desired",
            r"Pods Status: +3 Running / 0 Waiting / 0 Succeeded / 0 Failed",
            r"  Normal +SuccessfulCreate .* replicaset-controller +Created pod: my-app-\S+",
        ]),
        ("pod", [
            r"Status: +Running",
            r"Controlled By: +ReplicaSet/my-app-\w+",
            r"    Container ID: +containerd://\S+",
            r"    State: +Running",
            r"    Liveness: +http-get http://:80/ delay=5s timeout=1s period=10s .*",
            r"QoS Class: +Burstable",
            r"  Ready +True *",
            r"  Normal +Scheduled .* default-scheduler +Successfully assigned primer/my.* to .*",
            r"  Normal +Started .* kubelet +(spec.containers\{web\}: )?Started container web",
        ]),
        ("svc/my-app-service", [
            r"Type: +NodePort",
            r"NodePort: +<unset>  3\d{4}/TCP",
            rf"Endpoints: +{ADDRESS}:80,{ADDRESS}:80,{ADDRESS}:80",
            r"Session Affinity: +None",
        ]),
        ("node", [
            r"  Ready +True .* KubeletReady .*",
            r"  InternalIP: +198\..*",
            r"  pods: +110",
            r"  Container Runtime Version: +containerd://.*",
            r"Non-terminated Pods: +\(\d+ in total\)",
            r"  primer +my-app-\S+ +50m \(\d+%\) +200m \(\d+%\) +64Mi .*",
        ]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_describe(lab: labs.Lab, version: str, what: str, lines: list[str]) -> None:
    told = lab.kubectl("describe", what, "--show-events=true", *N, version=version)
    missing = [line for line in lines if not re.search(rf"^{line}$", told, re.MULTILINE)]
    assert not missing, told


@versions
def test_logs(lab: labs.Lab, version: str) -> None:
    lab.fetch(_cluster_ip(lab), 80, "/found-in-the-log")
    labs.until(
        lambda: "GET /found-in-the-log" in lab.kubectl(
            "logs", "deploy/my-app", "--all-pods=true", *N
        ),
        "the request in a log",
    )  # fmt: skip
    pod = lab.items("pods", *N)[0]["metadata"]["name"]
    assert "kube-probe/" in lab.kubectl("logs", pod, *N, version=version)
    last = lab.kubectl("logs", pod, "--tail=1", "--timestamps", *N, version=version)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z .*\n", last)
    prefixed = lab.kubectl("logs", "-l", "app=my-app", "--prefix", *N, version=version)
    assert len(set(re.findall(rf"^\[pod/({POD})/web\]", prefixed, re.MULTILINE))) == 3


def _cluster_ip(lab: labs.Lab) -> str:
    return str(lab.get("svc/my-app-service", *N)["spec"]["clusterIP"])


@versions
def test_logs_follow(lab: labs.Lab, version: str) -> None:
    pod = lab.items("pods", *N)[0]
    name, address = pod["metadata"]["name"], pod["status"]["podIP"]
    with lab.background("logs", "-f", "--tail=0", name, *N, version=version) as follower:
        # It shows what comes after it has begun: ask until it shows one.
        def shown() -> bool:
            lab.fetch(address, 80, "/followed")
            return any("GET /followed" in line for line in list(follower.lines))

        labs.until(shown, "a followed line")
        assert not follower.ended


@versions
def test_watch(lab: labs.Lab, version: str) -> None:
    name = f"watched-{version.replace('.', '-')}"
    once = manifests.once(name, "exit 0")
    with lab.background("get", "pods", "-w", *N, version=version) as watch:
        header = watch.until("NAME")
        assert header.split() == ["NAME", "READY", "STATUS", "RESTARTS", "AGE"]
        lab.kubectl("create", "-f", "-", *N, stdin=once)
        watch.until(f"{name} .*Completed")
        lab.kubectl("delete", "pod", name, *N)
        shown = [line.split()[2] for line in watch.lines if line.startswith(name)]
    assert shown[0] == "Pending"
    assert "ContainerCreating" in shown
    assert "Completed" in shown


@versions
def test_apply_again_changes_nothing(lab: labs.Lab, version: str) -> None:
    before = {o["metadata"]["uid"]: o["metadata"]["generation"] for o in lab.items("deploy", *N)}
    told = lab.kubectl("apply", "-f", "-", *N, stdin=manifests.PRIMER, version=version)
    assert told.splitlines() == [
        "deployment.apps/my-app unchanged",
        "service/my-app-service unchanged",
    ]
    after = {o["metadata"]["uid"]: o["metadata"]["generation"] for o in lab.items("deploy", *N)}
    assert after == before


@pytest.mark.parametrize("version", labs.kubectl_ends())
def test_apply_and_delete_with_old_and_new_kubectl(
    lab: labs.Lab, version: str, namespace: str
) -> None:
    # A server that is told to end before it listens to signals takes all of its grace period.
    text = manifests.PRIMER.replace("replicas: 3", "replicas: 1").replace(
        "    spec:\n      containers",
        "    spec:\n      terminationGracePeriodSeconds: 2\n      containers",
    )
    told = lab.kubectl("apply", "-f", "-", "-n", namespace, stdin=text, version=version)
    assert told.count("created") == 2
    lab.kubectl(
        "rollout", "status", "deploy/my-app", "--timeout=60s", "-n", namespace, version=version,
        seconds=70,
    )  # fmt: skip
    changed = text.replace("replicas: 1", "replicas: 2")
    told = lab.kubectl("apply", "-f", "-", "-n", namespace, stdin=changed, version=version)
    assert told.splitlines() == [
        "deployment.apps/my-app configured",
        "service/my-app-service unchanged",
    ]
    told = lab.kubectl("delete", "-f", "-", "-n", namespace, stdin=text, version=version)
    assert told.count("deleted") == 2
    labs.until(lambda: not lab.items("pods,rs,endpointslices", "-n", namespace), "all is gone")


@versions
def test_node_ports_answer_on_the_node_and_from_the_network(lab: labs.Lab, version: str) -> None:
    port = int(lab.kubectl(
        "get", "svc", "my-app-service", "-o", "jsonpath={.spec.ports[0].nodePort}", *N,
        version=version,
    ))  # fmt: skip
    for address in ("127.0.0.1", lab.address):
        assert b"Welcome to nginx!" in lab.fetch(address, port)
    assert b"Welcome to nginx!" in lab.fetch(lab.address, port, lan=True)


@versions
def test_cluster_info_and_versions(lab: labs.Lab, version: str) -> None:
    told = lab.kubectl("cluster-info", version=version)
    assert "Kubernetes control plane" in told
    assert "is running at" in told
    shown = json.loads(lab.kubectl("version", "-o", "json", version=version))
    assert shown["serverVersion"]["major"] == "1"

"""Tables show what Kubernetes' own printers show."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from edgeorch.model import kinds, tables
from edgeorch.model.kinds import Object

from . import made

NOW = datetime(2026, 1, 1, 0, 5, tzinfo=UTC)


def _names(kind: kinds.Kind, wide: bool) -> list[str]:
    return [c["name"].upper() for c in tables.columns(kind) if wide or c["priority"] == 0]


@pytest.mark.parametrize(
    ("kind", "names"),
    [
        pytest.param(
            kinds.POD,
            "NAME READY STATUS RESTARTS AGE|IP|NODE|NOMINATED NODE|READINESS GATES",
            id="pods",
        ),
        pytest.param(
            kinds.DEPLOYMENT,
            "NAME READY UP-TO-DATE AVAILABLE AGE|CONTAINERS|IMAGES|SELECTOR",
            id="deployments",
        ),
        pytest.param(
            kinds.REPLICA_SET,
            "NAME DESIRED CURRENT READY AGE|CONTAINERS|IMAGES|SELECTOR",
            id="replicasets",
        ),
        pytest.param(
            kinds.SERVICE, "NAME TYPE CLUSTER-IP EXTERNAL-IP PORT(S) AGE|SELECTOR", id="services"
        ),
        pytest.param(
            kinds.NODE,
            "NAME STATUS ROLES AGE VERSION|INTERNAL-IP|EXTERNAL-IP|OS-IMAGE|KERNEL-VERSION"
            "|CONTAINER-RUNTIME",
            id="nodes",
        ),
        pytest.param(kinds.NAMESPACE, "NAME STATUS AGE", id="namespaces"),
        pytest.param(kinds.CONFIG_MAP, "NAME DATA AGE", id="configmaps"),
        pytest.param(kinds.SECRET, "NAME TYPE DATA AGE", id="secrets"),
        pytest.param(kinds.SERVICE_ACCOUNT, "NAME SECRETS AGE", id="serviceaccounts"),
        pytest.param(kinds.ENDPOINTS, "NAME ENDPOINTS AGE", id="endpoints"),
        pytest.param(
            kinds.ENDPOINT_SLICE, "NAME ADDRESSTYPE PORTS ENDPOINTS AGE", id="endpointslices"
        ),
    ],
)
def test_columns(kind: kinds.Kind, names: str) -> None:
    narrow, *wide = names.split("|")
    assert _names(kind, wide=False) == narrow.split(" ")
    assert _names(kind, wide=True) == [*narrow.split(" "), *wide]


def test_event_columns() -> None:
    assert _names(kinds.EVENT, wide=False) == ["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"]
    assert _names(kinds.EVENT, wide=True) == [
        "LAST SEEN", "TYPE", "REASON", "OBJECT", "SUBOBJECT", "SOURCE", "MESSAGE", "FIRST SEEN",
        "COUNT", "NAME",
    ]  # fmt: skip


@pytest.mark.parametrize("kind", kinds.BUILT_IN, ids=lambda kind: kind.plural)
def test_a_cell_for_each_column_even_of_an_empty_object(kind: kinds.Kind) -> None:
    assert len(tables.row(kind, {}, NOW)) == len(tables.columns(kind))


def _ready(name: str = "c", **more: Any) -> Object:
    return {"name": name, "ready": True, "state": {"running": {}}, **more}


def _waiting(reason: str, **more: Any) -> Object:
    return {"name": "c", "state": {"waiting": {"reason": reason}}, **more}


def _ended(code: int, reason: str = "", **more: Any) -> Object:
    state = {"exitCode": code, **({"reason": reason} if reason else {}), **more}
    return {"name": "c", "state": {"terminated": state}}


def _restarted(count: int, finished: str) -> Object:
    last = {"terminated": {"exitCode": 1, "finishedAt": finished}}
    return _ready(restartCount=count, lastState=last)


_INITIALIZED = [{"type": "Initialized", "status": "True"}]
_PODS: list[Any] = [
    pytest.param({"phase": "Pending"}, "0/1", "Pending", "0", id="pending"),
    pytest.param(
        {"phase": "Running", "containerStatuses": [_ready()]}, "1/1", "Running", "0", id="running"
    ),
    pytest.param(
        {"phase": "Pending", "containerStatuses": [_waiting("ImagePullBackOff")]},
        "0/1",
        "ImagePullBackOff",
        "0",
        id="no image",
    ),
    pytest.param(
        {
            "phase": "Running",
            "containerStatuses": [_waiting("CrashLoopBackOff", restartCount=4)],
        },
        "0/1",
        "CrashLoopBackOff",
        "4",
        id="crash loop",
    ),
    pytest.param(
        {"phase": "Running", "containerStatuses": [_restarted(3, "2026-01-01T00:04:50Z")]},
        "1/1",
        "Running",
        "3 (10s ago)",
        id="restarted",
    ),
    pytest.param(
        {"phase": "Succeeded", "containerStatuses": [_ended(0, "Completed")]},
        "0/1",
        "Completed",
        "0",
        id="completed",
    ),
    pytest.param(
        {"phase": "Failed", "containerStatuses": [_ended(3)]}, "0/1", "ExitCode:3", "0", id="exit"
    ),
    pytest.param(
        {"phase": "Failed", "containerStatuses": [_ended(137, signal=9)]},
        "0/1",
        "Signal:9",
        "0",
        id="signal",
    ),
    pytest.param(
        {"phase": "Failed", "reason": "Evicted"}, "0/1", "Evicted", "0", id="reason of the pod"
    ),
    pytest.param(
        {"phase": "Running", "containerStatuses": [_ended(0, "Completed"), _ready("d")]},
        "1/1",
        "NotReady",
        "0",
        id="one done, one running",
    ),
]


@pytest.mark.parametrize(("status", "ready", "word", "restarts"), _PODS)
def test_pod(status: Object, ready: str, word: str, restarts: str) -> None:
    obj = {**made.pod(), "status": status}
    assert tables.row(kinds.POD, obj, NOW)[:5] == ["p", ready, word, restarts, "5m"]


_INIT = [{"name": "a"}, {"name": "b", "restartPolicy": "Always"}]


@pytest.mark.parametrize(
    ("init", "more", "ready", "word"),
    [
        pytest.param([{"name": "a", "state": {"running": {}}}], {}, "0/2", "Init:0/2", id="first"),
        pytest.param(
            [{"name": "a", "state": {"terminated": {"exitCode": 0}}}, {"name": "b", "state": {}}],
            {},
            "0/2",
            "Init:1/2",
            id="second",
        ),
        pytest.param(
            [{"name": "a", "state": {"terminated": {"exitCode": 1, "reason": "Error"}}}],
            {},
            "0/2",
            "Init:Error",
            id="failed",
        ),
        pytest.param(
            [{"name": "a", "state": {"waiting": {"reason": "ErrImagePull"}}}],
            {},
            "0/2",
            "Init:ErrImagePull",
            id="no image",
        ),
        pytest.param(
            [{"name": "b", "started": True, "ready": True, "state": {"running": {}}}],
            {"phase": "Running", "containerStatuses": [_ready()], "conditions": _INITIALIZED},
            "2/2",
            "Running",
            id="sidecar counts",
        ),
    ],
)
def test_pod_with_init_containers(init: Any, more: Object, ready: str, word: str) -> None:
    status = {"phase": "Pending", "initContainerStatuses": init, **more}
    obj = {**made.edited(made.pod(), "spec.initContainers", _INIT), "status": status}
    assert tables.row(kinds.POD, obj, NOW)[1:3] == [ready, word]


def test_pod_on_its_way_out() -> None:
    obj = made.edited(made.pod(), "metadata.deletionTimestamp", made.NOW)
    obj["status"] = {"phase": "Running", "containerStatuses": [_ready()]}
    assert tables.row(kinds.POD, obj, NOW)[2] == "Terminating"
    obj["status"] = {"phase": "Succeeded", "containerStatuses": [_ended(0, "Completed")]}
    assert tables.row(kinds.POD, obj, NOW)[2] == "Completed"


def test_wide_pod() -> None:
    obj = made.pod(nodeName="here", readinessGates=[{"conditionType": "a.b/c"}])
    obj["status"] = {
        "podIPs": [{"ip": "10.0.0.2"}],
        "conditions": [{"type": "a.b/c", "status": "True"}],
    }
    assert tables.row(kinds.POD, obj, NOW)[5:] == ["10.0.0.2", "here", "<none>", "1/1"]


def test_finished_pod_is_told_to_clients() -> None:
    finished = tables.conditions(kinds.POD, {"status": {"phase": "Succeeded"}})
    assert [condition["type"] for condition in finished] == ["Completed"]
    assert tables.conditions(kinds.POD, made.pod()) == []


def test_workloads() -> None:
    obj = made.edited(made.deployment(replicas=3), "status", {"readyReplicas": 2, "replicas": 3})
    tail = ["5m", "c", "nginx:1.25", "app=web"]
    assert tables.row(kinds.DEPLOYMENT, obj, NOW) == ["web", "2/3", 0, 0, *tail]
    assert tables.row(kinds.REPLICA_SET, obj, NOW) == ["web", 3, 3, 2, *tail]


@pytest.mark.parametrize(
    ("spec", "status", "expected"),
    [
        pytest.param(
            {"clusterIP": "10.0.0.1"}, {}, ["ClusterIP", "10.0.0.1", "<none>", "80/TCP"], id="plain"
        ),
        pytest.param(
            {"type": "NodePort", "ports": [{"port": 80, "nodePort": 31234}]},
            {},
            ["NodePort", "<none>", "<none>", "80:31234/TCP"],
            id="node port",
        ),
        pytest.param(
            {"type": "LoadBalancer"}, {}, ["LoadBalancer", "<none>", "<pending>", "80/TCP"], id="lb"
        ),
        pytest.param(
            {"type": "LoadBalancer", "externalIPs": ["9.9.9.9"]},
            {"loadBalancer": {"ingress": [{"hostname": "b"}, {"ip": "1.1.1.1"}]}},
            ["LoadBalancer", "<none>", "1.1.1.1,b,9.9.9.9", "80/TCP"],
            id="lb with addresses",
        ),
        pytest.param(
            {"type": "ExternalName", "externalName": "a.b", "ports": []},
            {},
            ["ExternalName", "<none>", "a.b", "<none>"],
            id="external name",
        ),
    ],
)
def test_service(spec: Any, status: Object, expected: list[str]) -> None:
    obj = {**made.service(**spec), "status": status}
    assert tables.row(kinds.SERVICE, obj, NOW)[1:5] == expected


def test_endpoints() -> None:
    addresses = [{"ip": f"10.0.0.{n}"} for n in range(3)]
    subsets = [{"addresses": addresses, "ports": [{"port": 80}, {"port": 443}]}]
    assert tables.row(kinds.ENDPOINTS, {"subsets": subsets}, NOW)[1] == (
        "10.0.0.0:80,10.0.0.1:80,10.0.0.2:80 + 3 more..."
    )
    assert tables.row(kinds.ENDPOINTS, {}, NOW)[1] == "<none>"


def test_endpoint_slice() -> None:
    obj = {
        "addressType": "IPv4",
        "endpoints": [{"addresses": [f"10.0.0.{n}"]} for n in range(4)],
        "ports": [{"port": 80}, {"name": "x"}],
    }
    assert tables.row(kinds.ENDPOINT_SLICE, obj, NOW)[1:4] == [
        "IPv4",
        "80,x",
        "10.0.0.0,10.0.0.1,10.0.0.2 + 1 more...",
    ]
    assert tables.row(kinds.ENDPOINT_SLICE, {}, NOW)[2:4] == ["<unset>", "<unset>"]


def test_node() -> None:
    obj = {
        "metadata": {"name": "n", "labels": {"node-role.kubernetes.io/edge": ""}},
        "spec": {"unschedulable": True},
        "status": {
            "conditions": [{"type": "Ready", "status": "False"}],
            "addresses": [{"type": "InternalIP", "address": "10.1.1.1"}],
            "nodeInfo": {"kubeletVersion": "v1", "osImage": "Debian"},
        },
    }
    assert tables.row(kinds.NODE, obj, NOW) == [
        "n", "NotReady,SchedulingDisabled", "edge", "<unknown>", "v1", "10.1.1.1", "<none>",
        "Debian", "<unknown>", "<unknown>",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("more", "last", "first", "count"),
    [
        pytest.param({"eventTime": "2026-01-01T00:04:00.123456Z"}, "59s", "59s", 1, id="new style"),
        pytest.param(
            {
                "firstTimestamp": made.NOW,
                "lastTimestamp": "2026-01-01T00:04:58Z",
                "count": 4,
            },
            "2s",
            "5m",
            4,
            id="old style",
        ),
        pytest.param(
            {
                "eventTime": made.NOW,
                "series": {"count": 7, "lastObservedTime": "2026-01-01T00:04:59.000000Z"},
            },
            "1s",
            "5m",
            7,
            id="series",
        ),
    ],
)
def test_event(more: Object, last: str, first: str, count: int) -> None:
    obj = {
        "metadata": {"name": "e"},
        "type": "Normal",
        "reason": "Pulled",
        "message": "done\n",
        "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{c}"},
        "reportingComponent": "agent",
        "reportingInstance": "n",
        **more,
    }
    assert tables.row(kinds.EVENT, obj, NOW) == [
        last, "Normal", "Pulled", "pod/p", "spec.containers{c}", "agent, n", "done", first, count,
        "e",
    ]  # fmt: skip


def test_kind_without_a_printer() -> None:
    kind = kinds.Kind("example.com", "v1", "Thing", "things", "thing", True)
    obj = {"metadata": {"name": "t", "creationTimestamp": made.NOW}}
    assert _names(kind, wide=True) == ["NAME", "CREATED AT"]
    assert tables.row(kind, obj, NOW) == ["t", made.NOW]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (-2, "<invalid>"), (-1.5, "0s"), (0, "0s"), (119, "119s"), (120, "2m"), (599, "9m59s"),
        (600, "10m"), (10_799, "179m"), (10_800, "3h"), (11_100, "3h5m"), (28_800, "8h"),
        (172_799, "47h"), (172_800, "2d"), (176_400, "2d1h"), (691_200, "8d"),
        (63_071_999, "729d"), (63_072_000, "2y"), (63_158_400, "2y1d"), (252_288_000, "8y"),
    ],
)  # fmt: skip
def test_human_duration(seconds: float, expected: str) -> None:
    assert tables.human_duration(timedelta(seconds=seconds)) == expected

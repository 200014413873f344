"""Every error in a Pod is told, with the path and the words that Kubernetes uses."""

from __future__ import annotations

from typing import Any

import pytest

from edgeorch.model import kinds, validation
from edgeorch.model.kinds import Object

from . import made

_LABEL = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and"
    " must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used"
    " for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_SUBDOMAIN = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or"
    " '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used"
    r" for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)


def told(kind: kinds.Kind, obj: Object) -> list[str]:
    return [str(cause) for cause in validation.create(kind, obj)]


_PORTS = [{"name": "http", "containerPort": 80}]
_MOUNT = {"name": "v", "mountPath": "/v"}

CONTAINERS: list[Any] = [
    pytest.param({"name": ""}, ["name: Required value"], id="no name"),
    pytest.param({"name": "C"}, [f'name: Invalid value: "C": {_LABEL}'], id="upper case"),
    pytest.param({"name": "a.b"}, ['name: Invalid value: "a.b": must not contain dots'], id="dots"),
    pytest.param({"image": ""}, ["image: Required value"], id="no image"),
    pytest.param(
        {"image": " nginx"},
        ['image: Invalid value: " nginx": must not have leading or trailing whitespace'],
        id="blank before image",
    ),
    pytest.param(
        {"imagePullPolicy": "Sometimes"},
        [
            (
                'imagePullPolicy: Unsupported value: "Sometimes": supported values: "Always",'
                ' "IfNotPresent", "Never"'
            )
        ],
        id="pull policy",
    ),
    pytest.param(
        {"ports": [*_PORTS, {"name": "http", "containerPort": 0}]},
        [
            'ports[1].name: Duplicate value: "http"',
            "ports[1].containerPort: Required value",
        ],
        id="ports",
    ),
    pytest.param(
        {"ports": [{"containerPort": 70000, "protocol": "ICMP"}]},
        [
            "ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
            'ports[0].protocol: Unsupported value: "ICMP": supported values: "SCTP", "TCP", "UDP"',
        ],
        id="port range and protocol",
    ),
    pytest.param(
        {"env": [{"name": ""}, {"name": "a=b"}]},
        [
            "env[0].name: Required value",
            (
                'env[1].name: Invalid value: "a=b": a valid environment variable name must consist'
                " only of printable ASCII characters other than '='"
            ),
        ],
        id="env names",
    ),
    pytest.param(
        {"env": [{"name": "A", "value": "x", "valueFrom": {}}]},
        [
            (
                'env[0].valueFrom: Invalid value: "": must specify one of: `fieldRef`,'
                " `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"
            )
        ],
        id="env source missing",
    ),
    pytest.param(
        {"env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels"}}}]},
        [
            (
                "env[0].valueFrom.fieldRef.fieldPath: Unsupported value:"
                ' "metadata.labels": supported'
                ' values: "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName",'
                ' "spec.serviceAccountName", "status.hostIP", "status.hostIPs", "status.podIP",'
                ' "status.podIPs"'
            )
        ],
        id="field not for env",
    ),
    pytest.param(
        {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": ""}}}]},
        ["env[0].valueFrom.secretKeyRef.key: Required value"],
        id="key missing",
    ),
    pytest.param(
        {"volumeMounts": [_MOUNT]},
        ['volumeMounts[0].name: Not found: "v"'],
        id="unknown volume",
    ),
    pytest.param(
        {"resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1500m"}}},
        [
            (
                'resources.requests: Invalid value: "2": must be less than or equal to cpu limit of'
                " 1500m"
            )
        ],
        id="request over limit",
    ),
    pytest.param(
        {"resources": {"requests": {"cpu": "-1", "gold": "1"}}},
        [
            'resources.requests[cpu]: Invalid value: "-1": must be greater than or equal to 0',
            (
                'resources.requests[gold]: Invalid value: "gold": must be a standard'
                " resource type or"
                " fully qualified"
            ),
            (
                'resources.requests[gold]: Invalid value: "gold": must be a standard resource for'
                " containers"
            ),
        ],
        id="amount and name",
    ),
    pytest.param(
        {"resources": {"limits": {"a.com/gpu": "500m"}}},
        [
            'resources.limits[a.com/gpu]: Invalid value: "500m": must be an integer',
            'resources.requests[a.com/gpu]: Invalid value: "500m": must be an integer',
        ],
        id="half a device",
    ),
    pytest.param(
        {"livenessProbe": {}},
        ["livenessProbe: Required value: must specify a handler type"],
        id="probe without handler",
    ),
    pytest.param(
        {"livenessProbe": {"exec": {"command": ["x"]}, "tcpSocket": {"port": 1}}},
        ["livenessProbe.tcpSocket: Forbidden: may not specify more than 1 handler type"],
        id="two handlers",
    ),
    pytest.param(
        {"livenessProbe": {"httpGet": {"port": 0}, "successThreshold": 2, "periodSeconds": -1}},
        [
            "livenessProbe.httpGet.port: Invalid value: 0: must be between 1 and 65535, inclusive",
            "livenessProbe.periodSeconds: Invalid value: -1: must be greater than or equal to 0",
            "livenessProbe.successThreshold: Invalid value: 2: must be 1",
        ],
        id="probe numbers",
    ),
    pytest.param(
        {"securityContext": {"runAsUser": -1}},
        [
            (
                "securityContext.runAsUser: Invalid value: -1: must be between 0 and 2147483647,"
                " inclusive"
            )
        ],
        id="user id",
    ),
    pytest.param(
        {"securityContext": {"privileged": True, "allowPrivilegeEscalation": False}},
        [
            (
                "securityContext: Invalid value:"
                ' {"privileged":true,"allowPrivilegeEscalation":false}:'
                " cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
            )
        ],
        id="privileged yet not",
    ),
    pytest.param(
        {"lifecycle": {"preStop": {"sleep": {"seconds": 31}}}},
        [
            (
                "lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than"
                " terminationGracePeriodSeconds (30)"
            )
        ],
        id="sleep over grace",
    ),
]


@pytest.mark.parametrize(("container", "expected"), CONTAINERS)
def test_container(container: Any, expected: list[str]) -> None:
    prefixed = [f"spec.containers[0].{text}" for text in expected]
    assert told(kinds.POD, made.pod_with(**container)) == prefixed


def _volume(**source: Any) -> Object:
    return made.pod(volumes=[{"name": "v", **source}])


PODS: list[Any] = [
    pytest.param(made.pod(containers=[]), ["spec.containers: Required value"], id="no containers"),
    pytest.param(
        made.pod(containers=[{"name": "c", "image": "i"}] * 2),
        ['spec.containers[1].name: Duplicate value: "c"'],
        id="same name",
    ),
    pytest.param(
        made.pod(initContainers=[{"name": "c", "image": "i", "livenessProbe": {}}]),
        [
            'spec.initContainers[0].name: Duplicate value: "c"',
            (
                "spec.initContainers[0].livenessProbe: Forbidden: may not be set for"
                " init containers"
                " without restartPolicy=Always"
            ),
        ],
        id="init container",
    ),
    pytest.param(
        made.pod(
            containers=[
                {"name": n, "image": "i", "ports": [{"containerPort": 80, "hostPort": 80}]}
                for n in "ab"
            ]
        ),
        ['spec.containers[1].ports[0].hostPort: Duplicate value: "TCP//80"'],
        id="host port twice",
    ),
    pytest.param(
        made.pod(restartPolicy="Sometimes", dnsPolicy="Mine"),
        [
            (
                'spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always",'
                ' "OnFailure", "Never"'
            ),
            (
                'spec.dnsPolicy: Unsupported value: "Mine": supported values:'
                ' "ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"'
            ),
        ],
        id="policies",
    ),
    pytest.param(
        made.pod(dnsPolicy="None"),
        ["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"],
        id="dns none",
    ),
    pytest.param(
        made.pod(hostAliases=[{"ip": "1.2.3", "hostnames": ["A"]}]),
        [
            (
                'spec.hostAliases[0].ip: Invalid value: "1.2.3": must be a valid IP address,'
                " (e.g. 10.9.8.7 or 2001:db8::ffff)"
            ),
            f'spec.hostAliases[0].hostnames[0]: Invalid value: "A": {_SUBDOMAIN}',
        ],
        id="host aliases",
    ),
    pytest.param(
        made.pod(tolerations=[{"key": "k", "effect": "NoSchedule", "tolerationSeconds": 3}]),
        [
            (
                'spec.tolerations[0].effect: Invalid value: "NoSchedule": effect must'
                " be 'NoExecute'"
                " when `tolerationSeconds` is set"
            )
        ],
        id="toleration",
    ),
    pytest.param(
        made.pod(activeDeadlineSeconds=0),
        [
            (
                "spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647,"
                " inclusive"
            )
        ],
        id="deadline",
    ),
    pytest.param(
        made.pod(volumes=[{"name": "v"}, {"name": "v"}]),
        ['spec.volumes[1].name: Duplicate value: "v"'],
        id="same volume",
    ),
    pytest.param(
        _volume(emptyDir={}, hostPath={"path": "/x"}),
        ["spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type"],
        id="two sources",
    ),
    pytest.param(
        _volume(hostPath={"path": "/x/../y", "type": "Pipe"}),
        [
            "spec.volumes[0].hostPath.path: Invalid value: \"/x/../y\": must not contain '..'",
            (
                'spec.volumes[0].hostPath.type: Unsupported value: "Pipe": supported values: "",'
                ' "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File",'
                ' "FileOrCreate", "Socket"'
            ),
        ],
        id="host path",
    ),
    pytest.param(
        _volume(configMap={"items": [{"key": "k", "path": "../x"}], "defaultMode": 512}),
        [
            "spec.volumes[0].configMap.name: Required value",
            (
                "spec.volumes[0].configMap.defaultMode: Invalid value: 512: must be a"
                " number between 0"
                " and 0777 (octal), both inclusive"
            ),
            (
                'spec.volumes[0].configMap.items[0].path: Invalid value: "../x": must not contain'
                " '..'"
            ),
        ],
        id="config map",
    ),
    pytest.param(
        _volume(
            projected={
                "sources": [
                    {"secret": {"name": "a", "items": [{"key": "k", "path": "p"}]}},
                    {"configMap": {"name": "b", "items": [{"key": "k", "path": "p"}]}},
                ]
            }
        ),
        ['spec.volumes[0].projected: Invalid value: "b": conflicting duplicate paths'],
        id="projected twice",
    ),
    pytest.param(
        made.edited(made.pod(), "metadata.name", "P"),
        [f'metadata.name: Invalid value: "P": {_SUBDOMAIN}'],
        id="name",
    ),
    pytest.param(
        made.edited(made.pod(), "metadata.labels", {"a b": "c d"}),
        [
            (
                'metadata.labels: Invalid value: "a b": name part must consist of alphanumeric'
                " characters, '-', '_' or '.', and must start and end with an"
                " alphanumeric character"
                " (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is"
                " '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
            ),
            (
                'metadata.labels: Invalid value: "c d": a valid label must be an empty string or'
                " consist of alphanumeric characters, '-', '_' or '.', and must start"
                " and end with an"
                " alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345',"
                " regex used for"
                " validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
            ),
        ],
        id="labels",
    ),
    pytest.param(
        made.edited(made.pod(), "metadata.annotations", {"a": "x" * 262_144}),
        ["metadata.annotations: Too long: may not be more than 262144 bytes"],
        id="annotations",
    ),
    pytest.param(
        made.edited(made.pod(), "metadata.ownerReferences", [{"apiVersion": "v1", "kind": "Pod"}]),
        [
            "metadata.ownerReferences[0].name: Required value: must not be empty",
            "metadata.ownerReferences[0].uid: Required value: must not be empty",
        ],
        id="owner",
    ),
    pytest.param(
        made.edited(made.pod(), "metadata.finalizers", ["mine"]),
        [
            (
                'metadata.finalizers[0]: Invalid value: "mine": name is neither a'
                " standard finalizer"
                " name nor is it fully qualified"
            )
        ],
        id="finalizer",
    ),
]


@pytest.mark.parametrize(("obj", "expected"), PODS)
def test_pod(obj: Object, expected: list[str]) -> None:
    assert told(kinds.POD, obj) == expected


_RULE = {"action": "Restart", "exitCodes": {"operator": "In", "values": [1]}}

RESTARTS: list[Any] = [
    pytest.param({"restartPolicy": "Never"}, [], id="own policy"),
    pytest.param({"restartPolicy": "OnFailure", "restartPolicyRules": [_RULE]}, [], id="rules"),
    pytest.param(
        {"restartPolicy": "Sometimes"},
        [
            (
                'restartPolicy: Unsupported value: "Sometimes": supported values: "Always",'
                ' "Never", "OnFailure"'
            )
        ],
        id="policy",
    ),
    pytest.param(
        {"restartPolicyRules": [_RULE]},
        ["restartPolicy: Required value: must specify restartPolicy when restart rules are used"],
        id="rules alone",
    ),
    pytest.param(
        {"restartPolicy": "Never", "restartPolicyRules": [{"action": "Restart"}]},
        ["restartPolicyRules[0].exitCodes: Required value: must be specified"],
        id="no exit codes",
    ),
    pytest.param(
        {"restartPolicy": "Never", "restartPolicyRules": [
            {"action": "DoNotRestart", "exitCodes": {"operator": "Equals", "values": [1] * 256}}
        ]},
        [
            ('restartPolicyRules[0].action: Unsupported value: "DoNotRestart": supported values:'
             ' "Restart", "RestartAllContainers"'),
            ('restartPolicyRules[0].exitCodes.operator: Unsupported value: "Equals": supported'
             ' values: "In", "NotIn"'),
            "restartPolicyRules[0].exitCodes.values: Too many: 256: must have at most 255 items",
        ],
        id="all wrong",
    ),
    pytest.param(
        {"restartPolicy": "Never", "restartPolicyRules": [_RULE] * 21},
        ["restartPolicyRules: Too many: 21: must have at most 20 items"],
        id="too many",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("fields", "expected"), RESTARTS)
@pytest.mark.parametrize("field", ["containers", "initContainers"])
def test_restart_rules(field: str, fields: Object, expected: list[str]) -> None:
    odd = {"name": "odd", "image": "busybox", **fields}
    found = told(kinds.POD, made.pod(**{field: [odd]}))

    assert [line.removeprefix(f"spec.{field}[0].") for line in found] == expected


@pytest.mark.parametrize(
    ("system", "signal", "expected"),
    [
        ("linux", "SIGUSR1", ""),
        ("linux", "SIGRTMIN+3", ""),
        ("windows", "SIGKILL", ""),
        (None, "SIGUSR1", "Forbidden: may not be set for containers with empty `spec.os.name`"),
        ("linux", "SIGNOT", 'Unsupported value: "SIGNOT": supported values: "SIGABRT", "SIGALRM"'),
        ("windows", "SIGUSR1", 'Unsupported value: "SIGUSR1": supported values: "SIGKILL",'),
    ],
)
def test_stop_signals(system: str | None, signal: str, expected: str) -> None:
    container = {"name": "c", "image": "i", "lifecycle": {"stopSignal": signal}}
    extra = {"os": {"name": system}} if system else {}
    found = told(kinds.POD, made.pod(containers=[container], **extra))

    assert [line.partition(": ")[0] for line in found] == (
        ["spec.containers[0].lifecycle.stopSignal"] if expected else []
    )
    assert not expected or expected in found[0]

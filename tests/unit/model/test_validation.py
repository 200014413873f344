"""Every field error is told, with the path and the words that Kubernetes uses."""

from __future__ import annotations

from typing import Any

import pytest

from edgeorch.model import kinds, validation
from edgeorch.model.kinds import Object

from . import made


def told(kind: kinds.Kind, obj: Object) -> list[str]:
    return [str(cause) for cause in validation.create(kind, obj)]


@pytest.mark.parametrize(
    ("kind", "obj"),
    [
        pytest.param(kinds.POD, made.pod(), id="pod"),
        pytest.param(kinds.DEPLOYMENT, made.deployment(), id="deployment"),
        pytest.param(kinds.SERVICE, made.service(), id="service"),
        pytest.param(kinds.SERVICE, made.service(clusterIP="None", ports=[]), id="headless"),
        pytest.param(
            kinds.SERVICE,
            made.service(type="ExternalName", externalName="a.b.", ports=[]),
            id="external name",
        ),
    ],
)
def test_the_starting_points_are_valid(kind: kinds.Kind, obj: Object) -> None:
    assert told(kind, obj) == []


DEPLOYMENTS: list[Any] = [
    pytest.param(
        {"replicas": -1},
        ["spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
        id="replicas",
    ),
    pytest.param(
        {"selector": {"matchLabels": {"app": "other"}}},
        [
            (
                'spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not'
                " match template `labels`"
            )
        ],
        id="selector mismatch",
    ),
    pytest.param(
        {"selector": None},
        [
            "spec.selector: Required value",
            (
                'spec.template.metadata.labels: Invalid value: {"app":"web"}: `selector` does not'
                " match template `labels`"
            ),
        ],
        id="no selector",
    ),
    pytest.param(
        {"selector": {}},
        ["spec.selector: Invalid value: {}: empty selector is invalid for deployment"],
        id="empty selector",
    ),
    pytest.param(
        {"strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": "0%"}}},
        [
            (
                "spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when"
                " `maxSurge` is 0"
            )
        ],
        id="no room",
    ),
    pytest.param(
        {"strategy": {"rollingUpdate": {"maxUnavailable": "101%", "maxSurge": "x"}}},
        [
            (
                'spec.strategy.rollingUpdate.maxSurge: Invalid value: "x": a valid'
                " percent string must"
                " be a numeric string followed by an ending '%' (e.g. '1%',  or '93%',"
                " regex used for"
                " validation is '[0-9]+%')"
            ),
            (
                'spec.strategy.rollingUpdate.maxUnavailable: Invalid value: "101%": must not be'
                " greater than 100%"
            ),
        ],
        id="percentages",
    ),
    pytest.param(
        {"strategy": {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}},
        [
            (
                "spec.strategy.rollingUpdate: Forbidden: may not be specified when"
                " strategy `type` is"
                " 'Recreate'"
            )
        ],
        id="recreate",
    ),
    pytest.param(
        {"progressDeadlineSeconds": 5, "minReadySeconds": 5},
        ["spec.progressDeadlineSeconds: Invalid value: 5: must be greater than minReadySeconds"],
        id="deadline",
    ),
]


@pytest.mark.parametrize(("spec", "expected"), DEPLOYMENTS)
def test_deployment(spec: Any, expected: list[str]) -> None:
    assert told(kinds.DEPLOYMENT, made.deployment(**spec)) == expected


def test_template_must_restart_always() -> None:
    path = "spec.template.spec.restartPolicy"
    obj = made.edited(made.deployment(), path, "Never")
    assert told(kinds.DEPLOYMENT, obj) == [
        f'{path}: Unsupported value: "Never": supported values: "Always"'
    ]


SERVICES: list[Any] = [
    pytest.param({"ports": []}, ["spec.ports: Required value"], id="no ports"),
    pytest.param(
        {"ports": [{"port": 80}, {"port": 80}]},
        [
            "spec.ports[0].name: Required value",
            "spec.ports[1].name: Required value",
            (
                "spec.ports[1]: Duplicate value:"
                ' {"Name":"","Protocol":"TCP","AppProtocol":null,'
                '"Port":80,"TargetPort":0,"NodePort":0}'
            ),
        ],
        id="two ports",
    ),
    pytest.param(
        {"ports": [{"port": 0, "targetPort": "UP"}]},
        [
            "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
            (
                'spec.ports[0].targetPort: Invalid value: "UP": must contain only alpha-numeric'
                " characters (a-z, 0-9), and hyphens (-)"
            ),
            'spec.ports[0].targetPort: Invalid value: "UP": must contain at least one letter (a-z)',
        ],
        id="port numbers",
    ),
    pytest.param(
        {"ports": [{"port": 80, "nodePort": 30080}]},
        ["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
        id="node port of cluster ip",
    ),
    pytest.param(
        {"type": "Mesh"},
        [
            (
                'spec.type: Unsupported value: "Mesh": supported values: "ClusterIP",'
                ' "ExternalName",'
                ' "LoadBalancer", "NodePort"'
            )
        ],
        id="type",
    ),
    pytest.param(
        {"type": "NodePort", "clusterIP": "None"},
        [
            (
                "spec.clusterIPs[0]: Invalid value: \"None\": may not be set to 'None' for NodePort"
                " services"
            )
        ],
        id="headless node port",
    ),
    pytest.param(
        {"clusterIP": "10.0.0.300"},
        [
            (
                'spec.clusterIPs[0]: Invalid value: "10.0.0.300": must be a valid IP address,'
                " (e.g. 10.9.8.7 or 2001:db8::ffff)"
            )
        ],
        id="cluster ip",
    ),
    pytest.param(
        {"externalIPs": ["127.0.0.1"]},
        [
            (
                'spec.externalIPs[0]: Invalid value: "127.0.0.1": may not be in the loopback range'
                " (127.0.0.0/8, ::1/128)"
            )
        ],
        id="external ip",
    ),
    pytest.param(
        {"type": "ExternalName"},
        ["spec.externalName: Required value"],
        id="external name",
    ),
    pytest.param(
        {
            "sessionAffinity": "ClientIP",
            "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}},
        },
        [
            (
                "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 0:"
                " must be greater"
                " than 0 and less than 86400"
            )
        ],
        id="affinity",
    ),
]


@pytest.mark.parametrize(("spec", "expected"), SERVICES)
def test_service(spec: Any, expected: list[str]) -> None:
    assert told(kinds.SERVICE, made.service(**spec)) == expected


def test_service_name_starts_with_a_letter() -> None:
    obj = made.edited(made.service(), "metadata.name", "1web")
    assert told(kinds.SERVICE, obj) == [
        (
            'metadata.name: Invalid value: "1web": a DNS-1035 label must consist of lower case'
            " alphanumeric characters or '-', start with an alphabetic character, and end with an"
            " alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is"
            " '[a-z]([-a-z0-9]*[a-z0-9])?')"
        )
    ]


OTHERS: list[Any] = [
    pytest.param(
        kinds.CONFIG_MAP,
        {"data": {"..": "x", "k": ""}, "binaryData": {"k": ""}},
        [
            "data[..]: Invalid value: \"..\": must not be '..'",
            'data[k]: Invalid value: "k": duplicate of key present in binaryData',
        ],
        id="config map keys",
    ),
    pytest.param(
        kinds.CONFIG_MAP,
        {"data": {"k": "x" * 1_048_577}},
        [": Too long: may not be more than 1048576 bytes"],
        id="config map size",
    ),
    pytest.param(
        kinds.SECRET,
        {"type": "kubernetes.io/tls", "data": {"tls.crt": "QQ=="}},
        ["data[tls.key]: Required value"],
        id="tls secret",
    ),
    pytest.param(
        kinds.SECRET,
        {"data": {"k": "plain text"}},
        ['data[k]: Invalid value: "<secret contents redacted>": must be base64 encoded'],
        id="secret not base64",
    ),
    pytest.param(
        kinds.SECRET,
        {"type": "kubernetes.io/dockerconfigjson", "data": {}},
        ["data[.dockerconfigjson]: Required value"],
        id="docker secret",
    ),
    pytest.param(
        kinds.ENDPOINTS,
        {"subsets": [{}, {"addresses": [{"ip": "169.254.1.1"}], "ports": [{"port": 0}]}]},
        [
            "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`",
            (
                'subsets[1].addresses[0].ip: Invalid value: "169.254.1.1": may not be in the'
                " link-local range (169.254.0.0/16, fe80::/10)"
            ),
            "subsets[1].ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
        ],
        id="endpoints",
    ),
    pytest.param(
        kinds.ENDPOINT_SLICE,
        {"addressType": "IPv4", "endpoints": [{"addresses": ["fd00::1"]}, {"addresses": []}]},
        [
            'endpoints[0].addresses[0]: Invalid value: "fd00::1": must be a valid IPv4 address',
            "endpoints[1].addresses: Required value: must contain at least 1 address",
        ],
        id="endpoint slice addresses",
    ),
    pytest.param(
        kinds.ENDPOINT_SLICE,
        {"addressType": "MAC", "endpoints": [], "ports": [{}, {}]},
        [
            'addressType: Unsupported value: "MAC": supported values: "FQDN", "IPv4", "IPv6"',
            'ports[1].name: Duplicate value: ""',
        ],
        id="endpoint slice type",
    ),
    pytest.param(
        kinds.EVENT,
        {"involvedObject": {"namespace": "other"}},
        ['involvedObject.namespace: Invalid value: "other": does not match event.namespace'],
        id="event astray",
    ),
]


@pytest.mark.parametrize(("kind", "body", "expected"), OTHERS)
def test_other_kinds(kind: kinds.Kind, body: Any, expected: list[str]) -> None:
    obj = made.prepared(kind, {"metadata": {"name": "n", "namespace": "default"}, **body})
    assert told(kind, obj) == expected


def test_node() -> None:
    taint = {"key": "k", "effect": "NoSchedule"}
    spec = {"taints": [taint, taint], "podCIDRs": ["10.0.0.0/99"]}
    obj = made.prepared(kinds.NODE, {"metadata": {"name": "n"}, "spec": spec})
    assert told(kinds.NODE, obj) == [
        (
            'metadata.taints[1]: Duplicate value: {"key":"k","effect":"NoSchedule"}: taints must be'
            " unique by key and effect pair"
        ),
        (
            'spec.podCIDRs[0]: Invalid value: "10.0.0.0/99": must be a valid CIDR value,'
            " (e.g. 10.9.8.0/24 or 2001:db8::/64)"
        ),
    ]


@pytest.mark.parametrize("kind", kinds.BUILT_IN, ids=lambda kind: kind.plural)
def test_nameless_objects_are_refused(kind: kinds.Kind) -> None:
    meta = {"namespace": "default"} if kind.namespaced else {}
    obj = made.prepared(kind, {"metadata": meta})
    assert "metadata.name: Required value: name or generateName is required" in told(kind, obj)

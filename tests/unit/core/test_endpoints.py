"""Slices and Endpoints, from Services and pods."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from edgeorch.core import endpoints, pod_facts
from edgeorch.model import views

Object = dict[str, Any]
REFERENCE = {"kind": "Service", "name": "web", "uid": "s"}


def service(**spec: Any) -> views.Service:
    body = {"selector": {"app": "web"}, "ports": [{"name": "http", "port": 80, "targetPort": 8080}]}
    labels = {"team": "shop", "kubernetes.io/service-name": "forged"}
    meta = {"name": "web", "namespace": "default", "labels": labels}
    return msgspec.convert({"metadata": meta, "spec": {**body, **spec}}, views.Service)


def pod(
    name: str,
    *ips: str,
    ready: bool = True,
    deleted: bool = False,
    phase: str = "Running",
    ports: list[Object] | None = None,
    **spec: Any,
) -> pod_facts.PodFacts:
    meta = {"name": name, "namespace": "default", "uid": name}
    if deleted:
        meta["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    container = {"name": "main", "ports": ports or []}
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    found = {
        "metadata": meta,
        "spec": {"nodeName": "edge", "containers": [container], **spec},
        "status": {"phase": phase, "podIPs": [{"ip": ip} for ip in ips], "conditions": conditions},
    }
    return msgspec.convert(found, pod_facts.PodFacts)


def slices(wanted: views.Service, *pods: pod_facts.PodFacts) -> list[Object]:
    return endpoints.plan_slices(wanted, REFERENCE, pods, []).create


@pytest.mark.parametrize(
    ("options", "published", "expected"),
    [
        pytest.param({}, False, (True, True, False), id="ready"),
        pytest.param({"ready": False}, False, (False, False, False), id="not ready"),
        pytest.param({"ready": False}, True, (True, False, False), id="published all the same"),
        pytest.param({"deleted": True}, False, (False, True, True), id="terminating"),
        pytest.param({"deleted": True}, True, (True, True, True), id="terminating and published"),
    ],
)
def test_conditions(
    options: dict[str, Any], published: bool, expected: tuple[bool, bool, bool]
) -> None:
    wanted = service(publishNotReadyAddresses=published)
    (found,) = slices(wanted, pod("a", "10.0.0.1", **options))
    said = found["endpoints"][0]["conditions"]
    assert (said["ready"], said["serving"], said["terminating"]) == expected


def test_pods_without_address_or_over_have_no_endpoint() -> None:
    (found,) = slices(service(), pod("a"), pod("b", "10.0.0.2", phase="Succeeded"))
    assert (found["endpoints"], found["ports"]) == ([], [])


def test_labels_of_the_service_are_copied_but_not_believed() -> None:
    (found,) = slices(service(), pod("a", "10.0.0.1"))
    assert found["metadata"]["labels"] == {
        "team": "shop",
        "kubernetes.io/service-name": "web",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
    }


def test_named_ports_are_those_of_each_pod() -> None:
    wanted = service(ports=[{"name": "http", "port": 80, "targetPort": "web"}])
    old = pod("a", "10.0.0.1", ports=[{"name": "web", "containerPort": 8080}])
    new = pod("b", "10.0.0.2", ports=[{"name": "web", "containerPort": 9090}])
    none = pod("c", "10.0.0.3")
    found = slices(wanted, old, new, none)
    shown = {each["ports"][0]["port"]: each["endpoints"][0]["addresses"] for each in found}
    assert shown == {8080: ["10.0.0.1"], 9090: ["10.0.0.2"]}
    assert len(endpoints.endpoints(wanted, [old, new, none])["subsets"]) == 2


def test_each_family_has_slices_of_its_own() -> None:
    found = slices(service(ipFamilies=["IPv4", "IPv6"]), pod("a", "10.0.0.1", "fd00::1"))
    shown = {each["addressType"]: each["endpoints"][0]["addresses"] for each in found}
    assert shown == {"IPv4": ["10.0.0.1"], "IPv6": ["fd00::1"]}


def test_a_hundred_to_a_slice() -> None:
    pods = [pod(f"p{number:03}", f"10.0.1.{number}") for number in range(105)]
    assert [len(each["endpoints"]) for each in slices(service(), *pods)] == [100, 5]


def test_a_headless_service_names_its_pods() -> None:
    wanted = service(clusterIP="None", ports=[])
    found = pod("a", "10.0.0.1", hostname="db-0", subdomain="web")
    (made,) = slices(wanted, found)
    assert made["metadata"]["labels"]["service.kubernetes.io/headless"] == ""
    assert made["endpoints"][0]["hostname"] == "db-0"
    assert endpoints.endpoints(wanted, [found])["subsets"] == [
        {
            "addresses": [
                {
                    "ip": "10.0.0.1",
                    "targetRef": {"kind": "Pod", "namespace": "default", "name": "a", "uid": "a"},
                    "nodeName": "edge",
                    "hostname": "db-0",
                }
            ]
        }
    ]


def test_what_is_right_already_is_left_alone() -> None:
    pods = [pod("a", "10.0.0.1"), pod("b", "10.0.0.2")]
    (made,) = slices(service(), *pods)
    stored = {**made, "metadata": {**made["metadata"], "name": "web-abcde", "resourceVersion": "7"}}
    plan = endpoints.plan_slices(service(), REFERENCE, pods, [stored])
    assert plan == endpoints.Plan()
    fewer = endpoints.plan_slices(service(), REFERENCE, pods[:1], [stored])
    assert list(fewer.update) == ["web-abcde"]
    assert not fewer.create
    assert not fewer.delete


def test_terminating_pods_are_not_in_endpoints() -> None:
    pods = [
        pod("a", "10.0.0.1"),
        pod("b", "10.0.0.2", ready=False),
        pod("c", "10.0.0.3", deleted=True),
    ]
    (subset,) = endpoints.endpoints(service(), pods)["subsets"]
    assert [each["ip"] for each in subset["addresses"]] == ["10.0.0.1"]
    assert [each["ip"] for each in subset["notReadyAddresses"]] == ["10.0.0.2"]

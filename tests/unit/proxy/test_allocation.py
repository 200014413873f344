"""ClusterIPs and node ports as Kubernetes gives and refuses them."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest

from edgeorch.model import errors
from edgeorch.model.kinds import Object
from edgeorch.proxy import allocation


def service(name: str = "web", namespace: str = "default", **spec: Any) -> Object:
    spec.setdefault("type", "ClusterIP")
    spec.setdefault("ports", [{"port": 80, "protocol": "TCP"}])
    return {"metadata": {"namespace": namespace, "name": name}, "spec": spec}


@pytest.fixture
def allocator() -> allocation.ServiceAllocator:
    return allocation.ServiceAllocator("10.43.0.0/16", (30000, 32767), random.Random(1).randrange)


def refusal(allocator: allocation.ServiceAllocator, obj: Object) -> errors.StatusError:
    with pytest.raises(errors.StatusError) as caught:
        allocator.admit(obj, None)
    return caught.value


def test_a_service_gets_an_address_and_node_ports(allocator: allocation.ServiceAllocator) -> None:
    obj = service(type="NodePort")
    allocator.admit(obj, None)
    assert obj["spec"]["clusterIPs"] == [obj["spec"]["clusterIP"]]
    assert obj["spec"]["clusterIP"].startswith("10.43.")
    assert 30000 <= obj["spec"]["ports"][0]["nodePort"] <= 32767


def test_the_api_service_has_the_first_address_and_nobody_else(
    allocator: allocation.ServiceAllocator,
) -> None:
    taken = refusal(allocator, service(clusterIP="10.43.0.1", clusterIPs=["10.43.0.1"]))
    assert "provided IP is already allocated" in taken.message
    obj = service("kubernetes")
    allocator.admit(obj, None)
    assert obj["spec"]["clusterIP"] == "10.43.0.1"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        pytest.param(
            {"clusterIP": "1.2.3.4", "clusterIPs": ["1.2.3.4"]},
            'Service "web" is invalid: spec.clusterIPs: Invalid value: ["1.2.3.4"]: failed to '
            "allocate IP 1.2.3.4: the provided IP (1.2.3.4) is not in the valid range. The range "
            "of valid IPs is 10.43.0.0/16",
            id="address outside",
        ),
        pytest.param(
            {"ipFamilies": ["IPv6"], "ipFamilyPolicy": "SingleStack"},
            'Service "web" is invalid: spec.ipFamilies[0]: Invalid value: "IPv6": '
            "not configured on this cluster",
            id="a family that is not here",
        ),
        pytest.param(
            {"ipFamilies": ["IPv4"], "ipFamilyPolicy": "RequireDualStack"},
            'Service "web" is invalid: spec.ipFamilyPolicy: Invalid value: "RequireDualStack": '
            "this cluster is not configured for dual-stack services",
            id="two families",
        ),
        pytest.param(
            {"clusterIP": "10.43.9.9", "clusterIPs": ["10.43.9.9"]},
            'Service "web" is invalid: spec.clusterIPs: Invalid value: ["10.43.9.9"]: failed to '
            "allocate IP 10.43.9.9: provided IP is already allocated",
            id="address taken",
        ),
        pytest.param(
            {"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]},
            'Service "web" is invalid: spec.ports[0].nodePort: Invalid value: 80: provided port is '
            "not in the valid range. The range of valid ports is 30000-32767",
            id="port outside",
        ),
        pytest.param(
            {"type": "NodePort", "ports": [{"port": 80, "nodePort": 31999}]},
            'Service "web" is invalid: spec.ports[0].nodePort: Invalid value: 31999: provided port '
            "is already allocated",
            id="port taken",
        ),
    ],
)
def test_refusals_read_as_on_kubernetes(
    allocator: allocation.ServiceAllocator, spec: Object, message: str
) -> None:
    other = service("other", type="NodePort", ports=[{"port": 80, "nodePort": 31999}])
    other["spec"] |= {"clusterIP": "10.43.9.9", "clusterIPs": ["10.43.9.9"]}
    allocator.admit(other, None)
    error = refusal(allocator, service(**spec))
    assert error.message == message
    assert (error.code, error.reason) == (422, "Invalid")


def test_a_refused_service_holds_nothing(allocator: allocation.ServiceAllocator) -> None:
    ports = [{"port": 1, "nodePort": 30100}, {"port": 2, "nodePort": 1}]
    refusal(
        allocator,
        service(type="NodePort", ports=ports, clusterIP="10.43.9.1", clusterIPs=["10.43.9.1"]),
    )
    again = service(type="NodePort", ports=ports[:1], clusterIP="10.43.9.1")
    again["spec"]["clusterIPs"] = ["10.43.9.1"]
    allocator.admit(again, None)


def test_what_an_update_drops_is_free_again_once_it_settles(
    allocator: allocation.ServiceAllocator,
) -> None:
    old = service(type="NodePort", ports=[{"port": 80, "nodePort": 30123}])
    allocator.admit(old, None)
    new = copy.deepcopy(old)
    new["spec"]["type"] = "ClusterIP"
    del new["spec"]["ports"][0]["nodePort"]
    allocator.admit(new, old)
    other = service("b", type="NodePort", ports=[{"port": 80, "nodePort": 30123}])
    assert "already allocated" in refusal(allocator, copy.deepcopy(other)).message
    allocator.settle(new, old)
    allocator.admit(other, None)


def test_a_failed_write_gives_back_what_only_the_new_one_held(
    allocator: allocation.ServiceAllocator,
) -> None:
    old = service()
    allocator.admit(old, None)
    new = copy.deepcopy(old)
    new["spec"] |= {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30124}]}
    allocator.admit(new, old)
    allocator.settle(old, new)
    allocator.admit(service("b", type="NodePort", ports=[{"port": 80, "nodePort": 30124}]), None)
    clash = service("c", clusterIP=old["spec"]["clusterIP"], clusterIPs=old["spec"]["clusterIPs"])
    assert "already allocated" in refusal(allocator, clash).message


def test_deleting_frees_and_loading_takes(allocator: allocation.ServiceAllocator) -> None:
    obj = service(type="NodePort", ports=[{"port": 80, "nodePort": 30125}])
    obj["spec"] |= {"clusterIP": "10.43.7.7", "clusterIPs": ["10.43.7.7"]}
    allocator.load([obj])
    twin = copy.deepcopy(obj)
    twin["metadata"]["name"] = "twin"
    refusal(allocator, copy.deepcopy(twin))
    allocator.release(obj)
    allocator.admit(twin, None)


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"clusterIP": "None", "clusterIPs": ["None"]}, id="headless"),
        pytest.param({"type": "ExternalName", "externalName": "a.example"}, id="external name"),
    ],
)
def test_services_without_an_address_get_none(
    allocator: allocation.ServiceAllocator, spec: Object
) -> None:
    obj = service(**spec)
    before = copy.deepcopy(obj)
    allocator.admit(obj, None)
    assert before == obj


def test_one_port_number_under_two_protocols_shares_a_node_port(
    allocator: allocation.ServiceAllocator,
) -> None:
    ports = [
        {"name": "a", "port": 53, "protocol": "UDP"},
        {"name": "b", "port": 53, "protocol": "TCP"},
        {"name": "c", "port": 54, "protocol": "TCP"},
    ]
    obj = service(type="NodePort", ports=ports)
    allocator.admit(obj, None)
    a, b, c = (port["nodePort"] for port in obj["spec"]["ports"])
    assert a == b
    assert a != c


def test_a_local_load_balancer_gets_a_health_check_port(
    allocator: allocation.ServiceAllocator,
) -> None:
    obj = service(type="LoadBalancer", externalTrafficPolicy="Local")
    allocator.admit(obj, None)
    port = obj["spec"]["healthCheckNodePort"]
    assert port != obj["spec"]["ports"][0]["nodePort"]


def test_a_full_range_is_an_internal_error() -> None:
    allocator = allocation.ServiceAllocator("10.43.0.0/30", (30000, 30000), lambda n: 0)
    allocator.admit(service(type="NodePort"), None)
    error = refusal(allocator, service("b"))
    assert error.code == 500
    assert "range is full" in error.message


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"ipFamilies": ["IPv4"], "ipFamilyPolicy": "PreferDualStack"}, id="prefers"),
        pytest.param(
            {
                "clusterIP": "None",
                "clusterIPs": ["None"],
                "ipFamilies": ["IPv4", "IPv6"],
                "ipFamilyPolicy": "RequireDualStack",
            },
            id="endpoints by hand",
        ),
        pytest.param({"type": "ExternalName", "externalName": "a.example"}, id="alias"),
    ],
)
def test_families_that_cost_no_address_here(
    allocator: allocation.ServiceAllocator, spec: Object
) -> None:
    obj = service(**spec)
    allocator.admit(obj, None)
    allocator.admit(copy.deepcopy(obj), obj)

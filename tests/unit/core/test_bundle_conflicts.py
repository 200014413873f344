"""What two objects of one bundle cannot both have, and in which order they get it."""

from __future__ import annotations

from typing import Any

import pytest

from edgeorch.core import bundle_conflicts, bundle_order
from edgeorch.lib import json
from edgeorch.model import bundles, kinds, schema

TABLE, REGISTRY = schema.load(), kinds.Registry()
PROTOCOLS = ("TCP", "UDP")


def _service(name: str, *ports: dict[str, Any], **spec: Any) -> dict[str, Any]:
    spec = {"ports": [{"port": 80, **port} for port in ports or ({},)], **spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": spec}


def _exposed(name: str, *numbers: int, **spec: Any) -> dict[str, Any]:
    ports = [
        {"nodePort": number, "protocol": p} for number, p in zip(numbers, PROTOCOLS, strict=False)
    ]
    return _service(name, *ports, **{"type": "NodePort", **spec})


def _class(name: str, **fields: Any) -> dict[str, Any]:
    meta = {"name": name}
    api = "scheduling.k8s.io/v1"
    return {"apiVersion": api, "kind": "PriorityClass", "metadata": meta, "value": 1, **fields}


def _items(*objects: Any) -> list[bundles.Item]:
    items, causes = bundles.parse(json.encode(list(objects)), TABLE, REGISTRY)
    assert not causes
    return items


LOCAL = {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}
CASES = {
    "nodePort": (
        [_exposed("a", 30001), _exposed("b", 30001)],
        "spec.ports[0].nodePort: nodePort 30001 is what document 1 (Service default/a) asks for,",
    ),
    "nodePort of another protocol": (
        [_exposed("a", 30001, 30002), _exposed("b", 30003, 30002)],
        "spec.ports[1].nodePort: nodePort 30002 is",
    ),
    "the health check's": (
        [_exposed("a", 30001), _exposed("b", healthCheckNodePort=30001, **LOCAL)],
        "spec.healthCheckNodePort: nodePort 30001 is",
    ),
    "clusterIP": (
        [_service("a", clusterIP="10.9.0.7"), _service("b", clusterIPs=["10.9.0.7"])],
        "spec.clusterIPs[0]: clusterIP 10.9.0.7 is",
    ),
    "two defaults": (
        [_class("a", globalDefault=True), _class("b", globalDefault=True)],
        "globalDefault: being the default PriorityClass is",
    ),
    "one port for both protocols": ([_exposed("a", 30001, 30001)], ""),
    "headless ones": ([_service("a", clusterIP="None"), _service("b", clusterIP="None")], ""),
    "one default": ([_class("a", globalDefault=True), _class("b")], ""),
    "ports that do not count": (
        [_exposed("a", 30001), _service("b", {"nodePort": 30001}, type="ClusterIP")], "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_conflicts(name: str) -> None:
    objects, expected = CASES[name]
    found = bundle_conflicts.conflicts(_items(*objects))
    told = [f"{each.place}: {each.told}" for each in found]
    assert len(told) == bool(expected)
    for each in told:
        assert each.startswith(f"document 2 ({objects[1]['kind']} ")
        assert expected in each


def test_what_somebody_else_is_to_give_up_is_left_out() -> None:
    ports = [{"port": 80, "nodePort": 30001}, {"port": 81, "nodePort": 30002}]
    spec = {**LOCAL, "healthCheckNodePort": 30003, "clusterIP": "10.9.0.7", "ports": ports}
    item, standard = _items(_service("a", **spec), _class("b", globalDefault=True))
    assert bundle_conflicts.without(item, ()).obj == item.obj
    found = bundle_conflicts.without(item, {"nodePort 30002", "nodePort 30003"}).obj["spec"]
    assert [port.get("nodePort") for port in found["ports"]] == [30001, None]
    assert (found.get("healthCheckNodePort"), found["clusterIP"]) == (None, "10.9.0.7")
    everything = {claim.what for claim in bundle_conflicts.claims(item)}
    assert not bundle_conflicts.claims(bundle_conflicts.without(item, everything))
    (bare,) = _items({**_service("c"), "spec": {"clusterIP": "10.9.0.8"}})
    assert bundle_conflicts.without(bare, {"clusterIP 10.9.0.8"}).obj["spec"] == {}
    (claim,) = bundle_conflicts.claims(standard)
    assert not bundle_conflicts.claims(bundle_conflicts.without(standard, {claim.what}))


def test_what_asks_for_something_certain_goes_first() -> None:
    items = _items(_exposed("a"), _service("b"), _exposed("c", 30001), _class("d"))
    assert [item.key[2] for item in bundle_order.ordered(items)] == ["d", "c", "a", "b"]

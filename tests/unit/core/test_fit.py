"""What a bundle needs against what the device has: every reason at once."""

from __future__ import annotations

from typing import Any

from edgeorch.core import fit, pod_facts
from edgeorch.lib import json
from edgeorch.model import bundles, kinds, schema, views

TABLE, REGISTRY = schema.load(), kinds.Registry()
NODE = views.Node(
    metadata=views.Meta(name="n", labels={"kubernetes.io/arch": "arm64"}),
    status=views.NodeStatus(allocatable={"cpu": "2", "memory": "512Mi", "pods": "4"}),
)


def _container(**fields: Any) -> dict[str, Any]:
    return {"name": "c", "image": "i", **fields}


def _asking(**requests: str) -> dict[str, Any]:
    return _container(resources={"requests": requests})


def _listening(port: int) -> dict[str, Any]:
    return _container(ports=[{"containerPort": 80, "hostPort": port}])


def _deployment(name: str, container: dict[str, Any], replicas: int = 1, **spec: Any) -> Any:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [container], **spec},
            },
        },
    }


def _other(**requests: str) -> pod_facts.PodFacts:
    containers = [{**_listening(8080), "resources": {"requests": requests}}]
    spec = {"nodeName": "n", "containers": containers}
    return json.convert({"metadata": {"name": "o"}, "spec": spec}, pod_facts.PodFacts)


def _troubles(*objects: Any, others: tuple[pod_facts.PodFacts, ...] = ()) -> list[str]:
    items, causes = bundles.parse(json.encode(list(objects)), TABLE, REGISTRY)
    assert not causes
    found = fit.check(fit.wanted(items), NODE, others, reserved=(6443,))
    return [f"{each.place}: {each.told}" for each in found]


def test_what_fits_is_no_trouble() -> None:
    assert not _troubles(_deployment("a", _asking(cpu="500m", memory="100Mi"), 4))


def test_sums_are_of_the_bundle_and_of_what_goes_on_beside_it() -> None:
    big = _deployment("a", _asking(memory="100Mi"), 2), _deployment("b", _asking(memory="200Mi"))
    assert not _troubles(*big)
    assert _troubles(*big, others=(_other(memory="200Mi"),)) == [
        "memory: the bundle requests 400Mi and others hold 200Mi, but the device has 512Mi"
    ]


def test_all_reasons_come_at_once() -> None:
    found = _troubles(
        _deployment("a", _asking(cpu="3"), nodeSelector={"kubernetes.io/arch": "amd64"}),
        _deployment("b", _listening(8080)),
        _deployment("c", _listening(6443)),
        _deployment("d", _listening(9000), 2),
        _deployment("e", _listening(9000)),
        _deployment("f", _asking(**{"devices.edgeorch.io/gps": "1"})),
        others=(_other(),),
    )
    place = "(Deployment default/{}) spec.template.spec"
    assert found == [
        (
            f"document 1 {place.format('a')}: nodeSelector wants kubernetes.io/arch=amd64, "
            "but it is arm64 here"
        ),
        f"document 2 {place.format('b')}: TCP hostPort 8080 is taken",
        f"document 3 {place.format('c')}: TCP hostPort 6443 is the device's own",
        f"document 4 {place.format('d')}: TCP hostPort 9000 can be had once, not 2 times",
        (
            f"document 5 {place.format('e')}: TCP hostPort 9000 is what "
            f"document 4 {place.format('d')} asks for, too"
        ),
        "pods: 7 pods and 1 others, but the device takes 4",
        "cpu: the bundle requests 3000m and others hold 0m, but the device has 2000m",
        "devices.edgeorch.io/gps: this device has none",
    ]


def test_in_the_hosts_network_every_port_is_one_of_the_hosts() -> None:
    first = _deployment("a", _container(ports=[{"containerPort": 80}]), hostNetwork=True)
    second = _deployment("b", _listening(80))
    apart = _deployment("b", _container(ports=[{"containerPort": 80}]))
    assert not _troubles(first, apart)
    place = "(Deployment default/{}) spec.template.spec"
    assert _troubles(first, second) == [
        (
            f"document 2 {place.format('b')}: TCP hostPort 80 is what "
            f"document 1 {place.format('a')} asks for, too"
        )
    ]


def test_a_cron_job_needs_its_room_but_takes_no_place() -> None:
    job = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "j"},
        "spec": {
            "schedule": "* * * * *",
            "jobTemplate": {
                "spec": {
                    "template": {
                        "spec": {"restartPolicy": "Never", "containers": [_asking(memory="1Gi")]}
                    }
                }
            },
        },
    }
    assert _troubles(job) == [
        "memory: the bundle requests 1024Mi and others hold 0Mi, but the device has 512Mi"
    ]

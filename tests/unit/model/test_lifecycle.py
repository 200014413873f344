"""What the server does around a write: identity, generations, subresources, deletes."""

from __future__ import annotations

from typing import Any

import pytest

from edgeorch.lib import json
from edgeorch.model import errors, kinds, lifecycle
from edgeorch.model.kinds import Object
from edgeorch.model.lifecycle import DeleteOptions

from . import made

LATER = "2026-01-01T00:00:10Z"


def _create(kind: kinds.Kind, obj: Object) -> Object:
    return lifecycle.prepare_create(kind, obj, uid="u", now=made.NOW, suffix=lambda: "x2z4b")


def test_create_overrides_what_only_the_server_may_say() -> None:
    meta = {
        "name": "p",
        "namespace": "n",
        "uid": "mine",
        "resourceVersion": "1",
        "generation": 9,
        "creationTimestamp": "1999-01-01T00:00:00Z",
        "deletionTimestamp": made.NOW,
        "deletionGracePeriodSeconds": 1,
        "selfLink": "/x",
        "labels": {"a": "b"},
    }
    obj = {"metadata": meta, "spec": {}, "status": {"phase": "Running"}}
    before = json.canonical(obj)
    new = _create(kinds.POD, obj)
    assert new["metadata"] == {
        "name": "p",
        "namespace": "n",
        "labels": {"a": "b"},
        "uid": "u",
        "creationTimestamp": made.NOW,
        "generation": 1,
    }
    assert new["status"] == {"phase": "Pending", "qosClass": "BestEffort"}
    assert json.canonical(obj) == before


@pytest.mark.parametrize(
    ("prefix", "name"),
    [
        pytest.param("web-", "web-x2z4b", id="short"),
        pytest.param("a" * 70, "a" * 58 + "x2z4b", id="cut"),
    ],
)
def test_generated_name(prefix: str, name: str) -> None:
    new = _create(kinds.CONFIG_MAP, {"metadata": {"generateName": prefix}})
    assert new["metadata"]["name"] == name


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        pytest.param(kinds.DEPLOYMENT, {}, id="deployment"),
        pytest.param(kinds.SERVICE, {"loadBalancer": {}}, id="service"),
        pytest.param(kinds.NAMESPACE, {"phase": "Active"}, id="namespace"),
        pytest.param(kinds.NODE, {"given": True}, id="node brings its own"),
    ],
)
def test_first_status(kind: kinds.Kind, status: Object) -> None:
    assert _create(kind, {"metadata": {}, "status": {"given": True}})["status"] == status


def test_namespace_gets_its_finalizer() -> None:
    assert _create(kinds.NAMESPACE, {})["spec"] == {"finalizers": ["kubernetes"]}


def _amounts(cpu: str, memory: str) -> Object:
    return {"cpu": cpu, "memory": memory}


@pytest.mark.parametrize(
    ("resources", "expected"),
    [
        pytest.param({}, "BestEffort", id="nothing"),
        pytest.param({"requests": {"cpu": "0"}}, "BestEffort", id="zero"),
        pytest.param({"requests": {"cpu": "1m"}}, "Burstable", id="request"),
        pytest.param(
            {"requests": _amounts("1", "1Gi"), "limits": _amounts("1000m", "1024Mi")},
            "Guaranteed",
            id="equal",
        ),
        pytest.param(
            {"requests": _amounts("1", "1Gi"), "limits": _amounts("2", "1Gi")},
            "Burstable",
            id="less",
        ),
        pytest.param(
            {"requests": {"cpu": "1"}, "limits": {"cpu": "1"}}, "Burstable", id="cpu only"
        ),
    ],
)
def test_qos_class(resources: Object, expected: str) -> None:
    assert lifecycle.qos_class({"containers": [{"resources": resources}]}) == expected


def _changed(kind: kinds.Kind, old: Object, path: str, value: Any, sub: str = "") -> Object:
    return lifecycle.prepare_update(kind, made.edited(old, path, value), old, subresource=sub)


@pytest.mark.parametrize(
    ("kind", "path", "value", "bumped"),
    [
        pytest.param(kinds.DEPLOYMENT, "spec.replicas", 5, True, id="deployment spec"),
        pytest.param(kinds.DEPLOYMENT, "metadata.annotations", {"a": "b"}, True, id="annotations"),
        pytest.param(kinds.DEPLOYMENT, "metadata.labels", {"a": "b"}, False, id="labels"),
        pytest.param(kinds.REPLICA_SET, "spec.replicas", 5, True, id="replica set spec"),
        pytest.param(
            kinds.REPLICA_SET, "metadata.annotations", {"a": "b"}, False, id="rs annotations"
        ),
        pytest.param(kinds.DEPLOYMENT, "status", {"replicas": 1}, False, id="status"),
    ],
)
def test_generation(kind: kinds.Kind, path: str, value: Any, bumped: bool) -> None:
    new = _changed(kind, made.deployment(), path, value)
    assert new["metadata"]["generation"] == (2 if bumped else 1)


def test_main_update_keeps_status_and_identity() -> None:
    old = made.edited(made.deployment(), "status", {"replicas": 3})
    meta = {"name": "web", "namespace": "default", "generation": 77}
    new = lifecycle.prepare_update(
        kinds.DEPLOYMENT, {**old, "metadata": meta, "status": {"replicas": 9}}, old
    )
    assert new["status"] == {"replicas": 3}
    assert new["metadata"] == {**old["metadata"], "generation": 1}


def test_status_update_keeps_all_but_status() -> None:
    old = made.pod()
    new = made.edited(old, "status", {"phase": "Running"})
    new = made.edited(new, "spec.nodeName", "elsewhere")
    new = made.edited(new, "metadata.ownerReferences", [{}])
    new = made.edited(new, "metadata.annotations", {"seen": "yes"})
    stored = lifecycle.prepare_update(kinds.POD, new, old, subresource="status")
    assert stored["spec"] == old["spec"]
    assert stored["status"] == {"phase": "Running", "qosClass": "BestEffort"}
    assert stored["metadata"] == {**old["metadata"], "annotations": {"seen": "yes"}}


def test_only_finalize_touches_a_namespace_finalizers() -> None:
    old = made.prepared(kinds.NAMESPACE, {"metadata": {"name": "n"}})
    kept = _changed(kinds.NAMESPACE, old, "spec.finalizers", [])
    assert kept["spec"]["finalizers"] == ["kubernetes"]
    gone = _changed(kinds.NAMESPACE, old, "spec.finalizers", [], "finalize")
    assert gone["spec"]["finalizers"] == []


def test_deletion_cannot_be_taken_back() -> None:
    old = made.edited(made.pod(), "metadata.deletionTimestamp", made.NOW)
    old = made.edited(old, "metadata.deletionGracePeriodSeconds", 30)
    new = made.edited(old, "metadata.deletionTimestamp", None)
    new = made.edited(new, "metadata.deletionGracePeriodSeconds", None)
    assert lifecycle.prepare_update(kinds.POD, new, old)["metadata"] == old["metadata"]


def test_service_keeps_what_was_allocated() -> None:
    old = made.service(
        type="NodePort", clusterIP="10.0.0.1", ports=[{"port": 80, "nodePort": 30080}]
    )
    new = lifecycle.prepare_update(kinds.SERVICE, made.service(type="NodePort"), old)
    assert new["spec"]["clusterIP"] == "10.0.0.1"
    assert new["spec"]["clusterIPs"] == ["10.0.0.1"]
    assert new["spec"]["ports"][0]["nodePort"] == 30080


def test_service_lets_go_of_a_former_type() -> None:
    old = made.service(
        type="NodePort", clusterIP="10.0.0.1", ports=[{"port": 80, "nodePort": 30080}]
    )
    plain = _changed(kinds.SERVICE, old, "spec.type", "ClusterIP")
    assert "nodePort" not in plain["spec"]["ports"][0]
    assert "externalTrafficPolicy" not in plain["spec"]
    assert plain["spec"]["clusterIP"] == "10.0.0.1"
    named = _changed(kinds.SERVICE, old, "spec.type", "ExternalName")
    assert not {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"} & set(named["spec"])


def test_changed_looks_past_book_keeping() -> None:
    old = made.pod()
    assert not lifecycle.changed(old, made.edited(old, "metadata.resourceVersion", "8"))
    assert lifecycle.changed(old, made.edited(old, "metadata.labels", {"a": "b"}))


def _running() -> Object:
    return made.edited(made.pod(nodeName="here"), "status.phase", "Running")


def _ending(seconds: int) -> Object:
    gone = lifecycle.prepare_delete(kinds.POD, _running(), DeleteOptions(seconds), made.NOW)
    assert gone is not None
    return gone


@pytest.mark.parametrize(
    ("obj", "options"),
    [
        pytest.param(_running(), DeleteOptions(0), id="no grace"),
        pytest.param(made.pod(), DeleteOptions(), id="not bound to a node"),
        pytest.param(
            made.edited(_running(), "status.phase", "Succeeded"), DeleteOptions(), id="finished"
        ),
        pytest.param(_ending(30), DeleteOptions(0), id="grace taken away"),
    ],
)
def test_pod_goes_at_once(obj: Object, options: DeleteOptions) -> None:
    assert lifecycle.prepare_delete(kinds.POD, obj, options, made.NOW) is None


@pytest.mark.parametrize(
    ("options", "seconds", "time"),
    [
        pytest.param(DeleteOptions(), 30, "2026-01-01T00:00:30Z", id="from the spec"),
        pytest.param(DeleteOptions(10), 10, LATER, id="from the request"),
        pytest.param(DeleteOptions(-1), 1, "2026-01-01T00:00:01Z", id="negative"),
    ],
)
def test_pod_is_given_grace(options: DeleteOptions, seconds: int, time: str) -> None:
    new = lifecycle.prepare_delete(kinds.POD, _running(), options, made.NOW)
    assert new is not None
    meta = new["metadata"]
    assert (meta["deletionGracePeriodSeconds"], meta["deletionTimestamp"]) == (seconds, time)
    assert meta["generation"] == 2


def test_second_delete_shortens_and_never_lengthens() -> None:
    ending = _ending(30)
    shorter = lifecycle.prepare_delete(kinds.POD, ending, DeleteOptions(10), LATER)
    assert shorter is not None
    assert shorter["metadata"]["deletionTimestamp"] == LATER
    assert shorter["metadata"]["deletionGracePeriodSeconds"] == 10
    for options in (DeleteOptions(), DeleteOptions(60)):
        assert lifecycle.prepare_delete(kinds.POD, ending, options, LATER) is ending


@pytest.mark.parametrize(
    ("options", "finalizers"),
    [
        pytest.param(
            DeleteOptions(propagation_policy="Foreground"), "foregroundDeletion", id="foreground"
        ),
        pytest.param(DeleteOptions(propagation_policy="Orphan"), "orphan", id="orphan"),
        pytest.param(DeleteOptions(orphan_dependents=True), "orphan", id="old orphan"),
    ],
)
def test_propagation_waits_for_the_collector(options: DeleteOptions, finalizers: str) -> None:
    new = lifecycle.prepare_delete(kinds.DEPLOYMENT, made.deployment(), options, made.NOW)
    assert new is not None
    assert new["metadata"]["finalizers"] == [finalizers]
    assert new["metadata"]["deletionTimestamp"] == made.NOW
    assert new["metadata"]["deletionGracePeriodSeconds"] == 0


def test_background_does_not_wait() -> None:
    options = DeleteOptions(propagation_policy="Background")
    assert lifecycle.prepare_delete(kinds.DEPLOYMENT, made.deployment(), options, made.NOW) is None


def test_finalizers_hold_an_object_until_the_last_is_gone() -> None:
    obj = made.edited(made.deployment(), "metadata.finalizers", ["a.b/c"])
    held = lifecycle.prepare_delete(kinds.DEPLOYMENT, obj, DeleteOptions(), made.NOW)
    assert held is not None
    assert not lifecycle.removable(kinds.DEPLOYMENT, held)
    assert lifecycle.prepare_delete(kinds.DEPLOYMENT, held, DeleteOptions(), LATER) is held
    freed = made.edited(held, "metadata.finalizers", None)
    assert lifecycle.removable(kinds.DEPLOYMENT, freed)


def test_pod_with_grace_is_not_removable_by_an_update() -> None:
    assert not lifecycle.removable(kinds.POD, _ending(30))


def test_namespace_waits_until_it_is_empty() -> None:
    obj = made.prepared(kinds.NAMESPACE, {"metadata": {"name": "n"}})
    new = lifecycle.prepare_delete(kinds.NAMESPACE, obj, DeleteOptions(), made.NOW)
    assert new is not None
    assert new["status"] == {"phase": "Terminating"}
    assert not lifecycle.removable(kinds.NAMESPACE, new)
    assert lifecycle.prepare_delete(kinds.NAMESPACE, new, DeleteOptions(), LATER) is new
    empty = made.edited(new, "spec.finalizers", [])
    assert lifecycle.removable(kinds.NAMESPACE, empty)
    assert lifecycle.prepare_delete(kinds.NAMESPACE, empty, DeleteOptions(), LATER) is None


def test_default_namespace_stays() -> None:
    obj = made.prepared(kinds.NAMESPACE, {"metadata": {"name": "default"}})
    with pytest.raises(errors.StatusError) as caught:
        lifecycle.prepare_delete(kinds.NAMESPACE, obj, DeleteOptions(), made.NOW)
    assert caught.value.message == (
        'namespaces "default" is forbidden: this namespace may not be deleted'
    )


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(DeleteOptions(uid="other"), id="uid"),
        pytest.param(DeleteOptions(resource_version="6"), id="resource version"),
    ],
)
def test_preconditions(options: DeleteOptions) -> None:
    with pytest.raises(errors.StatusError) as caught:
        lifecycle.prepare_delete(kinds.POD, made.pod(), options, made.NOW)
    assert (caught.value.code, caught.value.reason) == (409, "Conflict")


def test_contradicting_options_are_refused() -> None:
    with pytest.raises(errors.StatusError) as caught:
        DeleteOptions.of({"propagationPolicy": "Never", "orphanDependents": True})
    assert caught.value.code == 422
    assert len(caught.value.details["causes"]) == 2

"""Bundles beside others: what the device has of itself, and what people apply to it."""

from __future__ import annotations

import base64
import json
import pathlib
from collections.abc import AsyncIterator
from typing import Any

import pytest

from edgeorch.lib import clock as clocks
from edgeorch.model import bundles, errors
from tests.component.controllers.test_bundles import Device, config, never, running

Object = dict[str, Any]
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"


@pytest.fixture
def clock() -> clocks.ManualClock:
    return clocks.ManualClock()


@pytest.fixture
async def device(tmp_path: pathlib.Path, clock: clocks.ManualClock) -> AsyncIterator[Device]:
    async with running(tmp_path, clock) as found:
        yield found


def of(kind: str, name: str, group: str = "v1", **more: Any) -> Object:
    return {"apiVersion": group, "kind": kind, "metadata": {"name": name}, **more}


RBAC, STORAGE = "rbac.authorization.k8s.io/v1", "storage.k8s.io/v1"
OWN = {
    "clusterroles.rbac.authorization.k8s.io": of("ClusterRole", "view", RBAC, rules=[]),
    "storageclasses.storage.k8s.io": of(
        "StorageClass", "local-path", STORAGE, provisioner="rancher.io/local-path"
    ),
    "serviceaccounts": of("ServiceAccount", "default"),
    "configmaps": of("ConfigMap", "kube-root-ca.crt"),
    "namespaces": of("Namespace", "default"),
}


@pytest.mark.parametrize("resource", OWN)
async def test_what_the_device_has_of_itself_is_not_taken_away(
    device: Device, resource: str
) -> None:
    own = OWN[resource]
    await device.push(own, config("a"))
    assert own["metadata"]["name"] in device.names(resource)
    told = await device.push(config("a"))
    assert (told.changes.pruned, len(told.changes.kept)) == ([], 1)
    await device.push(own, config("a"))
    await device.store.delete("bundles.edgeorch.io", "", "app", {})
    await device.until(lambda: not device.names("bundles.edgeorch.io"), "no bundle")
    assert own["metadata"]["name"] in device.names(resource)


async def test_what_somebody_has_applied_with_a_client_stays(device: Device) -> None:
    await device.push(config("a"), config("b"))

    def applied(current: Object) -> Object:
        meta = current["metadata"]
        noted: Object = {"f:metadata": {"f:annotations": {f"f:{LAST_APPLIED}": {}}}}
        entry = {
            "manager": "kubectl-client-side-apply",
            "operation": "Update",
            "apiVersion": "v1",
            "fieldsType": "FieldsV1",
            "fieldsV1": noted,
        }
        return {
            **current,
            "data": {"by": "hand"},
            "metadata": {
                **meta,
                "annotations": {LAST_APPLIED: "{}"},
                "managedFields": [*meta["managedFields"], entry],
            },
        }

    await device.store.update("configmaps", "default", "b", applied)
    told = await device.push(config("a"))
    assert (told.changes.pruned, told.changes.kept) == ([], ["ConfigMap default/b"])
    left = device.store.get("configmaps", "default", "b").decode()
    assert left["data"] == {"by": "hand"}
    assert bundles.LABEL not in left["metadata"].get("labels", {})


def with_field_of_the_pod() -> Object:
    made = never()
    env = [{"name": "P", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}]
    made["spec"]["template"]["spec"]["containers"][0]["env"] = env
    return made


def with_claims() -> Object:
    made = never()
    claim = {
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Mi"}},
        },
    }
    spec = {**made["spec"], "serviceName": "s", "volumeClaimTemplates": [claim]}
    return {**made, "kind": "StatefulSet", "spec": spec}


@pytest.mark.parametrize("made", [with_field_of_the_pod(), with_claims()], ids=["env", "claims"])
async def test_what_is_replaced_as_a_whole_does_not_change_by_its_defaults(
    device: Device, made: Object
) -> None:
    await device.push(made)
    resource = "deployments.apps" if made["kind"] == "Deployment" else "statefulsets.apps"
    generation = device.store.get(resource, "default", "never").decode()["metadata"]["generation"]
    told = await device.push(made)
    assert (told.changes.configured, len(told.changes.unchanged)) == ([], 1)
    after = device.store.get(resource, "default", "never").decode()
    assert after["metadata"]["generation"] == generation == 1


async def test_a_pod_without_a_spec_is_told(device: Device) -> None:
    with pytest.raises(errors.StatusError) as caught:
        await device.push(of("Pod", "p"))
    assert caught.value.code == 422
    assert "spec.containers" in caught.value.message


async def test_texts_of_a_secret_that_are_named_no_more_go(device: Device) -> None:
    await device.push(of("Secret", "s", stringData={"a": "one"}, data={"c": "Yw=="}))
    await device.push(of("Secret", "s", stringData={"b": "two"}))
    held = device.store.get("secrets", "default", "s").decode()
    assert held["data"] == {"b": base64.b64encode(b"two").decode()}


async def test_a_deletion_waits_for_a_hold(device: Device, clock: clocks.ManualClock) -> None:
    await device.push(config("a"))
    await device.settled("Ready")
    clock.advance(1)  # events of one moment have one name
    device.hold.why = "surgery"
    await device.store.delete("bundles.edgeorch.io", "", "app", {})

    def told() -> list[str]:
        events = [json.loads(stored.raw) for stored in device.store.list("events").items]
        return [each["message"] for each in events if each["reason"] == "DeletionHeld"]

    await device.until(told, "told")
    assert "surgery" in told()[0]
    assert "a" in device.names("configmaps")
    device.hold.why = ""
    device.hold.news.set()
    await device.until(lambda: "a" not in device.names("configmaps"), "gone")
    await device.until(lambda: not device.names("bundles.edgeorch.io"), "no bundle")

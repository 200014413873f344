"""ServiceAccount admission on a real store with the real controllers."""

from __future__ import annotations

import pytest

from edgeorch.controllers import account_admission
from edgeorch.model import errors
from tests.component.controllers import conftest as made


@pytest.fixture
def admitting(device: made.Device) -> made.Device:
    device.store.admit_with("pods", account_admission.AccountAdmission(device.store))
    return device


async def test_a_pod_right_after_its_namespace_waits_for_the_account(
    admitting: made.Device,
) -> None:
    store = admitting.store
    meta = {"name": "fresh"}
    await store.create("namespaces", {"apiVersion": "v1", "kind": "Namespace", "metadata": meta})
    pod = made.pod("one")
    pod["metadata"]["namespace"] = "fresh"
    spec = (await store.create("pods", pod)).decode()["spec"]
    assert spec["serviceAccountName"] == "default"
    assert spec["volumes"][0]["name"].startswith("kube-api-access-")


async def test_a_pod_of_an_account_that_is_not_there_is_refused(admitting: made.Device) -> None:
    with pytest.raises(errors.StatusError) as caught:
        await admitting.store.create("pods", made.pod("one", serviceAccountName="robot"))
    assert caught.value.code == 403
    assert 'error looking up service account default/robot: serviceaccount "robot"' in str(
        caught.value
    )


async def test_controllers_pods_are_admitted_too(admitting: made.Device) -> None:
    template = made.template()
    template["spec"]["serviceAccountName"] = "robot"
    await admitting.store.create("deployments.apps", made.deployment(replicas=1, template=template))
    why = 'serviceaccount "robot" not found'
    await admitting.until(
        lambda: any(why in told for told in admitting.messages("FailedCreate")), "an event"
    )
    account = {"apiVersion": "v1", "kind": "ServiceAccount"}
    account["metadata"] = {"name": "robot", "namespace": "default"}  # type: ignore[assignment]
    await admitting.store.create("serviceaccounts", account)
    await admitting.until(lambda: admitting.all("pods"), "a pod")

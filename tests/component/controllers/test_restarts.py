"""Whatever was going on when the process ended goes on when it is back."""

from __future__ import annotations

import pathlib

from edgeorch.core import endpoints
from tests.component.controllers import test_deployments as rollouts
from tests.component.controllers.conftest import deployment, running, service


async def test_nothing_moves_after_a_restart(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "state.db"
    async with running(path) as device:
        await device.until(lambda: device.find("namespaces", "default", ""), "a namespace")
        await device.store.create("services", service())
        await rollouts.deployed(device, minReadySeconds=1)
        before = {pod["metadata"]["uid"] for pod in device.all("pods")}
    async with running(path) as device:
        found = await device.until(
            lambda: device.all(
                "endpointslices.discovery.k8s.io", **{endpoints.SERVICE_NAME: "web"}
            ),
            "slices again",
        )
        assert len(found[0]["endpoints"]) == 3
        await device.until(lambda: rollouts.is_complete(device, 3), "still complete")
        assert {pod["metadata"]["uid"] for pod in device.all("pods")} == before
        assert not device.messages("ScalingReplicaSet")


async def test_a_rollout_goes_on(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "state.db"
    async with running(path) as device:
        await device.until(lambda: device.find("namespaces", "default", ""), "a namespace")
        await device.store.create("deployments.apps", deployment(replicas=4))
        await device.until(lambda: rollouts.is_complete(device, 4), "deployed")
        device.agent.makes_ready = False
        await device.edit("deployments.apps", "web", rollouts.to_image("web:2"))
        await device.until(lambda: len(device.all("replicasets.apps")) == 2, "begun")
    async with running(path) as device:
        await device.edit("deployments.apps", "web", rollouts.to_size(5))
        await device.until(lambda: rollouts.is_complete(device, 5, "web:2"), "finished")

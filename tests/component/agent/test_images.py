"""Images that are not there."""

from __future__ import annotations

import base64
import json
import pathlib
from collections.abc import Callable, Iterator

import pytest

from edgeorch.agent import registry_puller
from edgeorch.lib import metrics
from edgeorch.registry import pull
from edgeorch.runtime import pulling
from tests import exposition
from tests.component.agent.conftest import Lab
from tests.component.runtime import archives, registries

MIB = 1 << 20


@pytest.fixture
def registry(lab: Lab, tmp_path: pathlib.Path) -> Iterator[registries.Registry]:
    """In the device's network."""
    root = tmp_path / "registry"
    root.mkdir()
    with registries.running(root, user="me", password="secret") as found:
        layers = [archives.busybox_layer(), registries.noise_layer("n", 6 * MIB, 11)]
        found.push("team/closed", "1", [archives.busybox_layer()])
        found.push("team/large", "1", layers)
        yield found


class _Puller:
    """Made when it is needed: the lab's client comes with its start."""

    def __init__(self, lab: Lab, rate: int) -> None:
        self._lab = lab
        self._rate = rate
        self._made: registry_puller.RegistryPuller | None = None

    async def pull(
        self, ref: str, auths: list[bytes], progress: Callable[[int, int], None]
    ) -> None:
        if self._made is None:
            limits = pull.Limits(bytes_per_second=self._rate)
            sinks = pulling.PullSinks(self._lab.client)
            self._made = registry_puller.RegistryPuller(sinks, limits=limits)
        await self._made.pull(ref, auths, progress)


async def _start_with_puller(lab: Lab, rate: int = 0) -> None:
    await lab.stop()
    lab.puller = _Puller(lab, rate)
    await lab.start()


def _secret(registry: str) -> dict[str, object]:
    auth = base64.b64encode(b"me:secret").decode()
    document = json.dumps({"auths": {registry: {"auth": auth}}}).encode()
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "pull", "namespace": "default"},
        "type": "kubernetes.io/dockerconfigjson",
        "data": {".dockerconfigjson": base64.b64encode(document).decode()},
    }


def _pulls(lab: Lab, result: str) -> float:
    registry = metrics.Registry()
    lab.agent.measure(registry)
    told = exposition.parse(registry.render())
    well = told.value("edgeorch_image_pulls_total", result="success")
    assert told.value("kubelet_image_pull_duration_seconds_count") == well
    return told.value("edgeorch_image_pulls_total", result=result)


async def test_an_absent_image_is_told_and_backed_off(lab: Lab) -> None:
    image = "registry.invalid/nothing:1"
    await lab.run("absent", container={"image": image})
    await lab.until(lambda: lab.waiting("absent", "ImagePullBackOff"))

    events = lab.events("absent")
    assert ("Pulling", f'Pulling image "{image}"') in events
    assert ("Failed", "Error: ErrImagePull") in events
    assert ("BackOff", f'Back-off pulling image "{image}"') in events
    assert ("Failed", "Error: ImagePullBackOff") in events
    assert lab.status("absent")["phase"] == "Pending"
    await lab.delete("absent")
    await lab.gone("absent")


async def test_never_does_not_pull(lab: Lab) -> None:
    container = {"image": "absent:1", "imagePullPolicy": "Never"}
    await lab.run("never", container=container)
    waiting = await lab.until(lambda: lab.waiting("never", "ErrImageNeverPull"))

    told = 'Container image "absent:1" is not present with pull policy of Never'
    assert waiting["message"] == told


@pytest.mark.ask(10)
async def test_an_image_here_is_used_when_no_registry_answers(lab: Lab) -> None:
    await lab.run("always", container={"imagePullPolicy": "Always"})
    await lab.running("always")
    assert _pulls(lab, "made_do") == 1


async def test_a_pull_secret_that_comes_late_is_used_at_once(
    lab: Lab, registry: registries.Registry
) -> None:
    await _start_with_puller(lab)
    image = f"127.0.0.1:{registry.port}/team/closed:1"
    await lab.run("closed", container={"image": image}, imagePullSecrets=[{"name": "pull"}])
    waiting = await lab.until(lambda: lab.waiting("closed", "ImagePullBackOff"))
    assert "no basic auth credentials" in waiting["message"]
    told = (
        "Unable to retrieve some image pull secrets (pull); "
        "attempting to pull the image may not succeed."
    )
    assert ("FailedToRetrieveImagePullSecret", told) in lab.events("closed")
    await lab.objects.create("secrets", _secret(f"127.0.0.1:{registry.port}"))
    await lab.running("closed")
    assert lab.container("closed")["restartCount"] == 0
    assert _pulls(lab, "error") >= 1
    assert _pulls(lab, "success") == 1


async def test_whoever_waits_for_an_image_goes_on_when_its_first_puller_is_deleted(
    lab: Lab, registry: registries.Registry
) -> None:
    await _start_with_puller(lab, rate=4 * MIB)
    async with registries.Line(registry.port) as line:
        domain = f"127.0.0.1:{line.port}"
        await lab.objects.create("secrets", _secret(domain))
        image = f"{domain}/team/large:1"
        for name in ("first", "second"):
            await lab.run(name, container={"image": image}, imagePullSecrets=[{"name": "pull"}])
        await lab.until(lambda: line.carried > 2 * MIB, "a good part has come")
        await lab.delete("first", grace=0)
        await lab.gone("first")
        await lab.running("second")
        # What had come for the first is the second's.
        assert line.carried < 8 * MIB + len(archives.busybox_layer())
    pulled = dict(lab.events("second"))["Pulled"]
    assert f'Successfully pulled image "{image}" in ' in pulled
    size = (await lab.images.get(image)).size
    assert pulled.endswith(f"Image size: {size} bytes.")

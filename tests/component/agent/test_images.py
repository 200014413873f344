"""Images that are not there."""

from __future__ import annotations

from tests.component.agent.conftest import Lab


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


async def test_an_image_here_is_used_when_no_registry_answers(lab: Lab) -> None:
    await lab.run("always", container={"imagePullPolicy": "Always"})
    await lab.running("always")

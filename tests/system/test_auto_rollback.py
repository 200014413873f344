"""A bad update goes back by itself, from images on the device, also through kill -9."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from . import lab as labs
from . import manifests

Object = dict[str, Any]


def asking() -> Object:
    body = manifests.deployment("web", manifests.web(), replicas=2, progressDeadlineSeconds=3)
    body["metadata"]["annotations"] = {"edgeorch.io/auto-rollback": "true"}
    return body


def image(lab: labs.Lab, *n: str) -> str:
    found = lab.get("deployment", "web", *n)
    return str(found["spec"]["template"]["spec"]["containers"][0]["image"])


def test_a_bad_update_goes_back(lab: labs.Lab, namespace: str) -> None:
    n = ("-n", namespace)
    lab.apply(asking(), *n)
    lab.rollout("deployment/web", *n)
    before = {pod["metadata"]["uid"] for pod in lab.items("pods", *n)}
    lab.kubectl("set", "image", "deployment/web", "web=nginx:1.99", *n)
    labs.until(lambda: image(lab, *n) == "nginx:1.25", "back")
    lab.rollout("deployment/web", *n)
    lab.wait("deployment/web", "condition=RolledBack", *n)
    found = lab.get("deployment", "web", *n)
    noted = found["metadata"]["annotations"]
    assert noted["edgeorch.io/rolled-back-from-revision"] == "2"
    events = lab.items("events", *n, "--field-selector", "reason=AutoRollback")
    assert [event["message"] for event in events] == [noted["edgeorch.io/rolled-back-because"]]
    running = [pod for pod in lab.items("pods", *n) if "deletionTimestamp" not in pod["metadata"]]
    assert before == {pod["metadata"]["uid"] for pod in running}

    lab.kubectl("set", "image", "deployment/web", "web=nginx:1.26", *n)
    lab.rollout("deployment/web", *n)
    assert image(lab, *n) == "nginx:1.26"


def test_killed_in_the_middle(new_lab: Callable[..., labs.Lab], images: dict[str, Path]) -> None:
    lab = new_lab(load=tuple(images.values()))
    lab.apply(asking())
    lab.rollout("deployment/web")
    lab.kubectl("set", "image", "deployment/web", "web=nginx:1.99")
    labs.until(lambda: len(lab.items("rs")) == 2, "begun")
    lab.lab("kill")
    lab.lab("start")
    labs.until(lambda: image(lab) == "nginx:1.25", "back")
    lab.rollout("deployment/web")
    noted = lab.get("deployment", "web")["metadata"]["annotations"]
    assert noted["edgeorch.io/rolled-back-from-revision"] == "2"

"""edgeorch is killed again and again while it changes things: it ends where it would have anyway.

The same changes are made twice, in quiet and under kills, and what is there in the end is compared.
Jobs tell of themselves how often their containers really ran.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from . import census, manifests
from . import lab as labs

SEED = 4
LONGEST = 1.2
"""Seconds from a change to the kill, at most: by then a rollout of these is mostly over."""
APPS = "/apis/apps/v1/namespaces/{}/{}"
PODS = "/api/v1/namespaces/{}/pods"
PATCH = {"Content-Type": "application/merge-patch+json"}

Change = Callable[["Place"], None]


@pytest.fixture
def own(no_stale_labs: None, images: dict[str, Path]) -> Iterator[labs.Lab]:
    device = labs.Lab(f"t{os.getpid()}-same")
    try:
        device.up()
        device.load(images["busybox-latest"])
        yield device
        assert "Traceback" not in device.log()
    finally:
        device.down()


class Place:
    """A namespace with a Deployment, a StatefulSet and a folder in which Jobs leave a line each."""

    def __init__(self, lab: labs.Lab, namespace: str, runs: Path) -> None:
        self.lab, self.namespace, self.runs = lab, namespace, runs
        runs.mkdir()
        lab.kubectl("create", "namespace", namespace)
        made = manifests.deployment("web", replicas=2)
        wanted = {**made["spec"], "serviceName": "", "podManagementPolicy": "Parallel"}
        kept = {**made, "kind": "StatefulSet", "metadata": {"name": "kept"}, "spec": wanted}
        kept["spec"] = {**wanted, "selector": {"matchLabels": {"app": "kept"}}}
        template = wanted["template"]
        kept["spec"]["template"] = {**template, "metadata": {"labels": {"app": "kept"}}}
        lab.apply(manifests.listed(made, kept), "-n", namespace)
        lab.rollout("deploy/web", "-n", namespace)

    def patch(self, path: str, body: labs.Object) -> None:
        answer = self.lab.api("PATCH", APPS.format(self.namespace, path), body, headers=PATCH)
        assert answer.status == 200, answer.body

    def create_job(self, name: str, spec: labs.Object) -> None:
        script = f'echo "{name} $JOB_COMPLETION_INDEX" >>/runs/log; sleep 0.2'
        mount = [{"name": "runs", "mountPath": "/runs"}]
        pod = manifests.pod_spec(
            manifests.container(script, volumeMounts=mount, imagePullPolicy="IfNotPresent"),
            restartPolicy="Never",
            volumes=[{"name": "runs", "hostPath": {"path": str(self.runs)}}],
        )
        job = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name},
            "spec": {"template": {"spec": pod}, **spec},
        }
        url = f"/apis/batch/v1/namespaces/{self.namespace}/jobs"
        assert self.lab.api("POST", url, job).status == 201

    def seen(self) -> bool:
        """Controllers have looked at what was changed last."""
        found = self.lab.api("GET", APPS.format(self.namespace, "deployments/web")).json
        return bool(found["status"].get("observedGeneration") == found["metadata"]["generation"])

    def log(self) -> Counter[str]:
        path = self.runs / "log"
        return Counter(path.read_text().splitlines() if path.exists() else ())

    # --- what is there in the end ---------------------------------------------------------------

    def settled(self) -> labs.Object | None:
        found = self.end_state()
        for each in (*found["deployments"], *found["statefulsets"]):
            wanted = each["spec"]["replicas"]
            counts = ("replicas", "readyReplicas", "updatedReplicas")
            if any(each["status"].get(name, 0) != wanted for name in counts):
                return None
            if each["status"].get("terminatingReplicas", 0):
                return None
        ended = all("Complete" in each["conditions"] for each in found["jobs"])
        return found if ended and not found.pop("leaving") and self.seen() else None

    def _items(self, url: str) -> list[labs.Object]:
        found: list[labs.Object] = self.lab.api("GET", url.format(self.namespace)).json["items"]
        return found

    def end_state(self) -> labs.Object:
        """Without names that are drawn and times."""
        base = "/apis/apps/v1/namespaces/{}/"
        listed = self._items(PODS)
        pods = Counter(
            (
                pod["metadata"]["ownerReferences"][0]["kind"],
                pod["status"]["phase"],
                str(pod["spec"]["containers"][0].get("env")),
            )
            for pod in listed
        )
        return {
            "deployments": [_plain(each) for each in self._items(base + "deployments")],
            "statefulsets": [_plain(each) for each in self._items(base + "statefulsets")],
            "replicasets": sorted(
                (
                    each["metadata"]["annotations"]["deployment.kubernetes.io/revision"],
                    each["metadata"]["labels"]["pod-template-hash"],
                    each["spec"]["replicas"],
                )
                for each in self._items(base + "replicasets")
            ),
            "jobs": [_plain(each) for each in self._items("/apis/batch/v1/namespaces/{}/jobs")],
            "pods": pods,
            "leaving": sum("deletionTimestamp" in pod["metadata"] for pod in listed),
            "runs": self.log(),
        }


def _plain(obj: labs.Object) -> labs.Object:
    status = dict(obj["status"])
    conditions = {each["type"] for each in status.pop("conditions", ())}
    for name in ("startTime", "completionTime", "currentRevision", "updateRevision"):
        status.pop(name, None)
    spec = {key: value for key, value in obj["spec"].items() if key not in ("selector", "template")}
    return {
        "name": obj["metadata"]["name"],
        "generation": obj["metadata"]["generation"],
        "spec": spec,
        "status": status,
        "conditions": sorted(conditions),
    }


def changes(count: int) -> list[Change]:
    """Rollouts forth and back, sizes up and down, Jobs of either mode."""
    dice = random.Random(SEED)
    found: list[Change] = []
    for number in range(count):
        match number % 4:
            case 0:
                found.append(_rollout(dice.choice("abc") + str(number % 3)))
            case 1:
                mode = "Indexed" if number % 8 == 1 else "NonIndexed"
                found.append(_job(f"job-{number}", mode))
            case 2:
                found.append(_scale("deployments/web", dice.randrange(0, 5)))
            case _:
                found.append(_scale("statefulsets/kept", dice.randrange(0, 4)))
    return found


def _rollout(step: str) -> Change:
    container = {**manifests.container(), "env": [{"name": "STEP", "value": step}]}
    body = {"spec": {"template": {"spec": {"containers": [container]}}}}
    return lambda place: place.patch("deployments/web", body)


def _scale(path: str, replicas: int) -> Change:
    return lambda place: place.patch(path, {"spec": {"replicas": replicas}})


def _job(name: str, mode: str) -> Change:
    spec = {"completions": 3, "parallelism": 2, "completionMode": mode, "backoffLimit": 0}
    return lambda place: place.create_job(name, spec)


@pytest.mark.timeout(1200)
def test_the_end_is_the_same(own: labs.Lab, tmp_path: Path) -> None:
    made = changes(labs.rounds(3, 100))
    quiet = Place(own, "quiet", tmp_path / "quiet")
    for change in made:
        change(quiet)
        labs.until(quiet.seen, "the change is seen")
    expected = labs.until(quiet.settled, "rest, in quiet", 180)
    # Room for the others: what is compared is known.
    own.kubectl("delete", "namespace", "quiet", "--wait=false")
    killed = Place(own, "killed", tmp_path / "killed")
    dice = random.Random(SEED)
    for change in made:
        change(killed)
        time.sleep(dice.uniform(0, LONGEST))
        own.lab("kill")  # returns when it has gone
        own.lab("start")
        labs.until(killed.seen, "the change is seen")
    found = labs.until(killed.settled, "rest, after the kills", 180)
    assert found == expected
    census.settled(own)
    jobs = [each["name"] for each in found["jobs"]] if found else []
    for name in jobs:
        lines = {line: n for line, n in killed.log().items() if line.startswith(f"{name} ")}
        assert sum(lines.values()) == 3, lines
    assert len(jobs) == sum(number % 4 == 1 for number in range(len(made)))

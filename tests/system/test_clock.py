"""A device whose clock lies: it boots in 1970, is put right, runs fifty years ahead and comes back.

The clock is the device's own alone (lib.clock reads how wrong it is from a file); kubectl's is
right.
"""

from __future__ import annotations

import datetime
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edgeorch.lib import clock as clocks

from . import lab as labs
from . import manifests

FIFTY_YEARS = 50 * 365 * 86400.0
BEFORE_THE_MINUTE = 58
"""Second of a minute to which the clock is set: a CronJob is due two seconds later."""
PROBE = {"exec": {"command": ["sh", "-c", "echo >>/tmp/probes"]}, "periodSeconds": 1}


class WrongClock:
    def __init__(self, path: Path) -> None:
        self._path = path

    def set(self, wall: float) -> None:
        """Seconds since 1970, moved on to the end of that minute."""
        wall += BEFORE_THE_MINUTE - wall % 60
        aside = self._path.with_suffix(".new")
        aside.write_text(repr(wall - time.time()))
        os.replace(aside, self._path)


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WrongClock:
    path = tmp_path / "wrong"
    made = WrongClock(path)
    made.set(0.0)
    monkeypatch.setenv(clocks.LAB, str(path))
    return made


def _workloads() -> labs.Object:
    main = manifests.container(livenessProbe=PROBE, readinessProbe=PROBE)
    job = {"template": {"spec": manifests.pod_spec(manifests.container("true"))}}
    job["template"]["spec"]["restartPolicy"] = "Never"
    cron = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": "tick"},
        "spec": {
            "schedule": "* * * * *",
            "successfulJobsHistoryLimit": 50,
            "jobTemplate": {"spec": job},
        },
    }
    return manifests.listed(manifests.deployment("steady", main), cron)


def _probes(device: labs.Lab) -> int:
    return device.kubectl("exec", "deploy/steady", "--", "cat", "/tmp/probes").count("\n")


def _condition(device: labs.Lab) -> tuple[str, str]:
    every = device.get("node")["items"][0]["status"]["conditions"]
    return next((c["status"], c["reason"]) for c in every if c["type"] == "ClockNotTrusted")


def _stamps(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for each in value.values():
            yield from _stamps(each)
    elif isinstance(value, list):
        for each in value:
            yield from _stamps(each)
    elif isinstance(value, str) and re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", value):
        yield value


def _is_sane(device: labs.Lab) -> None:
    """Ages are none or more, and nothing was before it was made."""
    shown = device.kubectl("get", "pods,jobs,cronjobs,deployments,nodes,events", "-A")
    assert "<invalid>" not in shown
    assert not re.search(r"-\d+[smhdy]\b", shown)
    for pod in device.items("pods", "-A"):
        made = pod["metadata"]["creationTimestamp"]
        assert made >= clocks.rfc3339(clocks.RELEASED)
        assert all(stamp >= made for stamp in _stamps(pod["status"]))


def _told(device: labs.Lab, text: str) -> Callable[[], bool]:
    def found() -> bool:
        events = device.items("events", "--field-selector", "reason=ClockStepped")
        return any(text in each["message"] for each in events)

    return found


def _step(device: labs.Lab, clock: WrongClock, wall: float, text: str) -> None:
    probes, jobs = _probes(device), len(device.items("jobs"))
    clock.set(wall)
    labs.until(_told(device, text), f"the event of a clock {text}")
    labs.until(lambda: len(device.items("jobs")) > jobs, "the CronJob to fire at the minute")
    labs.until(lambda: _probes(device) > probes + 2, "probes to go on")
    assert _condition(device) == ("False", "ClockIsPlausible")
    _is_sane(device)
    came = len(device.items("jobs")) - jobs
    assert came <= 2, f"{came} jobs, not one that was missed and the one of this minute"


@pytest.mark.ask(5, 6, 7)
def test_a_clock_that_lies_disturbs_nothing(
    clock: WrongClock, new_lab: Callable[..., labs.Lab], images: dict[str, Path]
) -> None:
    device = new_lab(load=(images["busybox-latest"],))
    assert _condition(device) == ("True", "ClockBehindLastKnownTime")
    device.apply(_workloads())
    device.rollout("deploy/steady")
    token = device.kubectl("create", "token", "default", "--duration=1h").strip()
    steady = device.items("pods", "-l", "app=steady")[0]["status"]["containerStatuses"]
    tasks = device.run("ctr", "task", "list").stdout.splitlines()
    now = datetime.datetime.now(datetime.UTC).timestamp()
    for wall, text in (
        (now, "set forward by"),
        (now + FIFTY_YEARS, "set forward by 50 years"),
        (now + 600, "set back by 50 years"),
    ):
        _step(device, clock, wall, text)
        assert "default" in device.kubectl("auth", "whoami", f"--token={token}")
    now_there = device.items("pods", "-l", "app=steady")[0]["status"]["containerStatuses"]
    assert [(c["containerID"], c["restartCount"]) for c in now_there] == [
        (c["containerID"], c["restartCount"]) for c in steady
    ]
    assert set(tasks) <= set(device.run("ctr", "task", "list").stdout.splitlines())

    device.lab("stop")
    clock.set(0.0)
    device.lab("start")
    assert _condition(device) == ("True", "ClockBehindLastKnownTime")
    device.apply(manifests.pod("later"))
    device.wait("pod/later", "condition=Ready")
    older = device.items("pods", "-l", "app=steady")[0]["metadata"]["creationTimestamp"]
    assert device.get("pod", "later")["metadata"]["creationTimestamp"] > older
    _is_sane(device)

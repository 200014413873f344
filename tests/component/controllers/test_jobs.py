"""Jobs and CronJobs on a real store: pods run, end, and are counted once."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import pathlib
from typing import Any

import pytest

from edgeorch.controllers import ages
from edgeorch.core import job_pods
from edgeorch.lib import clock as clocks
from edgeorch.model import errors
from tests.component.controllers.conftest import Device, running

Object = dict[str, Any]


def job(name: str = "once", **spec: Any) -> Object:
    template = {
        "spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "work:1"}]}
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"template": template, **spec},
    }


def condition(obj: Object, kind: str) -> Object | None:
    held = obj["status"].get("conditions") or []
    return next((each for each in held if (each["type"], each["status"]) == (kind, "True")), None)


def pods(device: Device, phase: str = "") -> list[Object]:
    found = device.all("pods", **{"batch.kubernetes.io/job-name": "once"})
    return [pod for pod in found if not phase or pod["status"]["phase"] == phase]


async def end(device: Device, phase: str = "Succeeded") -> None:
    """One more running pod ends."""
    pod = (await device.until(lambda: pods(device, "Running"), "a running pod"))[0]
    name = pod["metadata"]["name"]
    await device.agent.report("default", name, ready=False, phase=phase)


async def ended(device: Device, kind: str) -> Object:
    await device.until(lambda: condition(device.get("jobs.batch", "once"), kind), kind)
    return device.get("jobs.batch", "once")


async def test_a_job_completes_and_counts_each_pod_once(device: Device) -> None:
    await device.store.create("jobs.batch", job(completions=3, parallelism=2))
    for _ in range(3):
        await end(device)
    done = await ended(device, "Complete")
    assert done["status"]["succeeded"] == 3
    assert done["status"]["uncountedTerminatedPods"] == {}
    assert condition(done, "SuccessCriteriaMet") is not None
    assert len(pods(device)) == 3
    assert not any(job_pods.FINALIZER in str(pod["metadata"]) for pod in pods(device))
    # The event follows the status.
    said = await device.until(lambda: device.messages("Completed"), "the event")
    assert said == ["Job completed"]


async def test_indexes_run_once_each(device: Device) -> None:
    spec: Object = {"completions": 3, "parallelism": 3, "completionMode": "Indexed"}
    await device.store.create("jobs.batch", job(**spec))
    for _ in range(3):
        await end(device)
    done = await ended(device, "Complete")
    assert done["status"]["completedIndexes"] == "0-2"
    assert sorted(pod["spec"]["hostname"] for pod in pods(device)) == ["once-0", "once-1", "once-2"]


async def test_a_job_fails_at_its_back_off_limit(device: Device) -> None:
    await device.store.create("jobs.batch", job(backoffLimit=0))
    await end(device, "Failed")
    failed = await ended(device, "Failed")
    assert failed["status"]["failed"] == 1
    reason = condition(failed, "Failed")
    assert reason is not None
    assert reason["reason"] == "BackoffLimitExceeded"


async def test_suspending_takes_pods_away_without_counting_them(device: Device) -> None:
    await device.store.create("jobs.batch", job(completions=2, parallelism=2))
    await device.until(lambda: len(pods(device, "Running")) == 2, "two pods")

    def suspend(value: bool) -> Any:
        return lambda obj: obj["spec"].update(suspend=value)

    await device.edit("jobs.batch", "once", suspend(True))
    await device.until(lambda: not pods(device), "no pods")
    held = await ended(device, "Suspended")
    assert "failed" not in held["status"]
    await device.edit("jobs.batch", "once", suspend(False))
    for _ in range(2):
        await end(device)
    assert (await ended(device, "Complete"))["status"]["succeeded"] == 2


async def test_a_deleted_job_lets_its_pods_go(device: Device) -> None:
    await device.store.create("jobs.batch", job())
    await device.until(lambda: pods(device, "Running"), "a pod")
    options = {"propagationPolicy": "Background"}
    await device.store.delete("jobs.batch", "default", "once", options)
    await device.until(lambda: not pods(device), "no pods")


async def test_a_finished_job_goes_after_its_time(device: Device) -> None:
    await device.store.create("jobs.batch", job(ttlSecondsAfterFinished=0))
    await end(device)
    await device.until(lambda: device.find("jobs.batch", "once") is None, "gone")
    await device.until(lambda: not pods(device), "no pods")


async def test_a_kill_between_count_and_release_counts_once(tmp_path: pathlib.Path) -> None:
    """The status knows the pod; its finalizer is still there when the process starts again."""
    path = tmp_path / "state.db"
    async with running(path) as device:
        await device.until(lambda: device.find("namespaces", "default", ""), "a namespace")
        await device.store.create("jobs.batch", job(completions=1))
        await end(device)
        await ended(device, "Complete")
    async with running(path) as device:

        def again(obj: Object) -> Object:
            uid = pods(device)[0]["metadata"]["uid"]
            status = {"startTime": obj["status"]["startTime"], "ready": 0}
            return {**obj, "status": {**status, "uncountedTerminatedPods": {"succeeded": [uid]}}}

        name = pods(device)[0]["metadata"]["name"]
        await device.store.update("pods", "default", name, job_pods.with_finalizer)
        await device.store.update(
            "jobs.batch", "default", "once", again, subresource="status", durable=True
        )
        done = await ended(device, "Complete")
        assert done["status"]["succeeded"] == 1
        assert len(pods(device)) == 1


async def test_every_minute_makes_one_job(device: Device) -> None:
    body = {"schedule": "* * * * *", "jobTemplate": {"spec": job()["spec"]}}
    meta = {"name": "often", "namespace": "default"}
    obj = {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": meta, "spec": body}
    await device.store.create("cronjobs.batch", obj)

    def long_ago(each: Object) -> Object:
        return {**each, "status": {"lastScheduleTime": "1970-01-01T00:00:00Z"}}

    await device.store.update_status("cronjobs.batch", "default", "often", long_ago)
    made = (await device.until(lambda: device.all("jobs.batch"), "a job"))[0]
    minutes = int(made["metadata"]["name"].removeprefix("often-"))
    assert abs(minutes * 60 - datetime.datetime.now(datetime.UTC).timestamp()) < 130
    assert device.messages("TooManyMissedTimes")
    status = await device.until(
        lambda: device.get("cronjobs.batch", "often")["status"].get("active"), "active"
    )
    assert [ref["name"] for ref in status] == [made["metadata"]["name"]]
    assert len(device.all("jobs.batch")) <= 2


def test_ages_do_not_follow_the_wall_clock() -> None:
    clock = clocks.ManualClock(monotonic=500.0)
    timed = ages.Ages(clock)
    assert timed.of("a", "2025-12-31T23:58:00Z") == 120.0
    clock._now -= datetime.timedelta(days=20000)
    clock.advance(5)
    assert timed.of("a", "2025-12-31T23:58:00Z") == 125.0
    assert timed.of("b", "1970-01-01T00:00:00Z") <= 505.0


@pytest.mark.parametrize("name", ["jobs", "cronjobs"])
async def test_what_is_wrong_is_refused(device: Device, name: str) -> None:
    bad = job() if name == "jobs" else {**job(), "kind": "CronJob"}
    bad["spec"] = {"template": {"spec": {"containers": [{"name": "c", "image": "i"}]}}}
    with contextlib.ExitStack() as stack:
        caught = stack.enter_context(pytest.raises(errors.StatusError))
        await asyncio.wait_for(device.store.create(f"{name}.batch", bad), 5)
    assert caught.value.code == 422

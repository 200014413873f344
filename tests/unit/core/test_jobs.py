"""Jobs in a simulated world: they converge, count each pod once, and stay within parallelism."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from edgeorch.core import job_pods, jobs
from edgeorch.lib import intervals, json
from edgeorch.model import batch, views

STAMP = "2026-01-01T00:00:00Z"
Pods = dict[str, dict[str, Any]]


class World:
    """Carries plans out, but may be killed after any step, and lets pods end as they like."""

    def __init__(self, spec: dict[str, Any], seed: int, failing: float) -> None:
        self.spec, self.status = spec, dict[str, Any]()
        self.pods: Pods = {}
        self.random, self.failing = random.Random(seed), failing
        self.made = 0
        self.successes: list[int | None] = []

    @property
    def job(self) -> batch.Job:
        body = {"metadata": {"name": "j", "uid": "u"}, "spec": self.spec, "status": self.status}
        return views.decode(json.encode(body), batch.Job)

    def seen(self) -> list[job_pods.JobPod]:
        return [views.decode(json.encode(pod), job_pods.JobPod) for pod in self.pods.values()]

    def plan(self) -> jobs.Plan:
        ended = {pod.uid: 1e6 for pod in self.seen()}
        return jobs.plan(self.job, self.seen(), self.status, stamp=STAMP, ended=ended)

    def step(self) -> bool:
        """One reconciliation, perhaps cut short; whether there was anything to do."""
        plan = self.plan()
        work: list[tuple[str, Any]] = []
        if plan.status != self.status:
            work.append(("status", plan.status))
        work += [("delete", pod) for pod in plan.delete]
        work += [("give up", pod) for pod in plan.give_up]
        work += [("release", pod) for pod in plan.release]
        work += [("create", made) for made in plan.create]
        kept = len(work) if self.random.random() < 0.7 else self.random.randint(0, len(work))
        for what, arg in work[:kept]:
            self._do(what, arg)
        return bool(work)

    def _do(self, what: str, arg: Any) -> None:
        if what == "status":
            self.status = json.decode(json.encode(arg))
        elif what == "create":
            self.made += 1
            meta: dict[str, Any] = {"name": f"p{self.made}", "uid": f"p{self.made}"}
            meta["finalizers"] = [job_pods.FINALIZER]
            if arg.index is not None:
                meta["annotations"] = {job_pods.INDEX: str(arg.index)}
                meta["annotations"][job_pods.FAILURES] = str(arg.failures or 0)
            spec = {"nodeName": "here"}
            self.pods[meta["uid"]] = {
                "metadata": meta,
                "spec": spec,
                "status": {"phase": "Running"},
            }
        else:
            pod = self.pods[arg.uid]
            if what != "delete" and not (what == "give up" and self._over(pod)):
                pod["metadata"].pop("finalizers", None)
            if what != "release":
                pod["metadata"]["deletionTimestamp"] = STAMP
            self._sweep()

    @staticmethod
    def _over(pod: dict[str, Any]) -> bool:
        return pod["status"]["phase"] in ("Succeeded", "Failed")

    def _sweep(self) -> None:
        for uid, pod in list(self.pods.items()):
            meta = pod["metadata"]
            if meta.get("deletionTimestamp") and not meta.get("finalizers"):
                del self.pods[uid]

    def live(self) -> None:
        """Some pods end."""
        for pod in self.pods.values():
            if not self._over(pod) and self.random.random() < 0.5:
                well = self.random.random() >= self.failing
                pod["status"]["phase"] = "Succeeded" if well else "Failed"
                if well:
                    index = pod["metadata"].get("annotations", {}).get(job_pods.INDEX)
                    self.successes.append(None if index is None else int(index))


@settings(max_examples=150)
@given(
    st.integers(1, 6),
    st.integers(1, 4),
    st.booleans(),
    st.sampled_from([0.0, 0.2, 0.6]),
    st.integers(0, 10**6),
)
def test_converges_and_counts_once(
    completions: int, parallelism: int, indexed: bool, failing: float, seed: int
) -> None:
    spec = {
        "completions": completions,
        "parallelism": parallelism,
        "completionMode": "Indexed" if indexed else "NonIndexed",
        "backoffLimit": 4,
    }
    world = World(spec, seed, failing)
    for _ in range(400):
        busy = world.step()
        running = sum(pod.active for pod in world.seen())
        assert running <= parallelism
        assert world.status.get("succeeded", 0) <= len(world.successes)
        world.live()
        if world.job.finished and not busy:
            break
    assert world.job.finished
    assert world.plan().create == []
    assert world.status["uncountedTerminatedPods"] == {}
    assert not any(pod.tracked for pod in world.seen())
    if world.job.finished == "Complete":
        assert world.status["succeeded"] == completions
        assert len(world.successes) >= completions
    else:
        assert world.status["failed"] > 4


@settings(max_examples=80)
@given(
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(0, 2),
    st.sampled_from(["TerminatingOrFailed", "Failed"]),
    st.sampled_from([0.0, 0.3, 0.7]),
    st.integers(0, 10**6),
)
def test_each_index_has_its_own_limit(
    completions: int, parallelism: int, limit: int, replaces: str, failing: float, seed: int
) -> None:
    spec = {
        "completions": completions,
        "parallelism": parallelism,
        "completionMode": "Indexed",
        "backoffLimit": 2**31 - 1,
        "backoffLimitPerIndex": limit,
        "podReplacementPolicy": replaces,
    }
    world = World(spec, seed, failing)
    for _ in range(400):
        assert world.plan() == world.plan()
        busy = world.step()
        active = [pod for pod in world.seen() if pod.active]
        assert len(active) <= parallelism
        indexes = [pod.index for pod in active]
        assert len(indexes) == len(set(indexes))
        assert all(pod.failures <= limit for pod in active)
        world.live()
        if world.job.finished and not busy:
            break
    assert world.job.finished
    done = set(world.successes)
    completed = intervals.parse(world.status.get("completedIndexes", ""))
    failed = intervals.parse(world.status.get("failedIndexes", ""))
    assert set(completed) <= done
    assert not set(completed) & set(failed)
    assert len(world.successes) == len(done)
    assert {*completed, *failed} == set(range(completions))
    assert (world.job.finished == "Complete") is (not failed)


def pod(name: str, phase: str, code: int = 0) -> job_pods.JobPod:
    state = job_pods.State(terminated=job_pods.Terminated(exit_code=code))
    return job_pods.JobPod(
        metadata=job_pods.Meta(name=name, namespace="n", uid=name, finalizers=[job_pods.FINALIZER]),
        status=job_pods.Status(
            phase=phase, container_statuses=[job_pods.ContainerStatus(name="main", state=state)]
        ),
    )


def job(**spec: Any) -> batch.Job:
    body = {"metadata": {"name": "j"}, "spec": {"completions": 1, **spec}}
    return views.decode(json.encode(body), batch.Job)


def test_back_off_grows_with_each_failure() -> None:
    failed = [pod("a", "Failed"), pod("b", "Failed")]
    found = jobs.plan(job(), failed, {}, stamp=STAMP, ended={"a": 30.0, "b": 5.0})
    assert found.create == []
    assert found.wake == 15.0
    assert jobs.plan(job(), failed, {}, stamp=STAMP, ended={"a": 50.0, "b": 20.0}).create


def test_the_failure_policy_decides_by_exit_code() -> None:
    rule = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}
    found = jobs.plan(
        job(podFailurePolicy={"rules": [rule]}), [pod("a", "Failed", 42)], {}, stamp=STAMP
    )
    (target,) = found.status["conditions"]
    assert (target["type"], target["reason"]) == ("FailureTarget", "PodFailurePolicy")
    assert target["message"] == (
        "Container main for pod n/a failed with exit code 42 matching FailJob rule at index 0"
    )


def test_an_active_deadline_ends_it() -> None:
    late = job(activeDeadlineSeconds=5)
    started = views.decode(
        json.encode({"metadata": {}, "spec": {"completions": 1, "activeDeadlineSeconds": 5},
                     "status": {"startTime": STAMP}}), batch.Job
    )  # fmt: skip
    assert jobs.plan(late, [], {}, stamp=STAMP, active_for=99.0).wake == 5
    found = jobs.plan(started, [], {}, stamp=STAMP, active_for=5.0)
    assert found.status["conditions"][0]["reason"] == "DeadlineExceeded"

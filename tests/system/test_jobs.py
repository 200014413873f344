"""Jobs and CronJobs with kubectl on a device."""

from __future__ import annotations

from .lab import Lab, Object


def _job(name: str, script: str, **spec: object) -> Object:
    container = {"name": "main", "image": "busybox", "imagePullPolicy": "IfNotPresent"}
    pod = {"restartPolicy": "Never", "containers": [{**container, "command": ["sh", "-c", script]}]}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name},
        "spec": {"template": {"spec": pod}, **spec},
    }


def test_a_job_runs_to_completion(lab: Lab, namespace: str) -> None:
    here = ("-n", namespace)
    lab.kubectl("create", "job", "hello", "--image=busybox", *here, "--", "echo", "hi there")
    lab.wait("job/hello", "condition=complete", *here)
    assert lab.kubectl("logs", "job/hello", *here) == "hi there\n"
    row = lab.kubectl("get", "job", "hello", "--no-headers", *here).split()
    assert row[1:3] == ["Complete", "1/1"]
    told = lab.kubectl("describe", "job", "hello", *here)
    assert "Pods Statuses:    0 Active (0 Ready) / 1 Succeeded / 0 Failed" in told
    assert "Job completed" in told
    lab.kubectl("delete", "job", "hello", *here)
    lab.kubectl("wait", "--for=delete", "pod", "-l", "job-name=hello", "--timeout=30s", *here)


def test_indexes_reach_the_containers(lab: Lab, namespace: str) -> None:
    spec = {"completions": 3, "parallelism": 3, "completionMode": "Indexed"}
    script = "echo $JOB_COMPLETION_INDEX on $(hostname)"
    lab.apply(_job("many", script, **spec), "-n", namespace)
    lab.wait("job/many", "condition=complete", "-n", namespace)
    logs = lab.kubectl("logs", "-l", "job-name=many", "-n", namespace).splitlines()
    assert sorted(logs) == [f"{index} on many-{index}" for index in range(3)]
    assert lab.get("job", "many", "-n", namespace)["status"]["completedIndexes"] == "0-2"


def test_a_job_that_fails_says_why(lab: Lab, namespace: str) -> None:
    lab.apply(_job("bad", "exit 3", backoffLimit=0), "-n", namespace)
    lab.wait("job/bad", "condition=failed", "-n", namespace)
    told = lab.kubectl("describe", "job", "bad", "-n", namespace)
    assert "BackoffLimitExceeded" in told
    assert "Job has reached the specified backoff limit" in told


def test_a_cron_job_and_a_job_made_from_it(lab: Lab, namespace: str) -> None:
    here = ("-n", namespace)
    schedule = "--schedule=0 3 * * *"
    lab.kubectl("create", "cronjob", "nightly", "--image=busybox", schedule, *here, "--", "date")
    lab.kubectl("create", "job", "now", "--from=cronjob/nightly", *here)
    lab.wait("job/now", "condition=complete", *here)
    row = lab.kubectl("get", "cj", "nightly", "--no-headers", *here)
    assert row.split()[:8] == ["nightly", "0", "3", "*", "*", "*", "<none>", "False"]
    bad = lab.try_kubectl("create", "cronjob", "x", "--image=b", "--schedule=61 * * * *", *here)
    assert "end of range (61) above maximum (59): 61" in bad.stderr

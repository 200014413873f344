"""When containers run again, when they do not, and what is said meanwhile."""

from __future__ import annotations

import os
import signal

import pytest

from tests.component.agent.conftest import Lab


async def test_the_second_crash_waits_and_says_for_how_long(lab: Lab) -> None:
    pod = await lab.run("crash", "sh", "-c", "exit 3")
    waiting = await lab.until(lambda: lab.waiting("crash", "CrashLoopBackOff"))

    uid = pod["metadata"]["uid"]
    told = f"back-off 10s restarting failed container=main pod=crash_default({uid})"
    assert waiting["message"] == told
    entry = lab.container("crash")
    assert entry["restartCount"] == 1
    assert entry["lastState"]["terminated"]["exitCode"] == 3
    assert lab.status("crash")["phase"] == "Running"
    told = f"Back-off restarting failed container main in pod crash_default({uid})"
    await lab.until(lambda: ("BackOff", told) in lab.events("crash"))


async def test_never_ends_as_the_exit_codes_say(lab: Lab) -> None:
    await lab.run("good", "true", restartPolicy="Never")
    await lab.run("bad", "false", restartPolicy="Never")
    await lab.phase("good", "Succeeded")
    await lab.phase("bad", "Failed")

    assert lab.container("good")["state"]["terminated"]["reason"] == "Completed"
    assert lab.container("bad")["state"]["terminated"]["reason"] == "Error"
    assert lab.container("bad")["state"]["terminated"]["exitCode"] == 1
    assert lab.condition("good", "Ready") == "False"


async def test_on_failure_repeats_until_it_goes_well(lab: Lab) -> None:
    volumes = [{"name": "v", "emptyDir": {}}]
    command = "test -e /v/been && exit 0; echo yes >/v/been; exit 1"
    container = {"volumeMounts": [{"name": "v", "mountPath": "/v"}]}
    await lab.run(
        "twice", "sh", "-c", command, restartPolicy="OnFailure", volumes=volumes,
        container=container,
    )  # fmt: skip
    await lab.phase("twice", "Succeeded")

    assert lab.container("twice")["restartCount"] == 1


async def test_a_command_that_is_not_there_is_a_start_error(lab: Lab) -> None:
    await lab.run("wrong", "/no/such/program", restartPolicy="Never")
    await lab.phase("wrong", "Failed")

    ended = lab.container("wrong")["state"]["terminated"]
    assert (ended["exitCode"], ended["reason"]) == (128, "StartError")
    assert "no such file or directory" in ended["message"]


async def test_containers_outlive_the_process(lab: Lab) -> None:
    await lab.run("web")
    before = await lab.running("web")
    pid = await lab.pid("web")
    address = lab.status("web")["podIP"]
    await lab.stop()
    os.kill(pid, 0)
    await lab.start()
    after = await lab.running("web")

    assert after["containerID"] == before["containerID"]
    assert await lab.pid("web") == pid
    assert lab.status("web")["podIP"] == address
    os.kill(pid, signal.SIGKILL)
    await lab.running("web", restarts=1)


async def test_what_ended_meanwhile_is_restarted(lab: Lab) -> None:
    await lab.run("web")
    await lab.running("web")
    pid = await lab.pid("web")
    await lab.stop()
    os.kill(pid, signal.SIGKILL)
    await lab.start()
    entry = await lab.running("web", restarts=1)

    assert entry["lastState"]["terminated"]["exitCode"] == 137


async def test_a_pod_deleted_meanwhile_is_ended(lab: Lab) -> None:
    await lab.run("web")
    await lab.running("web")
    pid = await lab.pid("web")
    await lab.delete("web", grace=0)
    await lab.stop()
    await lab.start()
    seen = lab.agent.observer
    await lab.until(lambda: seen.listed.is_set() and not seen.pods() and not lab.agent.pods())

    assert await lab.containers.list() == []
    assert lab.network.sandboxes() == {}
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def test_out_of_memory_is_named(lab: Lab) -> None:
    container = {"resources": {"limits": {"memory": "16Mi"}}}
    await lab.run(
        "greedy", "sh", "-c", "x=$(yes); echo $x", restartPolicy="Never", container=container
    )
    await lab.phase("greedy", "Failed")

    assert lab.container("greedy")["state"]["terminated"]["reason"] == "OOMKilled"
    assert lab.container("greedy")["state"]["terminated"]["exitCode"] == 137

"""The Node object: the device's own, whatever others do to it."""

from __future__ import annotations

import pathlib

import pytest
from msgspec import structs

from edgeorch.agent import machine
from tests.component.agent.conftest import Lab


@pytest.fixture
def no_memory_cgroup(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Raspberry Pi OS starts."""
    facts = structs.replace(machine.read(), memory_cgroup=False)
    monkeypatch.setattr(machine, "read", lambda: facts)


async def test_a_deleted_node_comes_back_at_once(lab: Lab) -> None:
    def uid() -> str:
        found = lab.objects.find("nodes", "", "edge")
        obj = found.decode() if found else {}
        conditions = (obj.get("status") or {}).get("conditions")
        return str(obj["metadata"]["uid"]) if conditions else ""

    before = await lab.until(uid, "a node with a status")
    await lab.objects.delete("nodes", "", "edge")
    after = await lab.until(uid, "the node again", limit=5.0)

    assert after != before


async def test_what_is_held_of_the_device_stands_in_its_status_and_makes_events(lab: Lab) -> None:
    def condition() -> dict[str, str]:
        found = lab.objects.find("nodes", "", "edge")
        every = (found.decode().get("status") or {}).get("conditions") if found else None
        return next((each for each in every or [] if each["type"] == "UnderVoltage"), {})

    def told(kind: str, reason: str) -> bool:
        events = [stored.decode() for stored in lab.objects.list("events").items]
        return any(
            (each["type"], each["reason"], each["involvedObject"]["kind"]) == (kind, reason, "Node")
            for each in events
        )

    lab.board.hold("UnderVoltage", True, "UnderVoltageNow", "the supply is weak")
    held = await lab.until(condition, "the condition")
    assert (held["status"], held["reason"], held["message"]) == (
        "True",
        "UnderVoltageNow",
        "the supply is weak",
    )
    lab.board.hold("UnderVoltage", False, "VoltageIsFine", "the supply holds")
    await lab.until(lambda: condition().get("status") == "False", "the condition to go")

    assert told("Warning", "UnderVoltageNow")
    assert told("Normal", "VoltageIsFine")


@pytest.mark.ask(27)
async def test_without_the_memory_controller_pods_run_and_the_node_says_what_is_missing(
    no_memory_cgroup: None, lab: Lab
) -> None:
    def condition() -> dict[str, str]:
        node = lab.objects.find("nodes", "", "edge")
        every = (node.decode().get("status") or {}).get("conditions") if node else None
        return next((each for each in every or [] if each["type"] == "MemoryLimitsOff"), {})

    await lab.run("bounded", container={"resources": {"limits": {"memory": "64Mi"}}})
    await lab.running("bounded")
    held = await lab.until(condition, "the condition")
    assert (held["status"], held["reason"]) == ("True", "MemoryCgroupDisabled")
    assert "cgroup_enable=memory" in held["message"]
    # What runc was told is in its own account of the container.
    id_ = lab.container("bounded")["containerID"].removeprefix("containerd://")
    (told,) = pathlib.Path("/run/containerd/runc").glob(f"*/{id_}/state.json")
    assert '"memory":67108864' not in told.read_text().replace(" ", "")

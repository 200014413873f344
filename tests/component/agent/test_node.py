"""The Node object: the device's own, whatever others do to it."""

from __future__ import annotations

from tests.component.agent.conftest import Lab


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

"""What the scheduler says of a pod's claims."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec import structs

from edgeorch.core import pod_facts, volume_binding, volume_fit
from edgeorch.model import storage
from tests.unit.core.test_volume_binding import (
    ELSEWHERE,
    IMMEDIATE,
    LOCAL,
    MANUAL,
    NODE,
    Object,
    bound,
    claim,
    volume,
)

CLASSES: list[Object] = [LOCAL, IMMEDIATE, MANUAL]
TAIL = ". preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling."


def pod(name: str = "web", *claims: str, own: bool = False, node: str = "") -> pod_facts.PodFacts:
    volumes: list[Object] = [
        {"name": each, "persistentVolumeClaim": {"claimName": each}} for each in claims
    ]
    if own:
        volumes.append({"name": "own", "ephemeral": {"volumeClaimTemplate": {}}})
    meta = {"name": name, "namespace": "ns", "uid": f"uid-{name}"}
    spec = {"volumes": volumes, "nodeName": node}
    return msgspec.convert({"metadata": meta, "spec": spec}, pod_facts.PodFacts)


def told(
    wanted: pod_facts.PodFacts,
    claims: list[Object],
    volumes: list[Object],
    others: list[pod_facts.PodFacts] | None = None,
) -> str:
    decoded = [msgspec.convert(each, storage.PersistentVolumeClaim) for each in claims]
    known = {each.metadata.name: each for each in decoded}
    seen = volume_fit.Seen(
        claim=known.get,
        volumes={
            each["metadata"]["name"]: msgspec.convert(each, storage.PersistentVolume)
            for each in volumes
        },
        classes={
            each.metadata.name: each
            for each in (msgspec.convert(kind, storage.StorageClass) for kind in CLASSES)
        },
        others=lambda name: [each for each in others or () if name in each.claims],
    )
    refusal = volume_fit.unusable(wanted, seen) or volume_fit.conflict(wanted, NODE, seen)
    if refusal is not None:
        return refusal.message().removeprefix("0/1 nodes are available: ").removesuffix(TAIL)
    return " ".join(volume_fit.open_claims(wanted, seen))


def owned(by: str) -> Object:
    ref = {"apiVersion": "v1", "kind": "Pod", "name": by, "uid": f"uid-{by}", "controller": True}
    return bound("web-own", "pv", meta={"ownerReferences": [ref]})


LOCAL_CLAIM = claim(storageClassName="local-path")


@pytest.mark.parametrize(
    ("claims", "volumes", "wanted"),
    [
        pytest.param([], [], 'persistentvolumeclaim "data" not found', id="missing"),
        pytest.param([bound("data", "pv")], [volume()], "", id="bound"),
        pytest.param(
            [bound("data", "pv", meta={"deletionTimestamp": "x"})],
            [volume()],
            'persistentvolumeclaim "data" is being deleted',
            id="being deleted",
        ),
        pytest.param(
            [{**bound("data", "pv"), "status": {"phase": "Lost"}}],
            [],
            'persistentvolumeclaim "data" bound to non-existent persistentvolume "pv"',
            id="lost",
        ),
        pytest.param(
            [bound("data", "pv")],
            [],
            "1 node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)",
            id="volume gone",
        ),
        pytest.param([claim()], [volume()], volume_fit.UNBOUND, id="not bound yet"),
        pytest.param([claim(storageClassName="now")], [], volume_fit.UNBOUND, id="immediate"),
        pytest.param([LOCAL_CLAIM], [], "data", id="bound when it is chosen"),
        pytest.param(
            [claim(storageClassName="local-path", annotations={
                volume_binding.SELECTED_NODE: "other"})],
            [],
            f"1 {volume_fit.NO_MATCH}",
            id="chosen elsewhere",
        ),
        pytest.param(
            [claim(storageClassName="manual")],
            [volume(storageClassName="manual", nodeAffinity=ELSEWHERE)],
            f"1 {volume_fit.NO_MATCH}",
            id="no volume here",
        ),
        pytest.param(
            [claim(storageClassName="manual")],
            [volume(storageClassName="manual")],
            "data",
            id="a volume here",
        ),
        pytest.param(
            [bound("data", "pv")],
            [volume(nodeAffinity=ELSEWHERE)],
            "1 node(s) had volume node affinity conflict",
            id="elsewhere",
        ),
    ],
)  # fmt: skip
def test_one_claim(claims: list[Object], volumes: list[Object], wanted: str) -> None:
    assert told(pod("web", "data"), claims, volumes) == wanted


def test_two_claims_do_not_count_on_one_volume() -> None:
    two = [claim("a", storageClassName="manual"), claim("b", storageClassName="manual")]
    one = [volume("pv", storageClassName="manual")]
    assert told(pod("web", "a", "b"), two, one) == f"1 {volume_fit.NO_MATCH}"
    both = [*one, volume("pv-2", storageClassName="manual")]
    assert told(pod("web", "a", "b"), two, both) == "a b"


def test_a_claim_for_one_pod_is_not_shared() -> None:
    only: Any = {"accessModes": ["ReadWriteOncePod"]}
    held = bound("data", "pv", **only)
    runs = pod("other", "data", node="edge")
    why = (
        "0/1 nodes are available: 1 node has pod using PersistentVolumeClaim with the same name"
        " and ReadWriteOncePod access mode. preemption: 0/1 nodes are available: 1 No preemption"
        " victims found for incoming pod."
    )
    assert f"0/1 nodes are available: {told(pod('web', 'data'), [held], [volume()], [runs])}" == why
    assert told(pod("web", "data"), [held], [volume()], [pod("waits", "data")]) == ""
    ended = structs.replace(runs, status=pod_facts.Status(phase="Succeeded"))
    assert told(pod("web", "data"), [held], [volume()], [ended]) == ""


def test_the_claim_of_an_ephemeral_volume_must_be_the_pods_own() -> None:
    own = pod("web", own=True)
    assert told(own, [], []) == (
        'waiting for ephemeral volume controller to create the persistentvolumeclaim "web-own"'
    )
    assert told(own, [owned("web")], [volume()]) == ""
    assert told(own, [owned("else")], [volume()]) == (
        "PVC ns/web-own was not created for pod ns/web (pod is not owner)"
    )

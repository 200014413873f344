"""The node's own word that a pod must end: why, how fast, and what its status says of it.

Whoever judges (local storage, admission, pressure of the node) hands an Eviction to the pod's
worker; from there it is data that the lifecycle decision takes like anything else it sees. What has
been said stands in the pod's status, so that a restart in the midst goes on where it was.

As pkg/kubelet/eviction and the kubelet's rejectPod; condition of KEP-3329.
"""

from __future__ import annotations

from msgspec import Struct

from edgeorch.model import views

EVICTED = "Evicted"
DISRUPTION_TARGET = "DisruptionTarget"
BY_KUBELET = "TerminationByKubelet"
IMMEDIATE_GRACE = 1.0
"""Seconds between SIGTERM and SIGKILL where room is needed at once."""


class Eviction(Struct, frozen=True):
    message: str
    reason: str = EVICTED
    grace: float = IMMEDIATE_GRACE
    """Seconds; instead of the pod's own grace period."""
    disruption: bool = True
    """Whether the pod was taken from its work: it gets the condition DisruptionTarget, which a pod
    that was never let in does not."""


def standing(pod: views.Pod) -> Eviction | None:
    """What an earlier process has said of a pod that has not ended yet."""
    status = pod.status
    if pod.terminal or status.reason != EVICTED:
        return None
    by_us = any(c.type == DISRUPTION_TARGET and c.reason == BY_KUBELET for c in status.conditions)
    return Eviction(status.message) if by_us else None

"""What the controllers look at in a pod: a narrower view than model.views.Pod.

Controllers keep one of these for every pod, so it holds neither environments nor volumes nor
probes (a few hundred bytes instead of several kilobytes).
"""

# ruff: noqa: RUF012 -- msgspec copies mutable defaults

from __future__ import annotations

from msgspec import field

from edgeorch.model import views
from edgeorch.model.views import View

FIRST_READINESS = 30.0
"""Seconds after its start in which a pod's readiness is not yet told apart from none
(--horizontal-pod-autoscaler-initial-readiness-delay)."""


class Resources(View, frozen=True, kw_only=True):
    limits: dict[str, str] = {}
    requests: dict[str, str] = {}


class Container(View, frozen=True, kw_only=True):
    name: str
    ports: list[views.ContainerPort] = []
    resources: Resources = Resources()
    restart_policy: str = ""

    @property
    def sidecar(self) -> bool:
        """An init container that goes on running (KEP-753)."""
        return self.restart_policy == "Always"


class ClaimSource(View, frozen=True, kw_only=True):
    claim_name: str = ""


class Ephemeral(View, frozen=True, kw_only=True):
    """That a claim is made for the pod is all that matters here."""


class Volume(View, frozen=True, kw_only=True):
    name: str = ""
    persistent_volume_claim: ClaimSource | None = None
    ephemeral: Ephemeral | None = None


class Spec(View, frozen=True, kw_only=True):
    volumes: list[Volume] = []
    containers: list[Container] = []
    init_containers: list[Container] = []
    overhead: dict[str, str] = {}
    resources: Resources | None = None
    node_name: str = ""
    node_selector: dict[str, str] = {}
    affinity: views.Affinity | None = None
    tolerations: list[views.Toleration] = []
    scheduling_gates: list[views.SchedulingGate] = []
    scheduler_name: str = "default-scheduler"
    topology_spread_constraints: list[views.TopologySpread] = []
    priority: int = 0
    host_network: bool = False
    hostname: str = ""
    subdomain: str = ""


class ContainerStatus(View, frozen=True, kw_only=True):
    name: str = ""
    restart_count: int = 0


class PodIp(View, frozen=True, kw_only=True):
    ip: str = ""


class Status(View, frozen=True, kw_only=True):
    phase: str = ""
    start_time: str = ""
    conditions: list[views.Condition] = []
    pod_ip: str = field(name="podIP", default="")
    pod_ips: list[PodIp] = field(name="podIPs", default=[])
    container_statuses: list[ContainerStatus] = []
    init_container_statuses: list[ContainerStatus] = []


class Annotations(View, frozen=True, kw_only=True):
    """Only the one that matters here: others may be large."""

    deletion_cost: str = field(name="controller.kubernetes.io/pod-deletion-cost", default="0")


class Meta(View, frozen=True, kw_only=True):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    creation_timestamp: str = ""
    deletion_timestamp: str = ""
    labels: dict[str, str] = {}
    annotations: Annotations = Annotations()
    owner_references: list[views.OwnerReference] = []
    finalizers: list[str] = []


class PodFacts(View, frozen=True, kw_only=True):
    metadata: Meta
    spec: Spec = Spec()
    status: Status = Status()
    ready_since: float = 0.0
    """Seconds since boot when it was first seen ready; of no meaning while it is not ready."""
    started_since: float = 0.0
    """Seconds since boot when it was first seen on its node; of no meaning before."""
    was_ready: bool = False
    """It is or has been ready."""

    @property
    def controller_uid(self) -> str:
        refs = self.metadata.owner_references
        return next((ref.uid for ref in refs if ref.controller), "")

    @property
    def ready(self) -> bool:
        return any(c.type == "Ready" and c.status == "True" for c in self.status.conditions)

    @property
    def ready_transition(self) -> str:
        """Wall time at which the Ready condition last changed; "" when unknown."""
        conditions = (c for c in self.status.conditions if c.type == "Ready")
        return next((c.last_transition_time or "" for c in conditions), "")

    @property
    def terminating(self) -> bool:
        return bool(self.metadata.deletion_timestamp)

    @property
    def terminal(self) -> bool:
        return self.status.phase in ("Succeeded", "Failed")

    @property
    def active(self) -> bool:
        """Counts as a replica: neither over nor on its way out."""
        return not self.terminal and not self.terminating

    @property
    def restarts(self) -> int:
        return max((status.restart_count for status in self.status.container_statuses), default=0)

    @property
    def deletion_cost(self) -> int:
        try:
            return int(self.metadata.annotations.deletion_cost)
        except ValueError:
            return 0

    @property
    def claims(self) -> list[str]:
        """Names of the claims whose volumes it mounts."""
        found = []
        for volume in self.spec.volumes:
            if volume.persistent_volume_claim is not None:
                found.append(volume.persistent_volume_claim.claim_name)
            elif volume.ephemeral is not None:
                found.append(f"{self.metadata.name}-{volume.name}")
        return found

    @property
    def own_claims(self) -> set[str]:
        """Those that are made for it alone, and go with it."""
        name, volumes = self.metadata.name, self.spec.volumes
        return {f"{name}-{each.name}" for each in volumes if each.ephemeral is not None}

    @property
    def addresses(self) -> list[str]:
        found = [each.ip for each in self.status.pod_ips if each.ip]
        return found or ([self.status.pod_ip] if self.status.pod_ip else [])

    def available(self, now: float, min_ready_seconds: int) -> bool:
        """Ready for at least `min_ready_seconds` at `now` (seconds since boot)."""
        return self.ready and now - self.ready_since >= min_ready_seconds

"""A pod: its spec around the containers, and its status."""

# ruff: noqa: RUF012 -- msgspec copies mutable defaults

from __future__ import annotations

from typing import Any

from msgspec import field

from edgeorch.model.views.base import (
    Condition,
    LabelSelector,
    Meta,
    Quantities,
    SelectorRequirement,
    View,
)
from edgeorch.model.views.containers import Container, EphemeralContainer, Profile, Resources


class Sysctl(View, frozen=True, kw_only=True):
    name: str
    value: str = ""


class PodSecurity(View, frozen=True, kw_only=True):
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    fs_group: int | None = None
    fs_group_change_policy: str = ""
    supplemental_groups: list[int] = []
    supplemental_groups_policy: str = "Merge"
    seccomp_profile: Profile | None = None
    app_armor_profile: Profile | None = None
    sysctls: list[Sysctl] = []


class HostAlias(View, frozen=True, kw_only=True):
    ip: str
    hostnames: list[str] = []


class PodDnsOption(View, frozen=True, kw_only=True):
    name: str = ""
    value: str | None = None


class PodDnsConfig(View, frozen=True, kw_only=True):
    nameservers: list[str] = []
    searches: list[str] = []
    options: list[PodDnsOption] = []


class LocalObjectReference(View, frozen=True, kw_only=True):
    name: str = ""


class Toleration(View, frozen=True, kw_only=True):
    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""
    toleration_seconds: int | None = None


class NodeSelectorTerm(View, frozen=True, kw_only=True):
    match_expressions: list[SelectorRequirement] = []
    match_fields: list[SelectorRequirement] = []


class NodeSelector(View, frozen=True, kw_only=True):
    node_selector_terms: list[NodeSelectorTerm] = []


class NodeAffinity(View, frozen=True, kw_only=True):
    required: NodeSelector | None = field(
        name="requiredDuringSchedulingIgnoredDuringExecution", default=None
    )


class PodAffinityTerm(View, frozen=True, kw_only=True):
    topology_key: str = ""
    label_selector: LabelSelector | None = None
    namespaces: list[str] = []
    namespace_selector: LabelSelector | None = None
    match_label_keys: list[str] = []
    mismatch_label_keys: list[str] = []


class PodAffinity(View, frozen=True, kw_only=True):
    required: list[PodAffinityTerm] = field(
        name="requiredDuringSchedulingIgnoredDuringExecution", default=[]
    )


class Affinity(View, frozen=True, kw_only=True):
    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAffinity | None = None


class TopologySpread(View, frozen=True, kw_only=True):
    max_skew: int = 1
    topology_key: str = ""
    when_unsatisfiable: str = ""
    label_selector: LabelSelector | None = None
    min_domains: int | None = None
    match_label_keys: list[str] = []


class SchedulingGate(View, frozen=True, kw_only=True):
    name: str


class PodOs(View, frozen=True, kw_only=True):
    name: str = ""


class PodSpec(View, frozen=True, kw_only=True):
    containers: list[Container] = []
    init_containers: list[Container] = []
    ephemeral_containers: list[EphemeralContainer] = []
    volumes: list[dict[str, Any]] = []
    restart_policy: str = "Always"
    termination_grace_period_seconds: int = 30
    active_deadline_seconds: int | None = None
    dns_policy: str = "ClusterFirst"
    dns_config: PodDnsConfig | None = None
    node_name: str = ""
    node_selector: dict[str, str] = {}
    host_network: bool = False
    host_pid: bool = field(name="hostPID", default=False)
    host_ipc: bool = field(name="hostIPC", default=False)
    host_users: bool = True
    runtime_class_name: str = ""
    share_process_namespace: bool = False
    hostname: str = ""
    hostname_override: str = ""
    set_hostname_as_fqdn: bool = field(name="setHostnameAsFQDN", default=False)
    subdomain: str = ""
    host_aliases: list[HostAlias] = []
    security_context: PodSecurity | None = None
    image_pull_secrets: list[LocalObjectReference] = []
    enable_service_links: bool = True
    service_account_name: str = ""
    automount_service_account_token: bool | None = None
    readiness_gates: list[dict[str, str]] = []
    affinity: Affinity | None = None
    tolerations: list[Toleration] = []
    scheduling_gates: list[SchedulingGate] = []
    scheduler_name: str = "default-scheduler"
    topology_spread_constraints: list[TopologySpread] = []
    overhead: Quantities = {}
    resources: Resources | None = None
    """Of the pod as a whole (KEP-2837)."""
    priority: int = 0
    priority_class_name: str = ""
    os: PodOs | None = None


class PodStatus(View, frozen=True, kw_only=True):
    phase: str = ""
    conditions: list[Condition] = []
    pod_ip: str = field(name="podIP", default="")
    pod_ips: list[dict[str, str]] = field(name="podIPs", default=[])
    host_ip: str = field(name="hostIP", default="")
    start_time: str | None = None
    reason: str = ""
    message: str = ""
    container_statuses: list[dict[str, Any]] = []
    init_container_statuses: list[dict[str, Any]] = []
    ephemeral_container_statuses: list[dict[str, Any]] = []

    @property
    def all_container_statuses(self) -> list[dict[str, Any]]:
        return [
            *self.container_statuses,
            *self.init_container_statuses,
            *self.ephemeral_container_statuses,
        ]


class Pod(View, frozen=True, kw_only=True):
    metadata: Meta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def ready(self) -> bool:
        return any(c.type == "Ready" and c.status == "True" for c in self.status.conditions)

    @property
    def terminal(self) -> bool:
        return self.status.phase in ("Succeeded", "Failed")

"""Typed views: the slice of each kind that edgeorch acts on.

Objects travel and rest as JSON bytes; a view is decoded from them where a decision needs one
(`decode_pod(stored.raw)`), unknown fields skipped. What is valid Kubernetes but in no view is
"kept but not acted on", and the client is warned of it (model.unsupported), so a field belongs here
exactly when some code reads it. Views are never written back: changes are made on the object.
"""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec
from msgspec import field

Quantities = dict[str, str]
IntOrString = int | str


class View(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Base of all views: camelCase on the wire, immutable."""


class OwnerReference(View, frozen=True, kw_only=True):
    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False
    block_owner_deletion: bool = False


class Meta(View, frozen=True, kw_only=True):
    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: list[OwnerReference] = []
    finalizers: list[str] = []

    @property
    def controller(self) -> OwnerReference | None:
        return next((ref for ref in self.owner_references if ref.controller), None)


class SelectorRequirement(View, frozen=True, kw_only=True):
    key: str
    operator: str
    values: list[str] = []


class LabelSelector(View, frozen=True, kw_only=True):
    match_labels: dict[str, str] = {}
    match_expressions: list[SelectorRequirement] = []


class Condition(View, frozen=True, kw_only=True):
    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None
    last_update_time: str | None = None


# --- pods ---------------------------------------------------------------------------------------


class EnvVar(View, frozen=True, kw_only=True):
    name: str
    value: str = ""
    value_from: dict[str, Any] | None = None


class ContainerPort(View, frozen=True, kw_only=True):
    container_port: int
    name: str = ""
    protocol: str = "TCP"
    host_port: int = 0
    host_ip: str = field(name="hostIP", default="")


class Resources(View, frozen=True, kw_only=True):
    limits: Quantities = {}
    requests: Quantities = {}


class ExecAction(View, frozen=True, kw_only=True):
    command: list[str] = []


class HttpHeader(View, frozen=True, kw_only=True):
    name: str
    value: str = ""


class HttpGetAction(View, frozen=True, kw_only=True):
    port: IntOrString
    path: str = "/"
    host: str = ""
    scheme: str = "HTTP"
    http_headers: list[HttpHeader] = []


class TcpSocketAction(View, frozen=True, kw_only=True):
    port: IntOrString
    host: str = ""


class GrpcAction(View, frozen=True, kw_only=True):
    port: int
    service: str = ""


class SleepAction(View, frozen=True, kw_only=True):
    seconds: int


class Probe(View, frozen=True, kw_only=True):
    exec: ExecAction | None = None
    http_get: HttpGetAction | None = None
    tcp_socket: TcpSocketAction | None = None
    grpc: GrpcAction | None = None
    initial_delay_seconds: int = 0
    timeout_seconds: int = 1
    period_seconds: int = 10
    success_threshold: int = 1
    failure_threshold: int = 3
    termination_grace_period_seconds: int | None = None


class LifecycleHandler(View, frozen=True, kw_only=True):
    exec: ExecAction | None = None
    http_get: HttpGetAction | None = None
    tcp_socket: TcpSocketAction | None = None
    sleep: SleepAction | None = None


class Lifecycle(View, frozen=True, kw_only=True):
    post_start: LifecycleHandler | None = None
    pre_stop: LifecycleHandler | None = None


class Capabilities(View, frozen=True, kw_only=True):
    add: list[str] = []
    drop: list[str] = []


class ContainerSecurity(View, frozen=True, kw_only=True):
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    privileged: bool = False
    read_only_root_filesystem: bool = False
    allow_privilege_escalation: bool | None = None
    capabilities: Capabilities | None = None


class VolumeMount(View, frozen=True, kw_only=True):
    name: str
    mount_path: str
    read_only: bool = False
    sub_path: str = ""


class Container(View, frozen=True, kw_only=True):
    name: str
    image: str = ""
    command: list[str] = []
    args: list[str] = []
    working_dir: str = ""
    ports: list[ContainerPort] = []
    env: list[EnvVar] = []
    env_from: list[dict[str, Any]] = []
    resources: Resources = Resources()
    volume_mounts: list[VolumeMount] = []
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    startup_probe: Probe | None = None
    lifecycle: Lifecycle | None = None
    termination_message_path: str = "/dev/termination-log"
    termination_message_policy: str = "File"
    image_pull_policy: str = "IfNotPresent"
    security_context: ContainerSecurity | None = None
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    restart_policy: str = ""


class PodSecurity(View, frozen=True, kw_only=True):
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    fs_group: int | None = None
    supplemental_groups: list[int] = []


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


class Affinity(View, frozen=True, kw_only=True):
    node_affinity: NodeAffinity | None = None


class SchedulingGate(View, frozen=True, kw_only=True):
    name: str


class PodSpec(View, frozen=True, kw_only=True):
    containers: list[Container] = []
    init_containers: list[Container] = []
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
    hostname: str = ""
    subdomain: str = ""
    host_aliases: list[HostAlias] = []
    security_context: PodSecurity | None = None
    image_pull_secrets: list[LocalObjectReference] = []
    enable_service_links: bool = True
    service_account_name: str = ""
    readiness_gates: list[dict[str, str]] = []
    affinity: Affinity | None = None
    tolerations: list[Toleration] = []
    scheduling_gates: list[SchedulingGate] = []
    overhead: Quantities = {}
    priority: int = 0


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


# --- workloads ----------------------------------------------------------------------------------


class PodTemplate(View, frozen=True, kw_only=True):
    metadata: Meta = Meta()
    spec: dict[str, Any] = {}


class RollingUpdate(View, frozen=True, kw_only=True):
    max_surge: IntOrString = "25%"
    max_unavailable: IntOrString = "25%"


class DeploymentStrategy(View, frozen=True, kw_only=True):
    type: str = "RollingUpdate"
    rolling_update: RollingUpdate | None = None


class DeploymentSpec(View, frozen=True, kw_only=True):
    selector: LabelSelector = LabelSelector()
    template: dict[str, Any] = {}
    replicas: int = 1
    strategy: DeploymentStrategy = DeploymentStrategy()
    min_ready_seconds: int = 0
    revision_history_limit: int = 10
    progress_deadline_seconds: int = 600
    paused: bool = False


class DeploymentStatus(View, frozen=True, kw_only=True):
    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    unavailable_replicas: int = 0
    terminating_replicas: int = 0
    collision_count: int | None = None
    conditions: list[Condition] = []


class Deployment(View, frozen=True, kw_only=True):
    metadata: Meta
    spec: DeploymentSpec = DeploymentSpec()
    status: DeploymentStatus = DeploymentStatus()


class ReplicaSetSpec(View, frozen=True, kw_only=True):
    selector: LabelSelector = LabelSelector()
    template: dict[str, Any] = {}
    replicas: int = 1
    min_ready_seconds: int = 0


class ReplicaSetStatus(View, frozen=True, kw_only=True):
    observed_generation: int = 0
    replicas: int = 0
    fully_labeled_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    terminating_replicas: int = 0
    conditions: list[Condition] = []


class ReplicaSet(View, frozen=True, kw_only=True):
    metadata: Meta
    spec: ReplicaSetSpec = ReplicaSetSpec()
    status: ReplicaSetStatus = ReplicaSetStatus()


# --- services -----------------------------------------------------------------------------------


class ServicePort(View, frozen=True, kw_only=True):
    port: int
    name: str = ""
    protocol: str = "TCP"
    target_port: IntOrString = 0
    node_port: int = 0
    app_protocol: str | None = None


class ServiceSpec(View, frozen=True, kw_only=True):
    type: str = "ClusterIP"
    selector: dict[str, str] = {}
    ports: list[ServicePort] = []
    cluster_ip: str = field(name="clusterIP", default="")
    cluster_ips: list[str] = field(name="clusterIPs", default=[])
    external_ips: list[str] = field(name="externalIPs", default=[])
    ip_families: list[str] = []
    external_name: str = ""
    session_affinity: str = "None"
    session_affinity_config: dict[str, Any] | None = None
    internal_traffic_policy: str = "Cluster"
    external_traffic_policy: str = ""
    publish_not_ready_addresses: bool = False
    allocate_load_balancer_node_ports: bool = True
    health_check_node_port: int = 0
    load_balancer_class: str = ""
    load_balancer_ip: str = field(name="loadBalancerIP", default="")
    load_balancer_source_ranges: list[str] = []


class Service(View, frozen=True, kw_only=True):
    metadata: Meta
    spec: ServiceSpec = ServiceSpec()
    status: dict[str, Any] = {}


class EndpointConditions(View, frozen=True, kw_only=True):
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class Endpoint(View, frozen=True, kw_only=True):
    addresses: list[str] = []
    conditions: EndpointConditions = EndpointConditions()
    node_name: str = ""
    hostname: str = ""


class EndpointPort(View, frozen=True, kw_only=True):
    name: str = ""
    protocol: str = "TCP"
    port: int | None = None


class EndpointSlice(View, frozen=True, kw_only=True):
    metadata: Meta
    address_type: str = "IPv4"
    endpoints: list[Endpoint] = []
    ports: list[EndpointPort] | None = None


# --- core ---------------------------------------------------------------------------------------


class NamespaceSpec(View, frozen=True, kw_only=True):
    finalizers: list[str] = []


class NamespaceStatus(View, frozen=True, kw_only=True):
    phase: str = "Active"
    conditions: list[Condition] = []


class Namespace(View, frozen=True, kw_only=True):
    metadata: Meta
    spec: NamespaceSpec = NamespaceSpec()
    status: NamespaceStatus = NamespaceStatus()


class Taint(View, frozen=True, kw_only=True):
    key: str
    value: str = ""
    effect: str = ""


class NodeSpec(View, frozen=True, kw_only=True):
    unschedulable: bool = False
    taints: list[Taint] = []


class NodeStatus(View, frozen=True, kw_only=True):
    allocatable: Quantities = {}


class Node(View, frozen=True, kw_only=True):
    metadata: Meta
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


class Anything(View, frozen=True, kw_only=True):
    """Any object, for those who only look at its metadata."""

    metadata: Meta
    api_version: str = ""
    kind: str = ""


class DataObject(View, frozen=True, kw_only=True):
    """ConfigMap or Secret (whose `data` is base64)."""

    metadata: Meta
    data: dict[str, str] = {}
    binary_data: dict[str, str] = {}


V = TypeVar("V", bound=View)

# Decoders are made once each, at first use: a decoder holds the whole type tree.
_decoders: dict[type[View], msgspec.json.Decoder[Any]] = {}


def decode(raw: bytes, view: type[V]) -> V:
    """`raw` as a view; raises msgspec.ValidationError when a stored object does not fit."""
    decoder = _decoders.get(view)
    if decoder is None:
        decoder = _decoders[view] = msgspec.json.Decoder(view)
    found: V = decoder.decode(raw)
    return found

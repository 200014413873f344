"""A container of a pod: what it runs, its probes and hooks, its resources and rights."""

# ruff: noqa: RUF012 -- msgspec copies mutable defaults

from __future__ import annotations

from typing import Any

from msgspec import field

from edgeorch.model.views.base import IntOrString, Quantities, View


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
    stop_signal: str = ""


class RestartExitCodes(View, frozen=True, kw_only=True):
    operator: str
    values: list[int] = []


class RestartRule(View, frozen=True, kw_only=True):
    action: str
    exit_codes: RestartExitCodes | None = None


class Capabilities(View, frozen=True, kw_only=True):
    add: list[str] = []
    drop: list[str] = []


class Profile(View, frozen=True, kw_only=True):
    """Of seccomp or AppArmor."""

    type: str = ""
    localhost_profile: str = ""


class ContainerSecurity(View, frozen=True, kw_only=True):
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    privileged: bool = False
    read_only_root_filesystem: bool = False
    allow_privilege_escalation: bool | None = None
    capabilities: Capabilities | None = None
    seccomp_profile: Profile | None = None
    app_armor_profile: Profile | None = None
    proc_mount: str = "Default"


class VolumeMount(View, frozen=True, kw_only=True):
    name: str
    mount_path: str
    read_only: bool = False
    recursive_read_only: str = ""
    sub_path: str = ""
    sub_path_expr: str = ""
    mount_propagation: str = ""


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
    restart_policy_rules: list[RestartRule] = []


class EphemeralContainer(Container, frozen=True, kw_only=True):
    target_container_name: str = ""
    """Whose processes it sees."""

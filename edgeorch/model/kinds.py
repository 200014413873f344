"""The kinds that edgeorch serves: one line each.

A new kind is a line here, its fields in the generated schema table, a view of what edgeorch acts
on, and its rules. Kinds that arrive at run time will be added to the same `Registry`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]

READ = ("get", "list", "watch")
ALL = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Kind:
    """One served resource. `group` is "" for the core group."""

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL
    volatile: bool = False
    """Never written to disk: rebuilt or forgotten at start."""

    @property
    def resource(self) -> str:
        """`plural.group`, the name used in messages and as the store's key."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def has_status(self) -> bool:
        return "status" in self.subresources


NAMESPACE = Kind(
    "", "v1", "Namespace", "namespaces", "namespace", False, ("ns",),
    subresources=("status", "finalize"),
    verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
)  # fmt: skip
NODE = Kind("", "v1", "Node", "nodes", "node", False, ("no",), subresources=("status",))
POD = Kind(
    "", "v1", "Pod", "pods", "pod", True, ("po",), ("all",),
    subresources=("status", "log", "binding", "eviction", "exec", "attach", "portforward"),
)  # fmt: skip
SERVICE = Kind(
    "", "v1", "Service", "services", "service", True, ("svc",), ("all",), subresources=("status",)
)
ENDPOINTS = Kind("", "v1", "Endpoints", "endpoints", "endpoints", True, ("ep",))
CONFIG_MAP = Kind("", "v1", "ConfigMap", "configmaps", "configmap", True, ("cm",))
SECRET = Kind("", "v1", "Secret", "secrets", "secret", True)
SERVICE_ACCOUNT = Kind(
    "", "v1", "ServiceAccount", "serviceaccounts", "serviceaccount", True, ("sa",)
)
EVENT = Kind("", "v1", "Event", "events", "event", True, ("ev",), volatile=True)
ENDPOINT_SLICE = Kind(
    "discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", "endpointslice", True
)
DEPLOYMENT = Kind(
    "apps", "v1", "Deployment", "deployments", "deployment", True, ("deploy",), ("all",),
    subresources=("status", "scale"),
)  # fmt: skip
REPLICA_SET = Kind(
    "apps", "v1", "ReplicaSet", "replicasets", "replicaset", True, ("rs",), ("all",),
    subresources=("status", "scale"),
)  # fmt: skip
STATEFUL_SET = Kind(
    "apps", "v1", "StatefulSet", "statefulsets", "statefulset", True, ("sts",), ("all",),
    subresources=("status", "scale"),
)  # fmt: skip
DAEMON_SET = Kind(
    "apps", "v1", "DaemonSet", "daemonsets", "daemonset", True, ("ds",), ("all",),
    subresources=("status",),
)  # fmt: skip
CONTROLLER_REVISION = Kind(
    "apps", "v1", "ControllerRevision", "controllerrevisions", "controllerrevision", True
)
REPLICATION_CONTROLLER = Kind(
    "", "v1", "ReplicationController", "replicationcontrollers", "replicationcontroller", True,
    ("rc",), ("all",), subresources=("status", "scale"),
)  # fmt: skip
PERSISTENT_VOLUME_CLAIM = Kind(
    "", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", "persistentvolumeclaim", True,
    ("pvc",), subresources=("status",),
)  # fmt: skip
POD_DISRUPTION_BUDGET = Kind(
    "policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", "poddisruptionbudget", True,
    ("pdb",), subresources=("status",),
)  # fmt: skip
JOB = Kind("batch", "v1", "Job", "jobs", "job", True, categories=("all",), subresources=("status",))
CRON_JOB = Kind(
    "batch", "v1", "CronJob", "cronjobs", "cronjob", True, ("cj",), ("all",),
    subresources=("status",),
)  # fmt: skip

BUILT_IN = (
    NAMESPACE, NODE, POD, SERVICE, ENDPOINTS, CONFIG_MAP, SECRET, SERVICE_ACCOUNT, EVENT,
    ENDPOINT_SLICE, DEPLOYMENT, REPLICA_SET, STATEFUL_SET, DAEMON_SET, CONTROLLER_REVISION,
    REPLICATION_CONTROLLER, PERSISTENT_VOLUME_CLAIM, POD_DISRUPTION_BUDGET,
    JOB, CRON_JOB,
)  # fmt: skip


class Registry:
    """The served kinds, looked up by resource, by URL and by apiVersion and kind."""

    def __init__(self, kinds: tuple[Kind, ...] = BUILT_IN) -> None:
        self._by_resource = {kind.resource: kind for kind in kinds}
        self._by_path = {(kind.group, kind.version, kind.plural): kind for kind in kinds}
        self._by_kind = {(kind.api_version, kind.kind): kind for kind in kinds}

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._by_resource.values())

    def resource(self, resource: str) -> Kind:
        """Raises KeyError for a resource that is not served."""
        return self._by_resource[resource]

    def at_path(self, group: str, version: str, plural: str) -> Kind | None:
        return self._by_path.get((group, version, plural))

    def of(self, api_version: str, kind: str) -> Kind | None:
        return self._by_kind.get((api_version, kind))

    def groups(self) -> dict[str, list[str]]:
        """Group name to its versions, in order of first appearance; "" is the core group."""
        found: dict[str, list[str]] = {}
        for kind in self:
            versions = found.setdefault(kind.group, [])
            if kind.version not in versions:
                versions.append(kind.version)
        return found

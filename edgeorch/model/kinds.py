"""The kinds that edgeorch serves: one line each.

A new kind is a line here, its fields in the generated schema table, a view of what edgeorch acts
on, and its rules. Kinds that arrive at run time will be added to the same `Registry`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct

Object = dict[str, Any]

READ = ("get", "list", "watch")
ALL = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


class Kind(Struct, frozen=True):
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
    created_by_update: bool = False
    """A PUT of one that is not there makes it."""
    view_of: str = ""
    """The resource whose objects these are, in another version's or group's form."""
    computed: bool = False
    """Answered on request; nothing is stored."""
    internal: bool = False
    """Stored for the house itself and not served."""

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
NODE = Kind("", "v1", "Node", "nodes", "node", False, ("no",), subresources=("status", "proxy"))
POD = Kind(
    "", "v1", "Pod", "pods", "pod", True, ("po",), ("all",),
    subresources=(
        "status", "log", "binding", "eviction", "exec", "attach", "portforward",
        "ephemeralcontainers", "proxy",
    ),
)  # fmt: skip
SERVICE = Kind(
    "",
    "v1",
    "Service",
    "services",
    "service",
    True,
    ("svc",),
    ("all",),
    subresources=("status", "proxy"),
    created_by_update=True,
)
ENDPOINTS = Kind(
    "", "v1", "Endpoints", "endpoints", "endpoints", True, ("ep",), created_by_update=True
)
CONFIG_MAP = Kind("", "v1", "ConfigMap", "configmaps", "configmap", True, ("cm",))
SECRET = Kind("", "v1", "Secret", "secrets", "secret", True)
SERVICE_ACCOUNT = Kind(
    "",
    "v1",
    "ServiceAccount",
    "serviceaccounts",
    "serviceaccount",
    True,
    ("sa",),
    subresources=("token",),
)
EVENT = Kind(
    "", "v1", "Event", "events", "event", True, ("ev",), volatile=True, created_by_update=True
)
EVENTS_EVENT = Kind(
    "events.k8s.io", "v1", "Event", "events", "event", True, ("ev",), volatile=True,
    created_by_update=True, view_of="events",
)  # fmt: skip
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

LEASE = Kind(
    "coordination.k8s.io", "v1", "Lease", "leases", "lease", True, volatile=True,
    created_by_update=True,
)  # fmt: skip
LIMIT_RANGE = Kind(
    "", "v1", "LimitRange", "limitranges", "limitrange", True, ("limits",), created_by_update=True
)
RESOURCE_QUOTA = Kind(
    "", "v1", "ResourceQuota", "resourcequotas", "resourcequota", True, ("quota",),
    subresources=("status",),
)  # fmt: skip
POD_TEMPLATE = Kind(
    "", "v1", "PodTemplate", "podtemplates", "podtemplate", True, created_by_update=True
)
PERSISTENT_VOLUME = Kind(
    "", "v1", "PersistentVolume", "persistentvolumes", "persistentvolume", False, ("pv",),
    subresources=("status",),
)  # fmt: skip
STORAGE_CLASS = Kind(
    "storage.k8s.io", "v1", "StorageClass", "storageclasses", "storageclass", False, ("sc",)
)
CSI_DRIVER = Kind("storage.k8s.io", "v1", "CSIDriver", "csidrivers", "csidriver", False)
CSI_NODE = Kind("storage.k8s.io", "v1", "CSINode", "csinodes", "csinode", False)
INGRESS = Kind(
    "networking.k8s.io", "v1", "Ingress", "ingresses", "ingress", True, ("ing",),
    subresources=("status",),
)  # fmt: skip
INGRESS_CLASS = Kind(
    "networking.k8s.io", "v1", "IngressClass", "ingressclasses", "ingressclass", False
)
NETWORK_POLICY = Kind(
    "networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", "networkpolicy", True,
    ("netpol",),
)  # fmt: skip
PRIORITY_CLASS = Kind(
    "scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", "priorityclass", False, ("pc",),
    created_by_update=True,
)  # fmt: skip
RUNTIME_CLASS = Kind("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses", "runtimeclass", False)
AUTOSCALER = Kind(
    "autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers",
    "horizontalpodautoscaler", True, ("hpa",), ("all",), subresources=("status",),
)  # fmt: skip
AUTOSCALER_V1 = Kind(
    "autoscaling", "v1", "HorizontalPodAutoscaler", "horizontalpodautoscalers",
    "horizontalpodautoscaler", True, ("hpa",), ("all",), subresources=("status",),
    view_of="horizontalpodautoscalers.autoscaling",
)  # fmt: skip
# What kubectl up to 1.20 creates.
CRON_JOB_BETA = Kind(
    "batch", "v1beta1", "CronJob", "cronjobs", "cronjob", True, ("cj",),
    subresources=("status",), view_of="cronjobs.batch",
)  # fmt: skip
POD_DISRUPTION_BUDGET_BETA = Kind(
    "policy", "v1beta1", "PodDisruptionBudget", "poddisruptionbudgets", "poddisruptionbudget",
    True, ("pdb",), subresources=("status",), view_of="poddisruptionbudgets.policy",
)  # fmt: skip
_RBAC = "rbac.authorization.k8s.io"
ROLE = Kind(_RBAC, "v1", "Role", "roles", "role", True, created_by_update=True)
ROLE_BINDING = Kind(
    _RBAC, "v1", "RoleBinding", "rolebindings", "rolebinding", True, created_by_update=True
)
CLUSTER_ROLE = Kind(
    _RBAC, "v1", "ClusterRole", "clusterroles", "clusterrole", False, created_by_update=True
)
CLUSTER_ROLE_BINDING = Kind(
    _RBAC, "v1", "ClusterRoleBinding", "clusterrolebindings", "clusterrolebinding", False,
    created_by_update=True,
)  # fmt: skip

BUNDLE = Kind(
    "edgeorch.io", "v1", "Bundle", "bundles", "bundle", False, ("bdl",),
    subresources=("status", "manifests"),
)  # fmt: skip
# The manifests of one version of a bundle, packed; Secrets may be among them.
BUNDLE_REVISION = Kind(
    "edgeorch.io", "v1", "BundleRevision", "bundlerevisions", "bundlerevision", False,
    internal=True,
)  # fmt: skip

_ONCE = ("create",)
TOKEN_REVIEW = Kind(
    "authentication.k8s.io", "v1", "TokenReview", "tokenreviews", "tokenreview", False,
    verbs=_ONCE, computed=True,
)  # fmt: skip
SELF_REVIEW = Kind(
    "authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews", "selfsubjectreview",
    False, verbs=_ONCE, computed=True,
)  # fmt: skip
_AUTHORIZATION = "authorization.k8s.io"
ACCESS_REVIEW = Kind(
    _AUTHORIZATION, "v1", "SubjectAccessReview", "subjectaccessreviews", "subjectaccessreview",
    False, verbs=_ONCE, computed=True,
)  # fmt: skip
LOCAL_ACCESS_REVIEW = Kind(
    _AUTHORIZATION, "v1", "LocalSubjectAccessReview", "localsubjectaccessreviews",
    "localsubjectaccessreview", True, verbs=_ONCE, computed=True,
)  # fmt: skip
SELF_ACCESS_REVIEW = Kind(
    _AUTHORIZATION, "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews",
    "selfsubjectaccessreview", False, verbs=_ONCE, computed=True,
)  # fmt: skip
SELF_RULES_REVIEW = Kind(
    _AUTHORIZATION, "v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews",
    "selfsubjectrulesreview", False, verbs=_ONCE, computed=True,
)  # fmt: skip
NODE_METRICS = Kind(
    "metrics.k8s.io", "v1beta1", "NodeMetrics", "nodes", "", False, verbs=("get", "list"),
    computed=True,
)  # fmt: skip
POD_METRICS = Kind(
    "metrics.k8s.io", "v1beta1", "PodMetrics", "pods", "", True, verbs=("get", "list"),
    computed=True,
)  # fmt: skip
COMPONENT_STATUS = Kind(
    "", "v1", "ComponentStatus", "componentstatuses", "componentstatus", False, ("cs",),
    verbs=("get", "list"), computed=True,
)  # fmt: skip
CUSTOM_RESOURCE_DEFINITION = Kind(
    "apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions",
    "customresourcedefinition", False, ("crd", "crds"), ("api-extensions",), volatile=True,
)  # fmt: skip

BUILT_IN = (
    NAMESPACE, NODE, POD, SERVICE, ENDPOINTS, CONFIG_MAP, SECRET, SERVICE_ACCOUNT, EVENT,
    ENDPOINT_SLICE, DEPLOYMENT, REPLICA_SET, STATEFUL_SET, DAEMON_SET, CONTROLLER_REVISION,
    REPLICATION_CONTROLLER, PERSISTENT_VOLUME_CLAIM, POD_DISRUPTION_BUDGET,
    JOB, CRON_JOB, LEASE, LIMIT_RANGE, RESOURCE_QUOTA, POD_TEMPLATE, PERSISTENT_VOLUME,
    STORAGE_CLASS, CSI_DRIVER, CSI_NODE, INGRESS, INGRESS_CLASS, NETWORK_POLICY, PRIORITY_CLASS,
    RUNTIME_CLASS, AUTOSCALER, ROLE, ROLE_BINDING, CLUSTER_ROLE, CLUSTER_ROLE_BINDING,
    BUNDLE, BUNDLE_REVISION,
    EVENTS_EVENT, AUTOSCALER_V1, CRON_JOB_BETA, POD_DISRUPTION_BUDGET_BETA,
    TOKEN_REVIEW, SELF_REVIEW, ACCESS_REVIEW, LOCAL_ACCESS_REVIEW, SELF_ACCESS_REVIEW,
    SELF_RULES_REVIEW, NODE_METRICS, POD_METRICS, COMPONENT_STATUS, CUSTOM_RESOURCE_DEFINITION,
)  # fmt: skip


class Registry:
    """The served kinds, looked up by resource, by URL and by apiVersion and kind.

    What is iterated and found by resource or kind is stored; views of it and what is computed are
    found by URL.
    """

    def __init__(self, kinds: tuple[Kind, ...] = BUILT_IN) -> None:
        served = [kind for kind in kinds if not kind.internal]
        self._by_path = {(kind.group, kind.version, kind.plural): kind for kind in served}
        stored = [kind for kind in kinds if not (kind.view_of or kind.computed)]
        self._by_resource = {kind.resource: kind for kind in stored}
        self._by_kind = {(kind.api_version, kind.kind): kind for kind in stored}
        for kind in kinds:
            if kind.view_of in self._by_resource:
                self._by_kind[kind.api_version, kind.kind] = self._by_resource[kind.view_of]

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._by_resource.values())

    def served(self) -> Iterator[Kind]:
        return iter(self._by_path.values())

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
        for kind in self.served():
            versions = found.setdefault(kind.group, [])
            if kind.version not in versions:
                versions.append(kind.version)
        return found

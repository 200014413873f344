"""The roles that are there from the beginning.

Kubernetes' default ClusterRoles, as far as there is something here that they are about, and those
of edgeorch's own tokens and certificates: view, edit, admin, fleet, metrics. The latter are groups
(`edgeorch:view`) that have their rights without a binding.

Source: plugin/pkg/auth/authorizer/rbac/bootstrappolicy/policy.go
"""

from __future__ import annotations

from collections.abc import Iterable

from edgeorch.core.rbac import AGGREGATE, ALL, TAKES_IN, Rule, beyond, rules_of
from edgeorch.lib import json
from edgeorch.model import access
from edgeorch.model.kinds import Object

ADMIN, EDIT, VIEW, FLEET, METRICS = "admin", "edit", "view", "fleet", "metrics"
ROLES = (ADMIN, EDIT, VIEW, FLEET, METRICS)
"""What a token or a certificate of edgeorch's own may be made for."""
PREFIX = "edgeorch:"
MASTERS = "system:masters"
AUTHENTICATED, UNAUTHENTICATED = "system:authenticated", "system:unauthenticated"

_APPS, _BATCH, _SCALING = ("apps",), ("batch",), ("autoscaling",)
_CORE, _POLICY, _NETWORKING = ("",), ("policy",), ("networking.k8s.io",)
_RBAC, _FLEET = ("rbac.authorization.k8s.io",), ("edgeorch.io",)
_READ = ("get", "list", "watch")
_WRITE = ("create", "delete", "deletecollection", "patch", "update")
_BOTH = (*_READ, *_WRITE)
_SCALED = ("deployments", "replicasets", "statefulsets")

EVERYTHING = (Rule((ALL,), (ALL,), (ALL,)), Rule((ALL,), paths=(ALL,)))


def _with(kinds: Iterable[str], *subresources: str) -> tuple[str, ...]:
    return tuple(f"{kind}{each}" for kind in kinds for each in ("", *subresources))


_VIEW = (
    Rule(_READ, _CORE, (
        *_with(("pods", "services", "persistentvolumeclaims", "resourcequotas", "namespaces"),
               "/status"),
        *_with(("replicationcontrollers",), "/scale", "/status"),
        "pods/log", "serviceaccounts", "endpoints", "configmaps", "limitranges", "events",
    )),
    Rule(_READ, ("discovery.k8s.io",), ("endpointslices",)),
    Rule(_READ, ("events.k8s.io",), ("events",)),
    Rule(_READ, _APPS, (
        *_with(_SCALED, "/scale", "/status"), *_with(("daemonsets",), "/status"),
        "controllerrevisions",
    )),
    Rule(_READ, _SCALING, _with(("horizontalpodautoscalers",), "/status")),
    Rule(_READ, _BATCH, _with(("jobs", "cronjobs"), "/status")),
    Rule(_READ, _POLICY, _with(("poddisruptionbudgets",), "/status")),
    Rule(_READ, _NETWORKING, ("networkpolicies", *_with(("ingresses",), "/status"))),
    Rule(_READ, ("metrics.k8s.io",), ("pods", "nodes")),
)  # fmt: skip
_SECRET = (
    "pods/attach", "pods/exec", "pods/portforward", "pods/proxy", "secrets", "services/proxy",
)  # fmt: skip
_EDIT = (
    Rule(_READ, _CORE, _SECRET),
    Rule(("impersonate",), _CORE, ("serviceaccounts",)),
    Rule(_WRITE, _CORE, (
        "pods", *_SECRET, *_with(("replicationcontrollers",), "/scale"), "serviceaccounts",
        "services", "persistentvolumeclaims", "configmaps", "events",
    )),
    Rule(("create",), _CORE, ("pods/eviction", "serviceaccounts/token")),
    Rule(_WRITE, ("events.k8s.io",), ("events",)),
    Rule(_WRITE, _APPS, (*_with(_SCALED, "/scale"), "daemonsets")),
    Rule(_WRITE, _SCALING, ("horizontalpodautoscalers",)),
    Rule(_WRITE, _BATCH, ("jobs", "cronjobs")),
    Rule(_WRITE, _POLICY, ("poddisruptionbudgets",)),
    Rule(_WRITE, _NETWORKING, ("networkpolicies", "ingresses")),
    Rule(_BOTH, ("coordination.k8s.io",), ("leases",)),
    *_VIEW,
)  # fmt: skip
_ADMIN = (
    Rule(("create",), ("authorization.k8s.io",), ("localsubjectaccessreviews",)),
    Rule(_BOTH, _RBAC, ("roles", "rolebindings")),
    *_EDIT,
)
# One device is its whole cluster: who looks after it sees the device too, not only namespaces.
_DEVICE = (
    Rule(_READ, _CORE, ("nodes", "nodes/status", "persistentvolumes", "podtemplates")),
    Rule(_READ, _CORE, ("componentstatuses",)),
    Rule(_READ, ("apiextensions.k8s.io",), ("customresourcedefinitions",)),
    Rule(_READ, ("storage.k8s.io",), ("storageclasses", "csidrivers", "csinodes")),
    Rule(_READ, _NETWORKING, ("ingressclasses",)),
    Rule(_READ, ("scheduling.k8s.io",), ("priorityclasses",)),
    Rule(_READ, ("node.k8s.io",), ("runtimeclasses",)),
    Rule(_READ, ("coordination.k8s.io",), ("leases",)),
    Rule(_READ, _FLEET, ("bundles", "bundles/status")),
)
_HEALTH = ("/healthz", "/healthz/*", "/livez", "/livez/*", "/readyz", "/readyz/*")
_PUBLIC = ("/version", "/version/", *_HEALTH)
_DISCOVERY = ("/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*", *_PUBLIC)

BUILT_IN = {
    "cluster-admin": EVERYTHING,
    "admin": _ADMIN,
    "edit": _EDIT,
    "view": _VIEW,
    "system:discovery": (Rule(("get",), paths=_DISCOVERY),),
    "system:public-info-viewer": (Rule(("get",), paths=_PUBLIC),),
    "system:basic-user": (
        Rule(("create",), ("authorization.k8s.io",),
             ("selfsubjectaccessreviews", "selfsubjectrulesreviews")),
        Rule(("create",), ("authentication.k8s.io",), ("selfsubjectreviews",)),
    ),
    "system:auth-delegator": (
        Rule(("create",), ("authentication.k8s.io",), ("tokenreviews",)),
        Rule(("create",), ("authorization.k8s.io",), ("subjectaccessreviews",)),
    ),
    "system:monitoring": (Rule(("get",), paths=("/metrics", "/metrics/slis", *_HEALTH)),),
    PREFIX + ADMIN: EVERYTHING,
    PREFIX + EDIT: (
        *_EDIT, *_DEVICE, Rule(("get", "patch", "update"), _CORE, ("pods/ephemeralcontainers",)),
    ),
    PREFIX + VIEW: (*_VIEW, *_DEVICE),
    PREFIX + FLEET: (
        # What becomes of a bundle only changes with manifests: those may have to be signed.
        Rule((ALL,), _FLEET, ("bundles/manifests",)),
        Rule((*_READ, "delete"), _FLEET, ("bundles",)),
        Rule(_READ, _FLEET, ("bundles/status",)),
    ),
    PREFIX + METRICS: (
        Rule(("get",), paths=("/metrics", *_HEALTH)),
        Rule(_READ, ("metrics.k8s.io",), ("nodes", "pods")),
        Rule(_READ, _CORE, ("nodes", "nodes/metrics", "nodes/stats")),
        Rule(("get",), _CORE, ("nodes/proxy",)),
    ),
}  # fmt: skip
"""ClusterRoles by name. A stored one of the same name takes the place of a built-in one."""

STANDING = {
    MASTERS: ("cluster-admin",),
    AUTHENTICATED: ("system:discovery", "system:basic-user", "system:public-info-viewer"),
    UNAUTHENTICATED: ("system:public-info-viewer",),
    **{PREFIX + role: (PREFIX + role,) for role in ROLES},
}
"""What a group may do without a binding."""


BOOTSTRAPPING = {"kubernetes.io/bootstrapping": "rbac-defaults"}
"""Labels of those that the device has of itself."""
AUTO_UPDATE = "rbac.authorization.kubernetes.io/autoupdate"
_BOUND = {
    "cluster-admin": (MASTERS,),
    "system:basic-user": (AUTHENTICATED,),
    "system:discovery": (AUTHENTICATED,),
    "system:monitoring": ("system:monitoring",),
    "system:public-info-viewer": (AUTHENTICATED, UNAUTHENTICATED),
}


def stored_roles() -> list[Object]:
    """Kubernetes' default ClusterRoles as objects, for those who look for them."""
    return [
        _object("ClusterRole", name) | _aggregation(name) | {"rules": rules_as_stored(rules)}
        for name, rules in BUILT_IN.items()
        if not name.startswith(PREFIX)
    ]


def stored_bindings() -> list[Object]:
    """And who has them."""
    return [
        _object("ClusterRoleBinding", name)
        | {
            "roleRef": {"apiGroup": _RBAC[0], "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": _RBAC[0], "kind": "Group", "name": each} for each in groups],
        }
        for name, groups in _BOUND.items()
    ]


def completed(role: Object) -> Object | None:
    """A stored default role with the rules that it lacks; None when it lacks none, or its owner
    has switched that off."""
    meta = role.get("metadata") or {}
    wanted = BUILT_IN.get(meta.get("name", ""))
    if wanted is None or (meta.get("annotations") or {}).get(AUTO_UPDATE) != "true":
        return None
    held = rules_of(json.convert({"metadata": {}, "rules": role.get("rules") or []}, access.Role))
    missing = [rule for rule in wanted if beyond(held, [rule])]
    if not missing:
        return None
    return {**role, "rules": [*(role.get("rules") or []), *rules_as_stored(missing)]}


def rules_as_stored(rules: Iterable[Rule]) -> list[Object]:
    fields = (
        ("apiGroups", "groups"), ("nonResourceURLs", "paths"), ("resourceNames", "names"),
        ("resources", "resources"), ("verbs", "verbs"),
    )  # fmt: skip
    return [
        {wire: list(getattr(rule, name)) for wire, name in fields if getattr(rule, name)}
        for rule in rules
    ]


def _object(kind: str, name: str) -> Object:
    meta = {"name": name, "labels": dict(BOOTSTRAPPING), "annotations": {AUTO_UPDATE: "true"}}
    return {"apiVersion": f"{_RBAC[0]}/v1", "kind": kind, "metadata": meta}


def _aggregation(name: str) -> Object:
    selectors = [{"matchLabels": {AGGREGATE + each: "true"}} for each in TAKES_IN.get(name, ())]
    return {"aggregationRule": {"clusterRoleSelectors": selectors}} if selectors else {}


def group(role: str) -> str:
    """The group whose members have the role."""
    return PREFIX + role

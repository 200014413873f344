"""What an object gets when its author left it out: defaulting and pod admission.

`apply` sets, in place, what Kubernetes' versioned defaulting (pkg/apis/*/v1/defaults.go) and the
v1 conversions set: fields that a reader of the stored object will see. It runs after decoding and
before validation, on create, update and patch alike, and is idempotent. `admit_pod` sets what
Kubernetes' admission plugins set on a new Pod, and only there.
"""

from __future__ import annotations

from collections.abc import Callable

from edgeorch.model import kinds
from edgeorch.model.defaults import (
    autoscaling,
    batch,
    controllers,
    core,
    pods,
    services,
    stored,
    workloads,
)
from edgeorch.model.kinds import Object

admit_pod = pods.admit

_RULES: dict[str, Callable[[Object], None]] = {
    "pods": pods.pod,
    "deployments.apps": workloads.deployment,
    "replicasets.apps": workloads.replica_set,
    "statefulsets.apps": controllers.stateful_set,
    "daemonsets.apps": controllers.daemon_set,
    "replicationcontrollers": controllers.replication_controller,
    "persistentvolumeclaims": controllers.persistent_volume_claim,
    "jobs.batch": batch.job,
    "cronjobs.batch": batch.cron_job,
    "services": services.service,
    "endpoints": services.endpoints,
    "endpointslices.discovery.k8s.io": services.endpoint_slice,
    "namespaces": core.namespace,
    "nodes": core.node,
    "secrets": core.secret,
    "events": core.event,
    "horizontalpodautoscalers.autoscaling": autoscaling.autoscaler,
    "networkpolicies.networking.k8s.io": stored.network_policy,
    "rolebindings.rbac.authorization.k8s.io": stored.role_binding,
    "clusterrolebindings.rbac.authorization.k8s.io": stored.role_binding,
    "priorityclasses.scheduling.k8s.io": stored.priority_class,
    "storageclasses.storage.k8s.io": stored.storage_class,
    "persistentvolumes": stored.volume,
    "limitranges": stored.limit_range,
    "podtemplates": stored.pod_template,
    "bundles.edgeorch.io": stored.bundle,
}


def apply(kind: kinds.Kind, obj: Object) -> None:
    rule = _RULES.get(kind.resource) if not kind.view_of else None
    if rule is not None:
        rule(obj)

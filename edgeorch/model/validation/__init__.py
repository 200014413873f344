"""Whether an object may be stored: every field error at once, in Kubernetes' words and order.

Objects arrive decoded, with known fields and right types (the schema walk comes first), defaulted
and prepared (names generated). Paths and messages follow pkg/apis/*/validation and apimachinery;
where Kubernetes walks a Go map in random order, keys are taken sorted here.
"""

from __future__ import annotations

from collections.abc import Callable

from edgeorch.model import errors, kinds
from edgeorch.model.kinds import Object
from edgeorch.model.validation import (
    autoscaling,
    batch,
    bundles,
    claims,
    controllers,
    core,
    discovery,
    meta,
    networking,
    pods,
    rbac,
    services,
    storage,
    stored,
    updates,
    workloads,
)

Causes = list[errors.Cause]

_CREATE: dict[str, Callable[[Object], Causes]] = {
    "namespaces": core.namespace,
    "nodes": core.node,
    "pods": pods.create,
    "services": services.service,
    "endpoints": discovery.endpoints,
    "endpointslices.discovery.k8s.io": discovery.endpoint_slice,
    "configmaps": core.config_map,
    "secrets": core.secret,
    "serviceaccounts": core.service_account,
    "events": core.event,
    "deployments.apps": workloads.deployment,
    "replicasets.apps": workloads.replica_set,
    "statefulsets.apps": controllers.stateful_set,
    "daemonsets.apps": controllers.daemon_set,
    "replicationcontrollers": controllers.replication_controller,
    "controllerrevisions.apps": controllers.controller_revision,
    "poddisruptionbudgets.policy": controllers.disruption_budget,
    "horizontalpodautoscalers.autoscaling": autoscaling.autoscaler,
    "jobs.batch": batch.job,
    "cronjobs.batch": batch.cron_job,
    "ingresses.networking.k8s.io": networking.ingress,
    "ingressclasses.networking.k8s.io": networking.ingress_class,
    "networkpolicies.networking.k8s.io": networking.network_policy,
    "roles.rbac.authorization.k8s.io": rbac.role,
    "rolebindings.rbac.authorization.k8s.io": rbac.role_binding,
    "clusterroles.rbac.authorization.k8s.io": rbac.cluster_role,
    "clusterrolebindings.rbac.authorization.k8s.io": rbac.cluster_role_binding,
    "priorityclasses.scheduling.k8s.io": stored.priority_class,
    "runtimeclasses.node.k8s.io": stored.runtime_class,
    "leases.coordination.k8s.io": stored.lease,
    "limitranges": stored.limit_range,
    "resourcequotas": stored.resource_quota,
    "podtemplates": stored.pod_template,
    "csidrivers.storage.k8s.io": stored.csi_driver,
    "csinodes.storage.k8s.io": stored.csi_node,
    "persistentvolumeclaims": claims.claim,
    "persistentvolumes": storage.volume,
    "storageclasses.storage.k8s.io": storage.storage_class,
    "bundles.edgeorch.io": bundles.bundle,
}

_UPDATE: dict[str, Callable[[Object, Object], Causes]] = {
    "namespaces": updates.namespace,
    "nodes": updates.node,
    "pods": updates.pod,
    "services": updates.service,
    "endpointslices.discovery.k8s.io": updates.endpoint_slice,
    "configmaps": updates.config_map,
    "secrets": updates.secret,
    "events": updates.event,
    "deployments.apps": updates.deployment,
    "replicasets.apps": updates.replica_set,
    "statefulsets.apps": controllers.stateful_set_update,
    "daemonsets.apps": controllers.daemon_set_update,
    "replicationcontrollers": controllers.replication_controller_update,
    "controllerrevisions.apps": controllers.controller_revision_update,
    "poddisruptionbudgets.policy": controllers.disruption_budget_update,
    "horizontalpodautoscalers.autoscaling": autoscaling.autoscaler_update,
    "jobs.batch": batch.job_update,
    "cronjobs.batch": batch.cron_job_update,
    "ingresses.networking.k8s.io": networking.ingress_update,
    "ingressclasses.networking.k8s.io": networking.ingress_class_update,
    "rolebindings.rbac.authorization.k8s.io": rbac.role_binding_update,
    "clusterrolebindings.rbac.authorization.k8s.io": rbac.cluster_role_binding_update,
    "priorityclasses.scheduling.k8s.io": stored.priority_class_update,
    "runtimeclasses.node.k8s.io": stored.runtime_class_update,
    "resourcequotas": stored.resource_quota_update,
    "persistentvolumeclaims": claims.claim_update,
    "persistentvolumes": storage.volume_update,
    "storageclasses.storage.k8s.io": storage.storage_class_update,
}

_STATUS: dict[str, Callable[[Object, Object], Causes]] = {
    "namespaces": updates.namespace_status,
    "pods": updates.pod_status,
    "services": updates.service_status,
    "deployments.apps": updates.deployment_status,
    "replicasets.apps": updates.replica_set_status,
    "horizontalpodautoscalers.autoscaling": autoscaling.autoscaler_status,
    "jobs.batch": batch.job_status,
    "persistentvolumeclaims": claims.claim_status,
}


def create(kind: kinds.Kind, obj: Object) -> Causes:
    rule = _CREATE.get(kind.resource)
    return rule(obj) if rule else meta.validate(obj, kind.namespaced, meta.subdomain_name)


def update(kind: kinds.Kind, new: Object, old: Object, subresource: str = "") -> Causes:
    """`subresource` "status" checks a status write, "finalize" a namespace's finalizers, "binding"
    lets a pod get its node, "ephemeralcontainers" adds some to a pod.
    """
    if subresource == "status":
        status = _STATUS.get(kind.resource)
        return status(new, old) if status else meta.validate_update(new, old)
    if subresource == "binding":
        return meta.validate_update(new, old)
    if subresource == "ephemeralcontainers":
        return updates.pod_ephemeral(new, old)
    if subresource == "finalize":
        return updates.namespace_finalize(new, old)
    rule = _UPDATE.get(kind.resource)
    if rule is not None:
        return rule(new, old)
    return meta.validate_update(new, old) + create(kind, new)

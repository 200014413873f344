"""Defaults of StatefulSets, DaemonSets, ReplicationControllers and claims.

As pkg/apis/apps/v1/defaults.go and pkg/apis/core/v1/defaults.go.
"""

from __future__ import annotations

from typing import Any

from edgeorch.model.defaults import pods
from edgeorch.model.kinds import Object


def stateful_set(obj: Object) -> None:
    spec = obj["spec"] = obj.get("spec") or {}
    _fill(spec, "podManagementPolicy", "OrderedReady")
    strategy = spec["updateStrategy"] = spec.get("updateStrategy") or {}
    _fill(strategy, "type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy["rollingUpdate"] = strategy.get("rollingUpdate") or {}
        _fill(rolling, "partition", 0)
    policy = spec.get("persistentVolumeClaimRetentionPolicy") or {}
    spec["persistentVolumeClaimRetentionPolicy"] = policy
    for field in ("whenDeleted", "whenScaled"):
        _fill(policy, field, "Retain")
    _fill(spec, "replicas", 1)
    _fill(spec, "revisionHistoryLimit", 10)
    _template(spec)
    for claim in spec.get("volumeClaimTemplates") or []:
        claim |= {"apiVersion": "v1", "kind": "PersistentVolumeClaim"}
        persistent_volume_claim(claim)


def daemon_set(obj: Object) -> None:
    spec = obj["spec"] = obj.get("spec") or {}
    strategy = spec["updateStrategy"] = spec.get("updateStrategy") or {}
    _fill(strategy, "type", "RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        rolling = strategy["rollingUpdate"] = strategy.get("rollingUpdate") or {}
        _fill(rolling, "maxUnavailable", 1)
        _fill(rolling, "maxSurge", 0)
    _fill(spec, "revisionHistoryLimit", 10)
    _template(spec)


def replication_controller(obj: Object) -> None:
    spec = obj["spec"] = obj.get("spec") or {}
    _fill(spec, "replicas", 1)
    if spec.get("template") is None:
        return
    pods.template(spec["template"])
    labels = (spec["template"].get("metadata") or {}).get("labels")
    if not labels:
        return
    if not spec.get("selector"):
        spec["selector"] = dict(labels)
    meta = obj["metadata"] = obj.get("metadata") or {}
    if not meta.get("labels"):
        meta["labels"] = dict(labels)


def persistent_volume_claim(obj: Object) -> None:
    spec = obj["spec"] = obj.get("spec") or {}
    _fill(spec, "volumeMode", "Filesystem")
    status = obj["status"] = obj.get("status") or {}
    _fill(status, "phase", "Pending")


def _template(spec: Object) -> None:
    spec["template"] = spec.get("template") or {}
    pods.template(spec["template"])


def _fill(holder: Object, field: str, value: Any) -> None:
    if holder.get(field) in (None, ""):
        holder[field] = value

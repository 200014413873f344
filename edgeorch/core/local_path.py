"""Volumes that are directories on the device: the class `local-path` and what it provides.

As Rancher's local-path-provisioner, which k3s brings along, so that manifests and habits fit:
its name, its class, the names of its directories. Capacity is what was asked for; nothing bounds
what is written.
"""

from __future__ import annotations

import posixpath

from edgeorch.model import storage, views
from edgeorch.model.kinds import Object

PROVISIONER = "rancher.io/local-path"
CLASS = "local-path"
DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
SELECTED_NODE = "local.path.provisioner/selected-node"
HOSTNAME = "kubernetes.io/hostname"


def storage_class() -> Object:
    """The class that is there from the start."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": CLASS, "annotations": {DEFAULT_CLASS: "true"}},
        "provisioner": PROVISIONER,
        "reclaimPolicy": "Delete",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def is_ours(volume: storage.PersistentVolume) -> bool:
    return volume.metadata.annotations.get(PROVISIONED_BY) == PROVISIONER


def volume_name(claim: storage.PersistentVolumeClaim) -> str:
    return f"pvc-{claim.metadata.uid}"


def folder_name(claim: storage.PersistentVolumeClaim) -> str:
    """Of its directory, which people find again also without the API."""
    return f"{volume_name(claim)}_{claim.metadata.namespace}_{claim.metadata.name}"


def owns(volume: storage.PersistentVolume, root: str) -> str:
    """The name of the volume's directory right below `root`, "" when it has none there: only
    those are ever removed."""
    if not is_ours(volume) or volume.spec.local is None:
        return ""
    parent, name = posixpath.split(posixpath.normpath(volume.spec.local.path))
    is_own = name.startswith(f"{volume.metadata.name}_")
    return name if parent == posixpath.normpath(root) and is_own else ""


def why_not(claim: storage.PersistentVolumeClaim) -> str:
    """Why no volume can be made for the claim; "" when one can."""
    if claim.spec.selector is not None:
        return "claim.Spec.Selector is not supported"
    if claim.spec.volume_mode == "Block":
        return "block volumes are not supported"
    return ""


def is_allowed(found: storage.StorageClass, node: views.Node) -> bool:
    """Whether the class may provide volumes on the node."""
    labels = node.metadata.labels
    return not found.allowed_topologies or any(
        all(labels.get(rule.key) in rule.values for rule in term.match_label_expressions)
        for term in found.allowed_topologies
    )


def new_volume(
    claim: storage.PersistentVolumeClaim, found: storage.StorageClass, node: views.Node, root: str
) -> Object:
    meta, name = claim.metadata, node.metadata.name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {
            "name": volume_name(claim),
            "annotations": {SELECTED_NODE: name, PROVISIONED_BY: PROVISIONER},
        },
        "spec": {
            "accessModes": list(claim.spec.access_modes),
            "capacity": {"storage": claim.spec.resources.requests["storage"]},
            "claimRef": {
                "kind": "PersistentVolumeClaim",
                "apiVersion": "v1",
                "namespace": meta.namespace,
                "name": meta.name,
                "uid": meta.uid,
                "resourceVersion": meta.resource_version,
            },
            "local": {"path": posixpath.join(root, folder_name(claim))},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [_only_on(node)]}},
            "persistentVolumeReclaimPolicy": found.reclaim_policy,
            "storageClassName": found.metadata.name,
            "volumeMode": claim.spec.volume_mode,
        },
    }


def _only_on(node: views.Node) -> Object:
    host = node.metadata.labels.get(HOSTNAME)
    if host is None:
        rule = {"key": "metadata.name", "operator": "In", "values": [node.metadata.name]}
        return {"matchFields": [rule]}
    return {"matchExpressions": [{"key": HOSTNAME, "operator": "In", "values": [host]}]}

"""Defaults of Pods, of the pod templates inside workloads, and what admission adds to a Pod.

`pod` and `template` differ on purpose, as in Kubernetes: requests from limits, enableServiceLinks
and host ports appear on a Pod only, so that templates (and their hashes) stay as written.
"""

from __future__ import annotations

from typing import Any

from edgeorch.lib import quantity
from edgeorch.model import pod_resources
from edgeorch.model.kinds import Object

MODE = 0o644
TOLERATION_SECONDS = 300

_SOURCES: dict[str, dict[str, Any]] = {
    "secret": {"defaultMode": MODE},
    "configMap": {"defaultMode": MODE},
    "downwardAPI": {"defaultMode": MODE},
    "projected": {"defaultMode": MODE},
    "hostPath": {"type": ""},
    "iscsi": {"iscsiInterface": "default"},
    "rbd": {"pool": "rbd", "user": "admin", "keyring": "/etc/ceph/keyring"},
    "azureDisk": {
        "cachingMode": "ReadWrite",
        "fsType": "ext4",
        "readOnly": False,
        "kind": "Shared",
    },
    "scaleIO": {"storageMode": "ThinProvisioned", "fsType": "xfs"},
}


def pod(obj: Object) -> None:
    spec = obj["spec"] = obj.get("spec") or {}
    _pod_spec(spec)
    for container in [*_list(spec, "containers"), *_list(spec, "initContainers")]:
        _requests_from_limits(container)
        if spec.get("hostNetwork"):
            for port in _list(container, "ports"):
                if not port.get("hostPort"):
                    port["hostPort"] = port.get("containerPort", 0)
    _requests_of_pod(spec)
    _fill(spec, "enableServiceLinks", True)


def template(obj: Object) -> None:
    """A PodTemplateSpec."""
    spec = obj["spec"] = obj.get("spec") or {}
    _pod_spec(spec)


def admit(obj: Object) -> None:
    """What admission sets on every new Pod: the name of its account, tolerations for node
    trouble."""
    spec = obj["spec"] = obj.get("spec") or {}
    _fill_empty(spec, "serviceAccountName", "default")
    spec["serviceAccount"] = spec["serviceAccountName"]
    _admit_tolerations(spec)


def _admit_tolerations(spec: Object) -> None:
    for key in ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"):
        tolerated = any(
            toleration.get("key", "") in ("", key)
            and toleration.get("effect", "") in ("", "NoExecute")
            for toleration in _list(spec, "tolerations")
        )
        if not tolerated:
            if not spec.get("tolerations"):
                spec["tolerations"] = []
            spec["tolerations"].append(
                {
                    "effect": "NoExecute",
                    "key": key,
                    "operator": "Exists",
                    "tolerationSeconds": TOLERATION_SECONDS,
                }
            )


def _pod_spec(spec: Object) -> None:
    _fill_empty(spec, "dnsPolicy", "ClusterFirst")
    _fill_empty(spec, "restartPolicy", "Always")
    _fill_empty(spec, "schedulerName", "default-scheduler")
    _fill(spec, "securityContext", {})
    _fill(spec, "terminationGracePeriodSeconds", 30)
    # Two names of one field: the new one wins, both are shown.
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account
    for field in ("initContainers", "containers", "ephemeralContainers"):
        for container in _list(spec, field):
            _container(container)
    for volume in _list(spec, "volumes"):
        _volume(volume)


def _container(container: Object) -> None:
    _fill_empty(container, "imagePullPolicy", pull_policy(container.get("image", "")))
    _fill_empty(container, "terminationMessagePath", "/dev/termination-log")
    _fill_empty(container, "terminationMessagePolicy", "File")
    if container.get("resources") is None:
        container["resources"] = {}  # no pointer in Kubernetes: clients always see it
    for port in _list(container, "ports"):
        _fill_empty(port, "protocol", "TCP")
    for env in _list(container, "env"):
        source = env.get("valueFrom") or {}
        _field_refs(source)
    for field in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(field) is not None:
            _probe(container[field])
    lifecycle = container.get("lifecycle") or {}
    for hook in ("postStart", "preStop"):
        _http_get((lifecycle.get(hook) or {}).get("httpGet"))
    _fill(container, "resources", {})


def pull_policy(image: str) -> str:
    """Always for the tag `latest`, said or implied; IfNotPresent otherwise."""
    name, _, digest = image.partition("@")
    _, colon, tag = name.rpartition("/")[2].partition(":")
    if not colon and not digest:
        tag = "latest"
    return "Always" if tag == "latest" else "IfNotPresent"


def _probe(probe: Object) -> None:
    for field, value in (
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ):
        _fill_empty(probe, field, value)
    _http_get(probe.get("httpGet"))
    if probe.get("grpc") is not None:
        _fill(probe["grpc"], "service", "")


def _http_get(action: Object | None) -> None:
    if action is not None:
        _fill_empty(action, "path", "/")
        _fill_empty(action, "scheme", "HTTP")


def _volume(volume: Object) -> None:
    if not any(value is not None for key, value in volume.items() if key != "name"):
        volume["emptyDir"] = {}
    for source, values in _SOURCES.items():
        if volume.get(source) is not None:
            for field, value in values.items():
                _fill(volume[source], field, value)
    for item in _list(volume.get("downwardAPI") or {}, "items"):
        _field_refs(item)
    for projection in _list(volume.get("projected") or {}, "sources"):
        for item in _list(projection.get("downwardAPI") or {}, "items"):
            _field_refs(item)
        if projection.get("serviceAccountToken") is not None:
            _fill(projection["serviceAccountToken"], "expirationSeconds", 3600)
    if volume.get("image") is not None:
        image = volume["image"]
        _fill_empty(image, "pullPolicy", pull_policy(image.get("reference", "")))
    claim = (volume.get("ephemeral") or {}).get("volumeClaimTemplate")
    if claim:
        claim["spec"] = claim.get("spec") or {}
        _fill(claim["spec"], "volumeMode", "Filesystem")


def _field_refs(source: Object) -> None:
    if source.get("fieldRef") is not None:
        _fill_empty(source["fieldRef"], "apiVersion", "v1")
    if source.get("resourceFieldRef") is not None:
        _fill(source["resourceFieldRef"], "divisor", "0")


def _requests_from_limits(container: Object) -> None:
    resources = container.get("resources") or {}
    limits = resources.get("limits")
    if limits:
        resources["requests"] = {**limits, **(resources.get("requests") or {})}


def _requests_of_pod(spec: Object) -> None:
    """Of a pod that limits itself: as much as its containers ask for, else as much as it may."""
    resources = spec.get("resources") or {}
    limits = resources.get("limits")
    if not limits:
        return
    asked = [
        ((each.get("resources") or {}).get("requests") or {}, each.get("restartPolicy") == "Always")
        for each in _list(spec, "initContainers")
    ]
    mains = [
        (each.get("resources") or {}).get("requests") or {} for each in _list(spec, "containers")
    ]
    found = dict(resources.get("requests") or {})
    for name, amount in pod_resources.combine(mains, asked).items():
        if pod_resources.pod_level(name) and not name.startswith(pod_resources.HUGE_PAGES):
            found.setdefault(name, quantity.of_nano(amount, _family(mains, name)).text)
    for name, text in limits.items():
        if pod_resources.pod_level(name):
            found.setdefault(name, text)
    resources["requests"] = found


def _family(listed: list[Object], name: str) -> quantity.Format:
    texts = (str(each[name]) for each in listed if name in each)
    return next((quantity.parse(text).format for text in texts), "DecimalSI")


def _list(holder: Object, field: str) -> list[Any]:
    return holder.get(field) or []


def _fill(holder: Object, field: str, value: Any) -> None:
    if holder.get(field) is None:
        holder[field] = value.copy() if isinstance(value, dict) else value


def _fill_empty(holder: Object, field: str, value: Any) -> None:
    """For fields whose zero value also means "not given"."""
    if not holder.get(field):
        holder[field] = value

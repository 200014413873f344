"""What the server serves: versions, groups, resources, aggregated discovery.

Documents are made from the registry when they are asked for (clients cache them for hours by ETag).

Source: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api, KEP-3352
"""

from __future__ import annotations

import hashlib
import platform
from typing import TYPE_CHECKING

from edgeorch.api import negotiation, paths, responses, statuses
from edgeorch.lib import json
from edgeorch.model import release

if TYPE_CHECKING:
    from aiohttp import web

    from edgeorch.api.call import Call
    from edgeorch.model.kinds import Kind, Object, Registry

_GROUP = "apidiscovery.k8s.io"
_KIND = "APIGroupDiscoveryList"
_SUBRESOURCE_KINDS = {
    "scale": ("autoscaling", "v1", "Scale"),
    "binding": ("", "v1", "Binding"),
    "eviction": ("policy", "v1", "Eviction"),
    "exec": ("", "v1", "PodExecOptions"),
    "attach": ("", "v1", "PodAttachOptions"),
    "portforward": ("", "v1", "PodPortForwardOptions"),
    "token": ("authentication.k8s.io", "v1", "TokenRequest"),
}
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}


def version(own: str) -> Object:
    """version.Info: what clients compare themselves with is Kubernetes' number."""
    machine = _MACHINES.get(platform.machine(), platform.machine())
    return {
        "major": release.MAJOR,
        "minor": release.MINOR,
        "gitVersion": release.git_version(own),
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": f"python{platform.python_version()}",
        "compiler": "cpython",
        "platform": f"linux/{machine}",
    }


def roots(registry: Registry) -> Object:
    """GET /"""
    found = ["/api", "/api/v1", "/apis"]
    for group, versions in registry.groups().items():
        if group:
            found += [f"/apis/{group}", *(f"/apis/{group}/{each}" for each in versions)]
    own = ["/healthz", "/livez", "/metrics", "/openapi/v2", "/openapi/v3", "/readyz", "/version"]
    return {"paths": sorted({*found, *own})}


def core_versions(address: str) -> Object:
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": address}],
    }


def group(registry: Registry, name: str) -> Object:
    versions = registry.groups().get(name)
    if not name or versions is None:
        raise statuses.unknown_path()
    served = [{"groupVersion": f"{name}/{each}", "version": each} for each in versions]
    return {
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": name,
        "versions": served,
        "preferredVersion": served[0],
    }


def group_list(registry: Registry) -> Object:
    groups = []
    for name in registry.groups():
        if name:
            found = group(registry, name)
            groups.append({k: v for k, v in found.items() if k not in ("kind", "apiVersion")})
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def resource_list(registry: Registry, group_name: str, version_name: str) -> Object:
    resources: list[Object] = []
    for kind in registry.served():
        if (kind.group, kind.version) == (group_name, version_name):
            resources += _resources(kind)
    if not resources:
        raise statuses.unknown_path()
    resources.sort(key=lambda resource: str(resource["name"]))
    group_version = f"{group_name}/{version_name}" if group_name else version_name
    return {
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": group_version,
        "resources": resources,
    }


def _resources(kind: Kind) -> list[Object]:
    found: Object = {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        found["shortNames"] = list(kind.short_names)
    if kind.categories:
        found["categories"] = list(kind.categories)
    below = []
    for name in kind.subresources:
        group_name, version_name, kind_name = _kind_of(kind, name)
        entry: Object = {
            "name": f"{kind.plural}/{name}",
            "singularName": "",
            "namespaced": kind.namespaced,
            "kind": kind_name,
            "verbs": list(paths.subresource_verbs(name)),
        }
        if (group_name, version_name) != (kind.group, kind.version):
            entry |= {"group": group_name, "version": version_name}
        below.append(entry)
    return [found, *below]


def _kind_of(kind: Kind, subresource: str) -> tuple[str, str, str]:
    if subresource == paths.PROXY:
        return "", "v1", f"{kind.kind}ProxyOptions"
    return _SUBRESOURCE_KINDS.get(subresource, (kind.group, kind.version, kind.kind))


def aggregated(registry: Registry, api_version: str, *, core: bool) -> Object:
    """APIGroupDiscoveryList of /api (core) or /apis."""
    items = []
    for name, versions in registry.groups().items():
        if core != (not name):
            continue
        meta: Object = {"creationTimestamp": None}
        if name:
            meta["name"] = name
        items.append(
            {"metadata": meta, "versions": [_version(registry, name, each) for each in versions]}
        )
    return {
        "kind": _KIND,
        "apiVersion": f"{_GROUP}/{api_version}",
        "metadata": {},
        "items": items,
    }


def _version(registry: Registry, group_name: str, version_name: str) -> Object:
    served = [
        kind
        for kind in registry.served()
        if (kind.group, kind.version) == (group_name, version_name)
    ]
    return {
        "version": version_name,
        "resources": [_aggregated_resource(kind) for kind in served],
        "freshness": "Current",
    }


def _aggregated_resource(kind: Kind) -> Object:
    found: Object = {
        "resource": kind.plural,
        "responseKind": _response_kind(kind.group, kind.version, kind.kind),
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        found["shortNames"] = list(kind.short_names)
    if kind.categories:
        found["categories"] = list(kind.categories)
    if kind.subresources:
        found["subresources"] = [
            {
                "subresource": name,
                "responseKind": _response_kind(*_kind_of(kind, name)),
                "verbs": list(paths.subresource_verbs(name)),
            }
            for name in kind.subresources
        ]
    return found


def _response_kind(group_name: str, version_name: str, kind_name: str) -> Object:
    return {"group": group_name, "version": version_name, "kind": kind_name}


def _wanted_aggregate(accept: str) -> tuple[str, str]:
    """The version of aggregated discovery that the client prefers, and its media type; or ""."""
    for clause in negotiation.clauses(accept):
        given = clause.parameters
        if clause.media != negotiation.JSON:
            continue
        if not given.get("as"):
            return "", ""
        asked = given.get("v", "")
        if given["as"] == _KIND and given.get("g") == _GROUP and asked in ("v2", "v2beta1"):
            return asked, f"application/json;g={_GROUP};v={asked};as={_KIND}"
    return "", ""


async def serve(call: Call, registry: Registry) -> web.StreamResponse:
    """/api, /api/v1, /apis, /apis/GROUP, /apis/GROUP/VERSION."""
    match call.parts:
        case ["api" | "apis" as root]:
            wanted, media = _wanted_aggregate(call.header("Accept"))
            if wanted:
                document = aggregated(registry, wanted, core=root == "api")
                return await tagged(call, document, media)
            document = core_versions(call.header("Host")) if root == "api" else group_list(registry)
        case ["api", version_name]:
            document = resource_list(registry, "", version_name)
        case ["apis", group_name]:
            document = group(registry, group_name)
        case ["apis", group_name, version_name]:
            document = resource_list(registry, group_name, version_name)
        case _:
            raise statuses.unknown_path()
    return await tagged(call, document, negotiation.choose(call.header("Accept")).media)


async def tagged(call: Call, document: Object, media: str) -> web.StreamResponse:
    """With an ETag, so that a client that has it already is told so."""
    body = json.encode(document)
    tag = f'"{hashlib.sha512(body).hexdigest().upper()}"'
    return await responses.cached(call, body, tag, media)

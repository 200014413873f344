"""Where a snapshotter keeps what it unpacks."""

from __future__ import annotations

from edgeorch.runtime import client
from edgeorch.runtime.pb import introspection_pb2

SNAPSHOTTER_TYPE = "io.containerd.snapshotter.v1"


async def root(containerd: client.Client, name: str) -> str:
    """Its directory on the host; "" when containerd does not say."""
    answer = await containerd.call(
        containerd.services.introspection.Plugins,
        introspection_pb2.PluginsRequest(filters=[f"type=={SNAPSHOTTER_TYPE},id=={name}"]),
    )
    return next(filter(None, (plugin.exports.get("root", "") for plugin in answer.plugins)), "")

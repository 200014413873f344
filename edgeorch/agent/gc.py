"""What is left of pods that are no longer: ours by label or by place, and wanted by nobody."""

from __future__ import annotations

import asyncio
import glob
import logging
import shutil
from typing import TYPE_CHECKING

from edgeorch.model import views
from edgeorch.net.network import NetworkError
from edgeorch.runtime import errors, logfile

if TYPE_CHECKING:
    import pathlib

    from edgeorch.agent import ports
    from edgeorch.agent.executor import Workshop
    from edgeorch.agent.observer import Identity
    from edgeorch.agent.settings import Settings
    from edgeorch.core.observed import Container

log = logging.getLogger(__name__)


def orphan(identity: Identity, containers: tuple[Container, ...]) -> views.Pod:
    """A pod that says of itself only what its containers still know, for a worker to end."""
    names = dict.fromkeys(container.name for container in containers)
    return views.Pod(
        metadata=views.Meta(uid=identity.uid, namespace=identity.namespace, name=identity.name),
        spec=views.PodSpec(containers=[views.Container(name=name) for name in names]),
    )


async def sweep_networks(known: set[str], network: ports.Network) -> None:
    """Before any new pod is begun, which would not be in `known`."""
    try:
        await network.sweep(known)
    except (OSError, NetworkError) as error:  # the next start tries again
        log.warning("Cannot remove networks of former pods: %s", error)


async def left_over(known: set[str], shop: Workshop) -> set[str]:
    """Pods not in `known` of which sandboxes or volumes are there."""
    volumes = await asyncio.to_thread(shop.volumes.uids)
    return (shop.sandboxes.uids() | volumes) - known


async def sweep(uids: set[str], shop: Workshop) -> None:
    """Remove sandboxes, volumes and logs of these former pods."""
    for uid in uids:
        log.info("Removing what is left of pod %s", uid)
        try:
            await asyncio.to_thread(_remove_logs, shop.settings.log_dir, uid)
            await shop.volumes.remove(uid)
            await shop.sandboxes.tear_down(views.Pod(metadata=views.Meta(uid=uid)))
        except (OSError, NetworkError, errors.ContainerdError) as error:
            log.warning("Cannot remove what is left of pod %s: %s", uid, error)
    await asyncio.to_thread(remove_dead_links, shop.settings)


def remove_dead_links(settings: Settings) -> None:
    """Of containers whose logs are gone."""
    logfile.remove_dead_links(settings.log_links, settings.log_dir)


def _remove_logs(folder: pathlib.Path, uid: str) -> None:
    for entry in folder.glob(f"*_{glob.escape(uid)}"):
        shutil.rmtree(entry, ignore_errors=True)

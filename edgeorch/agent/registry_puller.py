"""The agent's `Puller`: the registry client, told in the agent's words.

Credentials are tried in this order: the pod's pull secrets, those of the configuration for the
host, those of the device's own docker config. What is meant for a registry is never shown to a
mirror of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pathlib
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from edgeorch.agent import ports
from edgeorch.core import image_room
from edgeorch.registry import auth, hosts, keyring, pull
from edgeorch.runtime import errors
from edgeorch.wire import image_ref, oci

if TYPE_CHECKING:
    from edgeorch.config import Config, RegistryConfig
    from edgeorch.lib import metrics

log = logging.getLogger(__name__)

_Source = pull.Source


def configured(config: Config, sinks: pull.Sinks) -> RegistryPuller:
    """As the configuration file says."""
    images = config.images
    limits = pull.Limits(images.parallel_layers, images.stall_timeout, images.max_bytes_per_second)
    return RegistryPuller(sinks, config.registries, pathlib.Path(images.docker_config), limits)


class RegistryPuller:
    def __init__(
        self,
        sinks: pull.Sinks,
        registries: Mapping[str, RegistryConfig] | None = None,
        docker_config: pathlib.Path | None = None,
        limits: pull.Limits | None = None,
    ) -> None:
        self._puller = pull.Puller(sinks, oci.host_platform(platform.machine()), limits)
        self._registries = registries or {}
        self._docker_config = docker_config

    def measure(self, registry: metrics.Registry) -> None:
        self._puller.measure(registry)

    async def pull(
        self, ref: str, auths: list[bytes], progress: Callable[[int, int], None]
    ) -> None:
        """Raises ports.PullError."""
        source = await self._source(ref, auths)
        with _retold():
            await self._puller.pull(source, progress)

    async def layers(self, ref: str, auths: list[bytes]) -> Sequence[oci.Descriptor]:
        """Of an image for this machine, without fetching any. Raises ports.PullError."""
        source = await self._source(ref, auths)
        with _retold():
            return await self._puller.layers(source)

    async def room(self, layers: Sequence[oci.Descriptor]) -> image_room.Room | None:
        """For those that are not here, None when it cannot be known."""
        try:
            return await self._puller.room("bundle", layers)
        except (ConnectionError, errors.ContainerdError) as error:
            log.debug("Cannot tell the room for images: %s", error)
            return None

    async def _source(self, ref: str, auths: list[bytes]) -> _Source:
        found = image_ref.parse(ref)
        secrets = keyring.Keyring(auths)
        own = keyring.Keyring(await asyncio.to_thread(self._own_credentials))

        def credentials(host: hosts.Host) -> list[auth.Credential]:
            name = f"{host.name}/{found.path}"
            given = [] if host.mirror_of else secrets.find(name)
            configured = [host.credential] if host.credential else []
            return list(dict.fromkeys([*given, *configured, *own.find(name)]))

        return pull.Source(
            name=str(found),
            path=found.path,
            reference=found.digest or found.tag,
            hosts=hosts.serving(found.domain, self._registries),
            credentials=credentials,
        )

    def _own_credentials(self) -> list[bytes]:
        if self._docker_config is None:
            return []
        try:
            return [self._docker_config.read_bytes()]
        except FileNotFoundError:
            return []
        except OSError as error:
            log.warning("Cannot read %s: %s", self._docker_config, error)
            return []


@contextlib.contextmanager
def _retold() -> Iterator[None]:
    """Raises ports.PullError."""
    try:
        yield
    except errors.Unavailable:
        raise  # says nothing about the registry: the pull goes on when containerd is back
    except pull.Unreachable as error:
        raise ports.PullError(str(error), unreachable=True) from error
    except (pull.PullError, errors.ContainerdError) as error:
        raise ports.PullError(str(error)) from error

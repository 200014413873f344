"""What the agent needs from the rest of the house, in its own words: given by app.py.

The runtime and the network fulfil these as they are; tests give others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import datetime
    import pathlib
    from collections.abc import AsyncIterator, Callable, Mapping

    from edgeorch.core import pod_bandwidth
    from edgeorch.lib import disk
    from edgeorch.model import views
    from edgeorch.net import addresses
    from edgeorch.net import network as networks
    from edgeorch.runtime import containers as records
    from edgeorch.runtime import events, execs, images, stdio

    ContainerRecords = list[records.ContainerRecord]


class Containers(Protocol):
    async def list(self, *filters: str) -> ContainerRecords: ...

    async def task(self, container_id: str) -> records.TaskState | None: ...

    async def create(
        self,
        container_id: str,
        *,
        image: str,
        chain_id: str,
        spec: bytes,
        labels: Mapping[str, str],
    ) -> None: ...

    async def start(self, container_id: str, io: stdio.Stdio) -> int: ...

    async def kill(
        self, container_id: str, signal: int, *, all_processes: bool = False
    ) -> None: ...

    async def delete_task(
        self, container_id: str, *, force: bool = False
    ) -> records.ExitInfo | None: ...

    async def delete(
        self, container_id: str, *, force: bool = False
    ) -> records.ExitInfo | None: ...

    async def update_labels(self, container_id: str, labels: Mapping[str, str]) -> None: ...


class Events(Protocol):
    def subscribe(self) -> AsyncIterator[events.Event]: ...


class Images(Protocol):
    async def get(self, ref: str) -> images.ImageInfo: ...

    async def config(self, ref: str) -> images.ImageConfig: ...

    async def list(self) -> list[images.ImageInfo]: ...


class PullError(Exception):
    """Why an image could not be fetched, as it goes into the event.

    `unreachable`: the registry did not answer at all, so nothing is known against a copy that is
    here already. `reason` overrides ErrImagePull (RegistryUnavailable, SignatureValidationFailed).
    """

    def __init__(
        self, message: str, *, unreachable: bool = False, reason: str = "ErrImagePull"
    ) -> None:
        super().__init__(message)
        self.unreachable = unreachable
        self.reason = reason


class Puller(Protocol):
    async def pull(
        self,
        ref: str,
        auths: list[bytes],
        progress: Callable[[int, int], None],
    ) -> None:
        """Have the image `ref` (normalised) in containerd. `auths` are docker config.json texts.

        `progress` hears how many bytes are here, and of how many. Raises PullError. Cancelled when
        nobody wants the image any more.
        """


class Network(Protocol):
    async def attach(
        self, uid: str, pod_key: str, bandwidth: pod_bandwidth.Bandwidth
    ) -> networks.Sandbox: ...

    async def detach(self, uid: str) -> None: ...

    def sandboxes(self) -> dict[str, networks.Sandbox]: ...

    async def sweep(self, known_uids: set[str]) -> None: ...

    @property
    def node_addresses(self) -> addresses.NodeAddresses: ...

    def on_addresses(self, listener: Callable[[addresses.NodeAddresses], None]) -> None: ...

    def health(self) -> str | None: ...

    @property
    def blocked(self) -> tuple[str, ...]: ...

    def on_health(self, listener: Callable[[], None]) -> None: ...


class Withdrawal(Protocol):
    """Given by the proxy: says when a pod gets no new connections through any Service."""

    async def withdrawn(self, uid: str, ip: str) -> None: ...


class Tokens(Protocol):
    """Given by the API server's side, which also knows them again."""

    def for_pod(self, pod: views.Pod, audience: str, seconds: int) -> str:
        """A token of the pod's account, bound to the pod. Raises StatusError."""


class Output(Protocol):
    """The output of containers: from the FIFOs into log files and back."""

    async def attach(
        self,
        container_id: str,
        path: pathlib.Path,
        *,
        link: pathlib.Path | None = None,
        terminal: bool = False,
        stdin: bool = False,
    ) -> stdio.Stdio:
        """Begin, or after a restart of this process go on, to read. Idempotent."""

    async def finish(self, container_id: str) -> None:
        """The container has ended: write down what is left and let go."""

    def read(
        self,
        path: pathlib.Path,
        *,
        follow: bool = False,
        tail_lines: int | None = None,
        since: datetime.datetime | None = None,
        timestamps: bool = False,
        limit_bytes: int | None = None,
        stream: str = "",
    ) -> AsyncIterator[bytes]: ...


class Execs(Protocol):
    async def run(
        self, container_id: str, command: execs.Command, *, limit: float
    ) -> execs.ExecResult:
        """Raises ExecTimeout after `limit` seconds, ContainerdError."""


class Snapshots(Protocol):
    async def usage(self, key: str) -> disk.Usage:
        """Of a writable layer; nothing when it is gone. Raises ContainerdError."""


class ImageViews(Protocol):
    async def hold(self, uid: str, volume: str, chain_id: str) -> list[str]:
        """The directories that make up an image, topmost first. Raises ContainerdError."""

    async def release(self, uid: str) -> None:
        """What is held for the pod. Raises ContainerdError."""


class RootFiles(Protocol):
    async def read(self, chain_id: str, paths: tuple[str, ...]) -> dict[str, bytes]:
        """Those of the files that an image holds. Raises ContainerdError."""

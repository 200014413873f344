"""What a pod's worker remembers between two decisions, beyond what the observer and the store know.

One writer: the worker and the executor that acts for it, both on the event loop. All of it may be
lost at any moment; what must outlive the process is in the labels of the containers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct, field, structs

from edgeorch.core.eviction import Eviction
from edgeorch.core.observed import Failure, Hook, PodSeen, ProbeKind, Sandbox, State, Stop

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeorch.agent import images
    from edgeorch.core.observed import Container, Held
    from edgeorch.model import views


class Memory(Struct):
    token: str
    """Of the sandbox that is there or will be made."""
    accepted_at: float
    sandbox: Sandbox | None = None
    images: dict[str, tuple[int, images.Ready]] = field(default_factory=dict)
    waits: dict[str, str] = field(default_factory=dict)
    """What a container waits for that takes long, in words."""
    volumes: str | None = None
    probes: dict[tuple[str, ProbeKind], bool] = field(default_factory=dict)
    probed: dict[tuple[str, ProbeKind, str], int] = field(default_factory=dict)
    """How many probes of a container, of which kind, had which result."""
    hooks: dict[str, Hook] = field(default_factory=dict)
    stops: dict[str, Stop] = field(default_factory=dict)
    failures: dict[str, Failure] = field(default_factory=dict)
    ending_since: float | None = None
    eviction: Eviction | None = None
    eviction_told: bool = False
    """It is on record, durably."""
    room_wanted: bool = False
    """The node needs what is kept of the pod once it is over."""
    withdrawn: bool = False
    torn_down: bool = False
    gone: bool = False
    finished: bool = False
    """Nothing is left to do, ever."""

    def seen(
        self,
        containers: tuple[Container, ...],
        volumes_wanted: str,
        moved: frozenset[str] = frozenset(),
        devices: Mapping[str, tuple[Held, ...]] | None = None,
    ) -> PodSeen:
        return PodSeen(
            sandbox=self.sandbox,
            containers=containers,
            images={name: attempt for name, (attempt, _) in self.images.items()},
            waits=self.waits,
            volumes=self.volumes,
            volumes_wanted=volumes_wanted,
            probes=self.probes,
            hooks=self.hooks,
            stops=self.stops,
            failures=self.failures,
            moved=moved,
            devices=devices or {},
            accepted_at=self.accepted_at,
            ending_since=self.ending_since,
            eviction=self.eviction,
            room_wanted=self.room_wanted,
            withdrawn=self.withdrawn,
            torn_down=self.torn_down,
            gone=self.gone,
        )

    def adopt(self, pod: views.Pod, containers: tuple[Container, ...]) -> None:
        """Take over what an earlier process has started: hooks are through, verdicts stand."""
        known = {entry.get("containerID"): entry for entry in pod.status.all_container_statuses}
        for container in containers:
            if container.state is not State.RUNNING:
                continue
            self.hooks[container.id] = Hook.DONE
            entry = known.get(f"containerd://{container.id}") or {}
            if entry.get("started"):
                self.probes[container.id, ProbeKind.STARTUP] = True
            if entry.get("ready"):
                self.probes[container.id, ProbeKind.READINESS] = True

    def forget(self, container_id: str) -> None:
        self.hooks.pop(container_id, None)
        self.stops.pop(container_id, None)
        for kind in ProbeKind:
            self.probes.pop((container_id, kind), None)

    def stopping(self, container_id: str, **changes: object) -> None:
        stop = self.stops.get(container_id)
        if stop is not None:
            self.stops[container_id] = structs.replace(stop, **changes)

"""What the node agent has seen of one pod: the input of every lifecycle decision.

Plain values, put together by the pod's worker from what the observer knows of containerd, what the
network says, and what the worker itself remembers. Times are CLOCK_BOOTTIME seconds of this boot;
None where something happened in an earlier one. Text times are RFC 3339 and only shown.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from msgspec import Struct, field

from edgeorch.core.eviction import Eviction


class Kind(enum.Enum):
    """The place of a container in its pod."""

    MAIN = "main"
    INIT = "init"
    SIDECAR = "sidecar"
    EPHEMERAL = "ephemeral"
    """Added to a running pod to look into it; runs once."""


class State(enum.Enum):
    CREATED = "created"
    RUNNING = "running"
    ENDED = "ended"


class ProbeKind(enum.Enum):
    STARTUP = "startup"
    LIVENESS = "liveness"
    READINESS = "readiness"


class Exit(Struct, frozen=True):
    """How a container ended."""

    code: int
    reason: str
    message: str = ""
    started: str = ""
    finished: str = ""
    at: float | None = None
    container_id: str = ""


class Container(Struct, frozen=True):
    """One attempt at running one container of the pod, as containerd knows it."""

    id: str
    name: str
    kind: Kind
    attempt: int
    state: State
    spec_hash: str
    sandbox: str
    """Token of the sandbox it was made for."""
    image: str = ""
    image_id: str = ""
    crashes: int = 0
    """How many restarts in a row led to it without a long run between them."""
    created_at: float | None = None
    started_at: float | None = None
    started: str = ""
    exit: Exit | None = None
    settled: bool = False
    """Its end is on record and its task is gone, so the shim may go."""
    last: Exit | None = None
    """How the attempt before it ended."""
    pid: int = 0
    user: tuple[int, int, tuple[int, ...]] | None = None
    """Whom its first process runs as: uid, gid, further groups."""
    device_nodes: str = ""
    """Which nodes it was given of the devices that it asked for; "" for none."""


class Sandbox(Struct, frozen=True):
    """The pod's namespaces, address and files. All die with the boot."""

    token: str
    """Of two parts, `BOX` or `BOX.ROUND`: a new round when all containers are to start anew."""
    ip: str
    first_process: int = 0
    """Pid of what holds the PID namespace that the containers share; 0 where each has its own."""

    @property
    def next_round(self) -> str:
        box, _, number = self.token.partition(".")
        return f"{box}.{int(number or 0) + 1}"


class Stop(Struct, frozen=True):
    """How far stopping a container has come."""

    since: float
    hook_done: bool = False
    term_at: float | None = None
    kill_at: float | None = None


class Failure(Struct, frozen=True):
    """What keeps failing, and when it may be tried again."""

    reason: str
    message: str
    retry_at: float
    count: int = 1


class Held(Struct, frozen=True):
    """A device that a container was given."""

    resource: str
    id: str
    present: bool


class Hook(enum.Enum):
    """How far the postStart hook of a container is. An adopted container counts as DONE."""

    DONE = "done"
    FAILED = "failed"


class PodSeen(Struct, frozen=True):
    sandbox: Sandbox | None = None
    containers: tuple[Container, ...] = ()
    images: Mapping[str, int] = field(default_factory=dict)
    """Container name to the attempt for which its image is present."""
    waits: Mapping[str, str] = field(default_factory=dict)
    """Container name to what it waits for that takes long, in words."""
    volumes: str | None = None
    """Version of the volumes that are set up; None before the first time."""
    volumes_wanted: str = ""
    probes: Mapping[tuple[str, ProbeKind], bool] = field(default_factory=dict)
    """Verdicts by container id."""
    hooks: Mapping[str, Hook] = field(default_factory=dict)
    stops: Mapping[str, Stop] = field(default_factory=dict)
    failures: Mapping[str, Failure] = field(default_factory=dict)
    """By topic, as the actions name them."""
    moved: frozenset[str] = frozenset()
    """Container ids whose devices are other nodes by now: plugged in again, mostly."""
    devices: Mapping[str, tuple[Held, ...]] = field(default_factory=dict)
    """By container name."""
    accepted_at: float = 0.0
    """When the agent first saw the pod."""
    ending_since: float | None = None
    """When the agent first saw that the pod must end."""
    eviction: Eviction | None = None
    """Why the node will not go on with the pod."""
    room_wanted: bool = False
    """The node needs what is kept of a pod that is over."""
    withdrawn: bool = False
    """Nothing sends the pod new connections any more."""
    torn_down: bool = False
    gone: bool = False
    """The object is no longer in the store."""

    def latest(self, name: str) -> Container | None:
        found = None
        for container in self.containers:
            if container.name == name and (found is None or container.attempt > found.attempt):
                found = container
        return found

    def former(self, container: Container) -> bool:
        """Whether it belongs to a round of this sandbox that is over."""
        return self.sandbox is not None and former(container.sandbox, self.sandbox.token)

    def verdict(self, container: Container, kind: ProbeKind) -> bool | None:
        return self.probes.get((container.id, kind))


def former(token: str, current: str) -> bool:
    """Whether `token` names an earlier round in the same sandbox."""
    return token != current and token.partition(".")[0] == current.partition(".")[0]

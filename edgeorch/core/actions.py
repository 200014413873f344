"""What the lifecycle decision may ask for: frozen values, carried out by the agent's executor.

An action that stays in the plan while it is under way is the same value, so it is not begun twice;
one that leaves the plan before it has ended is called off (`CALLED_OFF`) or let run to its end. The
topic names what a failure of the action holds up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgeorch.core.observed import ProbeKind


@dataclass(frozen=True, slots=True)
class EnsureSandbox:
    """Namespaces, address, files: what the containers of the pod share."""

    topic: str = "sandbox"


@dataclass(frozen=True, slots=True)
class RestartAll:
    """Begin a new round: whatever was made before is to end and to start anew."""

    token: str
    topic: str = "sandbox"


@dataclass(frozen=True, slots=True)
class MountVolumes:
    """Bring the pod's volumes to `version`."""

    version: str
    topic: str = "volumes"


@dataclass(frozen=True, slots=True)
class EnsureImage:
    """Have the image of a container for its next attempt, as the pull policy says."""

    name: str
    attempt: int

    @property
    def topic(self) -> str:
        return f"image/{self.name}"


@dataclass(frozen=True, slots=True)
class CreateContainer:
    name: str
    attempt: int
    crashes: int
    after: str = ""
    """Id of the attempt before, whose end travels along."""

    @property
    def topic(self) -> str:
        return f"create/{self.name}"


@dataclass(frozen=True, slots=True)
class StartContainer:
    id: str
    name: str

    @property
    def topic(self) -> str:
        return f"start/{self.name}"


@dataclass(frozen=True, slots=True)
class RunPostStart:
    id: str
    name: str

    @property
    def topic(self) -> str:
        return f"hook/{self.id}"


@dataclass(frozen=True, slots=True)
class Probe:
    """Go on probing while this is in the plan."""

    id: str
    name: str
    kind: ProbeKind

    @property
    def topic(self) -> str:
        return f"probe/{self.id}/{self.kind.value}"


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Wait until no Service sends the pod new connections."""

    topic: str = "withdraw"


@dataclass(frozen=True, slots=True)
class BeginStop:
    """Note that a container is to stop, and say why."""

    id: str
    name: str
    message: str

    @property
    def topic(self) -> str:
        return f"stop/{self.id}"


@dataclass(frozen=True, slots=True)
class RunPreStop:
    id: str
    name: str

    @property
    def topic(self) -> str:
        return f"hook/{self.id}"


@dataclass(frozen=True, slots=True)
class Signal:
    """`stop` is the container's own stop signal."""

    id: str
    name: str
    signal: Literal["stop", "kill"]

    @property
    def topic(self) -> str:
        return f"stop/{self.id}"


@dataclass(frozen=True, slots=True)
class Settle:
    """Put the end of a container on record and let go of its task, and so of the shim."""

    id: str

    @property
    def topic(self) -> str:
        return f"settle/{self.id}"


@dataclass(frozen=True, slots=True)
class RemoveContainer:
    id: str

    @property
    def topic(self) -> str:
        return f"remove/{self.id}"


@dataclass(frozen=True, slots=True)
class TearDown:
    """Give back address, namespaces, volumes, cgroup."""

    topic: str = "teardown"


@dataclass(frozen=True, slots=True)
class FinishDeletion:
    """The last trace is gone: remove the object."""

    topic: str = "finish"


Action = (
    EnsureSandbox
    | RestartAll
    | MountVolumes
    | EnsureImage
    | CreateContainer
    | StartContainer
    | RunPostStart
    | Probe
    | Withdraw
    | BeginStop
    | RunPreStop
    | Signal
    | Settle
    | RemoveContainer
    | TearDown
    | FinishDeletion
)

CALLED_OFF = (EnsureImage, RunPostStart, RunPreStop, Probe, Withdraw)
"""Ended when they leave the plan; the others are short and run to their end."""


@dataclass(frozen=True, slots=True)
class Plan:
    actions: tuple[Action, ...]
    wake_at: float | None = None
    """When to decide again if nothing happens before."""

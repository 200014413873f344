"""What the lifecycle decision may ask for: frozen values, carried out by the agent's executor.

An action that stays in the plan while it is under way is the same value, so it is not begun twice;
one that leaves the plan before it has ended is called off (`CALLED_OFF`) or let run to its end. The
topic names what a failure of the action holds up.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from edgeorch.core.observed import ProbeKind


class EnsureSandbox(Struct, frozen=True):
    """Namespaces, address, files: what the containers of the pod share."""

    topic: str = "sandbox"


class RestartAll(Struct, frozen=True):
    """Begin a new round: whatever was made before is to end and to start anew."""

    token: str
    topic: str = "sandbox"


class MountVolumes(Struct, frozen=True):
    """Bring the pod's volumes to `version`."""

    version: str
    topic: str = "volumes"


class EnsureImage(Struct, frozen=True):
    """Have the image of a container for its next attempt, as the pull policy says."""

    name: str
    attempt: int

    @property
    def topic(self) -> str:
        return f"image/{self.name}"


class CreateContainer(Struct, frozen=True):
    name: str
    attempt: int
    crashes: int
    after: str = ""
    """Id of the attempt before, whose end travels along."""

    @property
    def topic(self) -> str:
        return f"create/{self.name}"


class StartContainer(Struct, frozen=True):
    id: str
    name: str

    @property
    def topic(self) -> str:
        return f"start/{self.name}"


class RunPostStart(Struct, frozen=True):
    id: str
    name: str

    @property
    def topic(self) -> str:
        return f"hook/{self.id}"


class Probe(Struct, frozen=True):
    """Go on probing while this is in the plan."""

    id: str
    name: str
    kind: ProbeKind

    @property
    def topic(self) -> str:
        return f"probe/{self.id}/{self.kind.value}"


class Withdraw(Struct, frozen=True):
    """Wait until no Service sends the pod new connections."""

    topic: str = "withdraw"


class BeginStop(Struct, frozen=True):
    """Note that a container is to stop, and say why."""

    id: str
    name: str
    message: str

    @property
    def topic(self) -> str:
        return f"stop/{self.id}"


class RunPreStop(Struct, frozen=True):
    id: str
    name: str

    @property
    def topic(self) -> str:
        return f"hook/{self.id}"


class Signal(Struct, frozen=True):
    """`stop` is the container's own stop signal."""

    id: str
    name: str
    signal: Literal["stop", "kill"]

    @property
    def topic(self) -> str:
        return f"stop/{self.id}"


class Settle(Struct, frozen=True):
    """Put the end of a container on record and let go of its task, and so of the shim."""

    id: str

    @property
    def topic(self) -> str:
        return f"settle/{self.id}"


class RemoveContainer(Struct, frozen=True):
    id: str

    @property
    def topic(self) -> str:
        return f"remove/{self.id}"


class TearDown(Struct, frozen=True):
    """Give back address, namespaces, volumes, cgroup."""

    topic: str = "teardown"


class FinishDeletion(Struct, frozen=True):
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


class Plan(Struct, frozen=True):
    actions: tuple[Action, ...]
    wake_at: float | None = None
    """When to decide again if nothing happens before."""

"""What a failed action means: when to try again, what the container waits for, what to tell."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from edgeorch.agent.creation import CreateError
from edgeorch.agent.executor import StartFailed
from edgeorch.agent.images import ImageError
from edgeorch.agent.volumes import VolumeError
from edgeorch.core import actions, pod_plan
from edgeorch.core.observed import Failure, Kind
from edgeorch.lib import backoff
from edgeorch.model import errors as api_errors
from edgeorch.net.network import NetworkError
from edgeorch.runtime import errors

if TYPE_CHECKING:
    from edgeorch.agent.voice import Voice
    from edgeorch.core.actions import Action
    from edgeorch.model import views

log = logging.getLogger(__name__)

_NO_ROOM = "no space left on device"
SHOWN = 1.0
"""Seconds that a failed start shows as itself before the restart policy goes on with it."""
RETRY = backoff.Policy(initial=0.5, factor=2.0, cap=60.0)
_EXPECTED = (
    errors.ContainerdError,
    api_errors.StatusError,
    NetworkError,
    VolumeError,
    CreateError,
    ImageError,
    StartFailed,
    OSError,
    ExceptionGroup,
)


def judge(action: Action, error: Exception, before: Failure | None, now: float) -> Failure | None:
    """None when there is nothing to wait for."""
    if not isinstance(error, _EXPECTED):
        log.error("Unexpected failure of %s", action, exc_info=error)
    if isinstance(error, StartFailed):
        return Failure("RunContainerError", str(error), now + SHOWN)
    if isinstance(error, ImageError):
        return Failure(error.reason, error.message, error.retry_at)
    count = before.count + 1 if before else 1
    retry_at = now + RETRY.delay(count - 1)
    return Failure(_reason(action, error), _text(error), retry_at, count)


def lacks_room(action: Action, error: Exception) -> bool:
    """Whether a container does not run for a little room; an image may want any amount."""
    return not isinstance(action, actions.EnsureImage) and _NO_ROOM in _text(error).lower()


def tell(action: Action, error: Exception, pod: views.Pod, voice: Voice, *, news: bool) -> None:
    """The events of it; those about images and starts are told where they happen. What is no news
    (the failure before was the same) is not logged again."""
    told = _text(error)
    match action:
        case actions.EnsureSandbox():
            voice.pod(
                pod, "Warning", "FailedCreatePodSandBox", f"Failed to create pod sandbox: {told}"
            )
            if news:
                log.warning(
                    "Cannot create the sandbox of %s/%s: %s",
                    pod.metadata.namespace,
                    pod.metadata.name,
                    told,
                )
        case actions.MountVolumes():
            voice.pod(pod, "Warning", "FailedMount", told)
        case actions.CreateContainer():
            say = voice.container(pod, action.name, _kind(pod, action.name))
            say("Warning", "Failed", f"Error: {told}")
        case actions.Signal() | actions.RemoveContainer() | actions.TearDown():
            voice.pod(pod, "Warning", "FailedKillPod", f"error killing pod: {told}")
            log.warning("Cannot carry out %s: %s", action, told)
        case _:
            log.debug("Cannot carry out %s: %s", action, told)


def _reason(action: Action, error: Exception) -> str:
    if isinstance(error, CreateError):
        return error.reason
    match action:
        case actions.CreateContainer():
            return "CreateContainerError"
        case actions.StartContainer():
            return "RunContainerError"
        case actions.EnsureImage():
            return "ImageInspectError"
        case _:
            return "ContainerCreating"


def _text(error: Exception) -> str:
    if isinstance(error, ExceptionGroup):
        return "; ".join(_text(inner) for inner in error.exceptions)
    return str(error) or type(error).__name__


def _kind(pod: views.Pod, name: str) -> Kind:
    return next(
        (kind for spec, kind in pod_plan.containers_of(pod) if spec.name == name), Kind.MAIN
    )

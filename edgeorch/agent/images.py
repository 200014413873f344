"""Images for containers: present, or pulled as the policy says, with the kubelet's words.

Pulls of one image wait for each other, and only a few run at once. A pull that failed is not tried
again before its back-off has passed (10 s doubling to 5 min, for each pod and image).

`Always` asks the registry each time. When no registry answers at all and the image is here, the
device goes on with what it has: what is stored runs, also without a network.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeorch.agent import ports
from edgeorch.lib import backoff
from edgeorch.runtime import errors
from edgeorch.wire import image_ref

if TYPE_CHECKING:
    from edgeorch.lib import clock as clocks
    from edgeorch.model import views
    from edgeorch.runtime.images import ImageConfig

    Say = Callable[[str, str, str], None]
    """Event type, reason, message."""

BACK_OFF = backoff.Policy(initial=10.0, factor=2.0, cap=300.0)
_SOON = 1.0
"""Seconds that an error shows as itself before it shows as a back-off."""
_PARALLEL = 2
_NEVER_RETRY = 60.0


class ImageError(Exception):
    """Why a container has no image: the waiting reason and message, and when to try again."""

    def __init__(self, reason: str, message: str, retry_at: float) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_at = retry_at


@dataclass(frozen=True, slots=True)
class Ready:
    """`ref` is the normalised name, `digest` what it points at."""

    ref: str
    digest: str
    config: ImageConfig


@dataclass(slots=True)
class _Trouble:
    failures: int
    until: float
    told: str


class ImageKeeper:
    def __init__(
        self, images: ports.Images, puller: ports.Puller | None, clock: clocks.Clock
    ) -> None:
        self._images = images
        self._puller = puller
        self._clock = clock
        self._pulls = asyncio.Semaphore(_PARALLEL)
        self._turns: dict[str, asyncio.Lock] = {}
        self._trouble: dict[tuple[str, str], _Trouble] = {}

    async def ensure(
        self, uid: str, container: views.Container, auths: list[bytes], say: Say
    ) -> Ready:
        """Raises ImageError, ContainerdError."""
        ref = self._normalise(container.image, say)
        policy = container.image_pull_policy
        if policy != "Always":
            ready = await self._present(ref)
            if ready is not None:
                told = f'Container image "{container.image}" already present on machine'
                say("Normal", "Pulled", told)
                return ready
        if policy == "Never":
            told = f'Container image "{container.image}" is not present with pull policy of Never'
            say("Warning", "ErrImageNeverPull", told)
            say("Warning", "Failed", "Error: ErrImageNeverPull")
            raise ImageError("ErrImageNeverPull", told, self._clock.monotonic() + _NEVER_RETRY)
        self._refuse_early(uid, ref, container.image, say)
        return await self._pull(uid, ref, container.image, policy, auths, say)

    def forget(self, uid: str) -> None:
        for key in [key for key in self._trouble if key[0] == uid]:
            del self._trouble[key]

    def appeared(self, ref: str) -> None:
        """The image has been imported or pulled: nobody need wait for it any longer."""
        for key in [key for key in self._trouble if key[1] == ref]:
            del self._trouble[key]

    def _normalise(self, image: str, say: Say) -> str:
        try:
            return str(image_ref.normalise(image))
        except image_ref.InvalidReference as error:
            told = f'Failed to apply default image tag "{image}": {error}'
            say("Warning", "InspectFailed", told)
            say("Warning", "Failed", "Error: InvalidImageName")
            at = self._clock.monotonic() + BACK_OFF.cap
            raise ImageError("InvalidImageName", told, at) from error

    async def _present(self, ref: str) -> Ready | None:
        try:
            config = await self._images.config(ref)
            info = await self._images.get(ref)
        except errors.NotFound:
            return None
        return Ready(ref, info.digest, config)

    def _refuse_early(self, uid: str, ref: str, image: str, say: Say) -> None:
        trouble = self._trouble.get((uid, ref))
        if trouble is None or trouble.until <= self._clock.monotonic():
            return
        told = f'Back-off pulling image "{image}"'
        say("Normal", "BackOff", told)
        say("Warning", "Failed", "Error: ImagePullBackOff")
        raise ImageError("ImagePullBackOff", f"{told}: {trouble.told}", trouble.until)

    async def _pull(
        self, uid: str, ref: str, image: str, policy: str, auths: list[bytes], say: Say
    ) -> Ready:
        began = self._clock.monotonic()
        async with self._turn(ref), self._pulls:
            ready = await self._present(ref) if policy != "Always" else None
            if ready is not None:
                told = f'Container image "{image}" already present on machine'
                say("Normal", "Pulled", told)
                return ready
            say("Normal", "Pulling", f'Pulling image "{image}"')
            fetching = self._clock.monotonic()
            try:
                ready = await self._fetch(ref, auths, say)
            except ports.PullError as error:
                ready = await self._present(ref) if error.unreachable else None
                if ready is None:
                    raise self._failed(uid, ref, image, error, say) from error
                told = f'Registry of image "{image}" cannot be reached, using the one on machine'
                say("Warning", "RegistryUnavailable", f"{told}: {error}")
                self._trouble.pop((uid, ref), None)
                return ready
        self._trouble.pop((uid, ref), None)
        info = await self._images.get(ref)
        now = self._clock.monotonic()
        took, waited = _seconds(now - fetching), _seconds(now - began)
        say(
            "Normal",
            "Pulled",
            f'Successfully pulled image "{image}" in {took} ({waited} including waiting). '
            f"Image size: {info.size} bytes.",
        )
        return ready

    async def _fetch(self, ref: str, auths: list[bytes], say: Say) -> Ready:
        if self._puller is None:
            raise ports.PullError(
                f'image "{ref}" is not on this device and there is no registry to ask: import it '
                "with `edgeorch image import`",
                unreachable=True,
            )
        await self._puller.pull(ref, auths, lambda told: say("Normal", "PullProgress", told))
        ready = await self._present(ref)
        if ready is None:
            raise ports.PullError(f'image "{ref}" was removed as soon as it was pulled')
        return ready

    def _failed(
        self, uid: str, ref: str, image: str, error: ports.PullError, say: Say
    ) -> ImageError:
        before = self._trouble.get((uid, ref))
        failures = before.failures + 1 if before else 1
        now = self._clock.monotonic()
        until = now + BACK_OFF.delay(failures - 1)
        told = f'Failed to pull image "{image}": {error}'
        self._trouble[uid, ref] = _Trouble(failures, until, f"{error.reason}: {error}")
        say("Warning", "Failed", told)
        say("Warning", "Failed", f"Error: {error.reason}")
        return ImageError(error.reason, str(error), min(until, now + _SOON))

    @contextlib.asynccontextmanager
    async def _turn(self, ref: str):  # type: ignore[no-untyped-def]
        """One pull of an image at a time; the second finds what the first has brought."""
        lock = self._turns.setdefault(ref, asyncio.Lock())
        try:
            async with lock:
                yield
        finally:
            if not lock.locked() and self._turns.get(ref) is lock:
                del self._turns[ref]


def _seconds(value: float) -> str:
    return f"{value * 1000:.0f}ms" if value < 1 else f"{value:.3g}s"

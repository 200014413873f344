"""Images for containers: present, or pulled as the policy says, with the kubelet's words.

Pulls of one image wait for each other, and only a few run at once. A pull that failed is not tried
again before its back-off has passed (10 s doubling to 5 min, for each pod and image). Nothing is
pulled, or said to be absent, while archives of the preload folder are being imported.

`Always` asks the registry each time. When no registry answers at all and the image is here, the
device goes on with what it has: what is stored runs, also without a network.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

from msgspec import Struct, field

from edgeorch.agent import ports
from edgeorch.lib import backoff, metrics
from edgeorch.runtime import errors
from edgeorch.wire import image_ref

if TYPE_CHECKING:
    from edgeorch.lib import clock as clocks
    from edgeorch.model import views
    from edgeorch.runtime.images import ImageConfig

    Say = Callable[[str, str, str], None]
    """Event type, reason, message."""
    Show = Callable[[str], None]
    """What a container waits for at the moment."""

BACK_OFF = backoff.Policy(initial=10.0, factor=2.0, cap=300.0)
_SOON = 1.0
"""Seconds that an error shows as itself before it shows as a back-off."""
PARALLEL = 2
PROGRESS_FIRST = 2.0
PROGRESS_EVERY = 5.0
"""Seconds between two words on the progress of one pull."""
_SILENCE = 30.0
"""Seconds that a registry which did not answer is not asked for what is here already."""
_NEVER_RETRY = 60.0


class ImageError(Exception):
    """Why a container has no image: the waiting reason and message, and when to try again."""

    def __init__(self, reason: str, message: str, retry_at: float) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.retry_at = retry_at


class Ready(Struct, frozen=True):
    """`ref` is the normalised name, `digest` what it points at."""

    ref: str
    digest: str
    config: ImageConfig


class _Trouble(Struct):
    failures: int
    until: float
    told: str


class ImageKeeper:
    def __init__(
        self,
        images: ports.Images,
        puller: ports.Puller | None,
        clock: clocks.Clock,
        parallel: int = PARALLEL,
    ) -> None:
        self._images = images
        self._puller = puller
        self._clock = clock
        self._pulls = asyncio.Semaphore(parallel)
        self._turns: dict[str, _Turn] = {}
        self._trouble: dict[tuple[str, str], _Trouble] = {}
        self._silent: dict[str, float] = {}
        """Registries that did not answer, and until when they are left alone."""
        self.preloaded = asyncio.Event()
        """No archive is being imported; cleared and set by the preloader."""
        self.preloaded.set()
        self.used: Callable[[str], None] = lambda ref: None
        self.full: Callable[[], None] = lambda: None
        """Called when the medium had no room for an image."""
        self._results = metrics.Counter(
            "edgeorch_image_pulls_total",
            "Pulls of images by result; made_do: the registry was away, and the image here.",
            ("result",),
        )
        self._took = metrics.Histogram(
            "kubelet_image_pull_duration_seconds",
            "Seconds that pulls took which went well.",
            metrics.SLOW,
        )

    def measure(self, registry: metrics.Registry) -> None:
        registry.add(self._results, self._took)

    async def ensure(
        self,
        uid: str,
        container: views.Container,
        auths: list[bytes],
        say: Say,
        show: Show = lambda text: None,
    ) -> Ready:
        """Raises ImageError, ContainerdError."""
        ref = self._normalise(container.image, say)
        policy = container.image_pull_policy
        here = await self._here(ref, show)
        if here is not None and policy != "Always":
            told = f'Container image "{container.image}" already present on machine'
            say("Normal", "Pulled", told)
            return here
        if policy == "Never" and here is None:
            told = f'Container image "{container.image}" is not present with pull policy of Never'
            say("Warning", "ErrImageNeverPull", told)
            say("Warning", "Failed", "Error: ErrImageNeverPull")
            raise ImageError("ErrImageNeverPull", told, self._clock.monotonic() + _NEVER_RETRY)
        self._refuse_early(uid, ref, container.image, say)
        return await self._pull(uid, ref, container, auths, say, show)

    def pulling(self) -> set[str]:
        """Images that somebody waits for."""
        return set(self._turns)

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

    async def _here(self, ref: str, show: Show) -> Ready | None:
        """The image, also if an archive that is being imported brings it."""
        found = await self._present(ref)
        if found is None and not self.preloaded.is_set():
            show("waiting for the import of image archives")
            await self.preloaded.wait()
            found = await self._present(ref)
        if found is not None:
            self.used(ref)
        return found

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
        self,
        uid: str,
        ref: str,
        container: views.Container,
        auths: list[bytes],
        say: Say,
        show: Show,
    ) -> Ready:
        image = container.image
        began = self._clock.monotonic()
        say("Normal", "Pulling", f'Pulling image "{image}"')
        async with self._turn(ref, show) as turn:
            ready = await self._present(ref) if container.image_pull_policy != "Always" else None
            fetching = self._clock.monotonic()
            if ready is None:
                async with self._pulls:
                    fetching = self._clock.monotonic()
                    try:
                        ready = await self._fetch(ref, auths, turn)
                    except ports.PullError as error:
                        ready = await self._make_do(ref, error)
                        if ready is None:
                            raise self._failed(uid, ref, image, error, say) from error
                        told = f'Registry of image "{image}" cannot be reached, using the one on'
                        say("Warning", "RegistryUnavailable", f"{told} machine: {error}")
                        self._results.add("made_do")
                        self._trouble.pop((uid, ref), None)
                        return ready
        self._trouble.pop((uid, ref), None)
        self.used(ref)
        info = await self._images.get(ref)
        now = self._clock.monotonic()
        took, waited = duration(now - fetching), duration(now - began)
        say(
            "Normal",
            "Pulled",
            f'Successfully pulled image "{image}" in {took} ({waited} including waiting). '
            f"Image size: {info.size} bytes.",
        )
        return ready

    async def _fetch(self, ref: str, auths: list[bytes], turn: _Turn) -> Ready:
        if self._puller is None:
            raise ports.PullError(
                f'image "{ref}" is not on this device and there is no registry to ask: import it '
                "with `edgeorch image import`",
                unreachable=True,
            )
        domain, began = image_ref.parse(ref).domain, self._clock.monotonic()
        silent = self._silent.get(domain, 0.0) > self._clock.monotonic()
        if silent and await self._present(ref) is not None:
            raise ports.PullError(f"{domain} did not answer just now", unreachable=True)
        progress = Progress(turn.show, self._clock.monotonic)
        try:
            await self._puller.pull(ref, auths, progress.arrived)
        except ports.PullError as error:
            if error.unreachable:
                self._silent[domain] = self._clock.monotonic() + _SILENCE
            if "no space left on device" in str(error):
                self.full()
            raise
        self._silent.pop(domain, None)
        ready = await self._present(ref)
        if ready is None:
            raise ports.PullError(f'image "{ref}" was removed as soon as it was pulled')
        self._results.add("success")
        self._took.observe(self._clock.monotonic() - began)
        return ready

    async def _make_do(self, ref: str, error: ports.PullError) -> Ready | None:
        return await self._present(ref) if error.unreachable else None

    def _failed(
        self, uid: str, ref: str, image: str, error: ports.PullError, say: Say
    ) -> ImageError:
        self._results.add("error")
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
    async def _turn(self, ref: str, show: Show) -> AsyncIterator[_Turn]:
        """One pull of an image at a time; the second finds what the first has brought.

        All who wait are shown how far it is.
        """
        turn = self._turns.setdefault(ref, _Turn())
        turn.watchers.append(show)
        try:
            async with turn.lock:
                yield turn
        finally:
            turn.watchers.remove(show)
            if not turn.watchers:
                del self._turns[ref]


class _Turn(Struct):
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    watchers: list[Show] = field(default_factory=list)

    def show(self, text: str) -> None:
        for watcher in self.watchers:
            watcher(text)


class Progress:
    """Bytes as they arrive, as a sentence every few seconds."""

    def __init__(self, show: Show, now: Callable[[], float]) -> None:
        self._show = show
        self._now = now
        self._started = now()
        self._due = self._started + PROGRESS_FIRST
        self._first: int | None = None

    def arrived(self, have: int, total: int) -> None:
        now = self._now()
        if self._first is None:
            self._first, self._started = have, now
        if now >= self._due:
            self._due = now + PROGRESS_EVERY
            self._show(transferred(have, total, have - self._first, now - self._started))


def transferred(have: int, total: int, lately: int, seconds: float) -> str:
    """`12.3 of 50.0 MB (24%), 1.2 MB/s`."""
    share = 100 * have // total if total else 100
    rate = lately / seconds if seconds > 0 else 0.0
    return f"{have / 1e6:.1f} of {total / 1e6:.1f} MB ({share}%), {rate / 1e6:.2f} MB/s"


def duration(seconds: float) -> str:
    """As Go writes a duration that was cut to milliseconds."""
    milliseconds = int(seconds * 1000)
    if milliseconds < 1000:
        return f"{milliseconds}ms" if milliseconds else "0s"
    minutes, rest = divmod(milliseconds, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{hours}h{text}" if hours else text

"""What this process knows of each bundle, and sees of it on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from msgspec import Struct, field

from edgeorch.controllers import bundle_objects, bundle_parts, bundle_revisions
from edgeorch.core import bundle_plan
from edgeorch.lib import clock as clocks
from edgeorch.model import bundles, kinds
from edgeorch.store.objects import Objects
from edgeorch.store.stored import Stored


class Life(Struct):
    """What this process knows of a bundle."""

    began: float
    version: str = ""
    """Of which `began` tells."""
    was_ready: bool = False
    ready_since: float | None = None
    unreachable: str | None = None
    checked: float = 0.0
    failed: str = ""
    failures: int = 0
    tidied: bool = False
    """Nothing is left on the device of versions before."""
    finished: set[bundle_objects.Key] = field(default_factory=set)
    """Jobs that were seen complete before their time to live was over."""
    parts: tuple[str, Sequence[bundle_parts.Part]] = ("", ())
    wrong: Sequence[str] = ()
    """What this edgeorch cannot read of that version."""
    owed: bool = False
    """It was pushed again while updates were held."""
    restores: int = 0
    """How often in a row something that was gone was made again."""
    restored: float = 0.0
    """When that was the last time."""
    not_restored: str = ""


class Lives:
    def __init__(
        self,
        objects: Objects,
        revisions: bundle_revisions.Revisions,
        clock: clocks.Clock,
        held: Callable[[], str],
        follow: Callable[[Iterable[str]], None],
        health_url: str,
    ) -> None:
        """`held`: why nothing may be changed. `follow`: resources that have come to matter."""
        self._objects = objects
        self._revisions = revisions
        self._clock = clock
        self._held = held
        self._follow = follow
        self._health_url = health_url
        self._found: dict[str, Life] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._found

    def get(self, name: str) -> Life | None:
        return self._found.get(name)

    def forget(self, name: str) -> None:
        self._found.pop(name, None)

    def applied(self, name: str) -> None:
        """All objects of its version are there: from now on it is to become ready."""
        life = self._found[name]
        life.began, life.was_ready, life.ready_since = self._clock.monotonic(), False, None

    def look(self, stored: Stored) -> bundle_plan.Seen:
        """What there is to be seen of a bundle now."""
        bundle = stored.view(bundles.Bundle)
        life, now = self.of(stored), self._clock.monotonic()
        status = bundle.status
        parts = self.parts(stored.name, status.version)
        missing = bundle_parts.missing(
            self._objects,
            parts,
            finished=life.finished,
            believed=status.version == status.last_good_version,
        )
        if missing or not status.version:
            life.ready_since = None
        else:
            life.was_ready = True
            life.ready_since = now if life.ready_since is None else life.ready_since
        is_lost = any(each.absent for each in missing)
        is_to_change = life.owed or is_lost or status.version != bundle_plan.aim(bundle)
        return bundle_plan.Seen(
            stored={
                version
                for version in bundle_plan.needed(bundle)
                if self._revisions.has(stored.name, version)
            },
            missing=missing,
            attempt=bundle_plan.Attempt(
                since=now - life.began,
                ready_for=0.0 if life.ready_since is None else now - life.ready_since,
                was_ready=life.was_ready,
                unreachable=life.unreachable,
                checked_since=now - life.checked,
                restores=life.restores,
                restored_since=now - life.restored,
                not_restored=life.not_restored,
            ),
            held=self._held() if is_to_change else "",
            failed=life.failed,
            owed=life.owed,
            health_url=bundle.spec.health_url or self._health_url,
            has_workloads=any(part.runs_pods for part in parts),
        )

    def of(self, stored: Stored) -> Life:
        """A new one with every version to be put on the device."""
        target, life = bundle_plan.aim(stored.view(bundles.Bundle)), self._found.get(stored.name)
        if life is None or life.version != target:
            life = self._found[stored.name] = Life(self._clock.monotonic(), target)
        return life

    def parts(self, name: str, version: str) -> Sequence[bundle_parts.Part]:
        """What a version consists of; parsed once, and little is kept of it."""
        life = self._found.get(name)
        if life is not None and life.parts[0] == version:
            return life.parts[1]
        items, wrong = self._revisions.read(name, version)
        found = bundle_parts.of(items)
        if life is not None:
            self.remember(life, version, found, wrong)
        return found

    def remember(
        self, life: Life, version: str, parts: Sequence[bundle_parts.Part], wrong: Sequence[str]
    ) -> None:
        life.parts, life.wrong = (version, parts), wrong
        self._follow({kinds.NAMESPACE.resource, *(part.kind.resource for part in parts)})

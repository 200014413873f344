"""Bundles: what a fleet pushes becomes the objects on the device, or goes back by itself.

A push is acknowledged once its manifests and the version that is wanted are on the medium; what
follows is this controller's work, and is begun again after every start until it is done. Decisions
are core.bundle_plan; `bundle_objects` carries them out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Protocol

from edgeorch.controllers import bundle_objects, bundle_parts, bundle_revisions, frame, world
from edgeorch.core import bundle_plan, bundle_status, readiness
from edgeorch.core.bundle_plan import Do
from edgeorch.lib import backoff, signatures
from edgeorch.lib import clock as clocks
from edgeorch.model import bundles, errors, kinds, schema
from edgeorch.model.kinds import Object
from edgeorch.model.validation import bundles as rules
from edgeorch.store import recorder
from edgeorch.store import watch as watches
from edgeorch.store.stored import Stored

log = logging.getLogger(__name__)

_BUNDLES = kinds.BUNDLE.resource
RETRY = backoff.Policy(initial=5.0, factor=2.0, cap=60.0)
"""Seconds after which what could not be applied is tried again."""
ENDING = 5.0
"""Seconds between looks at what a deleted bundle leaves."""


class Hold(Protocol):
    """Whether updates have to wait."""

    def reason(self) -> str:
        """Why they do; "" when they do not."""

    async def changed(self) -> None:
        """Until that may have changed."""


Reach = Callable[[str], Awaitable[str]]
"""Tries a URL; what went wrong, "" for nothing."""

Verify = Callable[[bytes, str], Awaitable[None]]
"""Checks the signatures of manifests. Raises signatures.Invalid."""


@dataclass(slots=True)
class _Life:
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


class Gate(Protocol):
    """Looks at what a push would bring before anything is changed."""

    async def look(
        self, bundle: str, items: Sequence[bundles.Item]
    ) -> tuple[list[errors.Cause], list[str]]:
        """Every reason against it, and what the sender should be told all the same."""


class Bundles(frame.Controller[str]):
    name: ClassVar[str] = "bundle-controller"

    def __init__(
        self,
        shared: world.World,
        table: schema.Schema,
        *,
        gates: Sequence[Gate] = (),
        hold: Hold | None = None,
        reach: Reach | None = None,
        verify: Verify | None = None,
        health_url: str = "",
    ) -> None:
        """`health_url` of bundles that name none. `verify` None: no signature is asked for."""
        super().__init__()
        self._world = shared
        self._objects = shared.objects
        self._clock = shared.clock
        self._gates = gates
        self._hold = hold
        self._reach = reach
        self._verify = verify
        self._health_url = health_url
        self._events = shared.events.recorder(self.name)
        self._parts = bundle_objects.BundleObjects(shared.objects, table, shared.clock)
        self._revisions = bundle_revisions.Revisions(shared.objects, table)
        self._lives: dict[str, _Life] = {}
        self._changing = asyncio.Lock()
        """One version of one bundle is put on the device at a time."""

    # --- waking ---------------------------------------------------------------------------------

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for resource in (_BUNDLES, *readiness.WATCHED):
                tasks.create_task(self._watch(resource), name=f"{self.name} {resource}")
            if self._hold is not None:
                tasks.create_task(self._follow(self._hold), name=f"{self.name} hold")
            tasks.create_task(super().run(), name=self.name)

    async def _watch(self, resource: str) -> None:
        while True:
            async with self._objects.watch(resource) as changes:
                self._wake_all()
                try:
                    async for batch in changes:
                        for event in batch:
                            self._told(resource, event)
                except watches.Expired:
                    log.debug("%s: %s: fell behind; looking at everything", self.name, resource)

    def _told(self, resource: str, event: watches.Event) -> None:
        if resource == _BUNDLES:
            self.wake(event.stored.name)
        elif b'"bundle:' in event.stored.raw:
            obj = event.stored.decode()
            for name in bundles.managers_in(obj):
                if resource == kinds.JOB.resource and readiness.is_complete(obj):
                    life = self._lives.get(name)
                    if life is not None:
                        life.finished.add((resource, *event.stored.key))
                self.wake(name)

    def _wake_all(self) -> None:
        for stored in self._objects.list(_BUNDLES).items:
            self.wake(stored.name)

    async def _follow(self, hold: Hold) -> None:
        while True:
            await hold.changed()
            self._wake_all()

    # --- pushing --------------------------------------------------------------------------------

    async def verify(self, bundle: str, manifests: bytes, signature: str) -> None:
        """Raises StatusError (403) for manifests that nobody trusted has signed."""
        if self._verify is None:
            return
        try:
            await self._verify(manifests, signature)
        except signatures.Invalid as error:
            why = (
                f"{error}; this device takes bundles signed by one of its updates.trusted_keys: "
                "send the Ed25519 signature of the manifests, base64, as Edgeorch-Signature"
            )
            raise errors.forbidden(_BUNDLES, bundle, why) from None

    async def push(
        self, asked: bundles.Push, check: Callable[[Stored | None], None]
    ) -> bundles.Outcome:
        """Take a version, and put it on the device. Raises StatusError, with every reason.

        `check` looks at the bundle as it is before anything is done, and may raise.
        """
        async with self._changing:
            stored = self._objects.find(_BUNDLES, "", asked.name)
            check(stored)
            version = bundles.version_of(asked.manifests)
            if stored is not None:
                _refuse(stored, version, asked)
            spare = stored is not None and _spares_data(stored.view(bundles.Bundle), version)
            changes, causes = await self._parts.examine(asked.name, asked.items, spare_data=spare)
            causes = [*_causes(stored, asked, version), *causes]
            told: list[str] = []
            for gate in self._gates:
                found, warnings = await gate.look(asked.name, asked.items)
                causes, told = [*causes, *found], [*told, *warnings]
            if causes:
                raise errors.invalid("Bundle", kinds.BUNDLE.group, asked.name, causes)
            outcome = bundles.Outcome(version, stored is None, changes, warnings=told)
            if asked.dry_run:
                return outcome
            bundle = await self._keep(asked, version)
            outcome.held = (
                self._held() if bundle.view(bundles.Bundle).status.version != version else ""
            )
            if outcome.held:
                outcome.phase = bundle_plan.PENDING
                outcome.changes = bundles.Changes()
            else:
                outcome.changes = await self._apply(bundle, version, asked.items)
                outcome.phase = self._phase(asked.name)
        self.wake(asked.name)
        return outcome

    async def _keep(self, asked: bundles.Push, version: str) -> Stored:
        """From here on the push is acknowledged, come what may."""
        stored = self._objects.find(_BUNDLES, "", asked.name)
        if stored is None:
            stored = await self._objects.create(
                _BUNDLES,
                {
                    "apiVersion": kinds.BUNDLE.api_version,
                    "kind": kinds.BUNDLE.kind,
                    "metadata": {"name": asked.name, "finalizers": [bundles.FINALIZER]},
                    "spec": _spec({}, asked, ""),
                },
            )
        await self._revisions.keep(stored, version, asked)
        if bundle_plan.refusal(stored.view(bundles.Bundle), version) is not None:
            stored = await self._note(
                asked.name,
                refusedVersions=[
                    each
                    for each in (stored.decode().get("status") or {}).get("refusedVersions") or []
                    if each["version"] != version
                ],
            )

        def want(current: Object) -> Object:
            meta = current["metadata"]
            finalizers = meta.get("finalizers") or []
            if bundles.FINALIZER not in finalizers:
                meta = {**meta, "finalizers": [*finalizers, bundles.FINALIZER]}
            spec = _spec(current.get("spec") or {}, asked, version)
            return {**current, "metadata": meta, "spec": spec}

        stored = await self._objects.update(_BUNDLES, "", asked.name, want)
        await self._drop_revisions(stored)
        return stored

    def manifests(self, name: str, version: str) -> bytes | None:
        """Of a version that is kept."""
        return self._revisions.manifests(name, version)

    # --- reconciling ----------------------------------------------------------------------------

    async def reconcile(self, key: str) -> float | None:
        stored = self._objects.find(_BUNDLES, "", key)
        if stored is None:
            self._lives.pop(key, None)
            return None
        if stored.view(bundles.Bundle).metadata.deletion_timestamp:
            return await self._end(stored)
        async with self._changing:
            stored = self._objects.find(_BUNDLES, "", key)
            if stored is None:
                return None
            stored = await self._count_start(stored)
            decision, seen = self._decide(stored)
            again = await self._carry_out(stored, decision, seen)
        if decision.do is Do.CHECK_HEALTH:
            await self._check_health(key, stored.view(bundles.Bundle))
            again = 0.0
        return again

    def _decide(self, stored: Stored) -> tuple[bundle_plan.Decision, bundle_plan.Seen]:
        bundle = stored.view(bundles.Bundle)
        seen = self._look(stored, bundle)
        return bundle_plan.decide(bundle, seen), seen

    def _look(self, stored: Stored, bundle: bundles.Bundle) -> bundle_plan.Seen:
        life, now = self._life(stored.name, bundle), self._clock.monotonic()
        status = bundle.status
        parts = self._remembered(stored.name, status.version)
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
            ),
            held=self._held() if status.version != bundle_plan.aim(bundle) else "",
            failed=life.failed,
            health_url=bundle.spec.health_url or self._health_url,
            has_workloads=any(part.runs_pods for part in parts),
        )

    def _life(self, name: str, bundle: bundles.Bundle) -> _Life:
        """A new one with every version to be put on the device."""
        target, life = bundle_plan.aim(bundle), self._lives.get(name)
        if life is None or life.version != target:
            life = self._lives[name] = _Life(self._clock.monotonic(), target)
        return life

    def _remembered(self, name: str, version: str) -> Sequence[bundle_parts.Part]:
        """What a version consists of; parsed once, and little is kept of it."""
        life = self._lives.get(name)
        if life is not None and life.parts[0] == version:
            return life.parts[1]
        items, wrong = self._revisions.read(name, version)
        found = bundle_parts.of(items)
        if life is not None:
            life.parts, life.wrong = (version, found), wrong
        return found

    async def _count_start(self, stored: Stored) -> Stored:
        """The first look in this process at a version that is not good yet is one more start."""
        bundle = stored.view(bundles.Bundle)
        status = bundle.status
        on_trial = (
            status.version and status.version == bundle.spec.version != status.last_good_version
        )
        if stored.name in self._lives or not on_trial or bundle_plan.aim(bundle) != status.version:
            return stored
        return await self._note(stored.name, starts=status.starts + 1)

    async def _carry_out(
        self, stored: Stored, decision: bundle_plan.Decision, seen: bundle_plan.Seen
    ) -> float | None:
        """Seconds after which to look again. With `_changing`."""
        name, again = stored.name, decision.again
        match decision.do:
            case Do.APPLY:
                items, wrong = self._revisions.read(name, decision.target)
                changes = await self._apply(stored, decision.target, items, wrong)
                life = self._lives[name]
                life.failures = life.failures + 1 if changes.failed else 0
                return RETRY.delay(life.failures - 1) if changes.failed else 0.0
            case Do.GO_BACK:
                await self._refuse_version(stored, decision)
                return 0.0
            case Do.BELIEVE:
                stored = await self._note(name, lastGoodVersion=decision.target, starts=0)
                await self._drop_revisions(stored)
                told = f"Version {bundles.short(decision.target)} is ready"
                self._events.event(stored.decode(), recorder.NORMAL, "Ready", told)
                again = None
            case _:
                pass
        await self._tidy(stored)
        await self._report(stored, decision, seen)
        return again

    async def _tidy(self, stored: Stored) -> None:
        """Take away what was left for a version that might have come back; once a good version,
        also once after a start. With `_changing`."""
        name, bundle = stored.name, stored.view(bundles.Bundle)
        life, status = self._life(name, bundle), bundle.status
        target = bundle_plan.aim(bundle)
        if life.tidied or not target or not target == status.version == status.last_good_version:
            return
        keep = {part.key for part in self._remembered(name, target)}
        if not keep or life.wrong:
            return
        changes = await self._parts.prune(name, keep)
        life.tidied = not changes.failed
        if changes.pruned or changes.kept:
            told = f"Version {bundles.short(target)}: {changes}"
            self._events.event(stored.decode(), recorder.NORMAL, "Pruned", told)

    async def _apply(
        self,
        stored: Stored,
        version: str,
        items: Sequence[bundles.Item],
        wrong: Sequence[str] = (),
    ) -> bundles.Changes:
        """All objects of a version; once they are there, that they are. With `_changing`."""
        name, bundle = stored.name, stored.view(bundles.Bundle)
        life = self._life(name, bundle)
        life.parts, life.wrong = (version, bundle_parts.of(items)), wrong
        changes = bundles.Changes(failed=[*wrong])
        if not wrong:
            changes = await self._parts.apply(
                name,
                items,
                spare_data=_spares_data(bundle, version),
                going_back=version == bundle.status.last_good_version != bundle.spec.version,
            )
        life.failed = "; ".join(changes.failed)
        told = f"Version {bundles.short(version)}: {changes}"
        if changes.failed:
            self._events.event(
                stored.decode(), recorder.WARNING, "ApplyFailed", f"{told}: {life.failed}"
            )
        elif bundle.status.version != version:
            self._lives[name] = replace(
                life, began=self._clock.monotonic(), was_ready=False, ready_since=None
            )
            stored = await self._note(name, version=version, starts=0)
            self._events.event(stored.decode(), recorder.NORMAL, "Applied", told)
            await self._drop_revisions(stored)
        stored = self._objects.get(_BUNDLES, "", name)
        await self._report(stored, *self._decide(stored))
        return changes

    async def _refuse_version(self, stored: Stored, decision: bundle_plan.Decision) -> None:
        status = stored.decode().get("status") or {}
        refused = {
            "version": decision.target,
            "reason": decision.message,
            "time": clocks.rfc3339(self._clock.now()),
        }
        before = [
            each
            for each in status.get("refusedVersions") or []
            if each["version"] != decision.target
        ]
        stored = await self._note(
            stored.name, refusedVersions=[*before, refused][-bundle_plan.MAX_REFUSED :], starts=0
        )
        good = bundles.short(stored.view(bundles.Bundle).status.last_good_version)
        told = f"Version {bundles.short(decision.target)} goes back to {good}: {decision.message}"
        self._events.event(stored.decode(), recorder.WARNING, "RolledBack", told)
        log.warning("Bundle %s: %s", stored.name, told)

    async def _check_health(self, name: str, bundle: bundles.Bundle) -> None:
        url = bundle.spec.health_url or self._health_url
        told = await self._reach(url) if self._reach is not None else ""
        life = self._lives.get(name)
        if life is not None and life.version == bundle_plan.aim(bundle):
            life.unreachable, life.checked = told, self._clock.monotonic()

    async def _drop_revisions(self, stored: Stored) -> None:
        needed = bundle_plan.needed(stored.view(bundles.Bundle))
        await self._revisions.drop(stored.name, but=needed)

    async def _end(self, stored: Stored) -> float | None:
        """The Bundle is deleted: its objects go with it, or stay when they are to be orphaned."""
        name = stored.name
        finalizers = stored.view(bundles.Bundle).metadata.finalizers
        if bundles.FINALIZER not in finalizers:
            return None
        async with self._changing:
            if "orphan" in finalizers:
                await self._parts.release(name)
            else:
                changes = await self._parts.prune(name)
                if changes.failed or any(True for _ in self._parts.held(name)):
                    return ENDING
            await self._revisions.drop(name)

            def finished(current: Object) -> Object:
                left = [
                    f for f in current["metadata"].get("finalizers") or [] if f != bundles.FINALIZER
                ]
                return {**current, "metadata": {**current["metadata"], "finalizers": left}}

            await frame.ignoring_absence(self._objects.update(_BUNDLES, "", name, finished))
        self._lives.pop(name, None)
        return None

    # --- telling --------------------------------------------------------------------------------

    def _held(self) -> str:
        return self._hold.reason() if self._hold is not None else ""

    def _phase(self, name: str) -> str:
        found = self._objects.find(_BUNDLES, "", name)
        return found.view(bundles.Bundle).status.phase if found is not None else ""

    async def _note(self, name: str, **fields: object) -> Stored:
        """Part of the status, on the medium."""

        def change(current: Object) -> Object:
            return {**current, "status": {**(current.get("status") or {}), **fields}}

        return await self._objects.update(
            _BUNDLES, "", name, change, subresource="status", durable=True
        )

    async def _report(
        self, stored: Stored, decision: bundle_plan.Decision, seen: bundle_plan.Seen
    ) -> None:
        """What may be seen anew after every start: in memory only."""
        version = stored.view(bundles.Bundle).status.version
        total = len(self._remembered(stored.name, version))
        images = self._revisions.images(stored.name)
        now = clocks.rfc3339(self._clock.now())

        def change(current: Object) -> Object:
            status = bundle_status.rendered(
                current, decision, seen.missing, total=total, images=images, now=now
            )
            return {**current, "status": status}

        told = self._objects.update(
            _BUNDLES,
            "",
            stored.name,
            change,
            subresource="status",
            durable=False,
            fleeting=True,
        )
        await frame.ignoring_absence(told)


def _spares_data(bundle: bundles.Bundle, version: str) -> bool:
    """While there is a version that might come back, and would want its data again."""
    good = bundle.status.last_good_version
    return bool(good) and good != version


def _causes(stored: Stored | None, asked: bundles.Push, version: str) -> list[errors.Cause]:
    """What is wrong with what is asked for besides the manifests."""
    before = (stored.decode().get("spec") or {}) if stored is not None else {}
    return rules.bundle({"metadata": {"name": asked.name}, "spec": _spec(before, asked, version)})


def _refuse(stored: Stored, version: str, asked: bundles.Push) -> None:
    """Raises StatusError (409) for what must not be taken."""
    bundle = stored.view(bundles.Bundle)
    if bundle.metadata.deletion_timestamp:
        raise errors.conflict(
            _BUNDLES, asked.name, "it is being deleted; push again when it is gone"
        )
    refused = bundle_plan.refusal(bundle, version)
    if refused is not None and not asked.force:
        why = (
            f"version {bundles.short(version)} has failed on this device ({refused.reason}); "
            "change the manifests, or push them with ?force=true"
        )
        raise errors.conflict(_BUNDLES, asked.name, why)


def _spec(before: Object, asked: bundles.Push, version: str) -> Object:
    spec = {**before}
    if version:
        spec["version"] = version
    if asked.deadline is not None:
        spec["deadlineSeconds"] = asked.deadline
    if asked.min_ready is not None:
        spec["minReadySeconds"] = asked.min_ready
    if asked.health_url is not None:
        spec["healthURL"] = asked.health_url
    return spec

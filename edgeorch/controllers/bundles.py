"""Bundles: what a fleet pushes becomes the objects on the device, or goes back by itself.

A push is acknowledged once its manifests and the version that is wanted are on the medium; what
follows is this controller's work, and is begun again after every start until it is done. Decisions
are core.bundle_plan; `bundle_objects` carries them out.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import ClassVar, Protocol

from edgeorch.controllers import (
    bundle_lives,
    bundle_objects,
    bundle_parts,
    bundle_revisions,
    bundle_sequences,
    bundle_wakes,
    frame,
    world,
)
from edgeorch.core import bundle_plan, bundle_push, bundle_status, readiness
from edgeorch.core.bundle_plan import Do
from edgeorch.lib import backoff, signatures
from edgeorch.lib import clock as clocks
from edgeorch.model import bundles, errors, kinds, schema
from edgeorch.model.kinds import Object
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


class Gate(Protocol):
    """Looks at what a push would bring before anything is changed."""

    async def look(
        self, bundle: str, items: Sequence[bundles.Item], *, dry_run: bool
    ) -> tuple[list[errors.Cause], list[str]]:
        """Every reason against it, and what the sender should be told all the same."""


class Bundles(frame.Controller[str]):
    name: ClassVar[str] = "bundle-controller"
    noun: ClassVar[str] = "bundle"

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
        self._sequences = bundle_sequences.Sequences(shared.objects)
        self._revisions = bundle_revisions.Revisions(shared.objects, table)
        self._wakes = bundle_wakes.Wakes(
            shared.objects, lambda *event: self._told(*event), self._wake_all
        )
        self._lives = bundle_lives.Lives(
            shared.objects,
            self._revisions,
            shared.clock,
            self._held,
            self._wakes.follow,
            health_url,
        )
        self._changing = asyncio.Lock()
        """One version of one bundle is put on the device at a time."""

    # --- waking ---------------------------------------------------------------------------------

    async def run(self) -> None:
        self._wakes.follow([_BUNDLES])
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._wakes.run(), name=f"{self.name} wakes")
            if self._hold is not None:
                tasks.create_task(self._follow(self._hold), name=f"{self.name} hold")
            tasks.create_task(super().run(), name=self.name)

    def _told(self, resource: str, event: watches.Event) -> None:
        if resource == _BUNDLES:
            self.wake(event.stored.name)
        elif resource == kinds.NAMESPACE.resource and event.type != watches.MODIFIED:
            self._wake_all()  # what was deleted along with it may come back, or not before it does
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
            bundle_push.refuse_order(asked, self._sequences.highest(asked.name))
            if stored is not None:
                bundle_push.refuse(stored.view(bundles.Bundle), version, asked)
            spare = stored is not None and bundle_push.spares_data(
                stored.view(bundles.Bundle), version
            )
            changes, causes = await self._parts.examine(asked.name, asked.items, spare_data=spare)
            before = (stored.decode().get("spec") or {}) if stored is not None else {}
            causes = [*bundle_push.causes(before, asked, version), *causes]
            told: list[str] = []
            for gate in self._gates:
                dry_run = asked.dry_run or bool(causes)
                found, warnings = await gate.look(asked.name, asked.items, dry_run=dry_run)
                causes, told = [*causes, *found], [*told, *warnings]
            if causes:
                raise errors.invalid("Bundle", kinds.BUNDLE.group, asked.name, causes)
            outcome = bundles.Outcome(version, stored is None, changes, warnings=told)
            if asked.dry_run:
                return outcome
            bundle = await self._keep(asked, version)
            is_there = bundle.view(bundles.Bundle).status.version == version
            outcome.held = "" if is_there and not changes.any() else self._held()
            if outcome.held:
                self._lives.of(bundle).owed = is_there
                outcome.phase = self._phase(asked.name) if is_there else bundle_plan.PENDING
                outcome.changes = bundles.Changes()
            else:
                outcome.changes = await self._apply(bundle, version, asked.items)
                outcome.phase = self._phase(asked.name)
        self.wake(asked.name)
        return outcome

    async def _keep(self, asked: bundles.Push, version: str) -> Stored:
        """From here on the push is acknowledged, come what may."""
        if asked.sequence is not None:
            await self._sequences.take(asked.name, asked.sequence)
        stored = self._objects.find(_BUNDLES, "", asked.name)
        if stored is None:
            stored = await self._objects.create(
                _BUNDLES,
                {
                    "apiVersion": kinds.BUNDLE.api_version,
                    "kind": kinds.BUNDLE.kind,
                    "metadata": {"name": asked.name, "finalizers": [bundles.FINALIZER]},
                    "spec": bundle_push.spec({}, asked, ""),
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
            spec = bundle_push.spec(current.get("spec") or {}, asked, version)
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
            self._lives.forget(key)
            return None
        if stored.view(bundles.Bundle).metadata.deletion_timestamp:
            return await self._end(stored)
        async with self._changing:
            stored = self._objects.find(_BUNDLES, "", key)
            if stored is None or stored.view(bundles.Bundle).metadata.deletion_timestamp:
                return 0.0
            if key not in self._lives:
                await self._drop_revisions(stored)  # of a push that a power cut came before
                stored = await self._count_start(stored)
            decision, seen = self._decide(stored)
            again = await self._carry_out(stored, decision, seen)
        if decision.do is Do.CHECK_HEALTH:
            await self._check_health(key, stored.view(bundles.Bundle))
            again = 0.0
        return again

    def _decide(self, stored: Stored) -> tuple[bundle_plan.Decision, bundle_plan.Seen]:
        seen = self._lives.look(stored)
        return bundle_plan.decide(stored.view(bundles.Bundle), seen), seen

    async def _count_start(self, stored: Stored) -> Stored:
        """The first look in this process at a version that is not good yet is one more start."""
        bundle = stored.view(bundles.Bundle)
        status = bundle.status
        on_trial = (
            status.version and status.version == bundle.spec.version != status.last_good_version
        )
        if not on_trial or bundle_plan.aim(bundle) != status.version:
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
                life = self._lives.of(stored)
                life.failures = life.failures + 1 if changes.failed else 0
                return RETRY.delay(life.failures - 1) if changes.failed else 0.0
            case Do.GO_BACK:
                await self._refuse_version(stored, decision)
                return 0.0
            case Do.RESTORE:
                await self._report(stored, decision, seen)
                await self._restore(stored, decision.target, seen)
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
        life, status = self._lives.of(stored), bundle.status
        target = bundle_plan.aim(bundle)
        if life.tidied or not target or not target == status.version == status.last_good_version:
            return
        keep = {part.key for part in self._lives.parts(name, target)}
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
        life = self._lives.of(stored)
        self._lives.remember(life, version, bundle_parts.of(items), wrong)
        changes = bundles.Changes(failed=[*wrong])
        if not wrong:
            changes = await self._parts.apply(
                name,
                items,
                spare_data=bundle_push.spares_data(bundle, version),
                going_back=version == bundle.status.last_good_version != bundle.spec.version,
            )
        life.failed, life.owed = "; ".join(changes.failed), life.owed and bool(changes.failed)
        told = f"Version {bundles.short(version)}: {changes}"
        if changes.failed:
            self._events.event(
                stored.decode(), recorder.WARNING, "ApplyFailed", f"{told}: {life.failed}"
            )
        elif bundle.status.version != version:
            self._lives.applied(name)
            stored = await self._note(name, version=version, starts=0)
            self._events.event(stored.decode(), recorder.NORMAL, "Applied", told)
            await self._drop_revisions(stored)
        stored = self._objects.get(_BUNDLES, "", name)
        await self._report(stored, *self._decide(stored))
        return changes

    async def _restore(self, stored: Stored, version: str, seen: bundle_plan.Seen) -> None:
        """Make again what somebody has deleted, and nothing else. With `_changing`."""
        life, now = self._lives.of(stored), self._clock.monotonic()
        life.restores, life.restored = bundle_plan.restores(seen.attempt) + 1, now
        gone = {(each.kind, each.namespace, each.name) for each in seen.missing if each.absent}
        items, _ = self._revisions.read(stored.name, version)
        found = [item for item in items if (item.kind.kind, *item.key[1:]) in gone]
        changes = await self._parts.restore(stored.name, found)
        life.not_restored = "; ".join(changes.failed)
        if changes.created:
            told = f"Made again, since somebody has deleted it: {', '.join(changes.created)}"
            self._events.event(stored.decode(), recorder.WARNING, "Restored", told)
        if changes.failed:
            told = f"Cannot be made again: {life.not_restored}"
            self._events.event(stored.decode(), recorder.WARNING, "RestoreFailed", told)

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
        if held := self._held():
            told = f"Its objects stay until updates are no longer held: {held}"
            self._events.event(stored.decode(), recorder.NORMAL, "DeletionHeld", told)
            return None  # woken when that changes
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
        self._lives.forget(name)
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
        total = len(self._lives.parts(stored.name, version))
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

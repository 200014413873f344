"""The node agent: pods bound to this device become containers, and what is seen becomes status.

Owns one worker for each pod (by uid) and everything they share. At start it lists containerd,
adopts what belongs to a stored pod, and has workers end what belongs to none; then it follows the
store. It never polls: pods, ConfigMaps and Secrets come by watch, containers by events.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from typing import TYPE_CHECKING

from edgeorch.agent import (
    assembly,
    devices,
    endings,
    gc,
    hardware,
    heartbeat,
    image_index,
    local_storage,
    logs,
    machine,
    pod_worker,
    status,
    summaries,
)
from edgeorch.core import (
    admission,
    app_armor,
    container_labels,
    pod_plan,
    pressure,
    restarts,
    scheduling,
    sysctls,
)
from edgeorch.lib import backoff, caches, clean_stop, conditions, journal, metrics, tasks
from edgeorch.model import kinds, views
from edgeorch.runtime import (
    errors,
)
from edgeorch.store import watch

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Callable

    from edgeorch.agent import ports
    from edgeorch.agent.settings import Settings
    from edgeorch.core.observed import Container
    from edgeorch.lib import clock as clocks
    from edgeorch.net import addresses
    from edgeorch.runtime import client
    from edgeorch.store import recorder
    from edgeorch.store.objects import Objects
    from edgeorch.store.stored import Stored

log = logging.getLogger(__name__)

FIRST_PROBES = 3.0
"""Seconds that pods of a former process have to answer their probes, lest they count as unready."""


class Agent:
    """Make it inside the running event loop."""

    def __init__(
        self,
        objects: Objects,
        events: recorder.Log,
        containerd: client.Client,
        network: ports.Network,
        puller: ports.Puller | None,
        clock: clocks.Clock,
        settings: Settings,
        withdrawal: ports.Withdrawal | None = None,
        tokens: ports.Tokens | None = None,
        board: conditions.Board | None = None,
        give_way: Callable[[], None] = lambda: None,
    ) -> None:
        """`give_way` is called when the disk has no room for a container that is to run."""
        self._board = board = board or conditions.Board()
        given = self._given = assembly.Given(
            objects,
            events,
            containerd,
            network,
            puller,
            clock,
            settings,
            withdrawal,
            tokens,
            board,
            give_way,
        )
        runtime = assembly.Runtime(given)
        tell = self.tell = given.tell_of_node()
        assembly.tell_of_conditions(given, tell)
        self._objects = objects
        self._containerd = containerd
        self._settings = self.settings = settings
        self._facts = machine.read()
        assembly.hold_memory_limits(given, self._facts)
        self._network = network
        self._workers: dict[str, pod_worker.PodWorker] = {}
        self._stock_taken = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._images = runtime.images
        self.output = runtime.output
        self.execs = runtime.execs
        crash_loop = backoff.Policy(
            restarts.CRASH_LOOP.initial, restarts.CRASH_LOOP.factor, settings.crash_loop_ceiling
        )
        self._policy = pod_plan.Policy(crash_loop)
        self._status = status.StatusWriter(objects, network, clock, crash_loop)
        details = endings.Endings(self._message_path, self._log_path, self._spec_of, self.output)
        self.observer = assembly.observed(given, runtime, self._facts, details)
        self.devices = devices.Devices(settings.devices, self._living)
        self._shop = assembly.workshop(given, runtime, self._facts, self.observer, self.devices)
        self.collector = assembly.collector(given, runtime, tell)
        self._index = image_index.ImageIndex(runtime.images, settings.data_dir / "image-index.json")
        self._doctor = assembly.doctor(given, runtime, self._index, tell)
        self._preloader = assembly.preloader(given, runtime, self._shop.images, tell)
        self.disk = assembly.disk_meter(given, self._shop)
        self._pressure = assembly.pressures(
            given, runtime, self.disk, self.observer, self._workers.values, self.collector, tell
        )
        self._node = assembly.node_keeper(
            given,
            runtime,
            self._facts,
            self.observer,
            self.devices,
            lambda: self._pressure.conditions,
        )
        self.sources = summaries.Sources(
            self.disk, self._images, self._images.root, self.observer.pod
        )
        self._storage = local_storage.LocalStorage(self.disk, self.observer, self._workers.values)
        self.flash = assembly.flash_budget(given, self.output)
        self._hardware = hardware.Hardware(
            board, (settings.data_dir, settings.log_dir), beside=self._look
        )
        self._heartbeat = heartbeat.Heartbeat(objects, clock, settings.node_name)
        self.logs = logs.PodLogs(self.output, self.observer, self._shop.maker.log_path, clock)
        self._tidier = assembly.tidier(
            runtime, self._shop, self.collector, lambda: self.pods() | self.observer.pods().keys()
        )
        self.on_look: Callable[[], None] = lambda: None
        self._connect()

    def _connect(self) -> None:
        """Who wakes whom."""
        self.devices.on_change = self._devices_changed
        self.observer.on_change = self._container_changed
        self.observer.on_image = self._image_changed
        self.observer.on_health = self._health_changed
        self.observer.on_listed = self._listed
        self._pressure.on_change = self._node.look
        self._network.on_addresses(self._addresses_changed)
        self.collector.pulling = self._shop.images.pulling
        self._shop.images.used = self.collector.used
        self._shop.images.full = self.collector.look
        if self._preloader is not None:
            self.collector.given = self._preloader.given
            self.collector.preloaded = self._shop.images.preloaded

    def measure(self, registry: metrics.Registry) -> None:
        self._shop.figures.measure(registry, self._workers.values)
        for part in (self._shop.images, self._node, self._pressure, self.flash):
            part.measure(registry)

    def droppable(self, known: caches.Caches) -> None:
        known.add("image configurations", self._images.forget)
        known.add("users of images", self._shop.maker.forget)

    async def settled(self) -> None:
        """Until the pods that ran before this process have said how they are.

        One that runs and is not ready has a moment to answer its first probe.
        """
        await self._stock_taken.wait()
        adopted = [worker for worker in self._workers.values() if worker.adopted]
        for worker in adopted:
            await worker.told.wait()
        with contextlib.suppress(TimeoutError, watch.Expired):
            async with (
                asyncio.timeout(FIRST_PROBES),
                self._objects.watch(kinds.POD.resource) as changes,
            ):
                uids = {worker.pod.metadata.uid for worker in adopted}
                while not self._all_ready(uids):
                    await anext(changes)

    def _all_ready(self, uids: set[str]) -> bool:
        listed = self._objects.list(kinds.POD.resource).items
        pods = [stored.view(views.Pod) for stored in listed]
        return all(pod.ready for pod in pods if pod.metadata.uid in uids)

    def health(self) -> str | None:
        """Why pods cannot be run, or None."""
        return self.observer.health()

    def pods(self) -> set[str]:
        """Uids of the pods there is still something to do for."""
        return set(self._workers)

    # --- life -----------------------------------------------------------------------------------

    async def run(self) -> None:
        """For ever. The network has been started before."""
        await asyncio.to_thread(self._shop.sandboxes.prepare)
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                group.create_task(tasks.supervise("observer", self.observer.run))
                group.create_task(tasks.supervise("node", self._node.run))
                group.create_task(tasks.supervise("node guard", self._node.guard))
                group.create_task(tasks.supervise("heartbeat", self._heartbeat.run))
                group.create_task(tasks.supervise("hardware", self._hardware.run))
                group.create_task(tasks.supervise("pressure", self._pressure.run))
                if self._doctor is not None:
                    group.create_task(tasks.supervise("containerd doctor", self._doctor.run))
                await self.observer.listed.wait()
                await self._tidy_runtime()
                if self._preloader is not None:
                    group.create_task(tasks.supervise("preload", self._preloader.run))
                group.create_task(tasks.supervise("tidier", self._keep_tidy))
                self._adopt_devices()
                group.create_task(tasks.supervise("pods", self._follow_pods))
                group.create_task(tasks.supervise("image gc", self.collector.run))
                group.create_task(tasks.supervise("image index", self._index.run))
                group.create_task(tasks.supervise("local storage", self._storage.run))
                group.create_task(tasks.supervise("devices", self.devices.run))
                for kind in (kinds.CONFIG_MAP, kinds.SECRET, kinds.PERSISTENT_VOLUME_CLAIM):
                    follow = functools.partial(self._follow_references, kind)
                    group.create_task(tasks.supervise(kind.plural, follow))
        except asyncio.CancelledError:
            await self.output.close()
            await self.execs.close()
            self.flash.look()
            self.flash.remember()
            raise
        finally:
            self._workers.clear()

    async def _tidy_runtime(self) -> None:
        """Before any worker begins: what a crash left half-made."""
        try:
            self._node.set_runtime_version(await self._containerd.health())
            await self._check_layers()
            await self.execs.end_former()
            await self._tidier.tidy()
            await asyncio.to_thread(gc.remove_dead_links, self._settings)
        except errors.ContainerdError as error:
            log.warning("Cannot look for what a former process left: %s", error)

    async def _check_layers(self) -> None:
        """Raises ContainerdError."""
        cut = self._board.find(clean_stop.CONDITION)
        if cut is None or not cut.wrong:
            return
        check = assembly.layer_check(self._given, self.tell)
        if check is not None:
            await check.after_cut()

    def _adopt_devices(self) -> None:
        for uid in self.observer.pods():
            for container in self.observer.pod(uid):
                text = self.observer.label(container.id, container_labels.DEVICES)
                self.devices.adopt((uid, container.name), container_labels.devices(text))

    def _living(self) -> dict[str, views.Pod]:
        """Pods that hold what they were given."""
        return {uid: each.pod for uid, each in self._workers.items() if not each.pod.terminal}

    async def _keep_tidy(self) -> None:
        await self._stock_taken.wait()  # every pod that is there has its worker
        await self._tidier.run()

    async def _follow_pods(self) -> None:
        while True:
            try:
                async with self._objects.watch(kinds.POD.resource) as changes:
                    await self._take_stock()
                    async for batch in changes:
                        for event in batch:
                            self._pod_changed(event)
            except watch.Expired:
                log.info("Fell behind the changes of pods; taking stock again")

    async def _take_stock(self) -> None:
        """Compare everything that is there with everything that is wanted."""
        mine = self._mine()
        wanted = {pod.metadata.uid for pod in mine}
        for uid, worker in self._workers.items():
            if uid not in wanted:
                worker.lost()
        for pod in mine:
            self._offer(pod)
        self._stock_taken.set()
        self._pressure.may_evict.set()
        self._end_orphans(wanted)
        await self._sweep(wanted | self._workers.keys())

    def _mine(self) -> list[views.Pod]:
        listed = [stored.view(views.Pod) for stored in self._objects.list(kinds.POD.resource).items]
        return [pod for pod in listed if pod.spec.node_name == self._settings.node_name]

    def _end_orphans(self, wanted: set[str]) -> None:
        for uid, identity in self.observer.pods().items():
            if uid not in wanted and uid not in self._workers:
                left = self.observer.pod(uid)
                log.info("Ending %s/%s (%s): no such pod", identity.namespace, identity.name, uid)
                self._offer(gc.orphan(identity, left))
                self._workers[uid].lost()

    async def _sweep(self, known: set[str]) -> None:
        await gc.sweep_networks(known, self._network)
        former = await gc.left_over(known, self._shop)
        if former and self._group is not None:
            self._group.create_task(gc.sweep(former, self._shop), name="sweep")

    def _pod_changed(self, event: watch.Event) -> None:
        pod = event.stored.view(views.Pod)
        if pod.spec.node_name != self._settings.node_name:
            return
        if event.type == watch.DELETED:
            worker = self._workers.get(pod.metadata.uid)
            if worker is not None:
                worker.lost()
            return
        self._offer(pod)

    def _offer(self, pod: views.Pod) -> None:
        uid = pod.metadata.uid
        self._storage.came(pod)
        worker = self._workers.get(uid)
        if worker is not None:
            worker.offer(pod)
            return
        if self._group is None:
            raise RuntimeError("the agent is not running")
        worker = pod_worker.PodWorker(self._shop, self._status, self._policy, pod)
        refused = self._refusal(worker)
        if refused is not None:
            worker.reject(*refused)
        self._workers[uid] = worker
        self._group.create_task(self._work(uid, worker), name=f"pod {pod.metadata.name}")

    def _refusal(self, worker: pod_worker.PodWorker) -> tuple[str, str] | None:
        """Reason and message: one that names the node was not judged by the scheduler."""
        pod = worker.pod
        forbidden = sysctls.refusal(pod, self._settings.allowed_unsafe_sysctls)
        if forbidden is not None and not worker.adopted:
            return sysctls.FORBIDDEN, forbidden
        unenforced = app_armor.refusal(pod, available=self._shop.maker.app_armor.available)
        if unenforced is not None and worker.is_new:
            return app_armor.REASON, unenforced
        if worker.is_new and (tight := pressure.refusal(pod, self._pressure.conditions)):
            return tight
        node = self._objects.find(kinds.NODE.resource, "", self._settings.node_name)
        if not worker.is_new or node is None:
            return None
        held = scheduling.Usage()
        for other in self._workers.values():
            if not other.refused:
                held.add(other.pod)
        return admission.refusal(pod, node.view(views.Node), held)

    async def _work(self, uid: str, worker: pod_worker.PodWorker) -> None:
        """A worker that fails starts again from what is there; its pod must not fell the others."""
        failures, meta = 0, worker.pod.metadata
        with journal.about(pod=f"{meta.namespace}/{meta.name}", pod_uid=uid):
            while True:
                try:
                    await worker.run()
                    break
                except Exception:
                    log.exception("Work on pod %s failed; starting again", meta.name)
                    await asyncio.sleep(tasks.RESTARTS.delay(failures))
                    failures += 1
        self._workers.pop(uid, None)
        self._tidier.look()

    # --- what wakes workers ---------------------------------------------------------------------

    def _health_changed(self) -> None:
        """What failed for want of containerd need not wait any longer once it is back."""
        self._node.look()
        self._hold_health()
        if self._doctor is not None:
            self._doctor.seen(self.observer.health())
        if self.observer.health() is None:
            for worker in self._workers.values():
                worker.retry("")

    def _listed(self) -> None:
        if self._stock_taken.is_set():
            # Made when containerd went away before it could say so, and its pod is gone meanwhile.
            self._end_orphans({pod.metadata.uid for pod in self._mine()})
        self._tidier.look()
        self._index.changed()

    def _look(self) -> None:
        """Once a minute, along with the hardware."""
        self.flash.look()
        self.on_look()

    def _hold_health(self) -> None:
        """By the names of node-problem-detector's health checker."""
        trouble = self.observer.health()
        self._board.hold(
            "ContainerRuntimeUnhealthy",
            trouble is not None,
            "ContainerdIsHealthy" if trouble is None else "ContainerdUnhealthy",
            trouble or "containerd is functioning properly",
        )

    def _addresses_changed(self, _: addresses.NodeAddresses) -> None:
        """Pods show the device's address, and those on its network have it."""
        for worker in self._workers.values():
            worker.look()

    def _container_changed(self, uid: str) -> None:
        worker = self._workers.get(uid)
        if worker is not None:
            worker.look()
        exits = [container.exit for container in self.observer.pod(uid) if not container.settled]
        if any(ended is not None and ended.code == container_labels.KILLED for ended in exits):
            self._tidier.look()  # a shim may have died

    def _devices_changed(self) -> None:
        self._node.look()
        for worker in self._workers.values():
            worker.retry("create/")

    def _image_changed(self, name: str) -> None:
        self._shop.images.appeared(name)
        self._index.changed()
        self._node.look()
        for worker in self._workers.values():
            worker.retry("image/")

    async def _follow_references(self, kind: kinds.Kind) -> None:
        """Volumes and environments that name a changed object are looked at again."""
        while True:
            try:
                async with self._objects.watch(kind.resource) as changes:
                    for worker in self._workers.values():
                        worker.look()
                    async for batch in changes:
                        for event in batch:
                            self._reference_changed(kind, event.stored)
            except watch.Expired:
                continue

    def _reference_changed(self, kind: kinds.Kind, stored: Stored) -> None:
        for worker in self._workers.values():
            same = worker.pod.metadata.namespace == stored.namespace
            if same and (kind.resource, stored.name) in worker.references:
                worker.retry("volumes")
                worker.retry("create/")
                if any(ref.name == stored.name for ref in worker.pod.spec.image_pull_secrets):
                    self._shop.images.forget(worker.pod.metadata.uid)
                    worker.retry("image/")

    # --- paths for endings ----------------------------------------------------------------------

    def _message_path(self, uid: str, container: Container) -> pathlib.Path:
        return self._shop.maker.message_path(uid, container)

    def _log_path(self, uid: str, container: Container) -> pathlib.Path:
        identity = self.observer.pods().get(uid)
        meta = views.Meta(
            uid=uid,
            name=identity.name if identity else "",
            namespace=identity.namespace if identity else "",
        )
        return self._shop.maker.log_path(meta, container.name, container.attempt)

    def _spec_of(self, uid: str, name: str) -> views.Container | None:
        worker = self._workers.get(uid)
        if worker is None:
            return None
        every = pod_plan.containers_of(worker.pod)
        return next((spec for spec, _ in every if spec.name == name), None)

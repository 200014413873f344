"""The parts of the node agent, put together: what is made once and only used from then on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from msgspec import Struct, field

from edgeorch.agent import (
    checks,
    containerd_doctor,
    creation,
    executor,
    figures,
    flash,
    image_gc,
    image_index,
    images,
    local_storage,
    logs,
    machine,
    node,
    observer,
    pause,
    preload,
    pressure,
    sandboxes,
    tidying,
    users,
    voice,
    volumes,
)
from edgeorch.core import image_gc as deciding
from edgeorch.lib import cgroupfs, conditions, journal
from edgeorch.runtime import (
    containers,
    events,
    execs,
    image_views,
    leases,
    rebuild,
    rootfs,
    snapshots,
    stdio,
)
from edgeorch.runtime import images as runtime_images
from edgeorch.runtime import logs as runtime_logs
from edgeorch.store import objects

if TYPE_CHECKING:
    from edgeorch.agent import devices, endings, pod_worker, ports
    from edgeorch.agent import layer_check as layer_checks
    from edgeorch.agent.settings import Settings
    from edgeorch.lib import clock as clocks
    from edgeorch.runtime import client
    from edgeorch.store import recorder
    from edgeorch.store.objects import Objects

log = logging.getLogger(__name__)

_SPARING = 10
"""How many times more rarely statuses are written while the flash budget is exceeded."""

Tell = Callable[[str, str, str], None]
"""Makes an event of the node: type, reason, message."""


class Given(Struct, frozen=True):
    """What the agent works with and does not own."""

    objects: Objects
    events: recorder.Log
    containerd: client.Client
    network: ports.Network
    puller: ports.Puller | None
    clock: clocks.Clock
    settings: Settings
    withdrawal: ports.Withdrawal | None = None
    tokens: ports.Tokens | None = None
    board: conditions.Board = field(default_factory=conditions.Board)
    give_way: Callable[[], None] = lambda: None

    def voice(self) -> recorder.Recorder:
        return self.events.recorder("kubelet", on_node=True)

    def tell_of_node(self) -> Tell:
        name, speaker = self.settings.node_name, self.voice()
        node_ref = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "uid": name}}
        return lambda kind, reason, message: speaker.event(node_ref, kind, reason, message)


class Runtime:
    """containerd's nouns, and the output of containers. Make it inside the running loop."""

    def __init__(self, given: Given) -> None:
        containerd, settings = given.containerd, given.settings
        self.containers = containers.Containers(containerd, snapshotter=settings.snapshotter)
        self.images = runtime_images.Images(
            containerd, snapshotter=settings.snapshotter, work_dir=settings.data_dir / "import"
        )
        self.fifos = stdio.StdioDir(settings.run_dir)
        self.output: runtime_logs.Logs = logs.output(self.fifos, settings, given.voice())
        self.execs = execs.Execs(containerd, self.containers, self.fifos)


def observed(
    given: Given, runtime: Runtime, facts: machine.Facts, details: endings.Endings
) -> observer.Observer:
    return observer.Observer(
        runtime.containers,
        events.Events(given.containerd),
        details,
        given.clock,
        facts.boot_id,
    )


def workshop(
    given: Given,
    runtime: Runtime,
    facts: machine.Facts,
    seen: observer.Observer,
    owned: devices.Devices,
) -> executor.Workshop:
    """What the workers of pods share."""
    containerd, settings = given.containerd, given.settings
    boxes = sandboxes.Sandboxes(
        given.network, settings, machine.Cgroups(facts), pause.Pauses(facts.architecture)
    )
    shelf = volumes.Volumes(
        given.objects,
        settings,
        volumes.Tokens(given.tokens, given.clock),
        image_views.ImageViews(containerd, snapshotter=settings.snapshotter),
    )
    root_files = rootfs.RootFiles(containerd, runtime.containers, snapshotter=settings.snapshotter)
    return executor.Workshop(
        objects=given.objects,
        containers=runtime.containers,
        observer=seen,
        network=given.network,
        output=runtime.output,
        sandboxes=boxes,
        volumes=shelf,
        images=images.ImageKeeper(
            runtime.images, given.puller, given.clock, settings.images.parallel_pulls
        ),
        maker=creation.Maker(
            runtime.containers,
            given.objects,
            boxes,
            shelf,
            users.Users(root_files),
            given.network,
            settings,
            facts,
            owned,
            containerd.address,
        ),
        devices=owned,
        checks=checks.Checks(runtime.execs),
        withdrawal=given.withdrawal,
        voice=voice.Voice(given.voice()),
        clock=given.clock,
        settings=settings,
        figures=figures.Figures(),
        give_way=given.give_way,
    )


def collector(given: Given, runtime: Runtime, tell: Tell) -> image_gc.ImageCollector:
    limits = given.settings.images
    return image_gc.ImageCollector(
        given.objects,
        runtime.images,
        leases.Leases(given.containerd),
        runtime.containers,
        given.clock,
        deciding.Thresholds(limits.gc_high_percent, limits.gc_low_percent, limits.gc_min_age),
        given.settings.data_dir / "image-use.json",
        tell,
    )


def doctor(
    given: Given, runtime: Runtime, index: image_index.ImageIndex, tell: Tell
) -> containerd_doctor.Doctor | None:
    """None where containerd's state is nobody's to mend."""
    settings = given.settings
    if settings.containerd_root is None:
        return None

    def archives() -> containerd_doctor.Archives:
        from edgeorch.runtime import archive  # rarely needed, so not at start

        work_dir = settings.data_dir / "import"
        return archive.Archives(
            given.containerd, work_dir=work_dir, snapshotter=settings.snapshotter
        )

    return containerd_doctor.Doctor(
        rebuild.State(settings.containerd_root, settings.snapshotter),
        settings.containerd_start,
        settings.containerd_patience,
        given.containerd,
        archives,
        index,
        given.board,
        tell,
    )


def layer_check(given: Given, tell: Tell) -> layer_checks.LayerCheck | None:
    """None where it cannot be seen what layers were unpacked from."""
    settings = given.settings
    if settings.containerd_root is None:
        return None
    from edgeorch.agent import layer_check as layer_checks  # rarely needed, so not at start
    from edgeorch.runtime import layers

    blobs = settings.containerd_root / "io.containerd.content.v1.content/blobs/sha256"
    found = layers.Layers(given.containerd, snapshotter=settings.snapshotter, blobs=blobs)
    return layer_checks.LayerCheck(found, settings.data_dir / "layers-checked", tell)


def preloader(
    given: Given, runtime: Runtime, keeper: images.ImageKeeper, tell: Tell
) -> preload.Preloader | None:
    """None where no folder is preloaded from."""
    settings = given.settings
    if settings.images.preload_dir is None:
        return None
    return preload.Preloader(
        settings.images.preload_dir,
        settings.data_dir / preload.MEMORY,
        runtime.images,
        runtime.images,
        keeper.preloaded,
        tell,
    )


def node_keeper(
    given: Given,
    runtime: Runtime,
    facts: machine.Facts,
    seen: observer.Observer,
    owned: devices.Devices,
    pressures: Callable[[], tuple[str, ...]],
) -> node.NodeKeeper:
    return node.NodeKeeper(
        given.objects,
        given.network,
        runtime.images,
        seen,
        given.clock,
        given.settings,
        facts,
        lambda: owned.capacity,
        given.board,
        pressures,
    )


def pressures(
    given: Given,
    runtime: Runtime,
    meter: local_storage.DiskMeter,
    seen: observer.Observer,
    workers: Callable[[], Iterable[pod_worker.PodWorker]],
    images_: image_gc.ImageCollector,
    tell: Tell,
) -> pressure.Pressure:
    room = pressure.Room(runtime.images.root, images_.remove_unused, runtime.output.remove_old)
    return pressure.Pressure(given.settings, given.clock, meter, seen, workers, room, tell)


def tell_of_conditions(given: Given, tell: Tell) -> None:
    """An event of the node, and a line of the log, when a condition comes, goes or becomes
    another."""

    def changed(before: conditions.Condition | None, now: conditions.Condition) -> None:
        told = conditions.event(before, now)
        if told is None:
            return
        tell(*told)
        level = logging.WARNING if now.wrong else logging.INFO
        about = journal.fields(journal.CONDITION, condition=now.type, reason=now.reason)
        log.log(level, "%s: %s", now.type, now.message, extra=about)

    given.board.listen(changed)


def flash_budget(given: Given, output: runtime_logs.Logs) -> flash.FlashBudget:
    def give_way(exceeded: bool) -> None:
        given.objects.flush_after = objects.FLUSH_AFTER * (_SPARING if exceeded else 1)
        output.pack = not exceeded

    settings = given.settings
    return flash.FlashBudget(
        settings.flash_daily_budget,
        settings.run_dir,
        given.clock,
        given.board,
        logged=lambda: output.written,
        give_way=give_way,
    )


def hold_memory_limits(given: Given, facts: machine.Facts) -> None:
    if not facts.memory_cgroup:
        given.board.hold(
            "MemoryLimitsOff",
            True,
            "MemoryCgroupDisabled",
            f"memory limits do not hold: {cgroupfs.fix(['memory'])}",
        )


def disk_meter(given: Given, shop: executor.Workshop) -> local_storage.DiskMeter:
    return local_storage.DiskMeter(
        snapshots.Snapshots(given.containerd, snapshotter=given.settings.snapshotter),
        shop.volumes,
        shop.maker.log_path,
    )


def tidier(
    runtime: Runtime,
    shop: executor.Workshop,
    images_: image_gc.ImageCollector,
    pods: Callable[[], set[str]],
) -> tidying.Tidier:
    return tidying.Tidier(
        shop.observer, runtime.containers, images_, runtime.fifos, shop.sandboxes, pods
    )

"""The process: one instance, its log, its signals, its store, and systemd.

`serve` opens the store, builds the device (device.py), runs it until SIGTERM or SIGINT and takes it
down in reverse order. Containers are left alone: they outlive this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import functools
import gc
import logging
import os
import pathlib
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING

from msgspec import Struct

import edgeorch
from edgeorch.core import hardware
from edgeorch.lib import (
    boots,
    clean_stop,
    conditions,
    journal,
    memory,
    sdnotify,
    tasks,
    time_floor,
    trial,
)
from edgeorch.lib import clock as clocks
from edgeorch.model import kinds
from edgeorch.store import backup, database, former, objects, recovery

if TYPE_CHECKING:
    from edgeorch import config as configuration
    from edgeorch import device
    from edgeorch.agent import registry_puller
    from edgeorch.runtime import archive, containers, images

log = logging.getLogger("edgeorch")


class StartError(Exception):
    """The process cannot start; the text is for the administrator."""


async def serve(config: configuration.Config) -> None:
    """Run until SIGTERM or SIGINT. Raises StartError."""
    memory.one_heap()
    # Thousands of modules and objects come now that stay: collecting among them is time lost.
    gc.disable()
    _begin_log(config.log_level)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    on_trial = trial.Trial.found()
    try:
        async with _device(config, on_trial, stop.set):
            await stop.wait()
            log.info("stopping; containers go on running", extra=journal.fields(journal.STOPPING))
            sdnotify.notify("STOPPING=1")
    except database.StorageError as error:
        raise StartError(str(error)) from error
    except OSError as error:
        raise StartError(f"cannot start: {_words(error)}") from error
    except ExceptionGroup as group:
        # What ended the start has come through the groups of the loops that ran already.
        told, others = group.split((OSError, database.StorageError))
        if told is None or others is not None:
            raise
        raise StartError(f"cannot start: {_words(told)}") from group
    if on_trial is not None and on_trial.failure:
        raise StartError(f"this version is on trial and did not become ready: {on_trial.failure}")
    log.info("stopped")


def _words(error: Exception) -> str:
    """Of the first, if it is several."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error)
    return f"{error.filename}: {error.strerror}" if error.filename else error.strerror


@contextlib.asynccontextmanager
async def _device(
    config: configuration.Config, on_trial: trial.Trial | None, stop: Callable[[], None]
) -> AsyncIterator[None]:
    """The device, serving. `stop` is called when its version fails its trial."""
    started = time.monotonic()
    build = _import_device()
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(_alone(pathlib.Path(config.data_dir)))
        last = clean_stop.CleanStop(pathlib.Path(config.data_dir) / "running", boots.boot_id())
        last.begin()
        stack.callback(last.end)
        floor = time_floor.TimeFloor(pathlib.Path(config.data_dir) / "clock")
        clock, board = clocks.SystemClock(floor.read()), conditions.Board()
        last.tell(board)
        trial.tell(board)
        if clocks.is_synchronized():
            clock.follow()
        keep_time = functools.partial(floor.save, clock)
        stack.callback(keep_time)
        store, db = await stack.enter_async_context(_store(config, clock, board))
        backups = backup.Backups(_store_path(config), config.store.backup_interval)

        def committed() -> None:
            floor.passing(clock)
            backups.changed()

        db.on_commit = committed
        await stack.enter_async_context(
            tasks.running({"backups": backups.run, "time floor": lambda: floor.run(clock)})
        )
        device = build(config, store, db, clock, board, keep_time)
        await stack.enter_async_context(device.serving())
        log.info(
            "edgeorch %s serves node %s on port %d after %.2f s",
            edgeorch.__version__,
            config.node_name,
            config.api.port,
            time.monotonic() - started,
            extra=journal.fields(
                journal.SERVING, version=edgeorch.__version__, node=config.node_name
            ),
        )
        # What lives now lives for good: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        gc.enable()
        sdnotify.notify("READY=1", f"STATUS=serving node {config.node_name}")

        async def proven() -> None:
            if on_trial is None or await on_trial.run(device.missing, clock.monotonic):
                await asyncio.to_thread(former.forget, _store_path(config))
                trial.tell(board)
            else:
                stop()
            await asyncio.Event().wait()

        await stack.enter_async_context(
            tasks.running({"watchdog": _feed_watchdog, "trial": proven})
        )
        yield


def _import_device() -> type[device.Device]:
    """aiohttp loads the bundle of certificate authorities when it is imported; nobody here wants
    that one, and it costs 2 MB and 150 ms. Pulls make their own TLS context."""
    before = os.environ.get("SSL_CERT_FILE")
    os.environ["SSL_CERT_FILE"] = os.devnull
    try:
        from edgeorch import device
    finally:
        if before is None:
            del os.environ["SSL_CERT_FILE"]
        else:
            os.environ["SSL_CERT_FILE"] = before
    return device.Device


@contextlib.contextmanager
def _alone(data_dir: pathlib.Path) -> Iterator[None]:
    """One process for one data directory. Raises StartError."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = _open_lock(data_dir / "lock")
    except OSError as error:
        raise StartError(
            f"cannot write to {data_dir}: {error.strerror}: mend that, or set data_dir"
        ) from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StartError(
                f"another edgeorch uses {data_dir}: stop it (systemctl stop edgeorch) "
                "or set data_dir"
            ) from None
        yield
    finally:
        os.close(handle)


def _open_lock(path: pathlib.Path) -> int:
    """Raises OSError."""
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno not in (errno.EROFS, errno.ENOSPC):
            raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)  # it is there since the first start


@contextlib.asynccontextmanager
async def _store(
    config: configuration.Config, clock: clocks.Clock, board: conditions.Board
) -> AsyncIterator[tuple[objects.Objects, database.Database]]:
    """Open and loaded; written down and closed at the end. Raises StorageError."""
    path = _store_path(config)
    if (undone := await asyncio.to_thread(former.go_back, path)) is not None:
        log.error("%s", undone)
        board.hold("StoreRestored", True, "UpgradeUndone", str(undone))
    if (restored := await asyncio.to_thread(recovery.mend, path)) is not None:
        log.error("%s", restored)
        board.hold("StoreRestored", True, "StoreWasDamaged", str(restored))
    db = database.Database(
        path,
        reserved=config.store.reserve_bytes,
        spare=pathlib.Path(config.run_dir) / "store",
    )
    await db.open()
    board.listen(functools.partial(_look_again, db))
    try:
        store = objects.Objects(db, kinds.Registry(), clock)
        await store.load()
        async with (
            tasks.running({"store writer": db.run}),
            tasks.running({"store flusher": store.run}),
        ):
            yield store, db
    finally:
        await db.close()


def _look_again(
    db: database.Database, before: conditions.Condition | None, now: conditions.Condition
) -> None:
    """The store is to know of a medium that fails, or works again, before somebody writes."""
    if now.type in hardware.MEDIA and (now.wrong or (before is not None and before.wrong)):
        db.look()


def _store_path(config: configuration.Config) -> pathlib.Path:
    return pathlib.Path(config.data_dir) / "state.db"


async def _feed_watchdog() -> None:
    """Signs of life come from the event loop itself: a loop that hangs gives none."""
    interval = sdnotify.watchdog_interval()
    while interval is not None:
        sdnotify.notify("WATCHDOG=1")
        await asyncio.sleep(interval)
    await asyncio.Event().wait()


def _begin_log(level: str) -> None:
    logging.basicConfig(level=level.upper(), handlers=[journal.handler()], force=True)
    for chatty in ("asyncio", "hpack", "grpclib", "aiosqlite", "pyroute2"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, logging.getLogger().level))


class ImageTools(Struct, frozen=True):
    """What the command line needs to work on the images of the device."""

    images: images.Images
    archives: archive.Archives
    puller: registry_puller.RegistryPuller
    containers: containers.Containers
    data_dir: pathlib.Path
    preload_dir: pathlib.Path

    async def users(self) -> dict[str, str]:
        """Image to who runs it, for those of which containers are there."""
        from edgeorch.core import container_labels as labels

        return {
            record.image: f"pod {record.labels.get(labels.POD_NAMESPACE, '')}/"
            f"{record.labels.get(labels.POD_NAME, record.id)}"
            for record in await self.containers.list()
        }

    def preloaded(self) -> dict[str, pathlib.Path]:
        """Image to the archive that gave it, for those that are in the preload folder."""
        from edgeorch.agent import preload
        from edgeorch.core import preloading

        return {
            image: self.preload_dir / name
            for name, record in preload.remembered(self.data_dir / preload.MEMORY).items()
            if (self.preload_dir / name).exists()
            for image in preloading.given([record])
        }


async def with_images(
    config: configuration.Config, run: Callable[[ImageTools], Awaitable[None]]
) -> None:
    """For the command line: call `run` with the device's images. Raises ContainerdError."""
    from edgeorch.agent import registry_puller
    from edgeorch.runtime import archive, client, containers, images, pulling

    containerd = client.Client(config.containerd.address, config.containerd.namespace)
    snapshotter = config.containerd.snapshotter
    data_dir = pathlib.Path(config.data_dir)
    sinks = pulling.PullSinks(containerd, snapshotter=snapshotter, prefix=pulling.HAND_PREFIX)
    try:
        await run(
            ImageTools(
                images.Images(containerd, snapshotter=snapshotter),
                archive.Archives(containerd, work_dir=data_dir / "import", snapshotter=snapshotter),
                registry_puller.configured(config, sinks),
                containers.Containers(containerd, snapshotter=snapshotter),
                data_dir,
                config.preload_dir,
            )
        )
    finally:
        containerd.close()

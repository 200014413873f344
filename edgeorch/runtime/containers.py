"""Containers: the record, its snapshot and its task, as one thing with a life.

Owns container records, their writable snapshots and their tasks in our containerd namespace;
nothing else writes them. A container is made (`create`: snapshot, then record), started (`start`:
task), ends or is killed, and is deleted (`delete`: task, record, snapshot). Each step can be
repeated after a crash between any two calls.

A container's snapshot is a GC root by label, so that no lease (two more fsyncs on the way to
Running) is needed between snapshot and record; `remove_orphans` finds what a crash left there.

Containers of a pod share a shim through the OCI annotation `io.containerd.runc.v2.group` in the
spec. The shim ends with its last task; a task made before or after that lands in a living shim
or starts a new one, so either order of create-new and delete-old works.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
from collections.abc import AsyncIterator, Mapping
from typing import Literal

from google.protobuf import any_pb2, field_mask_pb2
from msgspec import Struct, field

from edgeorch.runtime import client, errors, shims, stamps, stdio
from edgeorch.runtime.pb import (
    containers_pb2,
    runc_options_pb2,
    snapshots_pb2,
    task_types_pb2,
    tasks_pb2,
)

log = logging.getLogger(__name__)

RUNTIME = "io.containerd.runc.v2"
SPEC_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Spec"
OWNER_LABEL = "edgeorch.io/container"  # on a snapshot: the container it belongs to
SIGKILL = 9
_SHIM_ENDING = ("failed to start shim", "ttrpc: closed")
_SHIM_TRIES, _SHIM_PAUSE = 4, 0.05

Keys = list[str]  # `list` is a method of the class below
Status = Literal["created", "running", "stopped", "paused", "unknown"]

_STATUS: dict[int, Status] = {
    task_types_pb2.CREATED: "created",
    task_types_pb2.RUNNING: "running",
    task_types_pb2.STOPPED: "stopped",
    task_types_pb2.PAUSED: "paused",
    task_types_pb2.PAUSING: "paused",
}


class TaskState(Struct, frozen=True):
    """`exit_code` and `exited_at` count only when stopped."""

    status: Status
    pid: int
    exit_code: int = 0
    exited_at: datetime.datetime | None = None


class ContainerRecord(Struct, frozen=True):
    id: str
    image: str
    labels: dict[str, str] = field(default_factory=dict)
    task: TaskState | None = None
    created_at: datetime.datetime | None = None


class ExitInfo(Struct, frozen=True):
    exit_code: int
    exited_at: datetime.datetime | None


class Containers:
    def __init__(
        self,
        containerd: client.Client,
        *,
        snapshotter: str = "overlayfs",
        systemd_cgroup: bool = False,
        runtime: str = RUNTIME,
    ) -> None:
        self._client = containerd
        self._snapshotter = snapshotter
        self._runtime = runtime
        self._options = _packed(runc_options_pb2.Options(systemd_cgroup=systemd_cgroup))
        self._making: set[str] = set()
        self._begun: set[str] = set()
        """Snapshots made or being made since the look for orphans under way began."""
        self._orphans = asyncio.Lock()
        self.shims = shims.Shims(containerd)

    async def list(self, *filters: str) -> list[ContainerRecord]:
        """All containers, or those that match one of containerd's filters (`labels."x"==y`)."""
        services = self._client.services
        # Tasks first: a task seen without its record is ignored, but a record listed before its
        # task was made would look as if it had none.
        tasks = await self._client.call(services.tasks.List, tasks_pb2.ListTasksRequest())
        found = await self._client.call(
            services.containers.List, containers_pb2.ListContainersRequest(filters=filters)
        )
        states = {process.id: _state(process) for process in tasks.tasks}
        return [_record(container, states.get(container.id)) for container in found.containers]

    async def get(self, container_id: str) -> ContainerRecord:
        """Raises NotFound."""
        answer = await self._client.call(
            self._client.services.containers.Get,
            containers_pb2.GetContainerRequest(id=container_id),
        )
        return _record(answer.container, await self.task(container_id))

    async def spec(self, container_id: str) -> bytes:
        """The OCI runtime spec the container was created with, as JSON."""
        answer = await self._client.call(
            self._client.services.containers.Get,
            containers_pb2.GetContainerRequest(id=container_id),
        )
        return answer.container.spec.value

    async def task(self, container_id: str) -> TaskState | None:
        try:
            answer = await self._client.call(
                self._client.services.tasks.Get, tasks_pb2.GetRequest(container_id=container_id)
            )
        except errors.NotFound:
            return None
        return _state(answer.process)

    async def create(
        self,
        container_id: str,
        *,
        image: str,
        chain_id: str,
        spec: bytes,
        labels: Mapping[str, str],
        snapshot_key: str = "",
    ) -> None:
        """`chain_id` names the unpacked image; `spec` is an OCI runtime spec as JSON.

        Raises NotFound when the image is not unpacked, AlreadyExists when the id is taken.
        """
        key = snapshot_key or container_id
        container = containers_pb2.Container(
            id=container_id,
            image=image,
            labels=labels,
            runtime=containers_pb2.Container.Runtime(name=self._runtime, options=self._options),
            spec=any_pb2.Any(type_url=SPEC_TYPE, value=spec),
            snapshotter=self._snapshotter,
            snapshot_key=key,
        )
        async with self.making(key):
            await self._prepare(key, chain_id, container_id)
            await self._record(container, key)

    @contextlib.asynccontextmanager
    async def making(self, key: str) -> AsyncIterator[None]:
        """That snapshot has no record yet and is no orphan."""
        async with self._orphans:
            self._making.add(key)
            self._begun.add(key)
        try:
            yield
        finally:
            self._making.discard(key)

    async def _record(self, container: containers_pb2.Container, key: str) -> None:
        try:
            await self._client.call(
                self._client.services.containers.Create,
                containers_pb2.CreateContainerRequest(container=container),
            )
        except (errors.AlreadyExists, errors.Unavailable):
            raise  # the snapshot may belong to a record that stands
        except errors.ContainerdError:
            await self._remove_snapshot(self._snapshotter, key)
            raise

    async def start(self, container_id: str, io: stdio.Stdio) -> int:
        """The pid. A task that cannot be started is gone again when this raises.

        Raises AlreadyExists when there is one that was never started. It is of no use: where its
        maker went away in the midst, containerd has begun to take it down again, and its output
        leads nowhere.
        """
        services = self._client.services
        container = await self._container(container_id)
        mounts = await self._client.call(
            services.snapshots.Mounts,
            snapshots_pb2.MountsRequest(
                snapshotter=container.snapshotter, key=container.snapshot_key
            ),
        )
        request = tasks_pb2.CreateTaskRequest(
            container_id=container_id,
            rootfs=mounts.mounts,
            stdin=io.stdin,
            stdout=io.stdout,
            stderr=io.stderr,
            terminal=io.terminal,
            options=self._options,
        )
        with self.shims.starting(container_id):
            return await self._create_and_start(request)

    async def _create_and_start(self, request: tasks_pb2.CreateTaskRequest) -> int:
        services = self._client.services
        try:
            pid = (await self._create_task(request)).pid
        except errors.AlreadyExists:
            task = await self.task(request.container_id)
            if task is None or task.status != "running":
                raise
            return task.pid  # started by a run that died before it heard so
        try:
            await self._client.call(
                services.tasks.Start, tasks_pb2.StartRequest(container_id=request.container_id)
            )
        except errors.ContainerdError:
            with contextlib.suppress(errors.ContainerdError):
                await self.delete_task(request.container_id, force=True)
            raise
        return pid

    async def _create_task(
        self, request: tasks_pb2.CreateTaskRequest
    ) -> tasks_pb2.CreateTaskResponse:
        """The shim of a pod ends with its last task; who meets it in its last moment asks again."""
        for _ in range(_SHIM_TRIES):
            try:
                return await self._client.call(self._client.services.tasks.Create, request)
            except errors.ContainerdError as error:
                # A run that died in the midst of a start leaves its bundle in the way.
                if await self.shims.end_taken(str(error), request.container_id):
                    continue
                if not any(told in str(error) for told in _SHIM_ENDING):
                    raise
                log.info("The shim for %s was just ending: %s", request.container_id, error)
                await asyncio.sleep(_SHIM_PAUSE)
        return await self._client.call(self._client.services.tasks.Create, request)

    async def kill(self, container_id: str, signal: int, *, all_processes: bool = False) -> None:
        """A task that is gone already is what was wanted."""
        request = tasks_pb2.KillRequest(container_id=container_id, signal=signal, all=all_processes)
        with contextlib.suppress(errors.NotFound):
            await self._client.call(self._client.services.tasks.Kill, request)

    async def wait(self, container_id: str) -> ExitInfo:
        """Until the first process ends; raises Unavailable when containerd goes away meanwhile."""
        answer = await self._client.call(
            self._client.services.tasks.Wait,
            tasks_pb2.WaitRequest(container_id=container_id),
            deadline=None,
        )
        return ExitInfo(answer.exit_status, stamps.moment(answer.exited_at))

    async def delete_task(self, container_id: str, *, force: bool = False) -> ExitInfo | None:
        """None when there is no task. Raises FailedPrecondition while it runs, unless `force`."""
        if force:
            await self._kill_and_wait(container_id)
        try:
            answer = await self._client.call(
                self._client.services.tasks.Delete,
                tasks_pb2.DeleteTaskRequest(container_id=container_id),
            )
        except errors.NotFound:
            return None
        except errors.Unavailable:
            raise
        except errors.ContainerdError as error:
            # The shim refuses a running task with status UNKNOWN.
            state = await self.task(container_id)
            if state is None or state.status == "stopped":
                raise
            raise errors.FailedPrecondition(
                f"cannot delete task {container_id}: it is {state.status}"
            ) from error
        return ExitInfo(answer.exit_status, stamps.moment(answer.exited_at))

    async def delete(self, container_id: str, *, force: bool = False) -> ExitInfo | None:
        """Task, record and snapshot; how the task ended, if there was one. Idempotent."""
        ended = await self.delete_task(container_id, force=force)
        snapshotter, key = self._snapshotter, container_id
        try:
            container = await self._container(container_id)
            snapshotter, key = container.snapshotter, container.snapshot_key
            await self._client.call(
                self._client.services.containers.Delete,
                containers_pb2.DeleteContainerRequest(id=container_id),
            )
        except errors.NotFound:
            pass  # a run before this one got as far as the record
        await self._remove_snapshot(snapshotter, key)
        return ended

    async def update_labels(self, container_id: str, labels: Mapping[str, str]) -> None:
        """Set these labels and leave the others; "" removes one."""
        request = containers_pb2.UpdateContainerRequest(
            container=containers_pb2.Container(id=container_id, labels=labels),
            update_mask=field_mask_pb2.FieldMask(paths=[f"labels.{name}" for name in labels]),
        )
        await self._client.call(self._client.services.containers.Update, request)

    async def remove_orphans(self) -> Keys:
        """Remove tasks and snapshots of ours whose container has no record; their keys.

        What a call left behind that broke off when containerd or this process ended.
        """
        services = self._client.services
        self._begun = set(self._making)
        tasks = await self._client.call(services.tasks.List, tasks_pb2.ListTasksRequest())
        orphans = await self.owned_snapshots()
        found = await self._client.call(
            services.containers.List, containers_pb2.ListContainersRequest()
        )
        recorded = {container.id for container in found.containers}
        for container in found.containers:
            orphans.pop(container.snapshot_key, None)
        removed = []
        for process in tasks.tasks:
            if process.id not in recorded:
                await self.delete_task(process.id, force=True)
                removed.append(process.id)
        for key in sorted(orphans):
            # Held by one removal at a time: whoever begins to make that very key waits for it.
            async with self._orphans:
                if key not in self._begun:
                    await self._remove_snapshot(self._snapshotter, key)
                    removed.append(key)
        return removed

    async def owned_snapshots(self) -> dict[str, str]:
        """Key → container id."""
        owned: dict[str, str] = {}
        async with self._client.stream(self._client.services.snapshots.List) as stream:
            await stream.send_message(
                snapshots_pb2.ListSnapshotsRequest(
                    snapshotter=self._snapshotter, filters=[f'labels."{OWNER_LABEL}"']
                ),
                end=True,
            )
            async for part in stream:
                owned.update({info.name: info.labels[OWNER_LABEL] for info in part.info})
        return owned

    async def _container(self, container_id: str) -> containers_pb2.Container:
        answer = await self._client.call(
            self._client.services.containers.Get,
            containers_pb2.GetContainerRequest(id=container_id),
        )
        return answer.container

    async def _prepare(self, key: str, chain_id: str, container_id: str) -> None:
        request = snapshots_pb2.PrepareSnapshotRequest(
            snapshotter=self._snapshotter,
            key=key,
            parent=chain_id,
            labels={"containerd.io/gc.root": "true", OWNER_LABEL: container_id},
        )
        try:
            await self._client.call(self._client.services.snapshots.Prepare, request)
        except errors.AlreadyExists:
            # Left by a run that died before the record. One with a record keeps its snapshot.
            with contextlib.suppress(errors.NotFound):
                await self._container(container_id)
                raise
            await self._remove_snapshot(self._snapshotter, key)
            await self._client.call(self._client.services.snapshots.Prepare, request)

    async def _remove_snapshot(self, snapshotter: str, key: str) -> None:
        with contextlib.suppress(errors.NotFound):
            await self._client.call(
                self._client.services.snapshots.Remove,
                snapshots_pb2.RemoveSnapshotRequest(snapshotter=snapshotter, key=key),
            )

    async def _kill_and_wait(self, container_id: str) -> None:
        state = await self.task(container_id)
        if state is None or state.status == "stopped":
            return
        if state.status == "created":
            # Its init waits to be started; the shim kills it by itself on delete.
            await self.kill(container_id, SIGKILL)
            return
        await self.kill(container_id, SIGKILL, all_processes=True)
        with contextlib.suppress(errors.NotFound):
            await self._client.call(
                self._client.services.tasks.Wait,
                tasks_pb2.WaitRequest(container_id=container_id),
            )


def _packed(options: runc_options_pb2.Options) -> any_pb2.Any:
    # containerd's type URLs are bare message names, not type.googleapis.com/...
    return any_pb2.Any(type_url=options.DESCRIPTOR.full_name, value=options.SerializeToString())


def _state(process: task_types_pb2.Process) -> TaskState:
    return TaskState(
        status=_STATUS.get(process.status, "unknown"),
        pid=process.pid,
        exit_code=process.exit_status,
        exited_at=stamps.moment(process.exited_at),
    )


def _record(container: containers_pb2.Container, task: TaskState | None) -> ContainerRecord:
    return ContainerRecord(
        id=container.id,
        image=container.image,
        labels=dict(container.labels),
        task=task,
        created_at=stamps.moment(container.created_at),
    )

"""Making one container: everything its OCI spec and its labels say, gathered and written down."""

from __future__ import annotations

import asyncio
import pathlib
import stat
from collections.abc import Mapping
from typing import TYPE_CHECKING

from msgspec import Struct, structs

from edgeorch.agent import app_armor, devices, env_files, images, machine, profiles, users, volumes
from edgeorch.core import (
    cgroups,
    container_labels,
    env,
    log_names,
    oci_spec,
    pod_files,
    pod_plan,
    qos,
    sub_paths,
)
from edgeorch.lib import json
from edgeorch.model import kinds, views

if TYPE_CHECKING:
    from edgeorch.agent import ports
    from edgeorch.agent.sandboxes import Sandboxes
    from edgeorch.agent.settings import Settings
    from edgeorch.core.observed import Container, Exit, Kind
    from edgeorch.store.objects import Objects


_SHM = "/dev/shm"  # noqa: S108


class CreateError(Exception):
    """Why a container cannot be made; `reason` is the waiting reason."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Order(Struct, frozen=True):
    """What is to be made."""

    pod: views.Pod
    container: views.Container
    kind: Kind
    attempt: int
    crashes: int
    image: images.Ready
    sandbox: str
    """Token."""
    pod_ip: str
    accepted_at: float
    last: Exit | None
    target_pid: int = 0
    """A process of the container whose PID namespace it shares; 0 for its own."""


class Maker:
    def __init__(
        self,
        containers: ports.Containers,
        objects: Objects,
        sandboxes: Sandboxes,
        shelf: volumes.Volumes,
        accounts: users.Users,
        network: ports.Network,
        settings: Settings,
        facts: machine.Facts,
        given: devices.Devices,
        containerd_socket: str,
    ) -> None:
        self._containers = containers
        self._objects = objects
        self._sandboxes = sandboxes
        self._volumes = shelf
        self._users = accounts
        self.forget = accounts.forget
        self._network = network
        self._settings = settings
        self._facts = facts
        self._devices = given
        self._containerd_socket = containerd_socket
        self.app_armor = app_armor.AppArmor()
        self._seccomp = profiles.Seccomp(
            settings.seccomp_dir, facts.architecture, available=facts.seccomp
        )

    def message_path(self, uid: str, container: Container) -> pathlib.Path:
        return self._message_path(uid, container.name, container.attempt)

    def log_path(self, identity: views.Meta, name: str, attempt: int) -> pathlib.Path:
        folder = log_names.folder(identity.namespace, identity.name, identity.uid)
        return self._settings.log_dir / folder / name / f"{attempt}.log"

    def log_link(self, identity: views.Meta, name: str, container_id: str) -> pathlib.Path:
        """Where log shippers look for the same."""
        link = log_names.link(identity.namespace, identity.name, name, container_id)
        return self._settings.log_links / link

    def env_facts(self, pod: views.Pod, pod_ip: str) -> env.Facts:
        host_ip = self._network.node_addresses.host
        node = self._objects.find(kinds.NODE.resource, "", self._settings.node_name)
        allocatable = node.view(views.Node).status.allocatable if node is not None else {}
        if pod.spec.host_network:
            pod_ip = host_ip
        return env.Facts(self._settings.node_name, host_ip, pod_ip, allocatable)

    async def create(self, order: Order, created_at: float) -> tuple[str, dict[str, str]]:
        """Id and labels of the new container. Raises CreateError, ContainerdError."""
        uid = order.pod.metadata.uid
        id_ = container_labels.container_id(uid, order.container.name, order.attempt)
        tier = qos.qos_class(order.pod.spec)
        group = f"{cgroups.pod_path(self._settings.cgroup_root, tier, uid)}/{id_}"
        units = self._units(order)
        spec, user = await self._spec(order, tier, group, units)
        labels = container_labels.encode(self._birth(order, group, created_at, user, units))
        await self._containers.create(
            id_,
            image=order.image.ref,
            chain_id=order.image.config.chain_id,
            spec=json.encode(spec),
            labels=labels,
        )
        return id_, labels

    def _units(self, order: Order) -> devices.Given:
        try:
            return self._devices.give(order.pod, order.container)
        except devices.DeviceError as error:
            raise CreateError("CreateContainerError", str(error)) from error

    async def _spec(
        self, order: Order, tier: str, group: str, units: devices.Given
    ) -> tuple[kinds.Object, oci_spec.User]:
        pod, container, config = order.pod, order.container, order.image.config
        try:
            variables = env.variables(
                pod,
                container,
                self._volumes.lookup(pod.metadata.namespace),
                self.env_facts(pod, order.pod_ip),
                env.service_variables(self._services(pod)),
                files=await asyncio.to_thread(self._files, pod, container),
            )
            parts = sub_paths.resolve(container, variables)
            accounts = await self._users.accounts(config.chain_id)
            user = users.resolve(pod, container, config.user, accounts)
        except env.ConfigError as error:
            raise CreateError("CreateContainerConfigError", str(error)) from error
        except users.UserError as error:
            reason = (
                "CreateContainerConfigError" if "runAs" in str(error) else "CreateContainerError"
            )
            raise CreateError(reason, str(error)) from error
        expanded = _expanded(container, variables)
        security = container.security_context or views.ContainerSecurity()
        try:
            mounts = await asyncio.to_thread(self._mounts, order, parts)
            parent, above = await asyncio.to_thread(self._machine, container)
            held = oci_spec.capabilities(security, above)
            confined = await asyncio.to_thread(self._confine, pod, container, held)
            granted = await asyncio.to_thread(self._granted, order, units)
            user = _with_groups_of(user, granted)
            spec = oci_spec.build(
                expanded,
                oci_spec.Image(config.entrypoint, config.cmd, config.env, config.working_dir),
                variables,
                user,
                self._surroundings(order, tier, group, mounts, parent.oom_floor, confined, granted),
                above,
            )
        except volumes.SubPathError as error:
            raise CreateError("CreateContainerConfigError", str(error)) from error
        except (
            oci_spec.SpecError,
            pod_files.HostnameError,
            devices.DeviceError,
            profiles.ProfileError,
            volumes.VolumeError,
            OSError,
        ) as error:
            raise CreateError("CreateContainerError", str(error)) from error
        return spec, user

    def _files(self, pod: views.Pod, container: views.Container) -> env.Files:
        """What its environment needs of the files of volumes. Raises ConfigError. Blocks."""
        found: dict[tuple[str, str], str | None] = {}
        volumes = {volume["name"]: volume for volume in pod.spec.volumes}
        for var in container.env:
            ref = (var.value_from or {}).get("fileKeyRef")
            if not ref:
                continue
            name, path = ref.get("volumeName", ""), ref.get("path", "")
            volume = volumes.get(name)
            if volume is None or volume.get("emptyDir") is None:
                raise env.ConfigError(f'"{name}" is not an emptyDir volume of the pod')
            try:
                root = self._volumes.path(pod, volume)
                found[name, path] = env_files.read(root, path)
            except OSError as error:
                raise env.ConfigError(
                    f'cannot read "{path}" in volume "{name}": {error}'
                ) from error
        return lambda volume, path: found.get((volume, path))

    def _machine(self, container: views.Container) -> tuple[machine.Parent, oci_spec.Machine]:
        security = container.security_context
        parent = machine.parent(self._containerd_socket)
        privileged = security is not None and security.privileged
        return parent, machine.oci_machine(self._facts, parent, with_devices=privileged)

    def _confine(
        self, pod: views.Pod, container: views.Container, held: list[str]
    ) -> tuple[kinds.Object | None, str]:
        """The filter of system calls, and the AppArmor profile. Raises ProfileError. Blocks."""
        calls = self._seccomp.filter(pod, container, held)
        return calls, self.app_armor.profile(pod, container)

    def _surroundings(
        self,
        order: Order,
        tier: str,
        group: str,
        mounts: list[oci_spec.Mount],
        oom_floor: int,
        confined: tuple[kinds.Object | None, str],
        granted: tuple[oci_spec.Device, ...],
    ) -> oci_spec.Surroundings:
        spec, uid = order.pod.spec, order.pod.metadata.uid
        settings, folder = self._settings, self._sandboxes.path(uid)
        score = qos.oom_score_adj(
            order.container, tier, self._facts.memory_bytes, qos.memory_share(order.pod.spec)
        )
        return oci_spec.Surroundings(
            pod_uid=uid,
            hostname=pod_files.nodename(order.pod, settings.node_name, settings.cluster_domain),
            cgroups_path=group,
            network="" if spec.host_network else str(settings.run_dir / "netns" / uid),
            ipc="" if spec.host_ipc else str(folder / "ipc"),
            pid=_pid_namespace(order, folder),
            host_network=spec.host_network,
            host_pid=spec.host_pid,
            host_ipc=spec.host_ipc,
            mounts=tuple(mounts),
            oom_score_adj=max(score, oom_floor),
            seccomp=confined[0],
            apparmor=confined[1],
            devices=granted,
        )

    def _granted(self, order: Order, units: devices.Given) -> tuple[oci_spec.Device, ...]:
        mounted = devices.of_host_paths(order.pod, order.container)
        return (*self._devices.nodes(units), *mounted)

    def _mounts(self, order: Order, parts: Mapping[int, str]) -> list[oci_spec.Mount]:
        pod, uid = order.pod, order.pod.metadata.uid
        folder = self._sandboxes.path(uid)
        shm = _SHM if pod.spec.host_ipc else str(folder / "shm")
        found = [
            oci_spec.Mount(shm, _SHM),
            oci_spec.Mount(str(folder / "resolv.conf"), "/etc/resolv.conf"),
            oci_spec.Mount(str(folder / "hostname"), "/etc/hostname"),
            oci_spec.Mount(str(folder / "hosts"), "/etc/hosts"),
        ]
        message = self._message_path(uid, order.container.name, order.attempt)
        message.parent.mkdir(parents=True, exist_ok=True)
        message.write_bytes(b"")
        message.chmod(0o666)
        found.append(oci_spec.Mount(str(message), order.container.termination_message_path))
        return found + self._volumes.mounts(pod, order.container, parts)

    def _message_path(self, uid: str, name: str, attempt: int) -> pathlib.Path:
        return self._settings.pods_dir / uid / "containers" / name / str(attempt)

    def _birth(
        self,
        order: Order,
        group: str,
        created_at: float,
        user: oci_spec.User,
        units: devices.Given,
    ) -> container_labels.Birth:
        meta = order.pod.metadata
        return container_labels.Birth(
            pod_uid=meta.uid,
            pod_name=meta.name,
            pod_namespace=meta.namespace,
            name=order.container.name,
            kind=order.kind,
            attempt=order.attempt,
            spec_hash=pod_plan.spec_hash(order.container),
            sandbox=order.sandbox,
            boot=self._facts.boot_id,
            image=order.image.ref,
            image_id=_image_id(order.image),
            crashes=order.crashes,
            accepted_at=order.accepted_at,
            created_at=created_at,
            stop_signal=_stop_signal(order),
            cgroup=group,
            last=order.last,
            user=(user.uid, user.gid, user.groups),
            devices=units,
            device_nodes=self._devices.identity(units) or "",
        )

    def _services(self, pod: views.Pod) -> list[views.Service]:
        found = []
        own = pod.metadata.namespace
        for namespace in dict.fromkeys(("default", own)):
            for stored in self._objects.list(kinds.SERVICE.resource, namespace).items:
                is_api = namespace == "default" and stored.name == "kubernetes"
                if is_api or (namespace == own and pod.spec.enable_service_links):
                    found.append(stored.view(views.Service))
        return found


def _with_groups_of(user: oci_spec.User, granted: tuple[oci_spec.Device, ...]) -> oci_spec.User:
    """A device that its group may use is no use to a user outside that group."""
    groups = {d.gid for d in granted if d.path and d.gid and d.mode & stat.S_IRWXG}
    more = sorted(groups - {user.gid, *user.groups})
    return structs.replace(user, groups=(*user.groups, *more))


def _pid_namespace(order: Order, sandbox: pathlib.Path) -> str:
    """The pod's, if its containers share one; else that of the container to be debugged."""
    if order.pod.spec.share_process_namespace:
        return str(sandbox / "pid")
    return f"/proc/{order.target_pid}/ns/pid" if order.target_pid else ""


def _stop_signal(order: Order) -> str:
    hooks = order.container.lifecycle
    own = hooks.stop_signal if hooks is not None else ""
    return own or order.image.config.stop_signal


def _image_id(image: images.Ready) -> str:
    name = image.ref.partition("@")[0]
    head, colon, tag = name.rpartition(":")
    repository = head if colon and "/" not in tag else name
    return f"{repository}@{image.digest}"


def _expanded(container: views.Container, scope: dict[str, str]) -> views.Container:
    """The container with `$(VAR)` in its command line replaced."""
    import msgspec.structs  # the views are msgspec's

    return msgspec.structs.replace(
        container,
        command=[env.expand(word, scope) for word in container.command],
        args=[env.expand(word, scope) for word in container.args],
    )

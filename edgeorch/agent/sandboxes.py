"""What the containers of a pod share: network, IPC namespace, shared memory, files, cgroup.

There is no pause container: namespaces are held by bind mounts, but for the PID namespace of pods
that share their processes, which needs one (pause.py). Everything of a sandbox lies in
`<run_dir>/pods/UID` on tmpfs and so dies with the boot, together with what the network holds. The
file `sandbox` is written last: where it is, the sandbox is whole, also for the next process.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pathlib
from typing import TYPE_CHECKING

from edgeorch.agent import linux, machine, pause
from edgeorch.agent.volumes import removal
from edgeorch.core import cgroups, pod_bandwidth, pod_files, qos, sysctls
from edgeorch.core.observed import Sandbox
from edgeorch.lib import json

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeorch.agent import ports
    from edgeorch.agent.settings import Settings
    from edgeorch.model import views

log = logging.getLogger(__name__)

_SHM_SIZE = 64 * 1024 * 1024
_RESOLV_CONF = (
    pathlib.Path("/run/systemd/resolve/resolv.conf"),  # what the stub on 127.0.0.53 really asks
    pathlib.Path("/etc/resolv.conf"),
)


class Sandboxes:
    def __init__(
        self,
        network: ports.Network,
        settings: Settings,
        groups: machine.Cgroups,
        pauses: pause.Pauses,
    ) -> None:
        self._network = network
        self._settings = settings
        self._groups = groups
        self._pauses = pauses

    def path(self, uid: str) -> pathlib.Path:
        return self._settings.sandboxes_dir / uid

    def prepare(self) -> None:
        """Make the directory of all sandboxes a tmpfs that other mount namespaces follow."""
        folder = self._settings.sandboxes_dir
        folder.mkdir(parents=True, exist_ok=True)
        if folder not in linux.mount_points(folder):
            linux.mount_tmpfs(folder, "size=25%")
        # Secrets and tokens lie below, in files that any user of a container may read.
        folder.chmod(0o700)
        linux.share(folder)
        self._prepare_groups()

    def _prepare_groups(self) -> None:
        """All pods together hold at what is allocatable; best effort comes after everything."""
        root = self._settings.cgroup_root
        try:
            self._groups.make(cgroups.pods_path(root), self._groups.of_all(self._settings.reserved))
            least = cgroups.Limits(cgroups.MIN_SHARES, None, None)
            self._groups.make(cgroups.tier_path(root, qos.BEST_EFFORT), least)
        except OSError as error:  # they use more by now than they may
            log.warning("Cannot bound the pods together: %s", error)

    def find(self, uid: str) -> Sandbox | None:
        """The sandbox that an earlier process left, if it is whole."""
        try:
            found = json.decode((self.path(uid) / "sandbox").read_bytes())
        except (OSError, json.DecodeError):
            return None
        network = self._network.sandboxes().get(uid)
        if network is None and not found.get("host"):
            return None
        first = found.get("first_process")
        if first and not self._pauses.stands(self.path(uid), first):
            return None
        return Sandbox(found["token"], network.ip if network else "", first or 0)

    def stands(self, uid: str, sandbox: Sandbox) -> bool:
        """Whether it is still there; only its first process, if it has one, can go by itself."""
        first = sandbox.first_process
        return not first or self._pauses.stands(self.path(uid), first)

    def uids(self) -> set[str]:
        """Pods of which something is there, in these files or in the network."""
        with contextlib.suppress(FileNotFoundError):
            here = {entry.name for entry in self._settings.sandboxes_dir.iterdir()}
            return here | self._network.sandboxes().keys()
        return set(self._network.sandboxes())

    async def ensure(self, pod: views.Pod, token: str) -> Sandbox:
        """Raises OSError, NetworkError."""
        meta = pod.metadata
        if not pod.spec.host_users:
            told = "can't set `spec.hostUsers: false`, runtime does not support user namespaces"
            raise OSError(told)
        bandwidth = _bandwidth(pod)
        files = asyncio.to_thread(self._make_files, pod)
        ip = ""
        if pod.spec.host_network:
            await files
        else:
            async with asyncio.TaskGroup() as together:
                together.create_task(files)
                attached = together.create_task(
                    self._network.attach(meta.uid, f"{meta.namespace}/{meta.name}", bandwidth)
                )
            ip = attached.result().ip
        first = await asyncio.to_thread(self._complete, pod, ip, token)
        return Sandbox(token, ip, first)

    def renew(self, uid: str, before: Sandbox, token: str) -> Sandbox:
        """The same sandbox in another round. Raises OSError. Blocks."""
        record = self.path(uid) / "sandbox"
        found = json.decode(record.read_bytes())
        aside = record.with_name(".sandbox")
        aside.write_bytes(json.encode({**found, "token": token}))
        aside.rename(record)
        return Sandbox(token, before.ip)

    async def tear_down(self, pod: views.Pod) -> None:
        """Whatever there is of it. Repeatable. Raises OSError, NetworkError."""
        uid = pod.metadata.uid
        with contextlib.suppress(FileNotFoundError):
            await asyncio.to_thread((self.path(uid) / "sandbox").unlink)
        await self._network.detach(uid)
        await asyncio.to_thread(self._remove, uid)

    async def sweep_groups(
        self, pods: Callable[[], set[str]], ended: Callable[[str], bool]
    ) -> None:
        """Remove cgroups of pods that are not among these, and of containers that have `ended`.

        A start that a death broke off may have made them after their pod had gone, and what ends
        the container of a dead shim may forget one. Raises OSError.
        """
        there = await asyncio.to_thread(self._groups.pods, self._settings.cgroup_root)
        for uid, groups in there.items():
            if uid not in pods():
                await asyncio.to_thread(self._remove_groups, uid)
                continue
            for path in groups:
                if ended(pathlib.PurePath(path).name):
                    await asyncio.to_thread(self._groups.remove, path)

    def _make_files(self, pod: views.Pod) -> None:
        folder = self.path(pod.metadata.uid)
        folder.mkdir(mode=0o755, exist_ok=True)
        if not pod.spec.host_ipc:
            shm = folder / "shm"
            shm.mkdir(exist_ok=True)
            while linux.unmount(shm):
                pass
            linux.mount_tmpfs(
                shm,
                f"mode=1777,size={_SHM_SIZE}",
                linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC,
            )
            linux.pin_ipc(folder / "ipc")
        try:
            name = pod_files.nodename(pod, self._settings.node_name, self._settings.cluster_domain)
        except pod_files.HostnameError as error:
            raise OSError(str(error)) from error
        (folder / "hostname").write_text(f"{name}\n")
        (folder / "resolv.conf").write_text(pod_files.resolv_conf(self._resolver(pod)))
        limits = cgroups.pod_limits(pod.spec, self._settings.pids_limit)
        self._groups.make(self._cgroup(pod), limits)
        self._groups.balance(cgroups.tier_path(self._settings.cgroup_root, qos.BURSTABLE))

    async def dns_limits(self, pod: views.Pod) -> list[str]:
        """What of the pod's own DNS settings had to be left out, as events say it."""
        if pod.spec.dns_config is None:
            return []
        return pod_files.limited(await asyncio.to_thread(self._resolver, pod))[1]

    def _resolver(self, pod: views.Pod) -> pod_files.Resolver:
        host = pod_files.Resolver()
        for path in _RESOLV_CONF:
            with contextlib.suppress(OSError):
                host = pod_files.parse_resolv_conf(path.read_text(errors="replace"))
                break
        settings = self._settings
        return pod_files.resolver(pod, host, settings.dns_address, settings.cluster_domain)

    def _complete(self, pod: views.Pod, ip: str, token: str) -> int:
        """The pid of the sandbox's first process, 0 without one."""
        folder = self.path(pod.metadata.uid)
        of_host = ""
        if pod.spec.host_network:
            with contextlib.suppress(OSError):
                of_host = pathlib.Path("/etc/hosts").read_text(errors="replace")
        text = pod_files.hosts(pod, ip, self._settings.cluster_domain, of_host)
        (folder / "hosts").write_text(text)
        self._set_sysctls(pod)
        found = {"token": token, "host": pod.spec.host_network}
        first = 0
        if pod.spec.share_process_namespace:
            first = found["first_process"] = self._pauses.start(pod.metadata.uid, folder)
            self._groups.put(self._cgroup(pod), "pause", first)
        record = folder / ".sandbox"
        record.write_bytes(json.encode(found))
        record.rename(folder / "sandbox")
        return first

    def _set_sysctls(self, pod: views.Pod) -> None:
        security = pod.spec.security_context
        if security is None or not security.sysctls:
            return
        uid, spaces = pod.metadata.uid, []
        if not pod.spec.host_network:
            spaces.append(self._settings.run_dir / "netns" / uid)
        if not pod.spec.host_ipc:
            spaces.append(self.path(uid) / "ipc")
        values = {sysctls.path(each.name): each.value for each in security.sysctls}
        linux.write_sysctls(values, spaces)

    def _cgroup(self, pod: views.Pod) -> str:
        tier = qos.qos_class(pod.spec)
        return cgroups.pod_path(self._settings.cgroup_root, tier, pod.metadata.uid)

    def _remove(self, uid: str) -> None:
        folder = self.path(uid)
        self._pauses.end(uid, folder)
        removal.remove_with_mounts(folder)
        self._remove_groups(uid)

    def _remove_groups(self, uid: str) -> None:
        for tier in qos.TIERS:
            self._groups.remove(cgroups.pod_path(self._settings.cgroup_root, tier, uid))
        self._groups.balance(cgroups.tier_path(self._settings.cgroup_root, qos.BURSTABLE))


def _bandwidth(pod: views.Pod) -> pod_bandwidth.Bandwidth:
    try:
        return pod_bandwidth.limits(pod.metadata.annotations or {})
    except ValueError as error:
        raise OSError(str(error)) from error

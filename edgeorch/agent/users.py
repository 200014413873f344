"""Whom a container runs as: the pod's and the image's wish, looked up in the image's own files.

Order as containerd's CRI plugin: runAsUser, then the image's USER; the primary group from
runAsGroup, the image, or /etc/passwd; further groups from /etc/group, supplementalGroups, fsGroup.
Names are looked up inside the image, never on the device.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from edgeorch.core import oci_spec
from edgeorch.model import views

if TYPE_CHECKING:
    from edgeorch.agent import ports

_PASSWD, _GROUP = "/etc/passwd", "/etc/group"
_CACHED = 32


class UserError(Exception):
    """The user cannot be found or must not be used; `config` tells a wish that cannot be met."""


class Accounts(Struct, frozen=True):
    """The accounts of an image."""

    users: dict[str, tuple[int, int]]
    groups: dict[str, tuple[int, tuple[str, ...]]]

    def name_of(self, uid: int) -> str:
        return next((name for name, (known, _) in self.users.items() if known == uid), "")


class Users:
    def __init__(self, files: ports.RootFiles) -> None:
        self._files = files
        self._cache: dict[str, Accounts] = {}

    def forget(self) -> None:
        self._cache.clear()

    async def accounts(self, chain_id: str) -> Accounts:
        """Raises ContainerdError."""
        found = self._cache.get(chain_id)
        if found is None:
            read = await self._files.read(chain_id, (_PASSWD, _GROUP))
            found = parse(read.get(_PASSWD, b""), read.get(_GROUP, b""))
            if len(self._cache) >= _CACHED:
                self._cache.pop(next(iter(self._cache)))
            self._cache[chain_id] = found
        return found


def parse(passwd: bytes, group: bytes) -> Accounts:
    users: dict[str, tuple[int, int]] = {}
    for line in passwd.decode("utf-8", "replace").splitlines():
        fields = line.split(":")
        if len(fields) >= 4 and fields[2].isdigit() and fields[3].isdigit():
            users.setdefault(fields[0], (int(fields[2]), int(fields[3])))
    groups: dict[str, tuple[int, tuple[str, ...]]] = {}
    for line in group.decode("utf-8", "replace").splitlines():
        fields = line.split(":")
        if len(fields) >= 4 and fields[2].isdigit():
            members = tuple(name for name in fields[3].split(",") if name)
            groups.setdefault(fields[0], (int(fields[2]), members))
    return Accounts(users, groups)


def resolve(
    pod: views.Pod, container: views.Container, image_user: str, accounts: Accounts
) -> oci_spec.User:
    """Raises UserError."""
    pod_security = pod.spec.security_context or views.PodSecurity()
    own = container.security_context or views.ContainerSecurity()
    wished_user = _first(own.run_as_user, pod_security.run_as_user)
    wished_group = _first(own.run_as_group, pod_security.run_as_group)
    if wished_user is not None:
        image_user = str(wished_user)
    name, _, group = image_user.partition(":")
    uid, gid = _user(name, accounts)
    if group:
        gid = _group(group, accounts)
    if wished_group is not None:
        gid = wished_group
    if _never_root(pod_security, own):
        _refuse_root(pod, container, wished_user, name, uid)
    groups = {gid}
    if pod_security.supplemental_groups_policy != "Strict":
        # KEP-3619: Strict is for whoever must not trust what the image says of its groups.
        login = name if name in accounts.users else accounts.name_of(uid)
        members = accounts.groups.values()
        groups |= {number for number, names in members if login and login in names}
    groups |= set(pod_security.supplemental_groups)
    if pod_security.fs_group is not None:
        groups.add(pod_security.fs_group)
    return oci_spec.User(uid, gid, tuple(sorted(groups)))


def _first(*values: int | None) -> int | None:
    return next((value for value in values if value is not None), None)


def _user(name: str, accounts: Accounts) -> tuple[int, int]:
    if not name:
        return 0, 0
    if name in accounts.users:
        return accounts.users[name]
    if not name.isdigit():
        raise UserError(f"unable to find user {name}: no matching entries in passwd file")
    uid = int(name)
    return uid, next((gid for known, gid in accounts.users.values() if known == uid), 0)


def _group(name: str, accounts: Accounts) -> int:
    if name in accounts.groups:
        return accounts.groups[name][0]
    if not name.isdigit():
        raise UserError(f"unable to find group {name}: no matching entries in group file")
    return int(name)


def _never_root(of_pod: views.PodSecurity, own: views.ContainerSecurity) -> bool:
    """The container's word comes before the pod's."""
    never = own.run_as_non_root
    return bool(of_pod.run_as_non_root if never is None else never)


def _refuse_root(
    pod: views.Pod, container: views.Container, wished_user: int | None, name: str, uid: int
) -> None:
    meta = pod.metadata
    where = f'(pod: "{meta.name}_{meta.namespace}({meta.uid})", container: {container.name})'
    if wished_user == 0:
        raise UserError(f"container's runAsUser breaks non-root policy {where}")
    if wished_user is None and name and not name.isdigit():
        raise UserError(
            f"container has runAsNonRoot and image has non-numeric user ({name}), cannot verify "
            f"user is non-root {where}"
        )
    if uid == 0:
        raise UserError(f"container has runAsNonRoot and image will run as root {where}")

"""The door to everything: may this user do this? And may they give this right to others?

The rules are core.rbac's, the roles that are always there core.roles'. What a user may do is
gathered once and kept until a role or a binding changes.
Source: apiserver pkg/endpoints/handlers/responsewriters/errors.go (the words),
pkg/registry/rbac (who may grant what)
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, TypeVar

from msgspec import structs

from edgeorch.api import paths, statuses
from edgeorch.core import rbac, roles
from edgeorch.lib import json
from edgeorch.model import access, errors, kinds, selectors, views

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edgeorch.api import auth
    from edgeorch.api.call import Call
    from edgeorch.model.kinds import Object
    from edgeorch.store.objects import Objects
    from edgeorch.store.stored import Stored

V = TypeVar("V", bound=views.View)

_ROLES = (kinds.ROLE, kinds.CLUSTER_ROLE)
_BINDINGS = (kinds.ROLE_BINDING, kinds.CLUSTER_ROLE_BINDING)
_WATCHED = tuple(kind.resource for kind in (*_ROLES, *_BINDINGS))
_MAX_USERS = 256


class Authorizer:
    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._at: tuple[int, ...] = ()
        self._grants = rbac.Grants(roles.BUILT_IN, roles.STANDING)
        self._known: OrderedDict[tuple[str, tuple[str, ...]], rbac.Permissions] = OrderedDict()

    def permissions(self, user: auth.User) -> rbac.Permissions:
        self._refresh()
        key = user.name, user.groups
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._grants.of(*key)
            if len(self._known) > _MAX_USERS:
                self._known.popitem(last=False)
        return found

    def allowed(self, user: auth.User, asked: rbac.Asked) -> bool:
        return self.permissions(user).allow(asked)

    def authorize(self, user: auth.User, asked: rbac.Asked) -> None:
        """Raises StatusError (403)."""
        if not self.permissions(user).allow(asked):
            raise refusal(user, asked)

    def _refresh(self) -> None:
        at = tuple(map(self._objects.changed_at, _WATCHED))
        if at == self._at:
            return
        self._at = at
        self._known.clear()
        self._grants = rbac.Grants(
            roles.BUILT_IN,
            roles.STANDING,
            {
                role.metadata.name: role
                for role in self._all(kinds.CLUSTER_ROLE.resource, access.ClusterRole)
            },
            {
                (role.metadata.namespace, role.metadata.name): role
                for role in self._all(kinds.ROLE.resource, access.Role)
            },
            [*self._all(kinds.CLUSTER_ROLE_BINDING.resource, access.Binding)],
            [*self._all(kinds.ROLE_BINDING.resource, access.Binding)],
        )

    def _all(self, resource: str, view: type[V]) -> Iterable[V]:
        """What cannot be read grants nothing."""
        for stored in self._objects.list(resource).items:
            if (found := _read(stored, view)) is not None:
                yield found

    # --- a request ------------------------------------------------------------------------------

    def admit(self, call: Call) -> None:
        """Every request passes here. Raises StatusError (403)."""
        asked = asks(call)
        self.authorize(call.user, asked)
        if asked.subresource in paths.STREAMS and asked.verb == "get":
            # A WebSocket begins with GET, but a stream is more than reading.
            self.authorize(call.user, _as(asked, "create"))

    def check_creation(self, call: Call) -> None:
        """A PUT or an apply that makes the object needs the right to. Raises StatusError (403)."""
        self.authorize(call.user, _as(asks(call), "create"))

    def check_grant(self, call: Call, kind: kinds.Kind, new: Object, old: Object | None) -> None:
        """Nobody gives others more than they have themselves, unless they may `escalate` or
        `bind`. Raises StatusError (403, 404)."""
        if kind in _ROLES:
            self._check_role(call, kind, new, old or {})
        elif kind in _BINDINGS:
            self._check_binding(call, kind, new, old or {})

    def _check_role(self, call: Call, kind: kinds.Kind, new: Object, old: Object) -> None:
        fields = ("rules", "aggregationRule")
        if all((new.get(field) or None) == (old.get(field) or None) for field in fields):
            return
        namespace, name = _key(new)
        asked = rbac.Asked("escalate", kind.group, kind.plural, namespace=namespace, name=name)
        if self.allowed(call.user, asked):
            return
        wanted = rbac.rules_of(
            json.convert({"metadata": {}, "rules": new.get("rules") or []}, access.Role)
        )
        if new.get("aggregationRule"):
            # What it will take in is not known yet: only who may do everything may ask for it.
            wanted = (*wanted, *roles.EVERYTHING)
        self._refuse_beyond(call.user, kind, namespace, name, wanted)

    def _check_binding(self, call: Call, kind: kinds.Kind, new: Object, old: Object) -> None:
        if (new.get("subjects") or [], new.get("roleRef")) == (
            old.get("subjects") or [],
            old.get("roleRef"),
        ):
            return
        namespace, name = _key(new)
        ref = new.get("roleRef") or {}
        of = kinds.CLUSTER_ROLE if ref.get("kind") == kinds.CLUSTER_ROLE.kind else kinds.ROLE
        asked = rbac.Asked(
            "bind", of.group, of.plural, namespace=namespace, name=ref.get("name") or ""
        )
        if self.allowed(call.user, asked):
            return
        self._refresh()
        wanted = self._grants.referred(of.kind, namespace, asked.name)
        if wanted is None:
            raise errors.not_found(of.resource, asked.name)
        self._refuse_beyond(call.user, kind, namespace, name, wanted)

    def _refuse_beyond(
        self,
        user: auth.User,
        kind: kinds.Kind,
        namespace: str,
        name: str,
        wanted: Sequence[rbac.Rule],
    ) -> None:
        held = self.permissions(user).rules(namespace)
        missing = rbac.beyond(held, wanted)
        if missing:
            groups = " ".join(f'"{group}"' for group in user.groups)
            told = "\n".join(dict.fromkeys(map(_shown, missing)))
            raise errors.forbidden(
                kind.resource,
                name,
                f'user "{user.name}" (groups=[{groups}]) is attempting to grant RBAC permissions '
                f"not currently held:\n{told}",
            )


def asks(call: Call) -> rbac.Asked:
    """What a request wants, in the words of authorization.

    A Namespace lies in itself; a list that is narrowed to one name asks for that name.
    """
    target = call.target
    if target is None:
        verb = "get" if call.verb == "head" else call.verb
        return rbac.Asked(verb, path=call.path)
    kind, name, namespace = target.kind, target.name, target.namespace or ""
    if not name and call.verb in ("list", "watch", "deletecollection"):
        name = _selected(call.query.get("fieldSelector", ""))
    if kind is kinds.NAMESPACE:
        namespace = target.name
    return rbac.Asked(call.verb, kind.group, kind.plural, target.subresource, namespace, name)


def refusal(user: auth.User, asked: rbac.Asked) -> errors.StatusError:
    """In the API server's words."""
    who = f'User "{user.name}" cannot {asked.verb}'
    if asked.path:
        return statuses.forbidden_path(f'{who} path "{asked.path}"')
    where = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
    what = f'{who} resource "{asked.combined}" in API group "{asked.group}" {where}'
    resource = f"{asked.resource}.{asked.group}" if asked.group else asked.resource
    return errors.forbidden(resource, asked.name, what)


def _as(asked: rbac.Asked, verb: str) -> rbac.Asked:
    return structs.replace(asked, verb=verb)


def _selected(selector: str) -> str:
    """The one name that a field selector leaves. Read as the list itself reads it: what is not
    understood, and so refused later, leaves none."""
    if not selector:
        return ""
    try:
        terms = selectors.parse_fields(selector)
    except errors.StatusError:
        return ""
    return next((value for name, equal, value in terms if equal and name == "metadata.name"), "")


def _shown(rule: rbac.Rule) -> str:
    told = [
        f"{name}:[{', '.join(_quoted(value) for value in values)}]"
        for name, values in (
            ("NonResourceURLs", rule.paths), ("APIGroups", rule.groups),
            ("Resources", rule.resources), ("ResourceNames", rule.names), ("Verbs", rule.verbs),
        )
        if values
    ]  # fmt: skip
    return f"{{{', '.join(told)}}}"


def _quoted(text: str) -> str:
    return f'"{text}"'


def _key(obj: Object) -> tuple[str, str]:
    meta = obj.get("metadata") or {}
    return meta.get("namespace") or "", meta.get("name") or ""


def _read(stored: Stored, view: type[V]) -> V | None:
    try:
        return stored.view(view)
    except ValueError:
        return None

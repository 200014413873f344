"""Acting as somebody else (`kubectl --as`), for whoever holds the verb `impersonate`.

Source: apiserver pkg/endpoints/filters/impersonation.go
"""

from __future__ import annotations

import urllib.parse
from typing import TYPE_CHECKING

from edgeorch.api import auth
from edgeorch.core import rbac, roles
from edgeorch.model import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeorch.api import authorization
    from edgeorch.api.call import Call

_PREFIX = "impersonate-"
_USER, _GROUP, _UID, _EXTRA = "Impersonate-User", "Impersonate-Group", "Impersonate-Uid", "extra-"
_REVIEWS = "authentication.k8s.io"


def is_asked(call: Call) -> bool:
    return any(name[: len(_PREFIX)].lower() == _PREFIX for name in call.request.headers)


def user(call: Call, authorizer: authorization.Authorizer) -> auth.User:
    """Who the request is to be judged as. Raises StatusError (400, 403)."""
    headers = call.request.headers
    name = headers.get(_USER, "")
    groups, uid = tuple(headers.getall(_GROUP, ())), headers.get(_UID, "")
    extra = tuple(_extra(call))
    if not name:
        raise errors.bad_request(f"{_USER} must name whom the request is to be judged as")
    account = rbac.account_of(name)
    if account is not None:
        asked = [rbac.Asked("impersonate", "", "serviceaccounts", "", *account)]
    else:
        asked = [rbac.Asked("impersonate", "", "users", name=name)]
    asked += [rbac.Asked("impersonate", "", "groups", name=group) for group in groups]
    if uid:
        asked.append(rbac.Asked("impersonate", _REVIEWS, "uids", name=uid))
    for key, values in extra:
        asked += [
            rbac.Asked("impersonate", _REVIEWS, "userextras", key, name=value) for value in values
        ]
    for each in asked:
        authorizer.authorize(call.user, each)
    if account is not None and not groups:
        groups = (rbac.ACCOUNTS, f"{rbac.ACCOUNTS}:{account[0]}")
    return auth.User(name, _completed(name, groups), uid, extra)


def _completed(name: str, groups: tuple[str, ...]) -> tuple[str, ...]:
    if name == auth.ANONYMOUS.name:
        return groups or (roles.UNAUTHENTICATED,)
    return groups if roles.AUTHENTICATED in groups else (*groups, roles.AUTHENTICATED)


def _extra(call: Call) -> Iterator[tuple[str, tuple[str, ...]]]:
    headers = call.request.headers
    found: dict[str, list[str]] = {}
    for name, value in headers.items():
        key = name.lower().removeprefix(_PREFIX)
        if name.lower().startswith(_PREFIX) and key.startswith(_EXTRA):
            found.setdefault(urllib.parse.unquote(key.removeprefix(_EXTRA)), []).append(value)
    for key, values in found.items():
        yield key, tuple(values)

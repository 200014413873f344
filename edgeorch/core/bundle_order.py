"""In which order a bundle's objects are applied, and in reverse taken away.

What others need comes first: the order is helm's (helm.sh pkg/release/v1/util/kind_sorter.go).
"""

from __future__ import annotations

from collections.abc import Iterable

from edgeorch.core import bundle_conflicts
from edgeorch.model import kinds
from edgeorch.model.bundles import Item
from edgeorch.model.kinds import Kind

_ORDER = (
    kinds.PRIORITY_CLASS, kinds.NAMESPACE, kinds.NETWORK_POLICY, kinds.RESOURCE_QUOTA,
    kinds.LIMIT_RANGE, kinds.POD_DISRUPTION_BUDGET, kinds.SERVICE_ACCOUNT, kinds.SECRET,
    kinds.CONFIG_MAP, kinds.STORAGE_CLASS, kinds.PERSISTENT_VOLUME, kinds.PERSISTENT_VOLUME_CLAIM,
    kinds.RUNTIME_CLASS, kinds.CLUSTER_ROLE, kinds.CLUSTER_ROLE_BINDING, kinds.ROLE,
    kinds.ROLE_BINDING, kinds.SERVICE, kinds.DAEMON_SET, kinds.POD, kinds.REPLICATION_CONTROLLER,
    kinds.REPLICA_SET, kinds.DEPLOYMENT, kinds.AUTOSCALER, kinds.STATEFUL_SET, kinds.JOB,
    kinds.CRON_JOB, kinds.INGRESS_CLASS, kinds.INGRESS,
)  # fmt: skip
_RANKS = {kind.resource: rank for rank, kind in enumerate(_ORDER)}


def rank(kind: Kind) -> int:
    return _RANKS.get(kind.resource, len(_RANKS))


def ordered(items: Iterable[Item]) -> list[Item]:
    """As they are to be applied; what ranks the same stays in the sender's order, but that what
    asks for something certain goes before what is given anything that is free."""
    return sorted(items, key=lambda item: (rank(item.kind), not bundle_conflicts.claims(item)))

"""How fast a pod may receive and send: the annotations of Kubernetes' bandwidth plugin.

kubernetes.io/ingress-bandwidth and egress-bandwidth, quantities in bits per second; pkg/util/
bandwidth has the bounds.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from edgeorch.lib import quantity

_LEAST, _MOST = 1_000, 10**15


class Bandwidth(Struct, frozen=True):
    """Bits per second; 0: as fast as it goes."""

    ingress: int = 0
    egress: int = 0


UNLIMITED = Bandwidth()


def limits(annotations: Mapping[str, str]) -> Bandwidth:
    """Raises ValueError."""
    return Bandwidth(_rate(annotations, "ingress"), _rate(annotations, "egress"))


def _rate(annotations: Mapping[str, str], direction: str) -> int:
    key = f"kubernetes.io/{direction}-bandwidth"
    text = annotations.get(key)
    if text is None:
        return 0
    try:
        rate = quantity.parse(text).nano // quantity.NANO
    except ValueError as error:
        raise ValueError(f"cannot use annotation {key}: {error}") from error
    if not _LEAST <= rate <= _MOST:
        raise ValueError(f"cannot use annotation {key}: {text} is not from 1k to 1P bits a second")
    return rate

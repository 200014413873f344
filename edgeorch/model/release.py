"""Which Kubernetes this is: what clients and tools compare themselves with."""

from __future__ import annotations

MAJOR, MINOR = "1", "37"


def git_version(own: str) -> str:
    """`own` is edgeorch's version; it stands where distributions put theirs."""
    return f"v{MAJOR}.{MINOR}.0+edgeorch-{own}"

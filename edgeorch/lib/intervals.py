"""Sets of small numbers as text: `1,3-5,7`, as a Job's status and policies write indexes."""

from __future__ import annotations

from collections.abc import Iterable


def parse(text: str) -> set[int]:
    """Raises ValueError on anything but ascending numbers and ranges."""
    found: set[int] = set()
    last = -1
    for part in text.split(",") if text else ():
        first, dash, end = part.partition("-")
        low = _number(first)
        high = _number(end) if dash else low
        if low <= last or high < low:
            raise ValueError(f"non-increasing order, previous: {last}, current: {low}")
        found.update(range(low, high + 1))
        last = high
    return found


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f'cannot convert string to integer for index: "{text}"')
    return int(text)


def render(numbers: Iterable[int]) -> str:
    parts: list[str] = []
    run: list[int] = []
    for number in sorted(set(numbers)):
        if run and number != run[-1] + 1:
            parts.append(_range(run))
            run = []
        run.append(number)
    if run:
        parts.append(_range(run))
    return ",".join(parts)


def _range(run: list[int]) -> str:
    """Two neighbours are told one by one, as Kubernetes does."""
    if len(run) == 1:
        return str(run[0])
    return f"{run[0]},{run[1]}" if len(run) == 2 else f"{run[0]}-{run[-1]}"

"""Reads Prometheus' text format as strictly as it is written down, to check what a device tells.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (text format 0.0.4). Raises
ValueError, which names the line, for whatever a scraper might stumble over.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

Labels = frozenset[tuple[str, str]]

_HEADER = re.compile(r"# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)")
_SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')
_ESCAPES = {r"\"": '"', r"\\": "\\", r"\n": "\n"}
_SUFFIXES = {"histogram": ("_bucket", "_sum", "_count")}


@dataclass
class Family:
    name: str
    help: str
    kind: str = ""
    samples: dict[tuple[str, Labels], float] = field(default_factory=dict)
    """By full name and labels."""


class Told(dict[str, Family]):
    """Families by name."""

    def value(self, sample: str, /, **labels: str) -> float:
        """The sum of what `sample` tells with these labels, perhaps among others."""
        wanted = set(labels.items())
        return sum(
            value
            for family in self.values()
            if sample.startswith(family.name)
            for (name, found), value in family.samples.items()
            if name == sample and wanted <= found
        )


def parse(text: str) -> Told:
    told = Told()
    family = Family("", "")
    if not text.endswith("\n"):
        raise ValueError("the last line does not end")
    for line in text.split("\n")[:-1]:
        if (header := _HEADER.fullmatch(line)) is not None:
            word, name, rest = header.groups()
            if word == "HELP":
                if name in told:
                    raise ValueError(f"told twice: {line}")
                family = told[name] = Family(name, rest)
            elif name != family.name or family.kind:
                raise ValueError(f"its HELP is not before it: {line}")
            else:
                family.kind = rest
        else:
            _add_sample(family, line)
    for each in told.values():
        _check(each)
    return told


def _add_sample(family: Family, line: str) -> None:
    sample = _SAMPLE.fullmatch(line)
    if sample is None:
        raise ValueError(f"no sample: {line}")
    name, pairs, value = sample.groups()
    if name not in [family.name + suffix for suffix in _SUFFIXES.get(family.kind, ("",))]:
        raise ValueError(f"not of the family {family.name} ({family.kind}): {line}")
    key = (name, _labels(pairs or "", line))
    if key in family.samples:
        raise ValueError(f"told twice: {line}")
    family.samples[key] = float(value)


def _labels(pairs: str, line: str) -> Labels:
    found: dict[str, str] = {}
    at = 0
    while at < len(pairs):
        match = _LABEL.match(pairs, at)
        if match is None or match[1] in found:
            raise ValueError(f"labels: {line}")
        found[match[1]] = re.sub(r'\\["\\n]', lambda escape: _ESCAPES[escape[0]], match[2])
        at = match.end()
    return frozenset(found.items())


def _check(family: Family) -> None:
    if family.kind not in ("counter", "gauge", "histogram"):
        raise ValueError(f"{family.name} is a {family.kind!r}")
    if family.kind == "histogram":
        _check_histogram(family)
        return
    values = family.samples.values()
    if family.kind == "counter" and not all(value >= 0 for value in values):
        raise ValueError(f"{family.name} is below 0")


def _check_histogram(family: Family) -> None:
    buckets: dict[Labels, dict[float, float]] = {}
    for (name, labels), value in family.samples.items():
        if name.endswith("_bucket"):
            bound = dict(labels)["le"]
            rest = frozenset(pair for pair in labels if pair[0] != "le")
            buckets.setdefault(rest, {})[float(bound)] = value
    ends = {labels for name, labels in family.samples if not name.endswith("_bucket")}
    if ends != buckets.keys():
        raise ValueError(f"{family.name}: buckets of {buckets.keys()}, sums of {ends}")
    for labels, found in buckets.items():
        bounds, counts = list(found), list(found.values())
        if bounds != sorted(bounds) or counts != sorted(counts) or bounds[-1] != math.inf:
            raise ValueError(f"{family.name}{set(labels)}: {found}")
        if family.samples[family.name + "_count", labels] != found[math.inf]:
            raise ValueError(f"{family.name}{set(labels)}: its count is not that of +Inf")

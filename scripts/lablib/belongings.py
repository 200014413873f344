"""What on a device is edgeorch's own, and what may be somebody else's: for scripts/uninstall.

Only what is known to be edgeorch's is ever deleted, and volumes that users filled are found from
whatever is left of an installation: its own answer, the record that it keeps in its data directory,
or the configuration's text, of which then every path counts as somebody's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

DATA = (
    "access", "clock", "hold", "image-index.json", "image-use.json", "images", "import",
    "layers-checked", "lock", "pods", "preload.json", "reserve", "running", "seccomp",
    "service-account.key", "state.db", "state.db-shm", "state.db-wal", "state.db.*", "tls",
    "tokens.csv", "tokens.csv.damaged",
)  # fmt: skip
"""What edgeorch makes in its data directory, as patterns."""
RUN = ("api.sock", "flash.json", "io", "netns", "pods", "sandboxes", "store", "sysctls.json")
LOGS = ("*_*_????????-????-????-????-????????????",)
"""NAMESPACE_NAME_UID: another kubelet of the machine makes such, too, and names it the same way."""
VOLUMES = ("pvc-????????-????-????-????-????????????_*",)
"""NAME_NAMESPACE_CLAIM: the directories of class local-path, in a place that others may use."""
RECORD = "volumes-root"
"""In the data directory: every path below which there have been volumes, one a line."""

_ENTRY = re.compile(r"^(?P<indent> *)(?P<key>[\w.-]+) *: *(?P<value>.*)$")
_FLOW = re.compile(r"(?P<key>[\w.-]+) *: *(?P<value>\"[^\"]*\"|'[^']*'|[^,{}\s]+)")
_PATH = re.compile(r"\"(/[^\"]*)\"|'(/[^']*)'|(?<![\w.:/-])(/[^\s\"',\]}#]*)")


def is_own(name: str, patterns: Collection[str]) -> bool:
    """Also what a write that was cut off has left: `.NAME.xxxxxxxx`."""
    return any(fnmatchcase(name, each) or fnmatchcase(name, f".{each}.*") for each in patterns)


def scalars(text: str) -> dict[str, str]:
    """The plain values of a configuration by their keys ("storage.path"), two levels deep.

    For when no YAML parser is there, or none takes the text: a line that is no entry is skipped.
    """
    found: dict[str, str] = {}
    section = ""
    for line in text.splitlines():
        entry = _ENTRY.match(line)
        if entry is None:
            continue
        key, value = entry["key"], entry["value"].strip()
        if not entry["indent"]:
            section = key
            for inner in _FLOW.finditer(value) if value.startswith("{") else ():
                found[f"{section}.{inner['key']}"] = _plain(inner["value"])
        name = f"{section}.{key}" if entry["indent"] else key
        if value and not value.startswith(("{", "[", "#", "|", ">", "&", "*")):
            found.setdefault(name, _plain(value))
    return found


def _plain(value: str) -> str:
    if value[:1] in ("'", '"'):
        return value[1:].partition(value[0])[0]
    return value.partition(" #")[0].strip()


def paths_in(text: str) -> set[str]:
    """Every absolute path that the text names, comments excepted."""
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    found = {match[1] or match[2] or match[3] for line in lines for match in _PATH.finditer(line)}
    return {path.rstrip("/") for path in found} - {""}


def record(data: Path) -> set[str]:
    """Where volumes have been, by the account of the device. Nothing where it has left none."""
    try:
        lines = (data / RECORD).read_text(errors="surrogateescape").splitlines()
    except OSError:
        return set()
    return {line.rstrip("/") for line in lines if line.startswith("/")}


def without(path: Path, spared: Collection[Path]) -> Iterator[Path]:
    """`path`, or where something below is spared all that surrounds it. Links are not followed."""
    real = path.parent.resolve() / path.name
    if any(real.is_relative_to(each) for each in spared):
        return
    if not any(each.is_relative_to(real) for each in spared) or real.is_symlink():
        yield path
        return
    for name in sorted(os.listdir(path)):
        yield from without(path / name, spared)

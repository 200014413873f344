"""The configuration file: /etc/edgeorch/config.yaml.

Every key has a default, so an empty file is a good one. A key that is not known is an error that
names it, so that a typing slip never passes for a setting. Parsing is pure; `load` reads the file.
"""

from __future__ import annotations

import pathlib
import re
from typing import Any

import msgspec

from edgeorch.config import checks
from edgeorch.config.errors import ConfigError
from edgeorch.config.sections import (
    Config,
    DeviceConfig,
    NetworkConfig,
    RegistryConfig,
    Section,
)

__all__ = [
    "DEFAULT_PATH",
    "Config",
    "ConfigError",
    "DeviceConfig",
    "NetworkConfig",
    "RegistryConfig",
    "Section",
    "load",
    "parse",
]

DEFAULT_PATH = pathlib.Path("/etc/edgeorch/config.yaml")


def load(path: pathlib.Path | None) -> Config:
    """The configuration at `path`; without one, the default file if it is there.

    Raises ConfigError.
    """
    chosen = path or DEFAULT_PATH
    try:
        text = chosen.read_text()
    except FileNotFoundError:
        if path is None:
            return parse("")
        raise ConfigError(f"cannot read {chosen}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {chosen}: {error}") from error
    try:
        return parse(text)
    except ConfigError as error:
        raise ConfigError(f"{chosen}: {error}") from error


def parse(text: str) -> Config:
    """Raises ConfigError."""
    import yaml  # 1 MB that most starts do not need for long

    try:
        document = yaml.safe_load(text)
        twice = _twice(yaml.compose(text, Loader=yaml.SafeLoader)) if document else ""
    except yaml.YAMLError as error:
        raise ConfigError(f"not valid YAML: {error}") from error
    except RecursionError:
        raise ConfigError("not valid YAML: it is nested too deep") from None
    if twice:
        raise ConfigError(f'"{twice}" is there twice: put what is below both under one')
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise ConfigError("the file must hold keys and values, like `log_level: info`")
    _convert_each("registries", document.get("registries"), RegistryConfig)
    _convert_each("devices", document.get("devices"), DeviceConfig)
    try:
        config = msgspec.convert(document, Config)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(str(error))) from error
    checks.check(config)
    return config


def _twice(node: Any, above: str = "") -> str:
    """The first key that a mapping of the file has twice, of which YAML would drop one; "" if none.
    Of what is below lists nothing is asked: no key has mappings there."""
    seen: set[str] = set()
    for key, value in node.value if node.id == "mapping" else ():
        place = f"{above}{key.value}"
        if place in seen:
            return place
        seen.add(place)
        if found := _twice(value, f"{place}."):
            return found
    return ""


def _convert_each(key: str, found: Any, section: type[Section]) -> None:
    """Each entry by itself, so that an error names it. Raises ConfigError."""
    for name, entry in found.items() if isinstance(found, dict) else ():
        place = f"{key}.{name}"
        try:
            msgspec.convert(entry, section)
        except msgspec.ValidationError as error:
            known = [f"{place}.{sub.name}" for sub in msgspec.structs.fields(section)]
            raise ConfigError(_explain(str(error), place, known)) from error


def _explain(message: str, above: str = "", known: list[str] | None = None) -> str:
    """msgspec's words with the key written as one would write it in the file."""
    text, _, place = message.partition(" - at `$")
    place = ".".join(filter(None, (above, place.rstrip("`").lstrip("."))))
    known = known or _known_keys()
    unknown = re.fullmatch(r"Object contains unknown field `(.*)`", text)
    if unknown is None:
        return f"{place}: {text[0].lower()}{text[1:]}" if place else text
    key = unknown.group(1)
    full = f"{place}.{key}" if place else key
    import difflib

    near = difflib.get_close_matches(full, known, n=1)
    hint = f' (did you mean "{near[0]}"?)' if near else f"; known keys: {', '.join(known)}"
    return f'unknown key "{full}"{hint}'


def _known_keys() -> list[str]:
    found = []
    for field in msgspec.structs.fields(Config):
        inner: Any = field.type
        if isinstance(inner, type) and issubclass(inner, Section):
            found += [f"{field.name}.{sub.name}" for sub in msgspec.structs.fields(inner)]
        else:
            found.append(field.name)
    return found

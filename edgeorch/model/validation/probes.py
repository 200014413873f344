"""Rules of probes and lifecycle hooks: exactly one handler, sane numbers."""

from __future__ import annotations

from typing import Any

from edgeorch.model import errors
from edgeorch.model.kinds import Object
from edgeorch.model.validation import formats
from edgeorch.model.validation.meta import Causes, invalid_each, non_negative

_SCHEMES = ("HTTP", "HTTPS")
_NUMBERS = (
    "initialDelaySeconds",
    "timeoutSeconds",
    "periodSeconds",
    "successThreshold",
    "failureThreshold",
)


_SIGNALS = (
    "SIGABRT", "SIGALRM", "SIGBUS", "SIGCHLD", "SIGCLD", "SIGCONT", "SIGFPE", "SIGHUP", "SIGILL",
    "SIGINT", "SIGIO", "SIGIOT", "SIGKILL", "SIGPIPE", "SIGPOLL", "SIGPROF", "SIGPWR", "SIGQUIT",
    "SIGRTMAX", "SIGRTMIN", "SIGSEGV", "SIGSTKFLT", "SIGSTOP", "SIGSYS", "SIGTERM", "SIGTRAP",
    "SIGTSTP", "SIGTTIN", "SIGTTOU", "SIGURG", "SIGUSR1", "SIGUSR2", "SIGVTALRM", "SIGWINCH",
    "SIGXCPU", "SIGXFSZ",
)  # fmt: skip
_RTMIN = tuple(f"SIGRTMIN+{offset}" for offset in range(1, 16))
_RTMAX = tuple(f"SIGRTMAX-{offset}" for offset in range(1, 15))
_LINUX_SIGNALS = tuple(sorted((*_SIGNALS, *_RTMIN, *_RTMAX)))
_WINDOWS_SIGNALS = ("SIGKILL", "SIGTERM")


def container_probes(
    path: str, container: Object, grace: int | None, system: str | None = None
) -> Causes:
    """Lifecycle hooks and the three probes of a container that may have them."""
    found: Causes = []
    if container.get("lifecycle") is not None:
        found += lifecycle(f"{path}.lifecycle", container["lifecycle"], grace, system)
    for field in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(field) is not None:
            found += _probe(f"{path}.{field}", field, container[field], grace)
    return found


def _probe(path: str, which: str, probe: Object, grace: int | None) -> Causes:
    found = _handler(path, probe, grace, ("exec", "httpGet", "tcpSocket", "grpc"))
    for field in _NUMBERS:
        found += non_negative(f"{path}.{field}", probe.get(field))
    own_grace = probe.get("terminationGracePeriodSeconds")
    own_path = f"{path}.terminationGracePeriodSeconds"
    if own_grace is not None and own_grace <= 0:
        found.append(errors.invalid_value(own_path, own_grace, "must be greater than 0"))
    if which == "readinessProbe":
        if own_grace is not None:
            why = "must not be set for readinessProbes"
            found.append(errors.invalid_value(own_path, own_grace, why))
    elif probe.get("successThreshold") != 1:
        threshold = probe.get("successThreshold") or 0
        found.append(errors.invalid_value(f"{path}.successThreshold", threshold, "must be 1"))
    return found


def lifecycle(path: str, hooks: Object, grace: int | None, system: str | None = None) -> Causes:
    """`system` is the pod's `spec.os.name`."""
    found: Causes = []
    for hook in ("postStart", "preStop"):
        if hooks.get(hook) is not None:
            kinds = ("exec", "httpGet", "tcpSocket", "sleep")
            found += _handler(f"{path}.{hook}", hooks[hook], grace, kinds)
    if hooks.get("stopSignal") is not None:
        found += _stop_signal(f"{path}.stopSignal", hooks["stopSignal"], system)
    return found


def _stop_signal(path: str, name: str, system: str | None) -> Causes:
    if not system:
        why = "may not be set for containers with empty `spec.os.name`"
        return [errors.forbidden_field(path, why)]
    known = _WINDOWS_SIGNALS if system == "windows" else _LINUX_SIGNALS
    return [] if name in known else [errors.not_supported(path, name, known)]


def _handler(path: str, handler: Object, grace: int | None, kinds: tuple[str, ...]) -> Causes:
    found: Causes = []
    chosen = False
    for kind in kinds:
        if handler.get(kind) is None:
            continue
        if chosen:
            why = "may not specify more than 1 handler type"
            found.append(errors.forbidden_field(f"{path}.{kind}", why))
        else:
            chosen = True
            found += _action(f"{path}.{kind}", kind, handler[kind], grace)
    if not chosen:
        found.append(errors.required(path, "must specify a handler type"))
    return found


def _action(path: str, kind: str, action: Object, grace: int | None) -> Causes:
    match kind:
        case "exec":
            return [] if action.get("command") else [errors.required(f"{path}.command")]
        case "httpGet":
            return _http_get(path, action)
        case "sleep":
            return _sleep(path, action.get("seconds") or 0, grace)
        case _:
            return port_num_or_name(f"{path}.port", action.get("port", 0))


def _http_get(path: str, action: Object) -> Causes:
    found: Causes = [] if action.get("path") else [errors.required(f"{path}.path")]
    found += port_num_or_name(f"{path}.port", action.get("port", 0))
    if action.get("scheme") not in _SCHEMES:
        found.append(errors.not_supported(f"{path}.scheme", action.get("scheme"), _SCHEMES))
    for header in action.get("httpHeaders") or []:
        name = header.get("name", "")
        found += invalid_each(f"{path}.httpHeaders", name, formats.http_header(name))
    return found


def _sleep(path: str, seconds: int, grace: int | None) -> Causes:
    if grace is None or 0 <= seconds <= grace:
        return []
    why = f"must be non-negative and less than terminationGracePeriodSeconds ({grace})"
    return [errors.invalid_value(path, seconds, why)]


def port_num_or_name(path: str, value: Any) -> Causes:
    value = 0 if value is None else value
    return invalid_each(path, value, formats.port_or_name(value))

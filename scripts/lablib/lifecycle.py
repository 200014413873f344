"""Bringing a device up, and stopping and starting its edgeorch.

`up` is level-driven: it looks at each part and makes the missing ones, so it also mends a device
of which something died. Callers hold the device's lock.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from . import descriptors, kernel, medium, settings
from . import device as devices
from .device import Device, LabError

CHECKOUT = Path(__file__).resolve().parents[2]
PYTHON = CHECKOUT / ".venv/bin/python"
TOOLS = CHECKOUT / ".cache/bin"

# A cold start on a loaded machine; a healthy one is ready within a second.
READY_SECONDS = 60.0
CONTAINERD_SECONDS = 30.0
STOP_SECONDS = 60.0

_CONTAINERD_PROGRAMS = ("containerd", "containerd-shim-runc-v2", "ctr", "runc")


@contextlib.contextmanager
def locked(name: str) -> Iterator[None]:
    """One lab command at a time on a device. The file may be removed by its holder."""
    path = devices.RUN / f".{name}.lock"
    while True:
        devices.RUN.mkdir(parents=True, exist_ok=True)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except FileNotFoundError:  # the last device's `down` took the directory
            continue
        fcntl.flock(fd, fcntl.LOCK_EX)
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(fd), path.stat()):
                break
        os.close(fd)  # the holder before us removed the file: what we locked is no longer it
    try:
        yield
    finally:
        os.close(fd)


def environment(device: Device, containerd_dir: str | None) -> dict[str, str]:
    """What `exec` and the device's own programs see."""
    env = dict(os.environ)
    path = [*([containerd_dir] if containerd_dir else []), str(TOOLS), str(PYTHON.parent)]
    # sudo and cron hand on a PATH without sbin.
    path += [env.get("PATH", "/usr/bin:/bin"), "/usr/local/sbin:/usr/sbin:/sbin"]
    env["PATH"] = ":".join(path)
    env["KUBECONFIG"] = str(device.kubeconfig)
    # kubectl keeps discovery by host and port, which all devices share.
    env["KUBECACHEDIR"] = str(device.run / "kube-cache")
    env["CONTAINERD_ADDRESS"] = str(device.containerd_socket)
    env["CONTAINERD_NAMESPACE"] = settings.NAMESPACE
    return env


def up(
    device: Device, config: Path | None, containerd_dir: str | None, disk: str | None = None
) -> None:
    record = device.load()
    directory = _containerd_directory(containerd_dir, record.get("containerd_dir"))
    override = settings.checked_override(_yaml(config) if config else None)
    _refuse_change(device, config, directory, record)
    device.run.mkdir(parents=True, exist_ok=True)
    device.data.mkdir(parents=True, exist_ok=True)
    medium.mount(device, medium.size(disk) if disk else None)
    _network(device)
    record = device.load() | {"containerd_dir": directory}
    device.save(record)
    if config or not device.config.exists():
        merged = settings.merged(settings.edgeorch_settings(device), override)
        _write_config(device, merged)
        record["health"] = merged["health"]
        device.save(record)
    _containerd(device, directory)
    start(device)


def _refuse_change(
    device: Device, config: Path | None, directory: str | None, record: dict[str, object]
) -> None:
    """What runs keeps what it was started with; saying nothing would pass for having changed it."""
    if config and kernel.read_pid(device.pid_file("edgeorch")) is not None:
        raise LabError(f"cannot change the configuration of {device.name} while it runs: stop it")
    running = kernel.read_pid(device.pid_file("containerd")) is not None
    if running and directory != record.get("containerd_dir"):
        raise LabError(f"cannot change the containerd of {device.name} while it runs: down it")


def start(device: Device) -> None:
    record = device.load()
    if not device.config.exists() or not kernel.netns_exists(device.netns):
        raise LabError(f"cannot start {device.name}: no such device; scripts/lab up makes it")
    if kernel.read_pid(device.pid_file("containerd")) is None:
        _containerd(device, record.get("containerd_dir"))
    if kernel.read_pid(device.pid_file("descriptors")) is None:
        (device.run / descriptors.NAMES).unlink(missing_ok=True)
        store = [str(PYTHON), "-SE", str(Path(__file__).with_name("descriptors.py"))]
        _spawn(device, "descriptors", [*store, str(device.run)], None)
        kernel.wait_until((device.run / descriptors.NAMES).exists, CONTAINERD_SECONDS)
    if kernel.read_pid(device.pid_file("edgeorch")) is None:
        _spawn(device, "edgeorch", _serve(device), record.get("containerd_dir"))
    _await_ready(device, record.get("health") or settings.edgeorch_settings(device)["health"])


def _serve(device: Device) -> list[str]:
    """edgeorch as a service manager would start it (sd_listen_fds(3))."""
    told = (
        "PYTHONOPTIMIZE=2",  # as the unit has it
        f"NOTIFY_SOCKET={device.run / descriptors.NOTIFY}",
        "LISTEN_FDS=0",  # the store keeps them; edgeorch wants no copies
        f"LISTEN_FDNAMES={descriptors.names(device.run)}",
    )
    serve = [str(PYTHON), "-m", "edgeorch", "--config", str(device.config), "serve"]
    return ["/usr/bin/env", *told, "/bin/sh", "-c", 'LISTEN_PID=$$ exec "$@"', "sh", *serve]


def stop(device: Device, number: signal.Signals) -> None:
    """edgeorch only; containers and containerd go on."""
    _end(device, "edgeorch", number)


def stop_containerd(device: Device, number: signal.Signals) -> None:
    """containerd only, as systemd would (`KillMode=process`): shims and containers go on."""
    _end(device, "containerd", number)


def start_containerd(device: Device) -> None:
    """As systemd would after its end (`Restart=always`); returns when it takes connections."""
    _containerd(device, device.load().get("containerd_dir"))


def _end(device: Device, program: str, number: signal.Signals) -> None:
    path = device.pid_file(program)
    pid = kernel.read_pid(path)
    if pid is not None:
        kernel.send(pid, number)
        if not kernel.wait_until(lambda: kernel.read_pid(path) is None, STOP_SECONDS):
            raise LabError(
                f"cannot stop {program} of {device.name}: pid {pid} outlived {STOP_SECONDS:.0f} s"
            )
    path.unlink(missing_ok=True)


# --- parts -----------------------------------------------------------------------------------


def _yaml(path: Path) -> object:
    import yaml  # the checkout's environment has it; `down` must work without

    try:
        return yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise LabError(f"cannot read {path}: {error}") from error


def _write_config(device: Device, content: settings.Settings) -> None:
    import yaml

    device.config.write_text(yaml.safe_dump(content, sort_keys=False))


def _containerd_directory(asked: str | None, recorded: str | None) -> str | None:
    if asked is None:
        return recorded
    directory = str(Path(asked).resolve())
    missing = [
        name for name in _CONTAINERD_PROGRAMS if not os.access(f"{directory}/{name}", os.X_OK)
    ]
    if missing:
        raise LabError(f"cannot use --containerd {asked}: it has no {', '.join(missing)}")
    return directory


def _network(device: Device) -> None:
    """The device's namespace and a tiny one with its only neighbour; neither leads elsewhere."""
    if kernel.netns_exists(device.netns) and kernel.netns_exists(device.lan):
        return
    with locked(devices.ADDRESSES):
        others = [other for other in devices.existing() if other != device]
        taken = [address for other in others if (address := other.load().get("address"))]
        address, neighbour = devices.uplink(device.name, taken)
        device.save(device.load() | {"address": address, "neighbour": neighbour})
    for name in (device.netns, device.lan):
        kernel.ip("netns", "delete", name, check=False)
        kernel.ip("netns", "add", name)
        kernel.ip("link", "set", "lo", "up", netns=name)
    kernel.ip(
        *("link", "add", "uplink0", "mtu", "1500", "type", "veth"),
        *("peer", "name", "lan0", "mtu", "1500", "netns", device.lan),
        netns=device.netns,
    )
    for name, link, own in (
        (device.lan, "lan0", neighbour),
        (device.netns, "uplink0", address),
    ):
        kernel.ip("address", "add", f"{own}/{devices.LINK_PREFIX}", "dev", link, netns=name)
        kernel.ip("link", "set", link, "up", netns=name)
        kernel.ip("route", "add", "unreachable", "default", netns=name)
        # Absent where the kernel has no IPv6.
        kernel.ip("-6", "route", "add", "unreachable", "default", netns=name, check=False)


def _containerd(device: Device, directory: str | None) -> None:
    if kernel.read_pid(device.pid_file("containerd")) is not None:
        return
    device.containerd_config.write_text(settings.containerd_toml(device))
    device.containerd_socket.unlink(missing_ok=True)
    command = ["containerd", "--config", str(device.containerd_config)]
    pid = _spawn(device, "containerd", command, directory)

    def settled() -> bool:
        return kernel.started_at(pid) is None or _accepts(device.containerd_socket)

    if not kernel.wait_until(settled, CONTAINERD_SECONDS) or kernel.started_at(pid) is None:
        _show_tail(device.log_file("containerd"))
        raise LabError(f"cannot start containerd for {device.name}: its log's end stands above")


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def _spawn(device: Device, program: str, command: list[str], directory: str | None) -> int:
    """A daemon in the device's namespace and cgroup; it outlives this command."""
    env = environment(device, directory)
    # A device keeps its compiled modules, and starts in half the time for it.
    env.pop("PYTHONDONTWRITEBYTECODE", None)
    found = shutil.which(command[0], path=env["PATH"])
    if found is None:
        raise LabError(f"cannot start {program}: no {command[0]} here; scripts/setup installs it")
    with device.log_file(program).open("ab") as log:
        child = subprocess.Popen(
            # Not `ip netns exec`: it mounts a new /sys, without the cgroup mounts.
            ["nsenter", f"--net={kernel.NETNS_DIR / device.netns}", "--", found, *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=env,
            cwd="/",
            start_new_session=True,
            preexec_fn=functools.partial(kernel.join_cgroup, f"{device.cgroup}/system"),
        )
    kernel.write_pid(device.pid_file(program), child.pid)
    # The child is init's from here on; without this the interpreter warns about it at exit.
    child.returncode = 0
    return child.pid


def _await_ready(device: Device, health: Mapping[str, object]) -> None:
    address, port = str(health["address"]), int(str(health["port"]))
    deadline = time.monotonic() + READY_SECONDS
    status, text = 0, ""
    while time.monotonic() < deadline:
        status, text = kernel.in_netns(device.netns, lambda: _readyz(address, port))
        if status == http.client.OK:
            return
        if kernel.read_pid(device.pid_file("edgeorch")) is None:
            break
        time.sleep(0.02)
    _show_tail(device.log_file("edgeorch"))
    print(text, file=sys.stderr)
    what = f"/readyz answered {status}" if status else "/readyz did not answer"
    if kernel.read_pid(device.pid_file("edgeorch")) is None:
        what = "edgeorch ended"
    raise LabError(f"cannot start {device.name}: {what}; the log's end stands above")


def _readyz(address: str, port: int) -> tuple[int, str]:
    connection = http.client.HTTPConnection(address, port, timeout=5)
    try:
        connection.request("GET", "/readyz?verbose")
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error)
    finally:
        connection.close()


def _show_tail(path: Path, lines: int = 30) -> None:
    with contextlib.suppress(OSError):
        text = path.read_text(errors="replace")
        print("\n".join(text.splitlines()[-lines:]), file=sys.stderr)

"""What Services and names cost: `scripts/bench --network`.

A Service leads by a hand-made EndpointSlice to one pod, so that what is timed is the way from the
answered API request to the kernel's new rules: the slice says "not ready", and the first connection
that is refused ends the clock. A pod with a readiness gate shows the whole way: the gate's
condition turns false, and so do the pod's readiness, its EndpointSlice and the rules. DNS is asked
from a pod's namespace, through the kernel's rules.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import pathlib
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import device as devices

Result = dict[str, Any]
T = TypeVar("T")

SERVICES = "/api/v1/namespaces/default/services"
SLICES = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices"
PODS = "/api/v1/namespaces/default/pods"
CONNECTIONS = 500
TURNS = 21
ROUNDS = 15
BULK_PORT = 9000
BULK_OCTETS = 1 << 27
GATE = "example.com/in-service"
_CLONE_NEWNET = 0x40000000


def _inside(netns: pathlib.Path, function: Callable[[], T]) -> T:
    """`function` in a thread of that network; setns(2) is per thread."""
    found: list[T] = []
    failure: list[BaseException] = []

    def enter() -> None:
        fd = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if ctypes.CDLL(None, use_errno=True).setns(fd, _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"cannot enter {netns}")
            found.append(function())
        except BaseException as error:  # raised again by the caller's thread
            failure.append(error)
        finally:
            os.close(fd)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    if failure:
        raise failure[0]
    return found[0]


def service(name: str, **spec: Any) -> Result:
    ports = [{"port": 80, "targetPort": 80}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"ports": ports} | spec,
    }


def endpoint_slice(name: str, address: str, *, ready: bool = True, port: int = 80) -> Result:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address], "conditions": {"ready": ready}}],
        "ports": [{"name": "", "port": port, "protocol": "TCP"}],
    }


def _answers(address: str) -> bool:
    try:
        socket.create_connection((address, 80), timeout=2).close()
    except ConnectionRefusedError:
        return False
    return True


def _until(address: str, wanted: bool) -> float:
    """The moment at which connections are accepted, or refused."""
    deadline = time.perf_counter() + 60
    while _answers(address) is not wanted:
        if time.perf_counter() > deadline:
            raise RuntimeError(f"{address} did not become {'served' if wanted else 'refused'}")
    return time.perf_counter()


def connection_rate(address: str) -> float:
    """New connections a second, one after the other; reset, so that no port waits to be free."""
    started = time.perf_counter()
    for _ in range(CONNECTIONS):
        with socket.create_connection((address, 80), timeout=5) as opened:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return CONNECTIONS / (time.perf_counter() - started)


def throughput(address: str, port: int) -> float:
    """Octets a second of one connection."""
    buffer = bytearray(1 << 20)
    with socket.create_connection((address, port), timeout=30) as opened:
        started = time.perf_counter()
        left = BULK_OCTETS
        while left > 0:
            received = opened.recv_into(buffer)
            if not received:
                raise RuntimeError(f"{address}:{port} closed the connection {left} octets early")
            left -= received
        return BULK_OCTETS / (time.perf_counter() - started)


@contextlib.contextmanager
def _source(netns: pathlib.Path) -> Iterator[None]:
    """In that network, everybody who connects to BULK_PORT is sent BULK_OCTETS of zeros."""

    def open_listener() -> socket.socket:
        return socket.create_server(("0.0.0.0", BULK_PORT))

    listener = _inside(netns, open_listener)

    def serve() -> None:
        block = bytes(1 << 20)
        with contextlib.suppress(OSError):  # the listener is shut down at the end
            while True:
                accepted, _ = listener.accept()
                with accepted, contextlib.suppress(ConnectionError):  # who only looked has left
                    for _ in range(BULK_OCTETS // len(block)):
                        accepted.sendall(block)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


def _compared(unit: str, through: Callable[[], float], direct: Callable[[], float]) -> Result:
    """The ratio is the median of turns, in each of which one follows right upon the other, now
    this one first, now that one: what else the machine does falls on both."""
    turns = []
    for number in range(TURNS):
        if number % 2:
            second, first = direct(), through()
        else:
            first, second = through(), direct()
        turns.append((first, second))
    rates = [round(statistics.median(side)) for side in zip(*turns, strict=True)]
    return {
        f"through the Service, {unit}": rates[0],
        f"to the pod, {unit}": rates[1],
        "ratio": round(statistics.median(first / second for first, second in turns), 3),
    }


def _spread(taken: list[float]) -> Result:
    ordered = sorted(taken)
    return {
        "median": round(statistics.median(ordered), 1),
        "p90": round(ordered[int(0.9 * (len(ordered) - 1))], 1),
        "worst": round(ordered[-1], 1),
    }


class Network:
    def __init__(self, device: devices.Device) -> None:
        self._device = device
        self._node = pathlib.Path("/run/netns") / f"edge-{device.name}"

    async def measure(self) -> Result:
        pod = await self._pod()
        address = pod["status"]["podIP"]
        made = await self._device.create(SERVICES, service("timed"))
        await self._device.create(SLICES, endpoint_slice("timed", address))
        cluster_ip = made["spec"]["clusterIP"]
        _inside(self._node, lambda: _until(cluster_ip, True))
        uid = pod["metadata"]["uid"]
        found: Result = {
            "connections": self._ratio(cluster_ip, address),
            "throughput": await self._throughput(uid, address),
            "pod unready to refused, ms": await self._unready(),
        }
        count = 1
        for wanted in (10, 1000):
            await self._fill(count, wanted, address)
            count = wanted
            found[f"removal with {wanted} Services, ms"] = await self._removal(cluster_ip, address)
        found["connections beside 1,000 Services"] = self._ratio(cluster_ip, address)
        found["dns"] = self._dns(uid)
        return found

    async def _pod(self) -> Result:
        return await self._run_pod("web")

    async def _run_pod(self, name: str, **fields: Any) -> Result:
        container = {"name": "web", "image": "docker.io/library/nginx:1.25"}
        spec = {"containers": [container], "terminationGracePeriodSeconds": 0} | fields
        metadata = {"name": name, "labels": {"app": name}}
        await self._device.create(
            PODS, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
        )
        await self._device.until(
            f"app={name}", lambda pods: bool(pods) and pods[0]["status"].get("phase") == "Running"
        )
        return await self._device.get(f"{PODS}/{name}")

    def _pin(self, uid: str) -> pathlib.Path:
        return pathlib.Path("/run/edgeorch-lab") / self._device.name / "edgeorch/netns" / uid

    async def _throughput(self, uid: str, address: str) -> Result:
        made = await self._device.create(SERVICES, service("bulk"))
        await self._device.create(SLICES, endpoint_slice("bulk", address, port=BULK_PORT))
        cluster_ip = made["spec"]["clusterIP"]
        with _source(self._pin(uid)):
            _inside(self._node, lambda: _until(cluster_ip, True))
            return _compared(
                "MB per second",
                lambda: _inside(self._node, lambda: throughput(cluster_ip, 80)) / 1e6,
                lambda: _inside(self._node, lambda: throughput(address, BULK_PORT)) / 1e6,
            )

    async def _unready(self) -> Result:
        """From the request that turns the gate false to the first connection refused."""
        made = await self._device.create(SERVICES, service("gated", selector={"app": "gated"}))
        await self._run_pod("gated", readinessGates=[{"conditionType": GATE}])
        cluster_ip, taken = made["spec"]["clusterIP"], []
        for _ in range(ROUNDS):
            await self._gate("True")
            _inside(self._node, lambda: _until(cluster_ip, True))
            started = time.perf_counter()
            await self._gate("False")
            taken.append(1000 * (_inside(self._node, lambda: _until(cluster_ip, False)) - started))
        return _spread(taken)

    async def _gate(self, status: str) -> None:
        body = {"status": {"conditions": [{"type": GATE, "status": status}]}}
        headers = {"Content-Type": "application/strategic-merge-patch+json"}
        async with self._device.session.patch(
            f"{PODS}/gated/status", data=json.dumps(body), headers=headers
        ) as response:
            response.raise_for_status()

    def _ratio(self, cluster_ip: str, address: str) -> Result:
        return _compared(
            "per second",
            lambda: _inside(self._node, lambda: connection_rate(cluster_ip)),
            lambda: _inside(self._node, lambda: connection_rate(address)),
        )

    async def _fill(self, have: int, wanted: int, address: str) -> None:
        for number in range(have, wanted):
            await self._device.create(SERVICES, service(f"fill-{number}"))
            await self._device.create(SLICES, endpoint_slice(f"fill-{number}", address))
        last = await self._device.get(f"{SERVICES}/fill-{wanted - 1}")
        _inside(self._node, lambda: _until(last["spec"]["clusterIP"], True))

    async def _removal(self, cluster_ip: str, address: str) -> Result:
        taken = []
        for _ in range(ROUNDS):
            started = time.perf_counter()
            await self._put(endpoint_slice("timed", address, ready=False))
            ended = _inside(self._node, lambda: _until(cluster_ip, False))
            taken.append(1000 * (ended - started))
            await self._put(endpoint_slice("timed", address))
            _inside(self._node, lambda: _until(cluster_ip, True))
        return _spread(taken)

    async def _put(self, obj: Result) -> None:
        async with self._device.session.put(f"{SLICES}/timed", json=obj) as response:
            response.raise_for_status()

    def _dns(self, uid: str) -> Result:
        netns = self._pin(uid)
        load = pathlib.Path(__file__).parent / "dns_load.py"
        command = ["nsenter", f"--net={netns}", "--", sys.executable, str(load), "10.43.0.10"]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found: Result = json.loads(done.stdout)
        return found

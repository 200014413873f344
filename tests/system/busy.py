"""A device that is never at rest: a user who keeps changing what is wanted, and a slow registry.

`User` writes over the API's socket in a thread: rollouts, scaling, pods of every kind that come and
go, jobs, Services, pulls. It shrugs at an API that is away. What it does follows from its seed;
when it does it, from the machine.
"""

from __future__ import annotations

import base64
import contextlib
import random
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from scripts.lablib import kernel
from tests.component.runtime import archives, registries

from . import clients, manifests
from . import lab as labs

PODS = "/api/v1/namespaces/default/pods"
JOBS = "/apis/batch/v1/namespaces/default/jobs"
SERVICES = "/api/v1/namespaces/default/services"
WEB = "/apis/apps/v1/namespaces/default/deployments/web"

_PORT = 5000
_SLOW_PORT = 5001
_PATCH = {"Content-Type": "application/merge-patch+json"}


# --- a registry behind a slow line ---------------------------------------------------------------


@contextlib.contextmanager
def slow_registry(lab: labs.Lab, root: Path, images: int) -> Iterator[list[str]]:
    """References of so many images that share one small layer; each takes a second to fetch."""
    config = root / "registry.yml"
    config.write_text(registries.CONFIG.format(root=root, port=_PORT, more=""))
    command, env = lab.command("docker-registry", "serve", str(config))
    netns = lab.device.netns
    with (root / "registry.log").open("wb") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env=env | {"OTEL_TRACES_EXPORTER": "none"}
        )
    try:
        labs.until(lambda: clients.in_netns(netns, _answers), "the registry answers")
        registry = registries.Registry(root, _PORT)
        shared = archives.busybox_layer()

        def fill() -> None:
            for number in range(images):
                noise = registries.noise_layer("noise", 400_000, number)
                registry.push("noise", str(number), [shared, noise])

        clients.in_netns(netns, fill)
        with _slow_line(netns):
            yield [f"127.0.0.1:{_SLOW_PORT}/noise:{number}" for number in range(images)]
    finally:
        process.terminate()
        process.wait(10)


def _answers() -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", _PORT)) == 0


@contextlib.contextmanager
def _slow_line(netns: str) -> Iterator[None]:
    """A TCP proxy to the registry that lets 800 kB pass in a second."""

    def listen() -> socket.socket:
        return socket.create_server(("127.0.0.1", _SLOW_PORT))

    server = clients.in_netns(netns, listen)
    ended = threading.Event()

    def accept() -> None:
        while not ended.is_set():
            with contextlib.suppress(OSError):
                near, _ = server.accept()
                far = socket.create_connection(("127.0.0.1", _PORT))
                for source, target, pause in ((near, far, 0.0), (far, near, 0.02)):
                    carry = threading.Thread(target=_carry, args=(source, target, pause))
                    carry.start()

    acceptor = threading.Thread(target=kernel.in_netns, args=(netns, accept))
    acceptor.start()
    try:
        yield
    finally:
        ended.set()
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        acceptor.join()


def _carry(source: socket.socket, target: socket.socket, pause: float) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(16 * 1024):
            target.sendall(data)
            time.sleep(pause)
    for end in (source, target):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
    source.close()


# --- the user ------------------------------------------------------------------------------------


class User:
    def __init__(self, lab: labs.Lab, seed: int, references: list[str]) -> None:
        self._lab = lab
        self._random = random.Random(seed)
        self._references = references
        self._pods: list[str] = []
        self._count = 0
        self._trouble: list[str] = []

    @contextlib.contextmanager
    def busy(self) -> Iterator[None]:
        """Something is changed every few hundredths of a second until the block is left."""
        ended = threading.Event()

        def work() -> None:
            while not ended.is_set():
                self._one()
                ended.wait(self._random.uniform(0.02, 0.25))

        thread = threading.Thread(target=work)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
        assert not self._trouble, self._trouble

    def clear(self) -> None:
        """Half of the pods and all jobs are deleted; the others stay."""
        for name in self._pods[::2]:
            self._ask("DELETE", f"{PODS}/{name}")
        self._pods = self._pods[1::2]
        self._ask("DELETE", f"{JOBS}?propagationPolicy=Background")

    def _one(self) -> None:
        acts: list[tuple[Callable[[], None], int]] = [
            (self._roll_out, 3),
            (self._scale, 2),
            (self._start_pod, 6),
            (self._delete_pod, 5),
            (self._start_job, 2),
            (self._pull, 2),
            (self._service, 1),
        ]
        every = [act for act, weight in acts for _ in range(weight)]
        self._random.choice(every)()

    def _roll_out(self) -> None:
        template = {"metadata": {"annotations": {"turn": self._name("turn")}}}
        self._ask("PATCH", WEB, {"spec": {"template": template}})

    def _scale(self) -> None:
        self._ask("PATCH", WEB, {"spec": {"replicas": self._random.randint(1, 3)}})

    def _start_pod(self) -> None:
        name = self._name("pod")
        kind = self._random.choice([_plain, _with_volumes, _with_inits, _fails, _brief, _host])
        if self._ask("POST", PODS, kind(name)):
            self._pods.append(name)

    def _delete_pod(self) -> None:
        if len(self._pods) < 4:
            return
        name = self._pods.pop(self._random.randrange(len(self._pods)))
        grace = self._random.choice(["", "?gracePeriodSeconds=0"])
        if not self._ask("DELETE", f"{PODS}/{name}{grace}"):
            self._pods.append(name)

    def _start_job(self) -> None:
        name = self._name("job")
        spec = manifests.pod_spec(manifests.container("sleep 0.2"), restartPolicy="Never")
        job = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name},
            # A kill may cost an attempt; it must not cost the job.
            "spec": {
                "completions": 2,
                "parallelism": 2,
                "backoffLimit": 1000,
                "template": {"spec": spec},
            },
        }
        self._ask("POST", JOBS, job)

    def _pull(self) -> None:
        if not self._references:
            return
        name = self._name("pull")
        main = manifests.container("true", image=self._references.pop())
        if self._ask("POST", PODS, manifests.pod(name, main, restartPolicy="OnFailure")):
            self._pods.append(name)

    def _service(self) -> None:
        name = "flips"
        if not self._ask("DELETE", f"{SERVICES}/{name}"):
            self._ask("POST", SERVICES, manifests.service(name))

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{kind}-{self._count}"

    def _ask(self, method: str, url: str, body: labs.Object | None = None) -> bool:
        """Whether it was done. An answer that never comes may mean either."""
        headers = _PATCH if method == "PATCH" else {}
        try:
            answer = self._lab.api(method, url, body, headers=headers)
        except OSError:
            return False
        except Exception as error:  # an answer that broke off half-way
            if "RemoteDisconnected" in repr(error) or "IncompleteRead" in repr(error):
                return False
            raise
        if answer.status >= 500:
            self._trouble.append(f"{method} {url}: {answer.status} {answer.body[:200]!r}")
        return answer.status < 400


def _plain(name: str) -> labs.Object:
    return manifests.pod(name)


def _with_volumes(name: str) -> labs.Object:
    field = {"fieldPath": "metadata.name"}
    sources: dict[str, labs.Object] = {
        "disk": {"emptyDir": {}},
        "memory": {"emptyDir": {"medium": "Memory"}},
        "config": {"configMap": {"name": "config"}},
        "secret": {"secret": {"secretName": "secret"}},
        "down": {"downwardAPI": {"items": [{"path": "name", "fieldRef": field}]}},
    }
    volumes = [{"name": key, **source} for key, source in sources.items()]
    mounts = [{"name": key, "mountPath": f"/{key}"} for key in sources]
    main = manifests.container(volumeMounts=mounts)
    return manifests.pod(name, main, volumes=volumes)


def _with_inits(name: str) -> labs.Object:
    inits = [
        manifests.container("true", "first"),
        manifests.container(name="beside", restartPolicy="Always"),
    ]
    probe = {"exec": {"command": ["true"]}, "periodSeconds": 1}
    hooks = {"preStop": {"exec": {"command": ["sleep", "0.3"]}}}
    mains = [
        manifests.container(readinessProbe=probe, lifecycle=hooks),
        manifests.container(name="second"),
    ]
    return manifests.pod(name, *mains, initContainers=inits)


def _fails(name: str) -> labs.Object:
    """Now and then, and goes on."""
    script = "sleep 0.5; [ -e /v/once ] || { touch /v/once; exit 3; }; " + manifests.IDLE
    main = manifests.container(script, volumeMounts=[{"name": "v", "mountPath": "/v"}])
    volumes = [{"name": "v", "emptyDir": {}}]
    return manifests.pod(name, main, volumes=volumes, restartPolicy="OnFailure")


def _brief(name: str) -> labs.Object:
    return manifests.once(name, "echo done; exit 1" if name.endswith("3") else "echo done")


def _host(name: str) -> labs.Object:
    return manifests.pod(name, hostNetwork=True)


def belongings() -> list[labs.Object]:
    """What the user's pods refer to."""
    secret = base64.b64encode(b"s").decode()
    return [
        _data("ConfigMap", "config", "b"),
        _data("Secret", "secret", secret),
        manifests.deployment("web", replicas=2),
        manifests.service("web"),
    ]


def _data(kind: str, name: str, value: str) -> labs.Object:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "data": {"a": value}}

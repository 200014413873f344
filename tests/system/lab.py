"""A desk device in the hands of a test: kubectl, the neighbour on its network, waiting.

Tests hold a `Lab` from the fixtures in conftest.py. Commands enter the device's namespace straight
away (nsenter), which is quicker than scripts/lab; lifecycle goes through scripts/lab, as a user's
would.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from scripts.lablib import device as devices
from scripts.lablib import kernel, lifecycle
from tests import generations

from . import clients

Object = dict[str, Any]
Result = subprocess.CompletedProcess[str]
T = TypeVar("T")

CHECKOUT = Path(__file__).resolve().parents[2]
LAB = CHECKOUT / "scripts/lab"

COMMAND_SECONDS = 60.0
WAIT_SECONDS = 60.0


class CommandError(AssertionError):
    """A command that had to succeed did not; carries all that it said."""

    def __init__(self, command: list[str], result: Result) -> None:
        super().__init__(
            f"{' '.join(command)} exited {result.returncode}\n{result.stdout}{result.stderr}"
        )
        self.result = result


def call(
    command: list[str],
    *,
    stdin: str | None = None,
    env: Mapping[str, str] | None = None,
    check: bool = True,
    seconds: float = COMMAND_SECONDS,
) -> Result:
    # An empty input, not the terminal: a command that asks must not hang the tests.
    result = subprocess.run(
        command,
        input=stdin or "",
        env=env,
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    if check and result.returncode:
        raise CommandError(command, result)
    return result


def until(condition: Callable[[], T], what: str, seconds: float = WAIT_SECONDS) -> T:
    """The first true value of `condition`. Where kubectl can wait, let it."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds:.0f} s in vain for: {what}; last seen {value!r}")
        time.sleep(0.02)
    return value


def rounds(quick: int, full: int) -> int:
    """How often a test of endurance goes round: `full` where EDGEORCH_SOAK=1 asks for it."""
    return full if os.environ.get("EDGEORCH_SOAK") == "1" else quick


class Background:
    """A command that goes on; its output is read as it comes."""

    def __init__(self, command: list[str], env: Mapping[str, str]) -> None:
        self.lines: list[str] = []
        self._process = subprocess.Popen(
            command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self.lines.append(line.rstrip("\n"))

    def until(self, pattern: str, seconds: float = WAIT_SECONDS) -> str:
        """The first line that has a match for `pattern`."""

        def found() -> str | None:
            return next((line for line in list(self.lines) if re.search(pattern, line)), None)

        deadline = time.monotonic() + seconds
        while (line := found()) is None:
            if time.monotonic() > deadline or (self.ended and found() is None):
                raise AssertionError(f"no line like {pattern!r} in {self.lines}")
            time.sleep(0.02)
        return line

    @property
    def ended(self) -> bool:
        """All that it said is in `lines`."""
        return self._process.poll() is not None and not self._reader.is_alive()

    def wait(self, seconds: float = WAIT_SECONDS) -> int:
        """Its exit code, once it has ended by itself."""
        code = self._process.wait(seconds)
        self._reader.join()
        return code

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        assert self._process.stdout
        self._process.stdout.close()


@functools.cache
def kubectls() -> dict[str, Path]:
    """Every kubectl of this machine by its minor version ("1.33"), oldest first.

    The fetched ones, those on PATH, and versions that a distribution keeps beside them.
    """
    found = sorted(lifecycle.TOOLS.glob("kubectl*"))
    for directory in os.environ.get("PATH", os.defpath).split(os.pathsep):
        on_path = Path(directory, "kubectl")
        if on_path.exists():
            found += [on_path, *sorted(on_path.resolve().parent.glob("kubectl.1.*"))]
    versions: dict[str, Path] = {}
    for path in found:
        if os.access(path, os.X_OK):
            shown = json.loads(call([str(path), "version", "--client", "-o", "json"]).stdout)
            version = shown["clientVersion"]
            minor = re.sub(r"\D", "", version["minor"])
            versions.setdefault(f"{version['major']}.{minor}", path)
    return dict(sorted(versions.items(), key=lambda item: int(item[0].partition(".")[2])))


def kubectl_generations() -> list[str]:
    """The newest kubectl, and of older ones those that ask in another way."""
    found = list(kubectls())
    return [version for version in found if version in ("1.20", "1.27", "1.30", "1.33", found[-1])]


def kubectl_ends() -> list[str]:
    """The oldest and the newest of them; all where EDGEORCH_SOAK=1 asks for it."""
    found = kubectl_generations()
    return found if rounds(0, 1) else sorted({found[0], found[-1]})


@dataclass
class Lab:
    """One device that is up (or will be, see `up`)."""

    name: str
    env: dict[str, str] = field(default_factory=dict)
    """Added to the environment of every command in the device."""

    @property
    def device(self) -> devices.Device:
        return devices.parse(self.name)

    # --- lifecycle ---------------------------------------------------------------------------

    def lab(self, verb: str, *arguments: str, check: bool = True, seconds: float = 120) -> Result:
        """`scripts/lab VERB NAME ARGUMENTS`."""
        return call([str(LAB), verb, self.name, *arguments], check=check, seconds=seconds)

    def up(self, *arguments: str) -> None:
        """On this machine's containerd, or the one that tests/generations.py says."""
        directory = generations.chosen()
        if directory is not None and "--containerd" not in arguments:
            arguments = (*arguments, "--containerd", str(directory))
        self.lab("up", *arguments)

    def load(self, *archives: Path) -> None:
        self.lab("load", *map(str, archives))

    def down(self) -> None:
        self.lab("down")

    @property
    def pid(self) -> int:
        return int(self.lab("pid").stdout)

    @property
    def address(self) -> str:
        """The node's own address, its InternalIP."""
        return str(self.device.load()["address"])

    @property
    def token(self) -> str:
        config = json.loads(self.device.kubeconfig.read_text())
        return str(config["users"][0]["user"]["token"])

    def log(self) -> str:
        return self.device.log_file("edgeorch").read_text(errors="replace")

    # --- requests ----------------------------------------------------------------------------

    def api(
        self,
        method: str,
        url: str,
        body: bytes | str | Object | None = None,
        *,
        headers: dict[str, str] | None = None,
    ) -> clients.Answer:
        """A raw API request, over the unix socket."""
        path = self.device.run / "edgeorch/api.sock"
        return clients.over_socket(path, method, url, body, headers=headers)

    def fetch(self, address: str, port: int, url: str = "/", *, lan: bool = False) -> bytes:
        """What a web server says to a client on the node, or on its neighbour. Raises OSError."""
        netns = self.device.lan if lan else self.device.netns
        return clients.in_netns(netns, lambda: clients.fetch(address, port, url)).body

    def health(self, url: str) -> clients.Answer:
        """What local monitors read: health at its own door, figures by the root-only socket."""
        if url.startswith("/metrics"):
            return self.api("GET", url)
        netns = self.device.netns
        return clients.in_netns(netns, lambda: clients.fetch("127.0.0.1", 10248, url))

    # --- commands ----------------------------------------------------------------------------

    def command(self, *command: str, netns: str | None = None) -> tuple[list[str], dict[str, str]]:
        """Arguments and environment that run `command` in the device, for Popen."""
        env = lifecycle.environment(self.device, self.device.load().get("containerd_dir"))
        net = f"--net={kernel.NETNS_DIR / (netns or self.device.netns)}"
        return ["nsenter", net, "--", *command], env | self.env

    def run(
        self,
        *command: str,
        stdin: str | None = None,
        check: bool = True,
        seconds: float = COMMAND_SECONDS,
    ) -> Result:
        """A command in the device."""
        full, env = self.command(*command)
        return call(full, stdin=stdin, env=env, check=check, seconds=seconds)

    def from_lan(
        self, *command: str, check: bool = True, seconds: float = COMMAND_SECONDS
    ) -> Result:
        """A command on the device's neighbour: its packets come in by the uplink."""
        full, env = self.command(*command, netns=self.device.lan)
        return call(full, env=env, check=check, seconds=seconds)

    def try_kubectl(
        self,
        *arguments: str,
        stdin: str | Object | None = None,
        version: str | None = None,
        seconds: float = COMMAND_SECONDS,
    ) -> Result:
        """kubectl, whatever it exits with. `version` is of kubectls(); by default the newest."""
        program = kubectls()[version or list(kubectls())[-1]]
        text = json.dumps(stdin) if isinstance(stdin, dict) else stdin
        return self.run(str(program), *arguments, stdin=text, check=False, seconds=seconds)

    def kubectl(
        self,
        *arguments: str,
        stdin: str | Object | None = None,
        version: str | None = None,
        seconds: float = COMMAND_SECONDS,
    ) -> str:
        """What kubectl printed; it must succeed."""
        result = self.try_kubectl(*arguments, stdin=stdin, version=version, seconds=seconds)
        if result.returncode:
            raise CommandError(["kubectl", *arguments], result)
        return result.stdout

    @contextlib.contextmanager
    def background(self, *arguments: str, version: str | None = None) -> Iterator[Background]:
        """kubectl that goes on until the block is left."""
        program = kubectls()[version or list(kubectls())[-1]]
        command, env = self.command(str(program), *arguments)
        running = Background(command, env)
        try:
            yield running
        finally:
            running.stop()

    def get(self, *arguments: str) -> Object:
        """`kubectl get ARGUMENTS -o json`, decoded."""
        found = json.loads(self.kubectl("get", *arguments, "-o", "json"))
        assert isinstance(found, dict)
        return found

    def items(self, *arguments: str) -> list[Object]:
        """The items of a list: `items("pods", "-n", ns, "-l", "app=web")`."""
        found = self.get(*arguments)["items"]
        assert isinstance(found, list)
        return found

    def apply(self, manifest: str | Object, *arguments: str) -> str:
        return self.kubectl("apply", "-f", "-", *arguments, stdin=manifest)

    def wait(
        self, what: str, condition: str, *arguments: str, seconds: float = WAIT_SECONDS
    ) -> str:
        """`wait("pod/x", "condition=Ready", "-n", ns)`: kubectl's own wait, driven by a watch."""
        command = ("wait", what, f"--for={condition}", f"--timeout={seconds:.0f}s", *arguments)
        return self.kubectl(*command, seconds=seconds + 10)

    def rollout(self, what: str, *arguments: str, seconds: float = WAIT_SECONDS) -> str:
        """`rollout("deployment/x", "-n", ns)`: until it is complete."""
        command = ("rollout", "status", what, f"--timeout={seconds:.0f}s", *arguments)
        return self.kubectl(*command, seconds=seconds + 10)

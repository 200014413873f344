"""`edgeorch image ...`: the images of this device, for whoever stands before it.

Speaks to containerd itself, so that it works while `edgeorch serve` does not run. What stored
objects name only that one knows: it is asked over its root-only socket.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import getpass
import http.client
import math
import pathlib
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

from edgeorch import config as configuration
from edgeorch.cli.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from edgeorch import app
    from edgeorch.core import image_gc
    from edgeorch.runtime import images as runtime_images

    Run = Callable[[app.ImageTools], Awaitable[None]]

_SPEAK_EVERY = 5.0
"""Seconds between two words on a pull where the output is no terminal."""


def add(commands: Any, shared: argparse.ArgumentParser) -> None:
    """The command and its actions."""
    image = commands.add_parser("image", help="List, pull, import and remove container images.")
    actions = image.add_subparsers(metavar="ACTION", required=True)

    def action(
        name: str, run: Callable[[argparse.Namespace], int], text: str
    ) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = actions.add_parser(
            name, help=text, description=text, parents=[shared]
        )
        added.set_defaults(run=run)
        return added

    action("list", _list, "List the images that are on this device.")
    importing = action(
        "import", _import, "Import OCI or docker-save archives under the names they carry."
    )
    importing.add_argument("files", nargs="+", type=pathlib.Path, metavar="FILE")
    pulling = action(
        "pull", _pull, "Fetch images from their registries, as pods do; goes on where it stopped."
    )
    pulling.add_argument("names", nargs="+", metavar="NAME")
    pulling.add_argument(
        "--user", metavar="NAME", help="credentials; the password is read from standard input"
    )
    removing = action("remove", _remove, "Remove images that no pod uses.")
    removing.add_argument("names", nargs="+", metavar="NAME")
    removing.add_argument("--force", action="store_true", help="also those that are in use")
    pruning = action("prune", _prune, "Remove all images that nothing on this device wants.")
    pruning.add_argument("--dry-run", action="store_true", help="only say which")
    for name, pinned in (("pin", True), ("unpin", False)):
        text = "Never remove these images to make room." if pinned else "Take a pin away."
        pinning = action(name, _pin, text)
        pinning.set_defaults(pinned=pinned)
        pinning.add_argument("names", nargs="+", metavar="NAME")


# --- actions ------------------------------------------------------------------------------------


def _list(options: argparse.Namespace) -> int:
    async def run(tools: app.ImageTools) -> None:
        rows = [("NAME", "DIGEST", "SIZE", "PINNED")]
        for image in sorted(await tools.images.list(), key=lambda image: image.name):
            pinned = "yes" if _is_pinned(image) else ""
            rows.append(
                (image.name, image.digest.partition(":")[2][:12], _megabytes(image.size), pinned)
            )
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        for row in rows:
            cells = zip(row, widths, strict=True)
            print("   ".join(cell.ljust(width) for cell, width in cells).rstrip())

    return _run(options, run)


def _import(options: argparse.Namespace) -> int:
    for path in options.files:  # all of them are looked at before the first is imported
        try:
            path.open("rb").close()
        except OSError as error:
            raise CommandError(f"cannot import {path}: {error.strerror}") from error

    async def run(tools: app.ImageTools) -> None:
        for path in options.files:
            for name in await tools.archives.import_archive(path):
                print(name, flush=True)

    return _run(options, run)


def _pull(options: argparse.Namespace) -> int:
    names = [_normalised(name) for name in options.names]
    auths = [_docker_config(names, options.user)] if options.user else []

    async def run(tools: app.ImageTools) -> None:
        from edgeorch.agent import ports

        for name in names:
            shown = _Shown(name)
            try:
                await tools.puller.pull(name, auths, shown.arrived)
            except ports.PullError as error:
                raise CommandError(str(error)) from error
            finally:
                shown.end()
            print(name, flush=True)

    return _run(options, run)


def _remove(options: argparse.Namespace) -> int:
    config = configuration.load(options.config)

    async def run(tools: app.ImageTools) -> None:
        found = {image.name for image in await tools.images.list()}
        names = [_known(name, found) for name in options.names]
        if not options.force:
            preloaded = tools.preloaded()
            for name in names:
                if name in preloaded:
                    raise CommandError(
                        f"cannot remove {name}: {preloaded[name]} has it, delete that first "
                        "(--force removes it all the same, until the archive is imported again)"
                    )
            users = await tools.users()
            with contextlib.suppress(CommandError):  # without it, what runs is all one can know
                users |= _named_by_objects(config)
            for name in names:
                if name in users:
                    raise CommandError(
                        f"cannot remove {name}: {users[name]} uses it "
                        "(--force removes it all the same)"
                    )
        for name in names:
            await tools.images.remove(name, sync=True)
            print(name, flush=True)

    return _run(options, run)


def _prune(options: argparse.Namespace) -> int:
    config = configuration.load(options.config)

    async def run(tools: app.ImageTools) -> None:
        keep = {*_named_by_objects(config), *await tools.users(), *tools.preloaded()}
        freed = 0
        for candidate in _candidates(await tools.images.list(), keep):
            for name in candidate.names:
                if not options.dry_run:
                    await tools.images.remove(name, sync=name == candidate.names[-1])
                print(name, flush=True)
            freed += candidate.size
        verb = "would free" if options.dry_run else "freed"
        print(f"{verb} up to {_megabytes(freed)}", file=sys.stderr)

    return _run(options, run)


def _pin(options: argparse.Namespace) -> int:
    async def run(tools: app.ImageTools) -> None:
        from edgeorch.core import image_gc

        found = {image.name for image in await tools.images.list()}
        for name in [_known(name, found) for name in options.names]:
            await tools.images.label(name, {image_gc.PIN_LABEL: "pinned" if options.pinned else ""})
            print(name, flush=True)

    return _run(options, run)


def _run(options: argparse.Namespace, run: Run) -> int:
    from edgeorch import app
    from edgeorch.runtime import errors

    config = configuration.load(options.config)
    try:
        asyncio.run(app.with_images(config, run))
    except errors.ContainerdError as error:
        raise CommandError(f"{error} (containerd at {config.containerd.address})") from error
    except errors.BadArchive as error:
        raise CommandError(str(error)) from error
    return 0


# --- names --------------------------------------------------------------------------------------


def _normalised(name: str) -> str:
    from edgeorch.wire import image_ref

    try:
        return str(image_ref.normalise(name))
    except image_ref.InvalidReference as error:
        raise CommandError(str(error)) from error


def _known(name: str, found: set[str]) -> str:
    """The name as containerd has it, written as it is or as people write it."""
    full = name if name in found else _normalised(name)
    if full not in found:
        raise CommandError(f"there is no image {full}: see `edgeorch image list`")
    return full


def _is_pinned(image: runtime_images.ImageInfo) -> bool:
    from edgeorch.core import image_gc

    return image.labels.get(image_gc.PIN_LABEL) == "pinned"


def _candidates(found: list[runtime_images.ImageInfo], keep: set[str]) -> list[image_gc.Candidate]:
    from edgeorch.core import image_gc

    known = [
        image_gc.Image(image.name, image.digest, image.size, pinned=_is_pinned(image))
        for image in found
    ]
    return image_gc.candidates(known, keep, [], math.inf, 0)


def _named_by_objects(config: configuration.Config) -> dict[str, str]:
    """Image to an object that names it. Raises CommandError when edgeorch does not answer."""
    from edgeorch.agent import image_gc
    from edgeorch.core import image_names
    from edgeorch.lib import json
    from edgeorch.model import kinds

    found: dict[str, str] = {}
    connection = _Socket(config.api_socket)
    try:
        # A bundle says what its versions need; they themselves are nobody's to read.
        for kind in (*image_gc.NAMING, kinds.BUNDLE):
            if kind.internal:
                continue
            root = f"apis/{kind.group}" if kind.group else "api"
            connection.request("GET", f"/{root}/{kind.version}/{kind.plural}")
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise CommandError(f"edgeorch does not list {kind.plural}: {answer.status}")
            for item in json.decode(body)["items"]:
                meta = item["metadata"]
                who = f"{kind.singular} {meta.get('namespace', '')}/{meta['name']}"
                found |= dict.fromkeys(image_names.named(item), who)
                if kind is kinds.BUNDLE:
                    found |= dict.fromkeys((item.get("status") or {}).get("images") or (), who)
    except OSError as error:
        raise CommandError(
            "cannot tell which images are wanted: edgeorch does not answer at "
            f"{config.api_socket} ({error.strerror or error}): start it (systemctl start edgeorch)"
        ) from error
    finally:
        connection.close()
    return found


class _Socket(http.client.HTTPConnection):
    def __init__(self, path: pathlib.Path) -> None:
        super().__init__("device", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(30)
        self.sock.connect(str(self._path))


# --- words --------------------------------------------------------------------------------------


def _docker_config(names: list[str], user: str) -> bytes:
    from edgeorch.lib import json

    if sys.stdin.isatty():
        password = getpass.getpass(f"password of {user}: ")
    else:
        password = sys.stdin.readline().rstrip("\n")
    hosts = {name.partition("/")[0] for name in names}
    return json.encode(
        {"auths": {host: {"username": user, "password": password} for host in hosts}}
    )


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


class _Shown:
    """Progress on standard error: one line that changes on a terminal, else one now and then."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._terminal = sys.stderr.isatty()
        self._began = time.monotonic()
        self._due = self._began if self._terminal else self._began + _SPEAK_EVERY
        self._first: int | None = None

    def arrived(self, have: int, total: int) -> None:
        from edgeorch.agent import images

        now = time.monotonic()
        if self._first is None:
            self._first = have
        if now < self._due and have < total:
            return
        self._due = now + (0.2 if self._terminal else _SPEAK_EVERY)
        told = images.transferred(have, total, have - self._first, now - self._began)
        if self._terminal:
            print(f"\r{self._name}: {told}\033[K", end="", file=sys.stderr, flush=True)
        else:
            print(f"{self._name}: {told}", file=sys.stderr, flush=True)

    def end(self) -> None:
        if self._terminal and self._first is not None:
            print(file=sys.stderr)

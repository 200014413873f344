"""The command line: `edgeorch serve | image | token | cert | kubeconfig | check | version`.

Each command imports what it needs when it runs, so that none pays for another. Exit codes: 0 done,
1 it failed (the reason is on standard error), 2 the command line was not understood.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import pathlib
import sys
from typing import TYPE_CHECKING

import edgeorch
from edgeorch import config as configuration
from edgeorch.cli import access, images
from edgeorch.cli.errors import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable

_EPILOG = """\
first steps:
  edgeorch check                     what this host lacks, and how to mend it
  edgeorch serve                     run the orchestrator (systemd does this for you)
  edgeorch kubeconfig > ~/.kube/config
  kubectl get nodes                  any Kubernetes client works from here on
"""


def main(arguments: list[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        return run(options)
    except (CommandError, configuration.ConfigError) as error:
        print(f"edgeorch: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader of our output has seen enough; keep Python from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="edgeorch",
        description="The Kubernetes API for one small device, in one process.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    config_help = f"configuration file (default: {configuration.DEFAULT_PATH}, if it exists)"
    parser.add_argument("--config", type=pathlib.Path, metavar="FILE", help=config_help)
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--config", type=pathlib.Path, metavar="FILE", help=config_help, default=argparse.SUPPRESS
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(
        name: str, run: Callable[[argparse.Namespace], int], text: str
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text, parents=[shared])
        added.set_defaults(run=run)
        return added

    command("serve", _serve, "Run the orchestrator until it is told to stop (SIGTERM).")
    images.add(commands, shared)
    access.add(commands, shared)
    check = command("check", _check, "Say what this host lacks, and how to mend it.")
    check.add_argument(
        "--fix", action="store_true", help="mend what can be mended from here, with a backup"
    )
    command("version", _version, "Print the version.")
    return parser


def _serve(options: argparse.Namespace) -> int:
    config = configuration.load(options.config)
    from edgeorch import app

    try:
        asyncio.run(app.serve(config))
    except app.StartError as error:
        raise CommandError(str(error)) from error
    return 0


def _check(options: argparse.Namespace) -> int:
    from edgeorch import check

    findings = check.run(configuration.load(options.config))
    print(check.report(findings))
    if options.fix:
        done = check.mend(findings) or ["nothing here can be mended by itself"]
        print("\n" + "\n".join(done))
    failed = [found.name for found in findings if found.level == check.FAILURE]
    if failed:
        print(f"\n{len(failed)} of {len(findings)} checks failed: {', '.join(failed)}")
    return 1 if failed else 0


def _version(_: argparse.Namespace) -> int:
    print(f"edgeorch {edgeorch.__version__}")
    return 0

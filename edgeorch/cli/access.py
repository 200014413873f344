"""`edgeorch token | cert | kubeconfig`: who may come in, and as what.

Work on files of root's, whether `edgeorch serve` runs or not; the service hears of every change.
"""

from __future__ import annotations

import argparse
import base64
import pathlib
import sys
from typing import TYPE_CHECKING, Any

from edgeorch import config as configuration
from edgeorch.cli.errors import CommandError
from edgeorch.core import roles

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeorch.core import credentials

    Run = Callable[[argparse.Namespace], int]

_ROLE = f"what it may do: {', '.join(roles.ROLES)}"
_EXPIRES = "how long it is good, like 12h, 90d or 10y"


def add(commands: Any, shared: argparse.ArgumentParser) -> None:
    """The commands and their actions."""
    _add_token(commands, shared)
    _add_certificate(commands, shared)
    _add_kubeconfig(commands, shared)


def _add_token(commands: Any, shared: argparse.ArgumentParser) -> None:
    token = commands.add_parser("token", help="Make, list and revoke tokens for the API.")
    actions = token.add_subparsers(metavar="ACTION", required=True)
    text = "Make a token and print it, this once; it counts from now on."
    creating = _action(actions, shared, "create", _create_token, text)
    creating.add_argument("name", metavar="NAME", help="who it is for: the user's name")
    creating.add_argument("--role", required=True, choices=roles.ROLES, help=_ROLE)
    creating.add_argument("--expires", metavar="TIME", help=f"{_EXPIRES} (default: for ever)")
    _action(actions, shared, "list", _list_tokens, "List the tokens, without what opens.")
    text = "Let tokens open nothing any more; what they watch or stream ends at once."
    revoking = _action(actions, shared, "revoke", _revoke_tokens, text)
    revoking.add_argument("names", nargs="+", metavar="NAME")


def _add_certificate(commands: Any, shared: argparse.ArgumentParser) -> None:
    certificate = commands.add_parser("cert", help="Make client certificates for the API.")
    actions = certificate.add_subparsers(metavar="ACTION", required=True)
    text = (
        "Make a client certificate, as NAME.crt and NAME.key in a folder or within a kubeconfig. "
        "It cannot be revoked before it ends: for that make a token."
    )
    creating = _action(actions, shared, "create", _create_certificate, text)
    creating.add_argument("name", metavar="NAME", help="who it is for: the user's name")
    creating.add_argument("--role", required=True, choices=roles.ROLES, help=_ROLE)
    creating.add_argument(
        "--expires", metavar="TIME", default="10y", help=f"{_EXPIRES} (default: 10y)"
    )
    creating.add_argument("--out", type=pathlib.Path, default=pathlib.Path(), metavar="DIR")
    creating.add_argument("--kubeconfig", action="store_true", help="print a kubeconfig instead")
    creating.add_argument("--server", metavar="URL", help="of the kubeconfig")


def _add_kubeconfig(commands: Any, shared: argparse.ArgumentParser) -> None:
    printing = _action(
        commands, shared, "kubeconfig", _kubeconfig,
        "Print the administrator's kubeconfig, or one for somebody else.",
    )  # fmt: skip
    who = printing.add_mutually_exclusive_group()
    who.add_argument("--role", choices=roles.ROLES, help=f"with a new token; {_ROLE}")
    who.add_argument("--token", help="with this token; - reads it from standard input")
    printing.add_argument("--name", help="of the new token (default: that of the role)")
    printing.add_argument("--expires", metavar="TIME", help=f"of the new token: {_EXPIRES}")
    printing.add_argument("--server", metavar="URL", help="like https://192.168.1.5:6443")


def _action(
    actions: Any, shared: argparse.ArgumentParser, name: str, run: Run, text: str
) -> argparse.ArgumentParser:
    added: argparse.ArgumentParser = actions.add_parser(
        name, help=text, description=text, parents=[shared]
    )
    added.set_defaults(run=run)
    return added


# --- tokens ---------------------------------------------------------------------------------------


def _directory(config: configuration.Config) -> pathlib.Path:
    from edgeorch.api import made_tokens

    return pathlib.Path(config.data_dir) / made_tokens.DIRECTORY


def _made(config: configuration.Config, name: str, role: str, expires: str | None) -> str:
    from edgeorch.api import made_tokens

    try:
        return made_tokens.create(_directory(config), name, role, _seconds(expires), _now())
    except made_tokens.TokensError as error:
        raise CommandError(str(error)) from error


def _create_token(options: argparse.Namespace) -> int:
    config = configuration.load(options.config)
    print(_made(config, options.name, options.role, options.expires))
    return 0


def _list_tokens(options: argparse.Namespace) -> int:
    from edgeorch.api import made_tokens
    from edgeorch.core import credentials
    from edgeorch.lib import clock

    try:
        tokens = made_tokens.read(_directory(configuration.load(options.config)))
    except made_tokens.TokensError as error:
        raise CommandError(str(error)) from error
    now = _now()
    rows = [("NAME", "ROLE", "CREATED", "EXPIRES")]
    for token in sorted(tokens, key=lambda token: token.name):
        ends = clock.rfc3339(token.expires) if token.expires else "never"
        if credentials.is_over(token.life(), now):
            ends = f"{ends} (over)"
        rows.append((token.name, token.role, clock.rfc3339(token.created), ends))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        cells = zip(row, widths, strict=True)
        print("   ".join(cell.ljust(width) for cell, width in cells).rstrip())
    return 0


def _revoke_tokens(options: argparse.Namespace) -> int:
    from edgeorch.api import made_tokens

    try:
        made_tokens.revoke(_directory(configuration.load(options.config)), options.names)
    except made_tokens.TokensError as error:
        raise CommandError(str(error)) from error
    return 0


def _seconds(span: str | None) -> int | None:
    from edgeorch.core import credentials

    try:
        return None if span is None else credentials.seconds(span)
    except ValueError as error:
        raise CommandError(str(error)) from error


def _now() -> credentials.Moment:
    from edgeorch.api import moments

    return moments.now()


# --- certificates ---------------------------------------------------------------------------------


def _create_certificate(options: argparse.Namespace) -> int:
    from edgeorch.core import credentials

    if why := credentials.name_error(options.name):
        raise CommandError(why)
    if options.server is not None and not options.kubeconfig:
        raise CommandError("--server is that of a kubeconfig: say --kubeconfig too")
    _check_server(options.server)
    config = configuration.load(options.config)
    body = _administrators(config) if options.kubeconfig else ""
    certificate, key = _certificate(config, options)
    if options.kubeconfig:
        credential = {
            "client-certificate-data": base64.b64encode(certificate).decode(),
            "client-key-data": base64.b64encode(key).decode(),
        }
        sys.stdout.write(_rewritten(body, options.name, credential, options.server))
        return 0
    from edgeorch.lib import files

    try:
        files.write_atomically(options.out / f"{options.name}.key", key, mode=0o600)
        files.write_atomically(options.out / f"{options.name}.crt", certificate, mode=0o644)
    except OSError as error:
        raise CommandError(f"cannot write to {options.out}: {error.strerror}") from error
    return 0


def _certificate(config: configuration.Config, options: argparse.Namespace) -> tuple[bytes, bytes]:
    import asyncio
    import datetime

    from edgeorch.api import certs
    from edgeorch.lib import clock

    authority = certs.Authority(
        pathlib.Path(config.data_dir) / certs.DIRECTORY, clock.SystemClock()
    )
    life = datetime.timedelta(seconds=_seconds(options.expires) or 0)
    try:
        return asyncio.run(authority.client(options.name, roles.group(options.role), life))
    except certs.CertificateError as error:
        raise CommandError(str(error)) from error


# --- kubeconfig -----------------------------------------------------------------------------------


def _kubeconfig(options: argparse.Namespace) -> int:
    config = configuration.load(options.config)
    for option in ("name", "expires"):
        if getattr(options, option) is not None and not options.role:
            raise CommandError(f"--{option} is that of a new token: say --role too")
    _check_server(options.server)
    body = _administrators(config)
    if options.role:
        name = options.name or options.role
        token = _made(config, name, options.role, options.expires)
        body = _rewritten(body, name, {"token": token}, options.server)
    elif options.token is not None:
        from_stdin = options.token == "-"  # noqa: S105
        token = (sys.stdin.readline() if from_stdin else options.token).strip()
        if not token:  # never the administrator's instead
            raise CommandError("--token: there is no token in it")
        body = _rewritten(body, "user", {"token": token}, options.server)
    elif options.server:
        body = _rewritten(body, None, {}, options.server)
    sys.stdout.write(body)
    return 0


def _check_server(url: str | None) -> None:
    from edgeorch.api import kubeconfig

    if url is not None and not kubeconfig.is_server(url):
        raise CommandError(
            f"--server: {url!r} is no server: write it like https://192.168.1.5:6443"
        )


def _administrators(config: configuration.Config) -> str:
    path = config.api.kubeconfig
    try:
        return pathlib.Path(path).read_text()
    except FileNotFoundError:
        raise CommandError(
            f"there is no {path} yet: `edgeorch serve` writes it when it starts"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise CommandError(f"cannot read {path}: {why}") from error


def _rewritten(body: str, user: str | None, credential: dict[str, str], server: str | None) -> str:
    """The administrator's kubeconfig, for another user or another address of the device."""
    from edgeorch.api import kubeconfig

    try:
        return kubeconfig.rewritten(body, user, credential, server)
    except ValueError as error:
        raise CommandError(f"cannot use the administrator's kubeconfig: {error}") from error

"""The device's own certificate authority, its serving certificate, and those of clients.

Owns the files ca.crt, ca.key, server.crt, server.key and verified.json in one directory (mode 0600,
replaced atomically) and the TLS context made of them. The openssl program makes them, in a child.
Dates are generous on both sides, because a device may boot in 1970 or be sent into the future:
certificates are valid from 1970; the CA and the serving certificate end a hundred years after their
making (a clock before 2024 counts as 2024). What clients present is judged by api.auth, not by the
handshake, which would refuse them by a clock that is wrong. A serving certificate that does not fit
the addresses, the CA or its key, or nears its end, is made anew; new connections get it without a
restart. A CA that can still be read is never replaced: every kubeconfig trusts it. A half-written
CA (key without certificate) is completed from its key.

Source: openssl-ca(1), openssl-x509(1); the flags are those of OpenSSL 3.0.
"""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import ipaddress
import logging
import pathlib
import re
import ssl
import tempfile
from typing import TYPE_CHECKING

from msgspec import Struct

from edgeorch.lib import files, json, programs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeorch.lib import clock as clocks
    from edgeorch.lib import metrics

log = logging.getLogger(__name__)

NAMES = (
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
)
DIRECTORY = "tls"
"""Below the data directory."""
LOOPBACK = ("127.0.0.1", "::1")

_START = "19700101000000Z"
_YEAR = datetime.timedelta(days=365)
_LIFE = 100 * _YEAR
_RENEW_BEFORE = datetime.timedelta(days=365)
_EARLIEST = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
_NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME, which Python's ssl has no name for."""
_CONDITION, _WARN_DAYS = "CertificateNearExpiry", 60
_TIMEOUT = 60.0
_VERIFIED = "verified.json"

_HOST_NAME = re.compile(r"[A-Za-z0-9*]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")

_CONFIG = """
[ca]
default_ca = own
[own]
database = {work}/index.txt
new_certs_dir = {work}
rand_serial = yes
default_md = sha256
policy = any
unique_subject = no
email_in_dn = no
[any]
commonName = supplied
organizationName = optional
[req]
distinguished_name = dn
prompt = no
utf8 = yes
[dn]
CN = {common_name}
{organization}
[ca_extensions]
basicConstraints = critical, CA:TRUE
keyUsage = critical, digitalSignature, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[leaf_extensions]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = serverAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
subjectAltName = {alt_names}
[client_extensions]
basicConstraints = critical, CA:FALSE
keyUsage = critical, digitalSignature
extendedKeyUsage = clientAuth
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""


class CertificateError(Exception):
    """A certificate cannot be made or used."""


class _Facts(Struct, frozen=True):
    """What matters of a certificate at rest."""

    names: frozenset[str]
    ends: datetime.datetime


class _Verified(Struct, frozen=True):
    """What stands in the note beside the files once openssl has found them good."""

    digest: str
    names: list[str]
    ends: str


def condition(days: float, directory: pathlib.Path) -> tuple[str, bool, str, str]:
    """What the node says of certificates that end in so many days."""
    if days >= _WARN_DAYS:
        told = f"no certificate of the device's own ends within {_WARN_DAYS} days"
        return _CONDITION, False, "CertificatesGood", told
    reason = "CertificateNearExpiry" if days >= 0 else "CertificateExpired"
    when = f"in {int(days)} days" if days >= 0 else f"{int(-days)} days ago"
    told = (
        f"the authority in {directory} ends {when} by this clock: set the clock if it is wrong; "
        "else remove ca.crt and ca.key, restart edgeorch, and hand out new kubeconfigs"
    )
    return _CONDITION, True, reason, told


class Authority:
    """Keeps the certificates right. `context` is made once and renewed in place."""

    def __init__(self, directory: pathlib.Path, clock: clocks.Clock) -> None:
        self.directory = directory
        self._clock = clock
        self._lock = asyncio.Lock()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])
        self.context.verify_mode = ssl.CERT_OPTIONAL
        self.context.verify_flags |= _NO_CHECK_TIME
        self._trusted = b""
        self._ends: datetime.datetime | None = None

    @property
    def certificate(self) -> bytes:
        """The CA in PEM, once `ensure` has run."""
        return self._trusted

    def days_left(self) -> float | None:
        """Until the first of CA and serving certificate ends; None before `ensure` has run.

        By the wall clock as it is: who warns of it should know whether that can be believed.
        """
        ends = self._all_ends().values()
        return (min(ends) - self._clock.now()) / datetime.timedelta(days=1) if ends else None

    def measure(self, registry: metrics.Registry) -> None:
        registry.collected(
            "edgeorch_certificate_expiry_timestamp_seconds",
            "When the serving certificate and the CA end, in seconds since the epoch.",
            lambda: {(name,): end.timestamp() for name, end in self._all_ends().items()},
            ("certificate",),
        )

    def _all_ends(self) -> dict[str, datetime.datetime]:
        """By certificate; empty before `ensure` has run."""
        if self._ends is None:
            return {}
        found = {"serving": self._ends}
        for certificate in self.context.get_ca_certs():
            seconds = ssl.cert_time_to_seconds(str(certificate["notAfter"]))
            end = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
            found["ca"] = min(end, found.get("ca", end))
        return found

    def load(self) -> bool:
        """Take the certificates as they are, right or not; whether they can be used at all."""
        try:
            self._load()
            self._ends = self._noted_end()
        except (OSError, ValueError):
            return bool(self._trusted)
        return True

    async def client(self, name: str, group: str, life: datetime.timedelta) -> tuple[bytes, bytes]:
        """A certificate for a client and its key, in PEM; the user is `name` in `group`.

        The CA must be there. Raises CertificateError.
        """
        try:
            if not self._path("ca.crt").exists():
                raise CertificateError(
                    f"there is no CA in {self.directory} yet: "
                    "`edgeorch serve` makes it when it starts"
                )
            with tempfile.TemporaryDirectory(dir=self.directory) as temporary:
                key = pathlib.Path(temporary) / "key"
                await _make_key(key)
                sign = [*self._signed_by_ca(), "-extensions", "client_extensions"]
                return await self._sign(key, name, sign, life, group=group), key.read_bytes()
        except OSError as error:
            raise CertificateError(f"cannot use {self.directory}: {error}") from error

    async def ensure(self, names: Iterable[str]) -> bool:
        """Have a serving certificate for `names` (host names and addresses) and the usual ones.

        True when a new one was made. Call again when addresses change, and daily. Raises
        CertificateError.
        """
        wanted = frozenset({*NAMES, *LOOPBACK, *map(_plain, names)})
        async with self._lock:
            try:
                fresh = False
                if not self._is_known_good(wanted):
                    fresh = await self._ensure_files(wanted)
                if fresh or not self._trusted:
                    self._load()
                self._ends = self._noted_end()
            except (OSError, ssl.SSLError) as error:
                raise CertificateError(f"cannot use {self.directory}: {error}") from error
            return fresh

    async def _ensure_files(self, wanted: frozenset[str]) -> bool:
        await self._ensure_authority()
        fresh = not await self._is_good(wanted)
        if fresh:
            await self._make_leaf(wanted)
        ends = (await _read_facts(self._path("server.crt"))).ends
        note = _Verified(self._digest(), sorted(wanted), ends.isoformat())
        files.write_atomically(self._path(_VERIFIED), json.encode(note), mode=0o600)
        return fresh

    def _is_known_good(self, wanted: frozenset[str]) -> bool:
        """Whether these very files have been verified before: openssl need not be asked again,
        which on a small device takes a second of every start."""
        try:
            note = json.convert(json.decode(self._path(_VERIFIED).read_bytes()), _Verified)
            known = note.digest == self._digest() and note.names == sorted(wanted)
            ends = datetime.datetime.fromisoformat(note.ends)
        except (OSError, ValueError):
            return False
        return known and ends - self._clock.now() >= _RENEW_BEFORE

    def _noted_end(self) -> datetime.datetime:
        note = json.convert(json.decode(self._path(_VERIFIED).read_bytes()), _Verified)
        return datetime.datetime.fromisoformat(note.ends)

    def _digest(self) -> str:
        """Of all files together. Raises OSError when one is missing."""
        digest = hashlib.sha256()
        for name in ("ca.crt", "ca.key", "server.crt", "server.key"):
            body = self._path(name).read_bytes()
            digest.update(len(body).to_bytes(8) + body)
        return digest.hexdigest()

    def _path(self, name: str) -> pathlib.Path:
        return self.directory / name

    def _load(self) -> None:
        self.context.load_cert_chain(self._path("server.crt"), self._path("server.key"))
        trusted = self._path("ca.crt").read_bytes()
        if trusted != self._trusted:
            self.context.load_verify_locations(cadata=trusted.decode())
            self._trusted = trusted

    async def _ensure_authority(self) -> None:
        key, certificate = self._path("ca.key"), self._path("ca.crt")
        if await _fits(certificate, key):
            return
        if not await _is_key(key):
            if key.exists() or certificate.exists():
                log.warning("the CA in %s cannot be used; making another", self.directory)
            await _make_key(key)
        subject = f"edgeorch-ca-{await self._mark()}"
        sign = ["-selfsign", "-keyfile", str(key), "-extensions", "ca_extensions"]
        body = await self._sign(key, subject, sign, _LIFE)
        files.write_atomically(certificate, body, mode=0o600)

    async def _make_leaf(self, names: frozenset[str]) -> None:
        log.info("making a serving certificate for %s", ", ".join(sorted(names)))
        key = self._path("server.key")
        await _make_key(key)
        sign = [*self._signed_by_ca(), "-extensions", "leaf_extensions"]
        body = await self._sign(key, "edgeorch", sign, _LIFE, names=names)
        files.write_atomically(self._path("server.crt"), body, mode=0o600)

    def _signed_by_ca(self) -> list[str]:
        return ["-cert", str(self._path("ca.crt")), "-keyfile", str(self._path("ca.key"))]

    async def _sign(
        self,
        key: pathlib.Path,
        common_name: str,
        sign: list[str],
        life: datetime.timedelta,
        *,
        names: frozenset[str] = frozenset(),
        group: str = "",
    ) -> bytes:
        """A certificate for `key` in PEM. `sign` are the arguments that say who signs what."""
        end = (max(self._clock.now(), _EARLIEST) + life).strftime("%Y%m%d%H%M%SZ")
        with tempfile.TemporaryDirectory(dir=self.directory) as temporary:
            work = pathlib.Path(temporary)
            config = _CONFIG.format(
                work=work,
                common_name=common_name,
                organization=f"O = {group}" if group else "",
                alt_names=_alt_names(names) or "DNS:localhost",
            )
            (work / "config").write_text(config)
            (work / "index.txt").touch()
            arguments = ["-config", str(work / "config")]
            await _openssl("req", "-new", *arguments, "-key", str(key), "-out", str(work / "csr"))
            await _openssl(
                "ca", "-batch", "-notext", *arguments, *sign, "-in", str(work / "csr"),
                "-out", str(work / "crt"), "-startdate", _START, "-enddate", end,
            )  # fmt: skip
            return (work / "crt").read_bytes()

    async def _mark(self) -> str:
        """Tells CAs apart; the same for the same key, so that a completed CA stays trusted."""
        public = await _openssl("pkey", "-in", str(self._path("ca.key")), "-pubout")
        return hashlib.sha256(public).hexdigest()[:8]

    async def _is_good(self, wanted: frozenset[str]) -> bool:
        key, certificate = self._path("server.key"), self._path("server.crt")
        if not await _fits(certificate, key):
            return False
        facts = await _read_facts(certificate)
        if facts.names != wanted or facts.ends - self._clock.now() < _RENEW_BEFORE:
            return False
        # The time is no matter here: a device without a clock must still accept its own CA.
        return await _succeeds(
            "verify", "-no_check_time", "-CAfile", str(self._path("ca.crt")), str(certificate)
        )


def _plain(name: str) -> str:
    """An address in its one normal form, a host name in lower case."""
    try:
        return str(ipaddress.ip_address(name))
    except ValueError:
        pass
    if not _HOST_NAME.fullmatch(name):
        raise CertificateError(f"cannot make a certificate for {name!r}: not a host name")
    return name.lower()


def _alt_names(names: frozenset[str]) -> str:
    return ", ".join(f"{_alt_type(name)}:{name}" for name in sorted(names))


def _alt_type(name: str) -> str:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return "DNS"
    return "IP"


async def _read_facts(certificate: pathlib.Path) -> _Facts:
    text = (
        await _openssl(
            "x509", "-in", str(certificate), "-noout", "-enddate", "-ext", "subjectAltName"
        )
    ).decode()
    ends = ssl.cert_time_to_seconds(text.partition("notAfter=")[2].partition("\n")[0])
    names = re.findall(r"(?:DNS|IP Address):([^,\s]+)", text)
    return _Facts(
        frozenset(map(_plain, names)), datetime.datetime.fromtimestamp(ends, datetime.UTC)
    )


async def _make_key(path: pathlib.Path) -> None:
    body = await _openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    files.write_atomically(path, body, mode=0o600)


async def _is_key(path: pathlib.Path) -> bool:
    return await _succeeds("pkey", "-in", str(path), "-noout", "-check")


async def _fits(certificate: pathlib.Path, key: pathlib.Path) -> bool:
    """Whether both can be read and belong together."""
    if not await _is_key(key):
        return False
    try:
        ours = await _openssl("pkey", "-in", str(key), "-pubout")
        return ours == await _openssl("x509", "-in", str(certificate), "-noout", "-pubkey")
    except CertificateError:
        return False


async def _succeeds(*arguments: str) -> bool:
    try:
        await _openssl(*arguments)
    except CertificateError:
        return False
    return True


async def _openssl(*arguments: str) -> bytes:
    """What the program writes. Raises CertificateError with its complaint."""
    try:
        done = await programs.run("openssl", *arguments, limit=_TIMEOUT)
    except TimeoutError as error:
        raise CertificateError(f"openssl {arguments[0]} took too long") from error
    except OSError as error:
        raise CertificateError(f"cannot run openssl: {error}") from error
    if done.code:
        raise CertificateError(f"openssl {arguments[0]} failed: {done.complaint}")
    return done.out

"""The device: every object of the house, built once and run together.

The API answers first, also on a device whose containerd is down or whose network is not there;
/readyz says what is missing, and everything goes on by itself when it comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import logging
import pathlib
import secrets
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING

import edgeorch
from edgeorch.agent import (
    agent,
    fit_check,
    registry_puller,
    soft_limit,
    streams,
    summaries,
    wall_clock,
)
from edgeorch.agent import settings as agent_settings
from edgeorch.agent.volumes import folders as volume_folders
from edgeorch.api import (
    auth,
    certs,
    doors,
    health,
    kubeconfig,
    made_tokens,
    moments,
    ports,
    server,
    service_tokens,
)
from edgeorch.controllers import (
    account_admission,
    assembly,
    bundles,
    custom_resources,
    device_services,
    endpoint_slices,
    frame,
    holds,
    load_balancers,
    priority_admission,
    runtime_class_admission,
    storage_admission,
    world,
)
from edgeorch.core import dns_zone, ipam, load_balancing
from edgeorch.dns import settings as dns_settings
from edgeorch.lib import (
    boots,
    caches,
    clock_steps,
    conditions,
    files,
    journal,
    metrics,
    signatures,
    tasks,
)
from edgeorch.model import kinds, schema
from edgeorch.net import network
from edgeorch.probes import reach
from edgeorch.proxy import allocation, dns, services
from edgeorch.runtime import attach, images, pulling
from edgeorch.runtime import client as containerd_client
from edgeorch.store import event_limits, recorder

if TYPE_CHECKING:
    from edgeorch import config as configuration
    from edgeorch.lib import clock as clocks
    from edgeorch.net import addresses
    from edgeorch.store import database
    from edgeorch.store.objects import Objects

log = logging.getLogger(__name__)

CERTIFICATE_CHECK = 24 * 3600.0
"""Seconds between looks at the certificates' ends."""


MINUTE = 60.0
MEMORY_REST = 5.0
"""Seconds that a burst has to pass before freed memory is given back."""


class Device:
    def __init__(
        self,
        config: configuration.Config,
        objects: Objects,
        db: database.Database,
        clock: clocks.SystemClock,
        board: conditions.Board,
        keep_time: Callable[[], None],
    ) -> None:
        """`keep_time` remembers what time it is."""
        self._config = config
        self._board = board
        self._keep_time = keep_time
        self._objects = objects
        self._db = db
        self._clock = clock
        self._metrics = metrics.Registry()
        self._data_dir = pathlib.Path(config.data_dir)
        self._run_dir = pathlib.Path(config.run_dir)
        self._events = recorder.Log(objects, clock, config.node_name)
        self._authority = certs.Authority(self._data_dir / certs.DIRECTORY, clock)
        self._certificates_due = asyncio.Event()
        self._allocator = allocation.ServiceAllocator(
            config.network.service_cidr, config.network.node_port_range, secrets.randbelow
        )
        self._pool = load_balancing.Pool(config.network.balancer_ranges)
        self._balancers: load_balancers.LoadBalancers | None = None
        self._network = network.Network(
            network.Settings(
                run_dir=self._run_dir,
                pod_cidr=config.network.pod_cidr,
                service_cidr=config.network.service_cidr,
                bridge=config.network.bridge,
                node_address=config.network.node_address,
            )
        )
        self._dns_address = dns_zone.server_address(config.network.service_cidr)
        self._services = device_services.DeviceServices(
            objects,
            [device_services.api(config.api.port), device_services.dns(self._dns_address)],
        )
        self._endpoints_settled = asyncio.Event()
        self._proxy = services.ServiceProxy(
            objects, self._network, config.node_name, self._endpoints_settled, self._pool
        )
        self._dns = self._build_dns()
        self._service_tokens = self._build_service_tokens()
        self._made_tokens = made_tokens.MadeTokens(
            self._data_dir / made_tokens.DIRECTORY, functools.partial(moments.now, clock)
        )
        self._containerd = containerd_client.Client(
            config.containerd.address, config.containerd.namespace
        )
        self._puller = registry_puller.configured(
            config,
            pulling.PullSinks(self._containerd, snapshotter=config.containerd.snapshotter),
        )
        self._agent = self._build_agent()
        self._world = world.World(objects, self._events, clock, config.node_name)
        self._holds = holds.Holds(self._world, config.hold_file, self._board)
        self._bundles = self._build_bundles()
        self._looked = clock.monotonic()
        self._soft_limit = soft_limit.SoftLimit(config.memory.soft_limit, self._droppable())
        self._measure()
        self._agent.on_look = self._look_at_memory

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Everything runs until this is left. Raises OSError when a listener cannot be had."""
        self._run_dir.mkdir(parents=True, exist_ok=True, mode=0o711)
        await asyncio.to_thread(volume_folders.note_root, self._data_dir, self._config.storage_dir)
        self._load_services()
        self._admit_storage()
        self._network.on_addresses(self._addresses_changed)
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(self._containerd.close)
            await self._network.start()
            stack.push_async_callback(self._network.close)
            await self._have_certificates()
            door = await self._open_door()
            await stack.enter_async_context(tasks.running(self._loops(door)))
            self._made_tokens.load()
            await door.start()
            stack.push_async_callback(door.close)
            yield

    def _measure(self) -> None:
        for part in (
            self._db, self._network, self._proxy, self._dns, self._authority, self._puller,
            self._agent, self._soft_limit,
        ):  # fmt: skip
            part.measure(self._metrics)
        journal.measure(self._metrics)

    # --- parts ----------------------------------------------------------------------------------

    def _build_agent(self) -> agent.Agent:
        return agent.Agent(
            self._objects,
            self._events,
            self._containerd,
            self._network,
            self._puller,
            self._clock,
            agent_settings.of(self._config, dns_address=self._dns_address),
            withdrawal=self._proxy,
            tokens=self._service_tokens,
            board=self._board,
            give_way=self._db.give_way,
        )

    def _build_bundles(self) -> bundles.Bundles:
        config, updates = self._config, self._config.updates
        keys = [pathlib.Path(key) for key in updates.trusted_keys]
        verify = functools.partial(signatures.verify, keys=keys, folder=self._run_dir)
        return bundles.Bundles(
            self._world,
            schema.load(),
            gates=[
                fit_check.FitCheck(
                    self._objects,
                    images.Images(self._containerd, snapshotter=config.containerd.snapshotter),
                    self._puller,
                    self._agent.collector,
                    config.node_name,
                    pressure_rules=self._agent.settings.pressure,
                    data_dir=self._data_dir,
                    reserved_ports=(config.api.port, config.health.port),
                )
            ],
            hold=self._holds,
            reach=reach.tried,
            verify=verify if keys else None,
            health_url=updates.health_url,
        )

    def _build_dns(self) -> dns.Dns:
        config = self._config
        return dns.Dns(
            self._objects,
            self._clock,
            dns_settings.Settings(
                address=self._network.gateway,
                service_address=self._dns_address,
                pod_cidr=config.network.pod_cidr,
                service_cidr=config.network.service_cidr,
                domain=config.dns.domain,
                resolv_conf=pathlib.Path(config.dns.resolv_conf),
            ),
            own_addresses=lambda: self._network.node_addresses.all,
            settled=self._endpoints_settled,
        )

    async def _open_door(self) -> server.Server:
        """The API server, with the administrator's token and kubeconfig in place."""
        tokens = self._data_dir / "tokens.csv"
        token = await asyncio.to_thread(auth.ensure_admin_token, tokens)
        await asyncio.to_thread(
            kubeconfig.write,
            pathlib.Path(self._config.api.kubeconfig),
            f"https://127.0.0.1:{self._config.api.port}",
            self._authority.certificate,
            token,
        )
        listen = server.Listen(
            network=[
                (each, self._config.api.port)
                for each in doors.places(self._config.api.address, str(self._network.gateway))
            ],
            tls=self._authority.context,
            socket=self._config.api_socket,
            health=(self._config.health.address, self._config.health.port),
            open_metrics=self._config.health.metrics,
        )
        return server.Server(
            self._objects,
            schema.load(),
            listen,
            clock=self._clock,
            authenticator=auth.Authenticator(
                auth.load_tokens(tokens), self._clock, self._service_tokens, self._made_tokens
            ),
            logs=self._agent.logs,
            streams=self._build_streams(),
            meter=self._build_meter(),
            bundles=self._bundles,
            version=edgeorch.__version__,
            checks=self._checks(),
            metrics=self._metrics,
        )

    def _build_service_tokens(self) -> service_tokens.ServiceTokens:
        """With the key that signs them, made at the first start."""
        key = files.ensure_secret(self._data_dir / "service-account.key", service_tokens.KEY_BYTES)
        return service_tokens.ServiceTokens(self._objects, key, self._clock, boots.boot_id())

    def _build_meter(self) -> summaries.Summaries:
        return summaries.Summaries(
            self._objects, self._clock, self._agent.settings, self._agent.sources
        )

    def _build_streams(self) -> ports.Streams:
        return ports.Streams(
            streams.PodExecs(self._agent.execs),
            streams.PodAttachments(attach.Attachments(self._containerd, self._agent.output)),
            streams.PodDialer(self._run_dir / "netns"),
        )

    def _build_wall_clock(self) -> wall_clock.WallClock:
        steps = clock_steps.ClockSteps()
        return wall_clock.WallClock(
            self._clock, self._board, self._agent.tell, steps.wait, self._keep_time
        )

    def missing(self) -> str:
        """What it is not ready for, "" when it is."""
        found = ((name, check()) for name, check in self._checks().ready.items())
        return "; ".join(f"{name}: {reason}" for name, reason in found if reason is not None)

    def _checks(self) -> health.Checks:
        return health.Checks(
            ready={
                "store": lambda: self._db.trouble,
                "containerd": self._agent.health,
                "network": self._network.health,
                "services": self._proxy.health,
                "dns": self._dns.health,
            }
        )

    def _loops(self, door: server.Server) -> dict[str, Callable[[], Awaitable[None]]]:
        controllers = assembly.all_controllers(
            self._objects,
            self._events,
            self._clock,
            node_name=self._config.node_name,
            ca_certificate=self._authority.certificate.decode(),
            folders=volume_folders.VolumeFolders(self._config.storage_dir),
            auto_rollback=self._config.updates.auto_rollback,
            terminated_pods=self._config.pods.terminated_pod_gc_threshold,
            balancer_pool=self._pool,
            reserved_ports=frozenset({("TCP", self._config.api.port)}),
            # One of its own: its turns are not those of whoever asks for metrics.
            meter=self._build_meter(),
            tokens=self._service_tokens,
            shared=self._world,
        )
        slices = next(c for c in controllers if isinstance(c, endpoint_slices.EndpointSlices))
        self._balancers = next(
            c for c in controllers if isinstance(c, load_balancers.LoadBalancers)
        )
        self._balancers.move(self._network.node_addresses.physical)
        frame.measure(self._metrics, [*controllers, self._bundles])
        wall = self._build_wall_clock()
        wall.measure(self._metrics)
        return {
            **{controller.name: controller.run for controller in controllers},
            self._services.name: self._services.run,
            self._bundles.name: self._bundles.run,
            "holds": self._holds.run,
            "events": event_limits.EventLimits(self._objects, self._clock).run,
            "dns": self._dns.run,
            "network": self._network.run,
            "service proxy": self._proxy.run,
            "agent": self._agent.run,
            "certificates": self._renew_certificates,
            "tokens": functools.partial(self._made_tokens.follow, door.end_of),
            "adoption": functools.partial(self._settle, slices),
            "memory": self._give_memory_back,
            "clock": wall.run,
        }

    async def _settle(self, slices: endpoint_slices.EndpointSlices) -> None:
        """Rules of Services stay as the former process left them until endpoints are known again:
        its pods went on serving meanwhile."""
        await self._agent.settled()
        await slices.settled()
        self._endpoints_settled.set()
        await asyncio.Event().wait()

    # --- addresses and certificates ---------------------------------------------------------------

    def _admit_storage(self) -> None:
        claims = kinds.PERSISTENT_VOLUME_CLAIM.resource
        self._objects.admit_with(claims, storage_admission.ClaimAdmission(self._objects))
        self._objects.allocate_with(claims, storage_admission.ClaimExpansion(self._objects))
        self._objects.admit_with(
            kinds.PERSISTENT_VOLUME.resource, storage_admission.VolumeAdmission()
        )

    def _load_services(self) -> None:
        resource = kinds.SERVICE.resource
        self._allocator.load(stored.decode() for stored in self._objects.list(resource).items)
        self._objects.allocate_with(resource, self._allocator)
        accounts = account_admission.AccountAdmission(self._objects)
        self._objects.admit_with(kinds.POD.resource, accounts)
        classes = runtime_class_admission.RuntimeClassAdmission(self._objects)
        self._objects.admit_with(kinds.POD.resource, classes)
        priorities = priority_admission.PriorityAdmission(self._objects)
        self._objects.admit_with(kinds.POD.resource, priorities)
        only = priority_admission.DefaultClass(self._objects)
        self._objects.allocate_with(kinds.PRIORITY_CLASS.resource, only)
        definitions = custom_resources.DefinitionAdmission()
        self._objects.admit_with(kinds.CUSTOM_RESOURCE_DEFINITION.resource, definitions)

    def _addresses_changed(self, found: addresses.NodeAddresses) -> None:
        bridge = str(self._network.gateway)
        at = doors.endpoint(self._config.api.address, found.host, bridge)
        self._services.move(device_services.API, at)
        self._services.move(device_services.DNS, bridge)
        if self._balancers is not None:
            self._balancers.move(found.physical)
        self._dns.network_changed()
        self._certificates_due.set()

    def _certificate_names(self) -> list[str]:
        services = ipaddress.ip_network(self._config.network.service_cidr)
        own = [self._config.node_name, str(ipam.gateway(services))]
        return [*own, *self._network.node_addresses.all]

    async def _have_certificates(self) -> None:
        """The right ones, or the old ones where none can be made now. Raises OSError."""
        try:
            await self._authority.ensure(self._certificate_names())
        except certs.CertificateError as error:
            if not self._authority.load():
                raise OSError(f"{error}") from error
            log.error("the serving certificate stays as it is: %s", error)

    async def _renew_certificates(self) -> None:
        """New ones when an address has come, or an end draws near; connections go on."""
        while True:
            self._certificates_due.clear()
            try:
                await self._authority.ensure(self._certificate_names())
            except certs.CertificateError as error:
                log.error("the serving certificate stays as it is: %s", error)
            days = self._authority.days_left()
            if days is not None:
                self._board.hold(*certs.condition(days, self._authority.directory))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CERTIFICATE_CHECK):
                    await self._certificates_due.wait()

    def _look_at_memory(self) -> None:
        """Once a minute, also when more happens."""
        now = self._clock.monotonic()
        if now >= self._looked + MINUTE:
            self._looked = now
            self._objects.grow_old()
            self._soft_limit.look()

    def _droppable(self) -> caches.Caches:
        """Every cache of the process."""
        known = caches.Caches()
        known.add("old events", self._events.forget_some)
        known.add("the history of changes", self._objects.forget_history)
        known.add("answers of resolvers", self._dns.forwarder.cached.clear)
        known.add("the fields of protobuf", _forget_protobuf)
        self._agent.droppable(known)
        return known

    async def _give_memory_back(self) -> None:
        """Some time after pods have come, gone or changed; an idle device is not woken."""
        while True:
            await asyncio.sleep(MEMORY_REST)
            self._soft_limit.rest()
            async with self._objects.watch(kinds.POD.resource) as changes:
                await anext(changes)


def _forget_protobuf() -> None:
    """Where somebody has sent such a body: it is loaded with the first one."""
    protobuf = sys.modules.get("edgeorch.model.protobuf")
    if protobuf is not None:
        protobuf.forget()

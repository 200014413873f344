"""The frame of our nftables table: its maps, its hooks, and what they do without any Service.

Pure text. Everything in it may be declared again over a table that is there; the rules of the
hooks are then made anew in the same transaction. What hangs in the maps is `service_rules`' part.
All chains but the verdict maps' targets are here: the place to read what happens to a packet.
Hooks and priorities: nft(8); the design follows KEP-3866.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from msgspec import Struct

SERVICE_IPS = "service-ips"
NODE_PORTS = "node-ports"
HOST_PORTS = "host-ports"
HOST_IP_PORTS = "host-ip-ports"
UNSERVED_IPS = "unserved-ips"
UNSERVED_PORTS = "unserved-ports"
FIREWALL_IPS = "firewall-ips"
HAIRPIN = "hairpin"
ROUTED = "routed-interfaces"

REFUSE = "goto refuse"


class Layout(Struct, frozen=True):
    """What the table is made for. One table serves one address family."""

    pod_cidr: str
    service_cidr: str
    bridge: str = "edgeorch0"
    table: str = "edgeorch"
    mark: int = 0x4000
    """Bit of the packet mark set on what we translated, as kube-proxy's."""

    @property
    def version(self) -> int:
        return ipaddress.ip_network(self.pod_cidr).version

    @property
    def family(self) -> str:
        return "ip" if self.version == 4 else "ip6"

    @property
    def address_type(self) -> str:
        return "ipv4_addr" if self.version == 4 else "ipv6_addr"

    @property
    def loopback(self) -> str:
        return "127.0.0.0/8" if self.version == 4 else "::1/128"

    @property
    def name(self) -> str:
        return f"{self.family} {self.table}"


def base(layout: Layout, routed: Iterable[str] = (), *, create: bool = True) -> str:
    """The frame: declarations that may be repeated, and the rules of the hooks, anew.

    `routed`: the interfaces other than the bridge on which we switched forwarding on. Without
    `create` it fails when there is no table, so that a loss cannot pass unnoticed.
    """
    name, address = layout.name, layout.address_type
    port, ip_port = "inet_proto . inet_service", f"{address} . inet_proto . inet_service"
    lines = [f"add table {name}"] if create else []
    for map_name, key, value in (
        (SERVICE_IPS, ip_port, "verdict"),
        (NODE_PORTS, port, "verdict"),
        (HOST_PORTS, port, f"{address} . inet_service"),
        (HOST_IP_PORTS, ip_port, f"{address} . inet_service"),
        (UNSERVED_IPS, ip_port, "verdict"),
        (UNSERVED_PORTS, port, "verdict"),
        (FIREWALL_IPS, ip_port, "verdict"),
    ):
        lines.append(f"add map {name} {map_name} {{ type {key} : {value}; }}")
    lines.append(f"add set {name} {HAIRPIN} {{ type {address} . {address}; }}")
    lines.append(f"add set {name} {ROUTED} {{ type ifname; }}")
    lines.append(f"flush set {name} {ROUTED}")
    if interfaces := ", ".join(f'"{interface}"' for interface in sorted(routed)):
        lines.append(f"add element {name} {ROUTED} {{ {interfaces} }}")
    hooks = chains(layout)
    for chain, (hook, _) in hooks.items():
        lines.append(
            f"add chain {name} {chain}" + (f" {{ {hook}; policy accept; }}" if hook else "")
        )
    for chain, (_, rules) in hooks.items():
        lines.append(f"flush chain {name} {chain}")
        lines += [f"add rule {name} {chain} {rule}" for rule in rules]
    return "\n".join(lines) + "\n"


def chains(layout: Layout) -> dict[str, tuple[str, tuple[str, ...]]]:
    ip, bridge, mark = layout.family, f'"{layout.bridge}"', f"{layout.mark:#x}"
    icmp = "icmp" if layout.version == 4 else "icmpv6"
    target = f"{ip} daddr . meta l4proto . th dport"
    ours = f"meta mark & {mark} == {mark}"
    return {
        "refuse": ("", (
            "meta l4proto tcp reject with tcp reset",
            f"reject with {icmp} type port-unreachable",
        )),
        "services": ("", (
            f"{target} vmap @{SERVICE_IPS}",
            f"fib daddr type local meta l4proto . th dport vmap @{NODE_PORTS}",
            f"dnat {ip} to {target} map @{HOST_IP_PORTS}",
            f"fib daddr type local dnat {ip} to meta l4proto . th dport map @{HOST_PORTS}",
        )),
        "unserved": ("", (
            f"{target} vmap @{UNSERVED_IPS}",
            f"fib daddr type local meta l4proto . th dport vmap @{UNSERVED_PORTS}",
            f"{ip} daddr {layout.service_cidr} {REFUSE}",
        )),
        "leave": ("", (
            f"meta mark set meta mark & {~layout.mark & 0xFFFFFFFF:#x}",
            "masquerade fully-random",
        )),
        # The bridge routes 127.0.0.0/8 so that localhost reaches node ports; nobody else may use
        # that (CVE-2020-8558).
        "localhost-guard": ("type filter hook prerouting priority -300", (
            f"iifname {bridge} {ip} daddr {layout.loopback} drop",
            f"iifname {bridge} {ip} saddr {layout.loopback} drop",
        )),
        # Before the translation, while the address asked for is still there.
        "source-ranges": ("type filter hook prerouting priority -110", (
            f"ct state new {target} vmap @{FIREWALL_IPS}",
        )),
        # -100 is dstnat; nft 1.0.6 knows that name on the prerouting hook only.
        "nat-prerouting": ("type nat hook prerouting priority -100", ("jump services",)),
        "nat-output": ("type nat hook output priority -100", ("jump services",)),
        "nat-postrouting": ("type nat hook postrouting priority 100", (
            f"{ip} saddr . {ip} daddr @{HAIRPIN} masquerade fully-random",
            f"{ip} saddr {layout.loopback} oifname {bridge} masquerade fully-random",
            f"{ip} saddr {layout.pod_cidr} oifname != {{ {bridge}, \"lo\" }} goto leave",
            f"{ours} oifname != {{ {bridge}, \"lo\" }} goto leave",
        )),
        "filter-input": ("type filter hook input priority 0", (
            "ct state new jump unserved",
        )),
        "filter-output": ("type filter hook output priority 0", (
            "ct state new jump unserved",
        )),
        "filter-forward": ("type filter hook forward priority 0", (
            # A packet that conntrack disowns keeps an untranslated source; the peer would reset.
            f"iifname {bridge} ct state invalid drop",
            "ct state new jump unserved",
            # Forwarding was switched on for pods only: these interfaces are no routers.
            f"iifname @{ROUTED} oifname != {bridge} ct state new {ours} accept",
            f"iifname @{ROUTED} oifname != {bridge} ct state new drop",
        )),
    }  # fmt: skip


MAPS = (
    SERVICE_IPS,
    NODE_PORTS,
    HOST_PORTS,
    HOST_IP_PORTS,
    UNSERVED_IPS,
    UNSERVED_PORTS,
    FIREWALL_IPS,
)


def remove(layout: Layout) -> str:
    return f"add table {layout.name}\ndelete table {layout.name}\n"

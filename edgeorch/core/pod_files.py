"""Texts of the files that every container gets: /etc/hosts and /etc/resolv.conf.

Layout of the kubelet's managed hosts file and of its DNS configurer.
"""

from __future__ import annotations

from msgspec import Struct

from edgeorch.model import views

_HEADER = "# Kubernetes-managed hosts file.\n"
_HOST_HEADER = "# Kubernetes-managed hosts file (host network).\n"
_LOCAL = (
    "127.0.0.1\tlocalhost\n"
    "::1\tlocalhost ip6-localhost ip6-loopback\n"
    "fe00::0\tip6-localnet\n"
    "fe00::0\tip6-mcastprefix\n"
    "fe00::1\tip6-allnodes\n"
    "fe00::2\tip6-allrouters\n"
)
_MAX_NODENAME = 64
"""What uname(2) has room for."""
MAX_NAMESERVERS = 3
MAX_SEARCHES = 32
_MAX_SEARCH_TEXT = 2048


class HostnameError(Exception):
    """The pod cannot be called what it wants to be called."""


class Resolver(Struct, frozen=True):
    """A resolv.conf, parsed."""

    nameservers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def hostname(pod: views.Pod, node_name: str) -> str:
    if pod.spec.host_network:
        return node_name
    if pod.spec.hostname_override:
        return pod.spec.hostname_override
    name = pod.spec.hostname or pod.metadata.name
    return name[:63].rstrip("-.")


def nodename(pod: views.Pod, node_name: str, cluster_domain: str) -> str:
    """What the kernel calls the pod (KEP-1797, KEP-4762). Raises HostnameError."""
    name, domain = hostname(pod, node_name), _domain(pod, cluster_domain)
    if not domain or not pod.spec.set_hostname_as_fqdn:
        return name
    full = f"{name}.{domain}"
    if len(full) > _MAX_NODENAME:
        raise HostnameError(
            f"failed to construct FQDN from pod hostname and cluster domain, FQDN {full} is too "
            f"long ({_MAX_NODENAME} characters is the max, {len(full)} characters requested)"
        )
    return full


def _domain(pod: views.Pod, cluster_domain: str) -> str:
    if not pod.spec.subdomain or pod.spec.host_network or pod.spec.hostname_override:
        return ""
    return f"{pod.spec.subdomain}.{pod.metadata.namespace}.svc.{cluster_domain}"


def hosts(pod: views.Pod, ip: str, cluster_domain: str, host_file: str = "") -> str:
    """`host_file` is the node's own /etc/hosts, for pods in the node's network."""
    if pod.spec.host_network:
        text = _HOST_HEADER + host_file
    else:
        text = _HEADER + _LOCAL + _own_line(pod, ip, cluster_domain)
    return text + _aliases(pod.spec.host_aliases)


def _own_line(pod: views.Pod, ip: str, cluster_domain: str) -> str:
    name, domain = hostname(pod, ""), _domain(pod, cluster_domain)
    return f"{ip}\t{name}.{domain}\t{name}\n" if domain else f"{ip}\t{name}\n"


def _aliases(aliases: list[views.HostAlias]) -> str:
    if not aliases:
        return ""
    lines = [f"{alias.ip}\t" + "\t".join(alias.hostnames) + "\n" for alias in aliases]
    return "\n# Entries added by HostAliases.\n" + "".join(lines)


def parse_resolv_conf(text: str) -> Resolver:
    servers: list[str] = []
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    for line in text.splitlines():
        words = line.split()
        if not words or words[0].startswith(("#", ";")):
            continue
        if words[0] == "nameserver" and len(words) > 1:
            servers.append(words[1])
        elif words[0] in ("search", "domain"):
            searches = tuple(words[1:])
        elif words[0] == "options":
            options = tuple(words[1:])
    return Resolver(tuple(servers), searches, options)


def resolver(pod: views.Pod, host: Resolver, dns_address: str, cluster_domain: str) -> Resolver:
    """As the pod's DNS policy says. Without `dns_address` there is no cluster DNS to point at."""
    policy = pod.spec.dns_policy
    cluster = policy == "ClusterFirstWithHostNet" or (
        policy == "ClusterFirst" and not pod.spec.host_network
    )
    if policy == "None":
        base = Resolver()
    elif cluster and dns_address:
        namespace = pod.metadata.namespace
        searches = (
            f"{namespace}.svc.{cluster_domain}",
            f"svc.{cluster_domain}",
            cluster_domain,
            *host.searches,
        )
        base = Resolver((dns_address,), tuple(dict.fromkeys(searches)), ("ndots:5",))
    else:
        base = host
    return _with_config(base, pod.spec.dns_config)


def _with_config(base: Resolver, config: views.PodDnsConfig | None) -> Resolver:
    if config is None:
        return base
    options = {option.partition(":")[0]: option for option in base.options}
    for option in config.options:
        text = option.name if option.value in (None, "") else f"{option.name}:{option.value}"
        options[option.name] = text
    return Resolver(
        tuple(dict.fromkeys((*base.nameservers, *config.nameservers))),
        tuple(dict.fromkeys((*base.searches, *config.searches))),
        tuple(options.values()),
    )


def limited(found: Resolver) -> tuple[Resolver, list[str]]:
    """What of it a resolver takes, and what the events say of the rest (the kubelet's words)."""
    servers, searches = found.nameservers[:MAX_NAMESERVERS], found.searches[:MAX_SEARCHES]
    while len(" ".join(searches)) > _MAX_SEARCH_TEXT:
        searches = searches[:-1]
    told = []
    if searches != found.searches:
        told.append(
            "Search Line limits were exceeded, some search paths have been omitted, the applied "
            f"search line is: {' '.join(searches)}"
        )
    if servers != found.nameservers:
        told.append(
            "Nameserver limits were exceeded, some nameservers have been omitted, the applied "
            f"nameserver line is: {' '.join(servers)}"
        )
    return Resolver(servers, searches, found.options), told


def resolv_conf(found: Resolver) -> str:
    found, _ = limited(found)
    lines = []
    if found.searches:
        lines.append("search " + " ".join(found.searches))
    lines += [f"nameserver {server}" for server in found.nameservers]
    if found.options:
        lines.append("options " + " ".join(found.options))
    return "".join(f"{line}\n" for line in lines)

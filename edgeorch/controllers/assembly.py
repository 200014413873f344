"""All controllers, put together: what the process runs and supervises."""

from __future__ import annotations

from typing import Protocol

from edgeorch.controllers import (
    account_tokens,
    autoscalers,
    cluster_roles,
    cron_jobs,
    daemon_sets,
    deployments,
    disruption_budgets,
    endpoint_mirroring,
    endpoint_slices,
    endpoints,
    ephemeral_volumes,
    garbage,
    job_orphans,
    jobs,
    load_balancers,
    namespace_contents,
    namespaces,
    node_taints,
    persistent_volumes,
    pod_gc,
    priority_classes,
    replica_sets,
    scheduling,
    stateful_sets,
    storage_classes,
    storage_protection,
    taint_evictions,
    world,
)
from edgeorch.core import load_balancing
from edgeorch.lib import clock as clocks
from edgeorch.lib import clock_steps
from edgeorch.store import objects as stores
from edgeorch.store import recorder


class Controller(Protocol):
    @property
    def name(self) -> str: ...

    async def run(self) -> None:
        """For ever."""


def all_controllers(
    objects: stores.Objects,
    events: recorder.Log,
    clock: clocks.Clock,
    *,
    node_name: str,
    ca_certificate: str,
    folders: persistent_volumes.Folders,
    auto_rollback: bool = False,
    terminated_pods: int = 0,
    balancer_pool: load_balancing.Pool = load_balancing.NO_POOL,
    reserved_ports: frozenset[load_balancing.Port] = frozenset(),
    meter: autoscalers.Meter | None = None,
    tokens: account_tokens.Issuer | None = None,
    shared: world.World | None = None,
) -> list[Controller]:
    """`objects` must be loaded. `ca_certificate`: PEM, handed to every namespace.

    `terminated_pods`: how many pods that are over are kept; 0: all. `shared`: one that others, who
    are not made here, look at too.
    """
    shared = shared or world.World(objects, events, clock, node_name)
    found: list[Controller] = [
        shared,
        namespaces.Namespaces(shared),
        namespace_contents.NamespaceContents(shared, ca_certificate),
        deployments.Deployments(shared, auto_rollback=auto_rollback),
        replica_sets.ReplicaSets(shared),
        replica_sets.ReplicationControllers(shared),
        stateful_sets.StatefulSets(shared),
        daemon_sets.DaemonSets(shared),
        disruption_budgets.DisruptionBudgets(shared),
        scheduling.Scheduling(shared),
        node_taints.NodeTaints(shared),
        taint_evictions.TaintEvictions(shared),
        pod_gc.PodGc(shared, terminated_pods),
        endpoint_slices.EndpointSlices(shared),
        endpoints.Endpoints(shared),
        endpoint_mirroring.EndpointMirroring(shared),
        load_balancers.LoadBalancers(shared, balancer_pool, reserved_ports),
        jobs.Jobs(shared),
        job_orphans.JobOrphans(shared),
        cron_jobs.CronJobs(shared, clock_steps.ClockSteps().wait),
        autoscalers.Autoscalers(shared, meter),
        storage_classes.StorageClasses(objects),
        cluster_roles.ClusterRoles(objects),
        priority_classes.PriorityClasses(objects),
        persistent_volumes.PersistentVolumes(shared, folders),
        storage_protection.ClaimProtection(shared),
        storage_protection.VolumeProtection(shared, folders.root),
        ephemeral_volumes.EphemeralVolumes(shared),
        garbage.Garbage(shared),
    ]
    if tokens is not None:
        found.append(account_tokens.AccountTokens(shared, tokens, ca_certificate))
    return found

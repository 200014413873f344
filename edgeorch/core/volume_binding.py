"""Claims and volumes: which belong together, which are to be made, which are of no use any more.

`plan` looks at all of them at once and gives what can be done now; it is called again after every
change until it gives nothing more than things to say. Both sides of a binding name each other: the
volume first (`claimRef`, by uid), so that no two claims ever get one volume, also when a crash
comes between the two writes. As pkg/controller/volume/persistentvolume (pv_controller.go).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import Struct, field

from edgeorch.core import local_path, volume_match
from edgeorch.lib import quantity
from edgeorch.model import storage, views

BIND_COMPLETED = "pv.kubernetes.io/bind-completed"
BOUND_BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"
STORAGE_PROVISIONER = "volume.kubernetes.io/storage-provisioner"
BETA_STORAGE_PROVISIONER = "volume.beta.kubernetes.io/storage-provisioner"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
NO_PROVISIONER = "kubernetes.io/no-provisioner"
NORMAL, WARNING = "Normal", "Warning"

Claim = storage.PersistentVolumeClaim
Volume = storage.PersistentVolume


class AssignClass(Struct, frozen=True):
    """The claim left its class open, and there is a default one now."""

    claim: Claim
    name: str


class BindVolume(Struct, frozen=True):
    """`chosen`: nobody but the plan has put them together."""

    volume: Volume
    claim: Claim
    chosen: bool


class BindClaim(Struct, frozen=True):
    claim: Claim
    volume: Volume
    chosen: bool


class ShowClaim(Struct, frozen=True):
    """Bring the claim's status up to date; `volume`: what it has."""

    claim: Claim
    phase: str
    volume: Volume | None = None


class ShowVolume(Struct, frozen=True):
    volume: Volume
    phase: str
    message: str = ""


class Unbind(Struct, frozen=True):
    """The claim it names has another one. `wholly`: nobody had meant it for that claim."""

    volume: Volume
    wholly: bool


class MarkProvisioner(Struct, frozen=True):
    claim: Claim
    provisioner: str


class Provision(Struct, frozen=True):
    claim: Claim
    storage_class: storage.StorageClass


class Expand(Struct, frozen=True):
    claim: Claim
    volume: Volume


class Reclaim(Struct, frozen=True):
    """Remove its data, then itself."""

    volume: Volume


class Tell(Struct, frozen=True):
    about: Claim | Volume
    kind: str
    reason: str
    message: str


Action = (
    AssignClass
    | BindVolume
    | BindClaim
    | ShowClaim
    | ShowVolume
    | Unbind
    | MarkProvisioner
    | Provision
    | Expand
    | Reclaim
    | Tell
)


class Seen(Struct, frozen=True):
    claims: Sequence[Claim]
    volumes: Sequence[Volume]
    classes: Mapping[str, storage.StorageClass]
    node: views.Node | None
    root: str = ""
    """Where the directories of our own volumes lie."""


def plan(seen: Seen) -> list[Action]:
    planner = _Planner(seen)
    for claim in sorted(seen.claims, key=_age):
        planner.claim(claim)
    for volume in seen.volumes:
        if volume.metadata.name not in planner.taken:
            planner.volume(volume)
    return planner.actions


def is_bound(claim: Claim) -> bool:
    return bool(claim.spec.volume_name) and BIND_COMPLETED in claim.metadata.annotations


def is_delayed(claim: Claim, classes: Mapping[str, storage.StorageClass]) -> bool:
    """Bound only when it is known which pod uses it."""
    found = classes.get(volume_match.class_of_claim(claim) or "")
    return found is not None and found.volume_binding_mode == "WaitForFirstConsumer"


def default_class(classes: Mapping[str, storage.StorageClass]) -> str | None:
    """Of several the newest, as DefaultStorageClass admission has it."""
    marked = [
        found
        for found in classes.values()
        if found.metadata.annotations.get(local_path.DEFAULT_CLASS) == "true"
    ]
    marked.sort(key=lambda found: found.metadata.name)
    marked.sort(key=lambda found: found.metadata.creation_timestamp or "", reverse=True)
    return marked[0].metadata.name if marked else None


def _age(claim: Claim) -> tuple[str, str, str]:
    meta = claim.metadata
    return meta.creation_timestamp or "", meta.namespace, meta.name


class _Planner(Struct):
    seen: Seen
    actions: list[Action] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)
    """Names of volumes that have been given away in this plan."""

    def _tell(self, about: Claim | Volume, kind: str, reason: str, message: str) -> None:
        self.actions.append(Tell(about, kind, reason, message))

    # --- claims ---------------------------------------------------------------------------------

    def claim(self, claim: Claim) -> None:
        if is_bound(claim):
            self._bound(claim)
        elif claim.metadata.deletion_timestamp:
            return
        elif claim.spec.volume_name:
            self._named(claim)
        else:
            self._open(claim)

    def _bound(self, claim: Claim) -> None:
        volume = self._volume(claim.spec.volume_name)
        if volume is None:
            self._lose(
                claim,
                "ClaimLost",
                "Bound claim has lost its PersistentVolume. Data on the volume is lost!",
            )
        elif volume.spec.claim_ref is None:
            self._give(volume, claim)
        elif not _has(volume, claim):
            self._lose(
                claim,
                "ClaimMisbound",
                "Two claims are bound to the same volume, this one is bound incorrectly",
            )
        else:
            self._keep(claim, volume)

    def _lose(self, claim: Claim, reason: str, message: str) -> None:
        if claim.status.phase != "Lost":
            self.actions.append(ShowClaim(claim, "Lost"))
            self._tell(claim, WARNING, reason, message)

    def _keep(self, claim: Claim, volume: Volume) -> None:
        ours = local_path.is_ours(volume) and not claim.metadata.deletion_timestamp
        if ours and volume_match.is_smaller(volume, claim):
            self.actions.append(Expand(claim, volume))
            return
        status = claim.status
        if (
            status.phase != "Bound"
            or status.access_modes != volume.spec.access_modes
            or not _same(status.capacity, volume.spec.capacity)
        ):
            self.actions.append(ShowClaim(claim, "Bound", volume))

    def _named(self, claim: Claim) -> None:
        """Somebody wants this very volume."""
        name = claim.spec.volume_name
        volume = self._volume(name)
        if volume is None or name in self.taken:
            return
        if not volume_match.names(volume, claim):
            if volume.spec.claim_ref is not None:
                message = f'volume "{name}" already bound to a different claim.'
                self._tell(claim, WARNING, "FailedBinding", message)
                return
            why = volume_match.why_not(claim, volume)
            if why:
                message = f'Cannot bind to requested volume "{name}": {why}'
                self._tell(claim, WARNING, "VolumeMismatch", message)
                return
        self._give(volume, claim)

    def _open(self, claim: Claim) -> None:
        seen, name = self.seen, volume_match.class_of_claim(claim)
        if name is None:
            default = default_class(seen.classes)
            if default is not None:
                self.actions.append(AssignClass(claim, default))
                return
        delayed = is_delayed(claim, seen.classes)
        waits = delayed and SELECTED_NODE not in claim.metadata.annotations
        volume = volume_match.find(
            claim,
            seen.volumes,
            seen.node if delayed else None,
            self.taken,
            only_named=waits,
        )
        if volume is not None:
            self._give(volume, claim)
        elif waits:
            message = "waiting for first consumer to be created before binding"
            self._tell(claim, NORMAL, "WaitForFirstConsumer", message)
        elif not name:
            message = "no persistent volumes available for this claim and no storage class is set"
            self._tell(claim, NORMAL, "FailedBinding", message)
        else:
            self._provide(claim, name)

    def _provide(self, claim: Claim, name: str) -> None:
        found = self.seen.classes.get(name)
        if found is None:
            message = f'storageclass.storage.k8s.io "{name}" not found'
            self._tell(claim, WARNING, "ProvisioningFailed", message)
            return
        maker = found.provisioner
        if maker == NO_PROVISIONER:
            message = f"no volume plugin matched name: {maker}"
            self._tell(claim, WARNING, "ProvisioningFailed", message)
            return
        if claim.metadata.annotations.get(STORAGE_PROVISIONER) != maker:
            self.actions.append(MarkProvisioner(claim, maker))
        message = (
            f"Waiting for a volume to be created either by the external provisioner '{maker}' or"
            " manually by the system administrator. If volume creation is delayed, please verify"
            " that the provisioner is running and correctly registered."
        )
        self._tell(claim, NORMAL, "ExternalProvisioning", message)
        if maker == local_path.PROVISIONER:
            self._provide_ourselves(claim, found)

    def _provide_ourselves(self, claim: Claim, found: storage.StorageClass) -> None:
        node = self.seen.node
        if node is None:
            return
        why = local_path.why_not(claim)
        if not local_path.is_allowed(found, node):
            why = "the device is in none of the class's allowedTopologies"
        if why:
            message = f'failed to provision volume with StorageClass "{found.metadata.name}": {why}'
            self._tell(claim, WARNING, "ProvisioningFailed", message)
            return
        if self._volume(local_path.volume_name(claim)) is None:
            self.actions.append(Provision(claim, found))

    def _give(self, volume: Volume, claim: Claim) -> None:
        self.taken.add(volume.metadata.name)
        if not _has(volume, claim):
            chosen = not volume_match.names(volume, claim)
            self.actions.append(BindVolume(volume, claim, chosen))
        if not is_bound(claim):
            chosen = not claim.spec.volume_name
            self.actions.append(BindClaim(claim, volume, chosen))

    # --- volumes --------------------------------------------------------------------------------

    def volume(self, volume: Volume) -> None:
        ref = volume.spec.claim_ref
        if ref is None or not ref.uid:
            self._show(volume, "Available")
            return
        claim = self._claim(ref.namespace, ref.name)
        if claim is None or claim.metadata.uid != ref.uid:
            self._release(volume)
        elif claim.spec.volume_name == volume.metadata.name:
            self._show(volume, "Bound")
        elif claim.spec.volume_name:
            self._displaced(volume)

    def _displaced(self, volume: Volume) -> None:
        """Its claim has got another one."""
        deletes = volume.spec.persistent_volume_reclaim_policy == "Delete"
        if deletes and local_path.is_ours(volume):
            self._release(volume)
        else:
            by_plan = BOUND_BY_CONTROLLER in volume.metadata.annotations
            self.actions.append(Unbind(volume, wholly=by_plan))

    def _release(self, volume: Volume) -> None:
        if volume.status.phase == "Failed":
            return
        self._show(volume, "Released")
        name, policy = volume.metadata.name, volume.spec.persistent_volume_reclaim_policy
        if policy == "Retain":
            return
        if policy == "Delete" and local_path.owns(volume, self.seen.root):
            self.actions.append(Reclaim(volume))
            return
        maker = volume.metadata.annotations.get(local_path.PROVISIONED_BY)
        if policy == "Delete" and maker not in (None, local_path.PROVISIONER):
            return
        doer, what = ("deleter", "deletable") if policy == "Delete" else ("recycler", "recyclable")
        message = (
            f'error getting {doer} volume plugin for volume "{name}": no {what} volume plugin'
            " matched"
        )
        self.actions.append(ShowVolume(volume, "Failed", message))
        self._tell(volume, WARNING, f"VolumeFailed{policy}", message)

    def _show(self, volume: Volume, phase: str) -> None:
        if volume.status.phase != phase:
            self.actions.append(ShowVolume(volume, phase))

    # --- finding --------------------------------------------------------------------------------

    def _volume(self, name: str) -> Volume | None:
        return next((each for each in self.seen.volumes if each.metadata.name == name), None)

    def _claim(self, namespace: str, name: str) -> Claim | None:
        return next(
            (
                each
                for each in self.seen.claims
                if (each.metadata.namespace, each.metadata.name) == (namespace, name)
            ),
            None,
        )


def _has(volume: Volume, claim: Claim) -> bool:
    ref = volume.spec.claim_ref
    return ref is not None and ref.uid == claim.metadata.uid and volume_match.names(volume, claim)


def _same(one: views.Quantities, other: views.Quantities) -> bool:
    if one.keys() != other.keys():
        return False
    return all(quantity.parse(one[name]).same(quantity.parse(other[name])) for name in one)

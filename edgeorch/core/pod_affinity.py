"""Whether a pod may stand beside the pods that are on the node already: affinity and spread.

One node is one place in every topology that it has a label for, and in none of the others. As
pkg/scheduler/framework/plugins interpodaffinity and podtopologyspread; preferences decide between
nodes, of which there is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct, field

from edgeorch.core import pod_facts
from edgeorch.lib import json
from edgeorch.model import selectors, views

AFFINITY = "node(s) didn't match pod affinity rules"
ANTI_AFFINITY = "node(s) didn't match pod anti-affinity rules"
OTHERS_ANTI_AFFINITY = "node(s) didn't satisfy existing pods anti-affinity rules"
SPREAD = "node(s) didn't match pod topology spread constraints"
SPREAD_LABEL = f"{SPREAD} (missing required label)"

Labels = Mapping[str, str]


class Neighbours(Struct, frozen=True):
    """The pods on the node, and the labels of the namespaces by name."""

    pods: Iterable[pod_facts.PodFacts] = ()
    namespaces: Mapping[str, Labels] = field(default_factory=dict)


NOBODY = Neighbours()


class Refusal(Struct, frozen=True):
    reason: str
    resolvable: bool
    """It would help if other pods went away."""


def concerned(pod: pod_facts.PodFacts) -> bool:
    """Whether it matters to the pod who else is there."""
    return bool(_terms(pod, anti=False) or _terms(pod, anti=True) or _constraints(pod))


def refusal(pod: pod_facts.PodFacts, node: views.Node, near: Neighbours) -> Refusal | None:
    """None when the pod may stand there."""
    others = [each for each in near.pods if each.metadata.uid != pod.metadata.uid]
    return (
        _spread(pod, node, others)
        or _affinity(pod, node, others, near.namespaces)
        or _anti_affinity(pod, node, others, near.namespaces)
    )


# --- spread -------------------------------------------------------------------------------------


def _constraints(pod: pod_facts.PodFacts) -> list[views.TopologySpread]:
    return [
        each
        for each in pod.spec.topology_spread_constraints
        if each.when_unsatisfiable == "DoNotSchedule"
    ]


def _spread(
    pod: pod_facts.PodFacts, node: views.Node, others: list[pod_facts.PodFacts]
) -> Refusal | None:
    wanted = _constraints(pod)
    if any(each.topology_key not in node.metadata.labels for each in wanted):
        return Refusal(SPREAD_LABEL, resolvable=False)
    for each in wanted:
        # The one place is the emptiest too, unless there ought to be more places than one.
        there, own = _alike(pod, each, others)
        least = there if (each.min_domains or 1) <= 1 else 0
        if there + own - least > each.max_skew:
            return Refusal(SPREAD, resolvable=True)
    return None


def _alike(
    pod: pod_facts.PodFacts, wanted: views.TopologySpread, others: list[pod_facts.PodFacts]
) -> tuple[int, int]:
    """How many of the others count, and whether the pod itself does."""
    matches = _matcher(wanted.label_selector, pod.metadata.labels, wanted.match_label_keys, ())
    mine = pod.metadata.namespace
    there = sum(
        1
        for each in others
        if each.metadata.namespace == mine
        and not each.terminating
        and matches(each.metadata.labels)
    )
    return there, int(matches(pod.metadata.labels))


# --- affinity -----------------------------------------------------------------------------------


def _terms(pod: pod_facts.PodFacts, *, anti: bool) -> list[views.PodAffinityTerm]:
    affinity = pod.spec.affinity
    if affinity is None:
        return []
    wanted = affinity.pod_anti_affinity if anti else affinity.pod_affinity
    return wanted.required if wanted is not None else []


def _affinity(
    pod: pod_facts.PodFacts,
    node: views.Node,
    others: list[pod_facts.PodFacts],
    namespaces: Mapping[str, Labels],
) -> Refusal | None:
    terms = _terms(pod, anti=False)
    if not terms:
        return None
    placed = all(term.topology_key in node.metadata.labels for term in terms)
    matches = [_Term(pod, term, namespaces) for term in terms]
    if placed and any(all(match(each) for match in matches) for each in others):
        return None
    # The first of pods that want to be together has nobody to join.
    if placed and all(match(pod) for match in matches):
        return None
    return Refusal(AFFINITY, resolvable=False)


def _anti_affinity(
    pod: pod_facts.PodFacts,
    node: views.Node,
    others: list[pod_facts.PodFacts],
    namespaces: Mapping[str, Labels],
) -> Refusal | None:
    for match in _here(pod, node, namespaces):
        if any(match(each) for each in others):
            return Refusal(ANTI_AFFINITY, resolvable=True)
    for each in others:
        if any(match(pod) for match in _here(each, node, namespaces)):
            return Refusal(OTHERS_ANTI_AFFINITY, resolvable=True)
    return None


def _here(
    pod: pod_facts.PodFacts, node: views.Node, namespaces: Mapping[str, Labels]
) -> Iterator[_Term]:
    """Whom the pod will not have beside it on this node."""
    for term in _terms(pod, anti=True):
        if term.topology_key in node.metadata.labels:
            yield _Term(pod, term, namespaces)


class _Term:
    """Which pods a term of `pod` means."""

    def __init__(
        self,
        pod: pod_facts.PodFacts,
        term: views.PodAffinityTerm,
        namespaces: Mapping[str, Labels],
    ) -> None:
        self._names = set(term.namespaces)
        if not term.namespaces and term.namespace_selector is None:
            self._names = {pod.metadata.namespace}
        elif term.namespace_selector is not None:
            chosen = selectors.label_selector(json.to_builtins(term.namespace_selector))
            self._names |= {name for name, labels in namespaces.items() if chosen(labels)}
        self._matches = _matcher(
            term.label_selector,
            pod.metadata.labels,
            term.match_label_keys,
            term.mismatch_label_keys,
        )

    def __call__(self, other: pod_facts.PodFacts) -> bool:
        meta = other.metadata
        return meta.namespace in self._names and self._matches(meta.labels)


def _matcher(
    selector: views.LabelSelector | None,
    own: Labels,
    alike: Iterable[str],
    unlike: Iterable[str],
) -> selectors.LabelMatch:
    """`alike`, `unlike`: keys of labels whose value is to be that of `own`, or another."""
    written = json.to_builtins(selector) if selector is not None else None
    if written is not None:
        more = [(key, "In") for key in alike] + [(key, "NotIn") for key in unlike]
        written["matchExpressions"] = [
            *(written.get("matchExpressions") or []),
            *({"key": k, "operator": how, "values": [own[k]]} for k, how in more if k in own),
        ]
    return selectors.label_selector(written)

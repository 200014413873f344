"""Whether a node has the labels and the name that a pod asks for.

As k8s.io/component-helpers/scheduling/corev1/nodeaffinity: terms are alternatives, the
requirements of one term hold together, and a term without requirements matches nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgeorch.model import views


def matches(
    node_selector: Mapping[str, str], affinity: views.Affinity | None, node: views.Node
) -> bool:
    labels = node.metadata.labels
    if any(labels.get(name) != value for name, value in node_selector.items()):
        return False
    wanted = affinity.node_affinity if affinity is not None else None
    required = wanted.required if wanted is not None else None
    if required is None:
        return True
    return selects(required, node)


def selects(selector: views.NodeSelector, node: views.Node) -> bool:
    return any(_term(term, node) for term in selector.node_selector_terms)


def _term(term: views.NodeSelectorTerm, node: views.Node) -> bool:
    if not term.match_expressions and not term.match_fields:
        return False
    fields = {"metadata.name": node.metadata.name}
    return all(_holds(each, node.metadata.labels) for each in term.match_expressions) and all(
        _holds(each, fields) for each in term.match_fields
    )


def _holds(wanted: views.SelectorRequirement, found: Mapping[str, str]) -> bool:
    value = found.get(wanted.key)
    match wanted.operator:
        case "In":
            return value in wanted.values
        case "NotIn":
            return value not in wanted.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case "Gt" | "Lt":
            return _compares(wanted, value)
        case _:
            return False


def _compares(wanted: views.SelectorRequirement, value: str | None) -> bool:
    try:
        number, limit = int(value or ""), int(wanted.values[0])
    except (ValueError, IndexError):
        return False
    return number > limit if wanted.operator == "Gt" else number < limit

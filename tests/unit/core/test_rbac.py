"""Who may do what: the whole matrix of the standing roles, and how rules are read."""

from __future__ import annotations

import copy
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeorch.core import rbac, roles
from edgeorch.lib import json
from edgeorch.model import access, kinds, validation
from edgeorch.model.kinds import Object

WRITE = ("create", "delete", "deletecollection", "patch", "update")
RBAC = "rbac.authorization.k8s.io"
GRANTS = rbac.Grants(roles.BUILT_IN, roles.STANDING)
V, E, F, M = "view", "edit", "fleet", "metrics"
ALLOWED: dict[tuple[str, str], tuple[set[str], set[str]]] = {
    # resource: who may read, who may write (administrators may do both)
    ("", "pods"): ({V, E}, {E}),
    ("", "pods/log"): ({V, E}, set()),
    ("", "pods/status"): ({V, E}, set()),
    ("", "pods/exec"): ({E}, {E}),
    ("", "pods/attach"): ({E}, {E}),
    ("", "pods/portforward"): ({E}, {E}),
    ("", "pods/proxy"): ({E}, {E}),
    ("", "services/proxy"): ({E}, {E}),
    ("", "pods/binding"): (set(), set()),
    ("", "services"): ({V, E}, {E}),
    ("", "services/status"): ({V, E}, set()),
    ("", "endpoints"): ({V, E}, set()),
    ("", "configmaps"): ({V, E}, {E}),
    ("", "secrets"): ({E}, {E}),
    ("", "serviceaccounts"): ({V, E}, {E}),
    ("", "events"): ({V, E}, {E}),
    ("events.k8s.io", "events"): ({V, E}, {E}),
    ("", "namespaces"): ({V, E}, set()),
    ("", "namespaces/status"): ({V, E}, set()),
    ("", "namespaces/finalize"): (set(), set()),
    ("", "nodes"): ({V, E, M}, set()),
    ("", "nodes/status"): ({V, E}, set()),
    ("", "persistentvolumes"): ({V, E}, set()),
    ("", "persistentvolumeclaims"): ({V, E}, {E}),
    ("", "limitranges"): ({V, E}, set()),
    ("", "resourcequotas"): ({V, E}, set()),
    ("", "replicationcontrollers"): ({V, E}, {E}),
    ("", "replicationcontrollers/scale"): ({V, E}, {E}),
    ("", "podtemplates"): ({V, E}, set()),
    ("apps", "deployments"): ({V, E}, {E}),
    ("apps", "deployments/scale"): ({V, E}, {E}),
    ("apps", "deployments/status"): ({V, E}, set()),
    ("apps", "replicasets"): ({V, E}, {E}),
    ("apps", "statefulsets"): ({V, E}, {E}),
    ("apps", "statefulsets/scale"): ({V, E}, {E}),
    ("apps", "daemonsets"): ({V, E}, {E}),
    ("apps", "controllerrevisions"): ({V, E}, set()),
    ("autoscaling", "horizontalpodautoscalers"): ({V, E}, {E}),
    ("batch", "jobs"): ({V, E}, {E}),
    ("batch", "cronjobs"): ({V, E}, {E}),
    ("batch", "jobs/status"): ({V, E}, set()),
    ("policy", "poddisruptionbudgets"): ({V, E}, {E}),
    ("discovery.k8s.io", "endpointslices"): ({V, E}, set()),
    ("coordination.k8s.io", "leases"): ({V, E}, {E}),
    ("networking.k8s.io", "networkpolicies"): ({V, E}, {E}),
    ("networking.k8s.io", "ingresses"): ({V, E}, {E}),
    ("networking.k8s.io", "ingressclasses"): ({V, E}, set()),
    ("storage.k8s.io", "storageclasses"): ({V, E}, set()),
    ("storage.k8s.io", "csidrivers"): ({V, E}, set()),
    ("storage.k8s.io", "csinodes"): ({V, E}, set()),
    ("scheduling.k8s.io", "priorityclasses"): ({V, E}, set()),
    ("node.k8s.io", "runtimeclasses"): ({V, E}, set()),
    ("", "componentstatuses"): ({V, E}, set()),
    ("apiextensions.k8s.io", "customresourcedefinitions"): ({V, E}, set()),
    (RBAC, "roles"): (set(), set()),
    (RBAC, "rolebindings"): (set(), set()),
    (RBAC, "clusterroles"): (set(), set()),
    (RBAC, "clusterrolebindings"): (set(), set()),
    ("metrics.k8s.io", "pods"): ({V, E, M}, set()),
    ("metrics.k8s.io", "nodes"): ({V, E, M}, set()),
    ("edgeorch.io", "bundles/status"): ({V, E, F}, set()),
    ("edgeorch.io", "bundles/manifests"): ({F}, {F}),
    ("authentication.k8s.io", "tokenreviews"): (set(), set()),
    ("authorization.k8s.io", "subjectaccessreviews"): (set(), set()),
    ("authorization.k8s.io", "localsubjectaccessreviews"): (set(), set()),
    ("else.example", "widgets"): (set(), set()),
}
ODD = [
    # verb, group, resource, who
    ("create", "", "pods/eviction", {E}),
    ("create", "", "serviceaccounts/token", {E}),
    ("get", "", "nodes/proxy", {M}),
    ("create", "", "nodes/proxy", set()),
    ("patch", "", "pods/ephemeralcontainers", {E}),
    ("impersonate", "", "serviceaccounts", {E}),
    ("impersonate", "", "users", set()),
    ("impersonate", "", "groups", set()),
    ("escalate", RBAC, "roles", set()),
    ("bind", RBAC, "clusterroles", set()),
    *((verb, "edgeorch.io", "bundles", {V, E, F}) for verb in ("get", "list", "watch")),
    ("delete", "edgeorch.io", "bundles", {F}),
    *((verb, "edgeorch.io", "bundles", set[str]()) for verb in ("create", "patch", "update")),
    ("create", "authorization.k8s.io", "selfsubjectaccessreviews", {V, E, F, M}),
    ("create", "authorization.k8s.io", "selfsubjectrulesreviews", {V, E, F, M}),
    ("create", "authentication.k8s.io", "selfsubjectreviews", {V, E, F, M}),
]
PATHS = [
    ("/metrics", {M}),
    ("/livez", {V, E, F, M}),
    ("/readyz/store", {V, E, F, M}),
    ("/version", {V, E, F, M}),
    ("/api", {V, E, F, M}),
    ("/apis/apps/v1", {V, E, F, M}),
    ("/openapi/v3", {V, E, F, M}),
    ("/logs", set()),
    ("/", set()),
]


def who_may(asked: rbac.Asked) -> set[str]:
    found = set()
    for role in roles.ROLES:
        user = GRANTS.of("somebody", (roles.group(role), roles.AUTHENTICATED))
        if user.allow(asked):
            found.add(role)
    return found


def asked(verb: str, group: str, combined: str, namespace: str = "default") -> rbac.Asked:
    resource, _, subresource = combined.partition("/")
    return rbac.Asked(verb, group, resource, subresource, namespace, "x")


@pytest.mark.parametrize(("group", "resource"), ALLOWED, ids=lambda part: part or "core")
def test_each_role_reads_and_writes_what_it_is_for(group: str, resource: str) -> None:
    readers, writers = ALLOWED[group, resource]
    for verb in ("get", "list", "watch"):
        assert who_may(asked(verb, group, resource)) == {*readers, "admin"}, verb
    for verb in WRITE:
        assert who_may(asked(verb, group, resource)) == {*writers, "admin"}, verb


@pytest.mark.parametrize(("verb", "group", "resource", "who"), ODD)
def test_verbs_of_their_own(verb: str, group: str, resource: str, who: set[str]) -> None:
    assert who_may(asked(verb, group, resource)) == {*who, "admin"}


@pytest.mark.parametrize(("path", "who"), PATHS)
def test_paths_that_are_no_resources(path: str, who: set[str]) -> None:
    assert who_may(rbac.Asked("get", path=path)) == {*who, "admin"}
    assert who_may(rbac.Asked("post", path=path)) == {"admin"}


def test_the_matrix_is_of_everything_that_is_served() -> None:
    """A new kind gets its line, or nobody has thought of who may touch it."""
    told = set(ALLOWED) | {(group, resource) for _, group, resource, _ in ODD}
    known = {(group, resource.partition("/")[0]) for group, resource in told}
    assert {(kind.group, kind.plural) for kind in kinds.Registry().served()} <= known


def test_nobody_and_anybody() -> None:
    anonymous = GRANTS.of("system:anonymous", (roles.UNAUTHENTICATED,))
    account = GRANTS.of("system:serviceaccount:a:b", (rbac.ACCOUNTS, roles.AUTHENTICATED))
    for group, resource in ALLOWED:
        for verb in ("get", "list", "watch", *WRITE):
            assert not anonymous.allow(asked(verb, group, resource))
            assert not account.allow(asked(verb, group, resource))
    assert anonymous.allow(rbac.Asked("get", path="/livez"))
    assert not anonymous.allow(rbac.Asked("get", path="/api"))
    assert account.allow(rbac.Asked("get", path="/api"))
    assert GRANTS.of("root", (roles.MASTERS,)).allow(asked("delete", "", "nodes"))


RULES = [
    (rbac.Rule(("get",), ("",), ("pods",)), asked("get", "", "pods"), True),
    (rbac.Rule(("get",), ("",), ("pods",)), asked("get", "", "pods/log"), False),
    (rbac.Rule(("get",), ("",), ("pods/log",)), asked("get", "", "pods"), False),
    (rbac.Rule(("get",), ("",), ("*",)), asked("get", "", "pods/exec"), True),
    (rbac.Rule(("get",), ("",), ("*/scale",)), asked("get", "", "pods/scale"), True),
    (rbac.Rule(("get",), ("",), ("*/scale",)), asked("get", "", "pods"), False),
    (rbac.Rule(("get",), ("",), ("pods/*",)), asked("get", "", "pods/log"), False),
    (rbac.Rule(("*",), ("*",), ("*",)), asked("anything", "a.b", "c"), True),
    (rbac.Rule(("*",), ("*",), ("*",)), rbac.Asked("get", path="/metrics"), False),
    (rbac.Rule(("get",), ("",), ("pods",), ("x",)), asked("get", "", "pods"), True),
    (rbac.Rule(("get",), ("",), ("pods",), ("y",)), asked("get", "", "pods"), False),
    (rbac.Rule(("list",), ("",), ("pods",), ("y",)), rbac.Asked("list", "", "pods"), False),
    (rbac.Rule(("get",), ("apps",), ("pods",)), asked("get", "", "pods"), False),
    (rbac.Rule(("get",), paths=("/a/*",)), rbac.Asked("get", path="/a/b/c"), True),
    (rbac.Rule(("get",), paths=("/a",)), rbac.Asked("get", path="/a/b"), False),
    (rbac.Rule(("get",), paths=("*",)), rbac.Asked("get", path="/"), True),
    (rbac.Rule(("get",), paths=("*",)), asked("get", "", "pods"), False),
]


@pytest.mark.parametrize(("rule", "wanted", "allowed"), RULES)
def test_a_rule(rule: rbac.Rule, wanted: rbac.Asked, allowed: bool) -> None:
    assert rule.allows(wanted) is allowed


def role(name: str, *rules: Object, namespace: str = "", **labels: str) -> Object:
    meta = {"name": name, "namespace": namespace, "labels": labels}
    return {"metadata": meta, "rules": list(rules)}


def binding(to: str, *subjects: Object, kind: str = "ClusterRole", namespace: str = "") -> Object:
    return {
        "metadata": {"name": "b", "namespace": namespace},
        "roleRef": {"apiGroup": RBAC, "kind": kind, "name": to},
        "subjects": list(subjects),
    }


def grants(**stored: list[Object]) -> rbac.Grants:
    cluster_roles = [json.convert(each, access.ClusterRole) for each in stored.get("wide", [])]
    held = [json.convert(each, access.Role) for each in stored.get("roles", [])]
    return rbac.Grants(
        roles.BUILT_IN,
        roles.STANDING,
        {each.metadata.name: each for each in cluster_roles},
        {(each.metadata.namespace, each.metadata.name): each for each in held},
        [json.convert(each, access.Binding) for each in stored.get("everywhere", [])],
        [json.convert(each, access.Binding) for each in stored.get("within", [])],
    )


ROBOT = {"kind": "ServiceAccount", "name": "robot"}
PODS = {"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}
LIST_MAPS = {"verbs": ["list"], "apiGroups": [""], "resources": ["configmaps"]}


def test_a_role_counts_where_it_is_bound() -> None:
    found = grants(
        roles=[role("reader", PODS, namespace="a"), role("reader", LIST_MAPS, namespace="b")],
        within=[binding("reader", ROBOT, kind="Role", namespace="a")],
    )
    robot = found.of("system:serviceaccount:a:robot", ())
    assert robot.allow(asked("get", "", "pods", "a"))
    assert not robot.allow(asked("get", "", "pods", "b"))
    assert not robot.allow(asked("get", "", "pods", ""))
    assert not robot.allow(asked("list", "", "configmaps", "b"))
    assert not found.of("system:serviceaccount:b:robot", ()).allow(asked("get", "", "pods", "a"))


def test_a_cluster_role_in_a_namespace_and_everywhere() -> None:
    group, ann = {"kind": "Group", "name": "ops"}, {"kind": "User", "name": "ann"}
    found = grants(
        everywhere=[binding("view", ann)], within=[binding("admin", group, namespace="a")]
    )
    ops = found.of("bob", ("ops",))
    assert ops.allow(asked("create", RBAC, "roles", "a"))
    assert ops.allow(rbac.Asked("get", "", "namespaces", namespace="a", name="a"))
    assert not ops.allow(asked("create", RBAC, "roles", "b"))
    assert found.of("ann", ()).allow(asked("list", "", "pods", ""))
    assert not found.of("ann", ()).allow(asked("get", "", "secrets"))
    assert found.of("bob", ()) == rbac.Permissions()


def test_roles_that_are_not_there_give_nothing() -> None:
    ann = {"kind": "User", "name": "ann"}
    found = grants(everywhere=[binding("nowhere", ann)], within=[binding("x", ann, namespace="a")])
    assert found.of("ann", ()).rules("a") == ()


def test_aggregation() -> None:
    widgets = {"verbs": ["get"], "apiGroups": ["w"], "resources": ["widgets"]}
    ann = {"kind": "User", "name": "ann"}
    label = "rbac.authorization.k8s.io/aggregate-to-view"
    sum_of = role("sum") | {
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"x": "y"}}]}
    }
    found = grants(
        wide=[role("more", widgets, **{label: "true"}), role("parts", PODS, x="y"), sum_of],
        everywhere=[binding("sum", ann)],
    )
    wanted = asked("get", "w", "widgets")
    assert found.of("", (roles.group("view"),)).allow(wanted)
    assert found.of("", (roles.group("edit"),)).allow(wanted)
    assert not found.of("", (roles.group("metrics"),)).allow(wanted)
    assert found.of("ann", ()).allow(asked("get", "", "pods"))
    assert not found.of("ann", ()).allow(wanted)


def test_a_stored_role_does_not_take_the_administrator_down() -> None:
    found = grants(wide=[role("cluster-admin"), role("edgeorch:admin")])
    for group in (roles.MASTERS, roles.group("admin")):
        assert found.of("root", (group,)).allow(asked("delete", "", "nodes"))


BEYOND = [
    ("*", "pods", (), "get", "pods", (), 0),
    ("get", "pods", (), "get", "pods", ("x",), 0),
    ("get", "pods", ("x",), "get", "pods", (), 1),
    ("get", "pods", ("x",), "get", "pods", ("x",), 0),
    ("get", "pods", (), "*", "pods", (), 1),
    ("get", "*", (), "get", "pods/log", (), 0),
    ("get", "*/log", (), "get", "pods/log", (), 0),
    ("get", "pods", (), "get", "*", (), 1),
    ("get", "pods", (), "get", "pods/log", (), 1),
]


@pytest.mark.parametrize(("verb", "what", "names", "verb2", "what2", "names2", "missing"), BEYOND)
def test_nobody_gives_what_they_have_not(
    verb: str, what: str, names: tuple[str, ...],
    verb2: str, what2: str, names2: tuple[str, ...], missing: int,
) -> None:  # fmt: skip
    held = rbac.Rule((verb,), ("",), (what,), names)
    wanted = rbac.Rule((verb2,), ("",), (what2,), names2)
    assert len(rbac.beyond([held], [wanted])) == missing


WORDS = st.lists(st.sampled_from(["get", "list", "*"]), min_size=1, max_size=2).map(tuple)
THINGS = st.lists(
    st.sampled_from(["pods", "pods/log", "*", "*/log", "maps"]), min_size=1, max_size=2
).map(tuple)
NAMES = st.lists(st.sampled_from(["x", "y"]), max_size=2).map(tuple)
GROUPS = st.lists(st.sampled_from(["", "apps", "*"]), min_size=1, max_size=2).map(tuple)
SETS = st.lists(st.builds(rbac.Rule, WORDS, GROUPS, THINGS, NAMES), max_size=3)


@given(held=SETS, wanted=SETS)
def test_what_is_not_beyond_allows_nothing_new(
    held: list[rbac.Rule], wanted: list[rbac.Rule]
) -> None:
    if rbac.beyond(held, wanted):
        return
    for verb, group, resource, subresource, name in itertools.product(
        ("get", "list", "other"),
        ("", "apps", "else"),
        ("pods", "maps"),
        ("", "log"),
        ("", "x", "z"),
    ):
        asks = rbac.Asked(verb, group, resource, subresource, "n", name)
        assert not rbac.allows(wanted, asks) or rbac.allows(held, asks)


def test_the_default_roles_are_objects_that_say_what_is_in_force() -> None:
    stored = roles.stored_roles()
    for each in stored:
        assert validation.create(kinds.CLUSTER_ROLE, copy.deepcopy(each)) == []
        assert roles.completed(each) is None
    for each in roles.stored_bindings():
        assert validation.create(kinds.CLUSTER_ROLE_BINDING, copy.deepcopy(each)) == []
    found = grants(wide=stored, everywhere=roles.stored_bindings())
    bare = grants()
    for name in roles.BUILT_IN:
        assert found.cluster_role(name) == bare.cluster_role(name), name
    group = (roles.AUTHENTICATED,)
    assert set(found.of("", group).everywhere) == set(bare.of("", group).everywhere)


def test_a_default_role_is_completed_unless_its_owner_does_not_want_that() -> None:
    (view,) = (each for each in roles.stored_roles() if each["metadata"]["name"] == "view")
    own = {"verbs": ["get"], "apiGroups": ["w"], "resources": ["widgets"]}
    less = {**view, "rules": [own, *view["rules"][1:]]}
    completed = roles.completed(less)
    assert completed is not None
    assert completed["rules"] == [own, *view["rules"][1:], view["rules"][0]]
    meta = {**view["metadata"], "annotations": {roles.AUTO_UPDATE: "false"}}
    assert roles.completed({**less, "metadata": meta}) is None
    meta = {**view["metadata"], "name": "other"}
    assert roles.completed({**less, "metadata": meta}) is None

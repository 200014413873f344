"""kubectl's commands one by one, each with every generation of kubectl: what they print is what
they print against Kubernetes, in columns and wording. The generations ask at the same time."""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import pytest

from . import clients, manifests
from . import lab as labs

NAMESPACE = "commands"
N = ("-n", NAMESPACE)
VERSIONS = labs.kubectl_generations()
TURNS = labs.rounds(3, len(VERSIONS))
"""How many of them say each command; all where EDGEORCH_SOAK=1 asks for it."""
T = TypeVar("T")

JOB = {
    "apiVersion": "batch/v1",
    "kind": "Job",
    "metadata": {"name": "done"},
    "spec": {"template": {"spec": manifests.once("done", "echo worked")["spec"]}},
}


def minor(version: str) -> int:
    return int(version.partition(".")[2])


@pytest.fixture(scope="module", autouse=True)
def stage(lab: labs.Lab) -> Iterator[None]:
    """One of everything that commands look at."""
    lab.kubectl("create", "namespace", NAMESPACE)
    data = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"x": "1"}}
    lab.apply(
        manifests.listed(
            manifests.deployment("web", manifests.web(), replicas=2),
            manifests.service("web", "NodePort"),
            manifests.pod("box", manifests.container("echo ready; exec sleep 3600")),
            JOB,
            data,
        ),
        *N,
    )
    lab.rollout("deploy/web", *N)
    lab.wait("pod/box", "condition=Ready", *N)
    lab.wait("job/done", "condition=complete", *N)
    yield
    lab.kubectl("delete", "namespace", NAMESPACE, "--timeout=60s", seconds=70)


@dataclass(frozen=True)
class Case:
    """A command that changes nothing, what it prints, and the first kubectl that knows it."""

    words: str
    prints: tuple[str, ...]
    since: int = 0


AGE = r"\d+[smh]\S*"
READS = [
    Case("get pods", (r"NAME +READY +STATUS +RESTARTS +AGE", rf"box +1/1 +Running +0 +{AGE}")),
    Case("get pods -o wide", (r"NAME .* IP +NODE +NOMINATED NODE +READINESS GATES",)),
    Case("get deploy,rs,svc,job", (r"deployment.apps/web +2/2 +2 +2", r"service/web +NodePort")),
    Case("get pods -l app=web -o name", (r"pod/web-\S+\npod/web-\S+\n$",)),
    Case("get pods --field-selector status.phase=Succeeded -o name", (r"^pod/done-\S+\n$",)),
    Case("get pods --sort-by=.metadata.name -o custom-columns=N:.metadata.name", (r"^N\nbox\n",)),
    Case("get pod box -o jsonpath={.status.phase}", (r"^Running$",)),
    Case("get pod box -o go-template={{.metadata.name}}", (r"^box$",)),
    Case("get pods --no-headers --show-labels", (r"job-name=done",)),
    Case("get pods -L app", (r"AGE +APP",)),
    Case("get all", (r"pod/box", r"service/web", r"deployment.apps/web", r"job.batch/done")),
    Case("get cm m -o yaml", (r'data:\n  x: "1"\n', r"kind: ConfigMap")),
    Case("get events", (r"LAST SEEN +TYPE +REASON +OBJECT +MESSAGE", r"Scheduled +pod/box")),
    Case("events --for pod/box", (r"Normal +Started +Pod/box +Started container main",), 26),
    Case("get nodes", (r"NAME +STATUS +ROLES +AGE +VERSION", r"Ready +control-plane")),
    Case("get namespaces", (r"kube-system +Active", r"default +Active")),
    Case("get endpoints web", (r"web +\d+\.\d+\.\d+\.\d+:80,",)),
    Case("get sa", (r"default +\d",)),
    Case("describe pod box", (r"(?s)Status: +Running.*\n  main:.*Conditions:.*Events:",)),
    Case("describe deploy web", (r"Replicas: +2 desired \| 2 updated \| 2 total \| 2 available",)),
    Case("describe svc web", (r"Type: +NodePort", r"Endpoints: +\d")),
    Case("describe job done", (r"Pods Statuses: +0 (Running|Active).* / 1 Succeeded / 0 Failed",)),
    Case("describe cm m", (r"x:\n----\n1\n",)),
    Case("describe node", (r"Allocated resources:", r"KubeletReady")),
    Case("describe ns default", (r"Status: +Active",)),
    Case("logs box", (r"^ready\n$",)),
    Case("logs job/done", (r"^worked\n$",)),
    Case("logs -l job-name=done --prefix", (r"^\[pod/done-\S+/main\] worked\n$",)),
    Case("exec box -- echo hi", (r"^hi\n$",)),
    Case("top pods --containers", (r"POD +NAME +CPU\(cores\) +MEMORY\(bytes\)",)),
    Case("top nodes", (r"NAME +CPU\(cores\) +CPU.* +MEMORY\(bytes\)",)),
    Case("cluster-info", (r"is running at", r"https://127.0.0.1:6443")),
    Case("version", (r"Server Version: .*1\.37|GitVersion:\"v1\.37",)),
    Case("api-versions", (r"(?m)^apps/v1$", r"(?m)^batch/v1$", r"(?m)^v1$")),
    Case("api-resources", (r"deployments +deploy +apps/v1 +true +Deployment",)),
    Case("api-resources --namespaced=false -o name", (r"(?m)^namespaces$", r"(?m)^nodes$")),
    Case("explain deployment.spec.strategy", (r"VERSION: +(apps/)?v1", r"rollingUpdate\s*<\S*>")),
    Case("explain pod --recursive", (r"terminationGracePeriodSeconds\s*<integer>",)),
    Case("auth can-i create pods", (r"^yes\n$",)),
    Case("auth can-i --list", (r"\*\.\* +\[\] +\[\] +\[\*\]",)),
    Case("auth whoami", (r"Username +system:admin",), 28),
    Case("rollout status deploy/web", (r'^deployment "web" successfully rolled out\n$',)),
    Case("rollout history deploy/web", (r"REVISION +CHANGE-CAUSE\n1 +<none>",)),
    Case("wait --for=condition=Available deploy/web", (r"^deployment.apps/web condition met\n$",)),
    Case("wait --for=jsonpath={.status.phase}=Running pod/box", (r"condition met",), 23),
    Case("set env deploy/web --list", (r"^# (D|d)eployment\S* web, container web",)),
    Case("get --raw /healthz", (r"^ok$",)),
    Case("get deploy web --subresource=scale -o jsonpath={.spec.replicas}", (r"^2$",), 24),
    Case("cluster-info dump -n commands", (r'"kind": "(Node|Pod)List"', r"==== START logs for")),
    Case("get cs", (r"NAME +STATUS +MESSAGE +ERROR", r"containerd +Healthy +ok")),
    Case("get crd -o name", (r"^$",)),
    Case("get pods -A --chunk-size=1 -o name", (r"pod/box\n", r"pod/done-")),
    Case("get pod/box svc/web cm/none --ignore-not-found -o name", (r"^pod/box\nservice/web\n$",)),
    Case("label pod box --list", (r"^$",)),
    Case("apply view-last-applied deploy/web", (r"apiVersion: apps/v1\nkind: Deployment\n",)),
    Case("api-resources --verbs=create -o wide", (r"tokenreviews .* TokenReview +\[?create",)),
    Case("rollout history deploy/web --revision=1", (r"deployment.apps/web with revision #1",)),
    Case("top pod box --sum", (r"box +\d+m +\d+Mi", r"\n +\d+m +\d+Mi"), 25),
    Case("explain cronjobs --api-version=batch/v1", (r"VERSION: +(batch/)?v1",)),
    Case("explain job.spec --output=plaintext-openapiv2", (r"backoffLimit\s*<integer>",), 27),
    Case("scale deploy web --replicas=5 --dry-run=server", (r"scaled \(server dry run\)",), 27),
    Case("delete pod box --dry-run=server", (r'pod "box" deleted .*\(server dry run\)',)),
    Case("cordon NODE --dry-run=server", (r"node/\S+ cordoned \(server dry run\)",)),
    Case("drain NODE --dry-run=server --force", (r"drained \(server dry run\)",)),
    Case("auth can-i --list --as=nobody", (r"selfsubjectaccessreviews.authorization.k8s.io",)),
    Case("wait --for=create pod/box", (r"^pod/box condition met\n$",), 31),
    Case("wait --for=delete pod/none", (r"^$",), 24),
    Case("create deployment x --image=i --dry-run=client -o yaml", (r"image: i\n",)),
    Case("create cm x --from-literal=a=b --dry-run=server", (r"configmap/x created \(server dry",)),
    Case("run x --image=i --dry-run=server -o name", (r"^pod/x\n$",)),
]  # fmt: skip
REFUSED = [
    ("get pod none", 'Error from server (NotFound): pods "none" not found'),
    ("get nonsense", 'the server doesn\'t have a resource type "nonsense"'),
    ("logs none", 'pods "none" not found'),
    ("logs box -c none", "container none is not valid for pod box"),
    ("logs box -p", 'previous terminated container "main" in pod "box" not found'),
    ("exec none -- true", 'pods "none" not found'),
    ("create ns commands", 'namespaces "commands" already exists'),
    ("scale deploy web --replicas=1 --current-replicas=7", "Expected replicas to be 7, was 2"),
    ("delete pod none", 'pods "none" not found'),
    ("rollout undo deploy/web --to-revision=9", "unable to find specified revision 9"),
    ("delete pc system-node-critical", "this is a system priority class and cannot be deleted"),
    ("get csr", 'the server doesn\'t have a resource type "csr"'),
    ("certificate approve x", "the server doesn't have a resource type"),
    ("create quota q --hard=pods=-1", "must be greater than or equal to 0"),
    ("label pod box a=b=c", "invalid label spec: a=b=c"),
]


class Crowd:
    """Every generation of kubectl, all at work at once: on a device nobody is alone."""

    def __init__(self, lab: labs.Lab, pool: ThreadPoolExecutor) -> None:
        self._lab = lab
        self._pool = pool

    def each(self, does: Callable[[str], T]) -> dict[str, T]:
        """What `does` makes of each version; raises what it raised."""
        under_way = {version: self._pool.submit(does, version) for version in VERSIONS}
        return {version: future.result() for version, future in under_way.items()}

    def say(self, words: str, turn: int, since: int = 0) -> dict[str, labs.Result]:
        """What the oldest and the newest that know the command made of it, and one between."""
        known = [version for version in VERSIONS if since <= minor(version)]
        between = known[1:-1]
        chosen = between if len(VERSIONS) == TURNS else between[turn % len(between or known) :][:1]
        asked = {known[0], known[-1], *chosen}

        def does(version: str) -> labs.Result | None:
            if version not in asked:
                return None
            return self._lab.try_kubectl(*N, *_named(words, self._lab), version=version)

        found = self.each(does)
        return {version: result for version, result in found.items() if result is not None}


def _named(words: str, lab: labs.Lab) -> list[str]:
    return [lab.name if word == "NODE" else word for word in words.split()]


@pytest.fixture(scope="module")
def crowd(lab: labs.Lab) -> Iterator[Crowd]:
    with ThreadPoolExecutor(len(VERSIONS)) as pool:
        yield Crowd(lab, pool)


@pytest.fixture(scope="module")
def namespaces(lab: labs.Lab) -> Iterator[dict[str, str]]:
    """One for each generation."""
    made = {version: f"commands-{minor(version)}" for version in VERSIONS}
    for name in made.values():
        lab.kubectl("create", "namespace", name)
    yield made
    lab.kubectl("delete", "namespace", *made.values(), "--timeout=60s", seconds=70)


@pytest.mark.parametrize(("turn", "case"), [*enumerate(READS)], ids=lambda each: _called(each))
def test_reading(crowd: Crowd, turn: int, case: Case) -> None:
    for version, result in crowd.say(case.words, turn, case.since).items():
        missing = [each for each in case.prints if not re.search(each, result.stdout)]
        told = (version, result.stdout[:600], result.stderr[:600])
        assert (result.returncode, missing) == (0, []), told


@pytest.mark.parametrize(("turn", "case"), [*enumerate(REFUSED)], ids=lambda each: _called(each))
def test_refusals(crowd: Crowd, turn: int, case: tuple[str, str]) -> None:
    words, told = case
    for version, result in crowd.say(words, turn).items():
        assert result.returncode != 0, (version, result.stdout[:600])
        assert told in result.stderr, version


def _called(each: object) -> str:
    if isinstance(each, Case):
        return each.words
    return str(each[0] if isinstance(each, tuple) else each)


# What changes something, in an order in which each finds what it needs.
STEPS = [
    ("create deployment d --image=nginx:1.25", r"deployment.apps/d created"),
    ("expose deploy d --port=80", r"service/d exposed"),
    ("scale deploy d --replicas=2", r"deployment.apps/d scaled"),
    ("rollout status deploy/d", r"successfully rolled out"),
    ("set image deploy/d nginx=nginx:1.26", r"deployment.apps/d image updated"),
    ("rollout status deploy/d", r"successfully rolled out"),
    ("rollout undo deploy/d", r"deployment.apps/d rolled back"),
    ("rollout restart deploy/d", r"deployment.apps/d restarted"),
    ("rollout pause deploy/d", r"deployment.apps/d paused"),
    ("set env deploy/d A=b", r"deployment.apps/d env updated"),
    ("set resources deploy/d --limits=cpu=100m", r"resource requirements updated"),
    ("rollout resume deploy/d", r"deployment.apps/d resumed"),
    ("rollout status deploy/d", r"successfully rolled out"),
    ("set serviceaccount deploy/d default", r"serviceaccount updated"),
    ("set selector svc/d app=d", r"service/d selector updated"),
    ("autoscale deploy d --max=3 --min=2", r"horizontalpodautoscaler.autoscaling/d autoscaled"),
    ("delete hpa d", r'horizontalpodautoscaler.autoscaling "d" deleted'),
    ("label deploy d tier=web", r"deployment.apps/d labeled"),
    ("label deploy d tier-", r"deployment.apps/d (un)?labeled"),
    ("annotate deploy d note=x", r"deployment.apps/d annotate"),
    ('patch deploy d -p {"spec":{"replicas":1}}', r"deployment.apps/d patched"),
    ('patch deploy d --type=merge -p {"spec":{"replicas":2}}', r"deployment.apps/d patched"),
    ('patch deploy d --type=json -p [{"op":"remove","path":"/metadata/annotations/note"}]',
     r"deployment.apps/d patched"),
    ("run r --image=busybox --restart=Never --image-pull-policy=Never --command -- sleep 3600",
     r"pod/r created"),
    ("wait --for=condition=Ready pod/r", r"pod/r condition met"),
    ("cp /etc/hosts r:/tmp/copied", r""),
    ("exec r -- grep -c localhost /tmp/copied", r"\d"),
    ("delete pod r --grace-period=0 --force", r'pod "r" force deleted'),
    ("create job j --image=busybox -- true", r"job.batch/j created"),
    ("create cronjob c --image=busybox --schedule=@yearly -- true", r"cronjob.batch/c created"),
    ("create job k --from=cronjob/c", r"job.batch/k created"),
    ("create secret generic s --from-literal=a=b", r"secret/s created"),
    ("create role ro --verb=get --resource=pods", r"role.rbac.authorization.k8s.io/ro created"),
    ("create rolebinding rb --role=ro --user=u", r"rolebinding.rbac.authorization.k8s.io/rb cr"),
    ("create poddisruptionbudget pdb --selector=a=b --min-available=1",
     r"poddisruptionbudget.policy/pdb created"),
    ("delete pdb pdb", r'poddisruptionbudget.policy "pdb" deleted'),
    ("create quota q --hard=pods=100", r"resourcequota/q created"),
    ("create service nodeport np --tcp=80", r"service/np created"),
    ("create service externalname en --external-name=a.example", r"service/en created"),
    ("create serviceaccount a", r"serviceaccount/a created"),
    ("set subject rolebinding rb --serviceaccount=x:a", r"rolebinding\S*/rb subjects updated"),
    ("create ingress i --rule=host.example/*=d:80", r"ingress.networking.k8s.io/i created"),
    ("delete ingress i", r'ingress.networking.k8s.io "i" deleted'),
    ("delete deploy,svc,cronjob,job,secret,role,rolebinding,quota,sa --all", r'"d" deleted'),
]  # fmt: skip


@pytest.mark.timeout(240)
def test_changing(lab: labs.Lab, namespaces: dict[str, str], crowd: Crowd) -> None:
    """One after the other goes on with what the one before has made."""

    def walk(first: str) -> None:
        start = VERSIONS.index(first)
        if start >= TURNS:
            return
        for number, (words, told) in enumerate(STEPS):
            version = VERSIONS[(start + number) % len(VERSIONS)]
            if "--from=cronjob" in words and minor(version) < 27:
                version = VERSIONS[-1]  # 1.20 knows no batch/v1 CronJobs, which servers prefer
            n = ("-n", namespaces[first])
            result = lab.try_kubectl(*n, *words.split(), version=version)
            assert result.returncode == 0, (version, words, result.stdout, result.stderr)
            assert re.search(told, result.stdout), (version, words, result.stdout, result.stderr)

    crowd.each(walk)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_node_can_be_taken_out_and_back(lab: labs.Lab, version: str) -> None:
    node = lab.name
    key = f"test{minor(version)}"
    for words, told in [
        (f"taint node {node} {key}=v:PreferNoSchedule", f"node/{node} tainted"),
        (f"taint node {node} {key}-", f"node/{node} untainted"),
        (f"label node {node} {key}=x", f"node/{node} labeled"),
        (f"label node {node} {key}-", f"node/{node} (un)?labeled"),
    ]:
        assert re.search(told, lab.kubectl(*words.split(), version=version))


def test_apply_replace_edit_and_prune(
    lab: labs.Lab, namespaces: dict[str, str], crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(lab.env, "KUBE_EDITOR", 'sed -i \'s/x: "4"/x: "5"/\'')
    crowd.each(lambda version: _applied_and_pruned(lab, ("-n", namespaces[version]), version))


def _applied_and_pruned(lab: labs.Lab, n: tuple[str, str], version: str) -> None:

    def config(name: str, value: str) -> labs.Object:
        meta = {"name": name, "labels": {"set": "s"}}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"x": value}}

    def kubectl(words: str, manifest: labs.Object | None = None) -> str:
        return lab.kubectl(*words.split(), *n, stdin=manifest, version=version)

    both = manifests.listed(config("a", "1"), config("b", "1"))
    assert kubectl("apply -f -", both) == "configmap/a created\nconfigmap/b created\n"
    assert "configmap/a unchanged" in kubectl("apply -f -", both)
    assert "configmap/a configured" in kubectl("apply -f -", config("a", "2"))
    # By itself kubectl 1.20 would also prune kinds that Kubernetes has long stopped serving.
    only = " --prune-whitelist=core/v1/ConfigMap" if minor(version) < 27 else ""
    pruned = kubectl(f"apply -f - --prune -l set=s{only}", config("a", "2"))
    assert "configmap/b pruned" in pruned
    assert kubectl("replace -f -", config("a", "3")) == "configmap/a replaced\n"
    assert "configmap/a replaced" in kubectl("replace --force -f -", config("a", "4"))
    assert "configmap/a edited" in kubectl("edit cm a")
    assert kubectl("get cm a -o jsonpath={.data.x}") == "5"
    told = lab.try_kubectl("diff", "-f", "-", *n, stdin=config("a", "6"), version=version)
    assert (told.returncode, '+  x: "6"' in told.stdout) == (1, True)
    assert kubectl("delete cm -l set=s") == 'configmap "a" deleted\n' or minor(version) > 30


KUSTOMIZATION = """\
namePrefix: pre-
commonLabels: {from: kustomize}
configMapGenerator:
- name: made
  literals: [a=b]
"""


def test_kustomize(
    lab: labs.Lab, namespaces: dict[str, str], crowd: Crowd, tmp_path: pathlib.Path
) -> None:
    (tmp_path / "kustomization.yaml").write_text(KUSTOMIZATION)

    def walk(version: str) -> None:
        def kubectl(*words: str) -> str:
            return lab.kubectl(*words, "-n", namespaces[version], version=version)

        assert "name: pre-made-" in kubectl("kustomize", str(tmp_path))
        assert re.match(r"configmap/pre-made-\w+ created\n$", kubectl("apply", "-k", str(tmp_path)))
        assert len(kubectl("get", "cm", "-l", "from=kustomize", "-o", "name").splitlines()) == 1
        assert "deleted" in kubectl("delete", "-k", str(tmp_path))

    crowd.each(walk)


def _config(name: str) -> labs.Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}


def test_apply_sets(
    lab: labs.Lab, namespaces: dict[str, str], crowd: Crowd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(lab.env, "KUBECTL_APPLYSET", "true")
    secret = {**_config("s"), "kind": "Secret"}

    def walk(version: str) -> None:
        if minor(version) < 27:
            return

        def apply(*objects: labs.Object) -> list[str]:
            told = lab.kubectl(
                "apply", "-f", "-", "--prune", "--applyset=configmap/set",
                "-n", namespaces[version], stdin=manifests.listed(*objects), version=version,
            )  # fmt: skip
            return sorted(told.splitlines())

        assert apply(_config("a"), secret) == ["configmap/a created", "secret/s created"]
        assert apply(_config("a")) == ["configmap/a unchanged", "secret/s pruned"]

    crowd.each(walk)


def test_proxy(lab: labs.Lab, crowd: Crowd) -> None:
    def walk(version: str) -> None:
        with lab.background("proxy", "--port=0", version=version) as proxy:
            port = int(proxy.until("Starting to serve on").rpartition(":")[2])
            url = f"/api/v1/nodes/{lab.name}"
            netns = lab.device.netns
            answer = clients.in_netns(netns, lambda: clients.fetch("127.0.0.1", port, url))
        assert answer.json["kind"] == "Node"

    crowd.each(walk)


ACCESS_REVIEW = {
    "apiVersion": "authorization.k8s.io/v1",
    "kind": "SubjectAccessReview",
    "spec": {"user": "nobody", "resourceAttributes": {"verb": "get", "resource": "pods"}},
}
TOKEN_REVIEW = {
    "apiVersion": "authentication.k8s.io/v1",
    "kind": "TokenReview",
    "spec": {"token": "none"},
}
ROLE = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "Role",
    "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
}
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "tests.example.com"},
    "spec": {
        "group": "example.com",
        "names": {"kind": "Test", "plural": "tests"},
        "scope": "Namespaced",
        "versions": [{"name": "v1", "served": True, "storage": True}],
    },
}


def test_tokens_reviews_and_roles(lab: labs.Lab, namespaces: dict[str, str], crowd: Crowd) -> None:
    def walk(version: str) -> None:
        n = ("-n", namespaces[version])

        def create(manifest: labs.Object) -> labs.Object:
            told = lab.kubectl(
                "create", "-f", "-", "-o", "json", *n, stdin=manifest, version=version
            )
            return dict(json.loads(told)["status"])

        assert create(ACCESS_REVIEW)["allowed"] is False
        assert create(TOKEN_REVIEW)["authenticated"] is False
        role = {**ROLE, "metadata": {"name": "reconciled", "namespace": namespaces[version]}}
        told = lab.kubectl("auth", "reconcile", "-f", "-", stdin=role, version=version)
        assert "reconciled" in told
        definition = lab.try_kubectl("create", "-f", "-", stdin=DEFINITION, version=version)
        assert "edgeorch serves no custom resources" in definition.stderr
        if minor(version) < 24:
            return
        token = lab.kubectl("create", "token", "default", *n, version=version).strip()
        me = lab.try_kubectl(
            "get", "pods", f"--token={token}", "--certificate-authority=", *n, version=version
        )
        account = f"system:serviceaccount:{namespaces[version]}:default"
        assert f'User "{account}" cannot list resource "pods"' in me.stderr

    crowd.each(walk)


ONE_OF_EACH = pathlib.Path(__file__).with_name("every_kind.yaml")
KINDS = (
    "sts,ds,rc,cj,secret,sa,svc,ing,netpol,role,rolebinding,pdb,quota,limits,hpa,pvc,podtemplates,"
    "leases,controllerrevisions,endpoints"
)
AT_LARGE = (
    "no,ns,pc,sc,pv,clusterroles,clusterrolebindings,runtimeclasses,ingressclasses,csidrivers"
)


def test_describing_every_kind(lab: labs.Lab, namespace: str, crowd: Crowd) -> None:
    lab.kubectl("apply", "-f", str(ONE_OF_EACH), "-n", namespace)
    made = set(re.findall(r"metadata: {name: ([\w-]+)", ONE_OF_EACH.read_text()))

    def walk(version: str) -> None:
        # 1.20 asks for EndpointSlices of a version that Kubernetes has long stopped serving.
        kinds = KINDS if minor(version) < 21 else f"{KINDS},endpointslices"
        told = lab.kubectl("describe", kinds, "-n", namespace, version=version)
        shown = set(re.findall(r"(?m)^Name: +(\S+)$", told))
        assert made - shown <= {"x-eps"} if minor(version) < 21 else made <= shown
        told = lab.kubectl("describe", AT_LARGE, version=version)
        assert {lab.name, "default", "system-node-critical", "local-path", "cluster-admin"} <= set(
            re.findall(r"(?m)^Name: +(\S+)$", told)
        )

    crowd.each(walk)

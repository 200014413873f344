"""kubectl's commands one by one, each with every generation of kubectl: what they print is what
they print against Kubernetes, in columns and wording. The generations ask at the same time."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import pytest

from . import lab as labs
from . import manifests

NAMESPACE = "commands"
N = ("-n", NAMESPACE)
VERSIONS = labs.kubectl_generations()
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
    until: int = 99


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
    Case("api-resources --namespaced=false -o name", (r"^namespaces\n", r"\nnodes\n")),
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

    def say(self, words: str, since: int = 0, until: int = 99) -> dict[str, labs.Result]:
        """What each version that knows the command made of it."""
        found = self.each(
            lambda version: (
                self._lab.try_kubectl(*N, *words.split(), version=version)
                if since <= minor(version) <= until
                else None
            )
        )
        return {version: result for version, result in found.items() if result is not None}


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


@pytest.mark.parametrize("case", READS, ids=lambda case: case.words)
def test_reading(crowd: Crowd, case: Case) -> None:
    for version, result in crowd.say(case.words, case.since, case.until).items():
        missing = [each for each in case.prints if not re.search(each, result.stdout)]
        told = (version, result.stdout[:600], result.stderr[:600])
        assert (result.returncode, missing) == (0, []), told


@pytest.mark.parametrize(("words", "told"), REFUSED, ids=lambda each: each)
def test_refusals(crowd: Crowd, words: str, told: str) -> None:
    for version, result in crowd.say(words).items():
        assert result.returncode != 0, (version, result.stdout[:600])
        assert told in result.stderr, version


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
    ("delete deploy,svc,cronjob,job,secret,role,rolebinding,quota,sa --all", r'"d" deleted'),
]  # fmt: skip


def test_changing(lab: labs.Lab, namespaces: dict[str, str], crowd: Crowd) -> None:
    def walk(version: str) -> None:
        for words, told in STEPS:
            if "--from=cronjob" in words and minor(version) < 27:
                continue  # 1.20 does not know batch/v1 CronJobs, which every server now prefers
            n = ("-n", namespaces[version])
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

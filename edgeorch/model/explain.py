"""Short texts for `kubectl explain`: what the fields mean that edgeorch acts on.

The project's own words, one line each; a field without a text is shown with its type only. A line
`Type` tells of the type, `Type.field` of a field. Type names are those of the schema table.
The texts are read when first asked for.
"""

from __future__ import annotations

import functools
import hashlib

# Types of the core group stand without "core.v1.", of meta/v1 with "meta.".
_TEXTS = """
meta.ObjectMeta: What every object carries: its name, labels, and what the system notes of it.
meta.ObjectMeta.annotations: Free notes for tools and people; not selectable.
meta.ObjectMeta.creationTimestamp: When the object was created. Set by the system.
meta.ObjectMeta.deletionGracePeriodSeconds: How long the object may take to end. Set on deletion.
meta.ObjectMeta.deletionTimestamp: When the object will be gone. Set when deletion is asked for.
meta.ObjectMeta.finalizers: Who must finish its work before the object may vanish.
meta.ObjectMeta.generateName: A prefix; the system appends a random ending to make the name.
meta.ObjectMeta.generation: Counts the changes of the desired state. Set by the system.
meta.ObjectMeta.labels: Names and values by which objects are selected.
meta.ObjectMeta.managedFields: Which manager set which fields, for server-side apply.
meta.ObjectMeta.name: The name, unique among objects of the kind in the namespace.
meta.ObjectMeta.namespace: The namespace that the name is unique in.
meta.ObjectMeta.ownerReferences: Objects this one belongs to; it is deleted with the last of them.
meta.ObjectMeta.resourceVersion: The state of the object; compare for equality only.
meta.ObjectMeta.uid: Tells this object from earlier ones of the same name.
meta.OwnerReference: An object that another belongs to.
meta.OwnerReference.apiVersion: The API version of the owner.
meta.OwnerReference.blockOwnerDeletion: Whether a foreground deletion of the owner waits for this.
meta.OwnerReference.controller: Whether the owner is the one controller that manages the object.
meta.OwnerReference.kind: The kind of the owner.
meta.OwnerReference.name: The name of the owner.
meta.OwnerReference.uid: The uid of the owner.
meta.LabelSelector: Picks objects by label; all that is said must hold. Empty picks everything.
meta.LabelSelector.matchExpressions: Conditions on label values.
meta.LabelSelector.matchLabels: Labels that must have exactly these values.
meta.LabelSelectorRequirement: One condition on a label.
meta.LabelSelectorRequirement.key: The label.
meta.LabelSelectorRequirement.operator: In, NotIn, Exists or DoesNotExist.
meta.LabelSelectorRequirement.values: The values for In and NotIn.
meta.ListMeta: What a list carries.
meta.ListMeta.continue: The token for the next chunk.
meta.ListMeta.remainingItemCount: About how many objects follow this chunk.
meta.ListMeta.resourceVersion: The state that the list shows; watch from here.
Pod: One or more containers that share a network, volumes and a lifetime.
Pod.apiVersion: v1
Pod.kind: Pod
Pod.metadata: Name, labels and annotations.
Pod.spec: What to run.
Pod.status: What is running. Set by the system.
PodSpec: What a pod runs and how.
PodSpec.activeDeadlineSeconds: After so long the pod is ended and has failed.
PodSpec.automountServiceAccountToken: Whether containers get a token for the API.
PodSpec.containers: The containers; they start together, after all init containers.
PodSpec.dnsConfig: Name servers, search domains and options, added to those of dnsPolicy.
PodSpec.dnsPolicy: Where names are resolved: ClusterFirst, ClusterFirstWithHostNet, Default, None.
PodSpec.enableServiceLinks: Whether Services are told in environment variables.
PodSpec.ephemeralContainers: Containers added to a running pod to look into it.
PodSpec.hostAliases: Further lines for /etc/hosts.
PodSpec.hostIPC: Share the device's IPC namespace.
PodSpec.hostNetwork: Use the device's network instead of an address of its own.
PodSpec.hostPID: See the device's processes.
PodSpec.hostname: The host name inside; the pod's name if unset.
PodSpec.imagePullSecrets: Secrets with the registry's credentials.
PodSpec.initContainers: Containers that run one after the other before the others start.
PodSpec.nodeName: The device the pod is bound to.
PodSpec.nodeSelector: Labels that the device must carry.
PodSpec.os: The operating system the pod is made for.
PodSpec.overhead: Resources that the pod costs beyond its containers.
PodSpec.priority: The greater, the later it has to give way.
PodSpec.priorityClassName: The PriorityClass that names the priority.
PodSpec.readinessGates: Further conditions that must hold before the pod is ready.
PodSpec.restartPolicy: Which ended containers start again: Always, OnFailure or Never.
PodSpec.runtimeClassName: The RuntimeClass that names the runtime.
PodSpec.schedulerName: Who binds the pod.
PodSpec.securityContext: Users, groups and kernel settings for all containers.
PodSpec.serviceAccountName: The ServiceAccount the pod acts as.
PodSpec.setHostnameAsFQDN: Use the full domain name as host name.
PodSpec.shareProcessNamespace: Let the containers see each other's processes.
PodSpec.subdomain: The domain of the pod's name, with a headless Service of that name.
PodSpec.terminationGracePeriodSeconds: How long containers have between SIGTERM and SIGKILL.
PodSpec.tolerations: Taints of the device that the pod may ignore.
PodSpec.topologySpreadConstraints: How pods spread over devices; one device has nothing to spread.
PodSpec.volumes: Storage that containers may mount.
Container: One program, run from an image.
Container.args: Arguments; they replace the image's CMD.
Container.command: The program; it replaces the image's ENTRYPOINT.
Container.env: Environment variables.
Container.envFrom: ConfigMaps and Secrets whose keys become environment variables.
Container.image: The image to run, such as nginx:1.25.
Container.imagePullPolicy: When the image is pulled: Always, IfNotPresent or Never.
Container.lifecycle: What to do after the start and before the end.
Container.livenessProbe: When this check fails, the container is restarted.
Container.name: The container's name, unique in the pod.
Container.ports: Ports the program listens on.
Container.readinessProbe: Only while this check succeeds, Services send traffic to the pod.
Container.resources: How much processor and memory it needs and may use.
Container.restartPolicy: Always makes an init container a sidecar.
Container.securityContext: User, privileges and capabilities; they win over the pod's.
Container.startupProbe: The other probes wait until this check has succeeded.
Container.stdin: Keep standard input open.
Container.stdinOnce: Close standard input after the first client has gone.
Container.terminationMessagePath: The file whose content becomes the message of its end.
Container.terminationMessagePolicy: File, or FallbackToLogsOnError for the log's last lines.
Container.tty: Give the program a terminal.
Container.volumeDevices: Volumes to be given as block devices.
Container.volumeMounts: Where volumes appear inside.
Container.workingDir: The directory the program starts in.
ContainerPort: A port of a container.
ContainerPort.containerPort: The port inside the pod.
ContainerPort.hostIP: The address of the device that hostPort is bound to.
ContainerPort.hostPort: A port of the device that leads to the container.
ContainerPort.name: A name for Services and probes to refer to.
ContainerPort.protocol: TCP, UDP or SCTP.
EnvVar: One environment variable.
EnvVar.name: The name.
EnvVar.value: The value; $(NAME) stands for an earlier variable.
EnvVar.valueFrom: Where the value comes from.
EnvVarSource: The source of a value.
EnvVarSource.configMapKeyRef: A key of a ConfigMap.
EnvVarSource.fieldRef: A field of the pod, such as status.podIP.
EnvVarSource.resourceFieldRef: A request or limit of a container.
EnvVarSource.secretKeyRef: A key of a Secret.
EnvFromSource: Many environment variables at once.
EnvFromSource.configMapRef: The ConfigMap.
EnvFromSource.prefix: Put before every name.
EnvFromSource.secretRef: The Secret.
ResourceRequirements: What a container needs and may use.
ResourceRequirements.limits: The most it may use.
ResourceRequirements.requests: What is set aside for it; limits if unset.
Probe: A check that is repeated.
Probe.exec: A command; it succeeds with exit code 0.
Probe.failureThreshold: How many failures in a row count.
Probe.grpc: A gRPC health check.
Probe.httpGet: An HTTP request; 200 to 399 succeeds.
Probe.initialDelaySeconds: Wait so long after the start.
Probe.periodSeconds: The time between checks.
Probe.successThreshold: How many successes in a row count.
Probe.tcpSocket: A connection that can be opened succeeds.
Probe.terminationGracePeriodSeconds: The time to end after a failed liveness or startup probe.
Probe.timeoutSeconds: A check that takes longer has failed.
HTTPGetAction: An HTTP request.
HTTPGetAction.host: The host to ask; the pod's address if unset.
HTTPGetAction.httpHeaders: Headers to send.
HTTPGetAction.path: The path to ask for.
HTTPGetAction.port: The port, by number or name.
HTTPGetAction.scheme: HTTP or HTTPS.
TCPSocketAction.host: The host to connect to; the pod's address if unset.
TCPSocketAction.port: The port, by number or name.
ExecAction.command: The program and its arguments; no shell.
GRPCAction.port: The port.
GRPCAction.service: The service to ask about.
Lifecycle: What to do at the start and at the end of a container.
Lifecycle.postStart: Right after the start; if it fails, the container is ended.
Lifecycle.preStop: Before SIGTERM, within the grace period.
Lifecycle.stopSignal: The signal that asks the program to end.
LifecycleHandler.exec: A command to run in the container.
LifecycleHandler.httpGet: An HTTP request to the container.
LifecycleHandler.sleep: A pause.
SecurityContext: What a container may do.
SecurityContext.allowPrivilegeEscalation: Whether set-user-id programs gain rights.
SecurityContext.appArmorProfile: The AppArmor profile.
SecurityContext.capabilities: Capabilities to add and to drop.
SecurityContext.privileged: All rights of root on the device.
SecurityContext.procMount: How /proc is masked.
SecurityContext.readOnlyRootFilesystem: The container's root cannot be written.
SecurityContext.runAsGroup: The group id.
SecurityContext.runAsNonRoot: Refuse to start as user id 0.
SecurityContext.runAsUser: The user id.
SecurityContext.seccompProfile: The filter of system calls.
PodSecurityContext: What holds for all containers of a pod.
PodSecurityContext.fsGroup: The group that volumes belong to.
PodSecurityContext.fsGroupChangePolicy: When ownership of volumes is changed.
PodSecurityContext.runAsGroup: The group id.
PodSecurityContext.runAsNonRoot: Refuse to start as user id 0.
PodSecurityContext.runAsUser: The user id.
PodSecurityContext.seccompProfile: The filter of system calls.
PodSecurityContext.supplementalGroups: Further groups.
PodSecurityContext.sysctls: Kernel settings of the pod's namespaces.
VolumeMount: A volume inside a container.
VolumeMount.mountPath: Where it appears.
VolumeMount.mountPropagation: Whether later mounts pass through.
VolumeMount.name: The volume of the pod.
VolumeMount.readOnly: The container cannot write.
VolumeMount.recursiveReadOnly: Whether mounts below are read-only too.
VolumeMount.subPath: A path inside the volume instead of its root.
VolumeMount.subPathExpr: Like subPath, with $(NAME) of the environment.
Volume: Storage of a pod; exactly one source.
Volume.configMap: The keys of a ConfigMap as files.
Volume.downwardAPI: Fields of the pod as files.
Volume.emptyDir: An empty directory that lives as long as the pod.
Volume.hostPath: A file or directory of the device.
Volume.name: The name that mounts refer to.
Volume.persistentVolumeClaim: A claim's volume.
Volume.projected: Several sources in one directory.
Volume.secret: The keys of a Secret as files, kept in memory.
EmptyDirVolumeSource.medium: Memory puts it into a tmpfs.
EmptyDirVolumeSource.sizeLimit: The most it may hold.
HostPathVolumeSource.path: The path on the device.
HostPathVolumeSource.type: What must be there, or is made.
ConfigMapVolumeSource.defaultMode: Permission bits of the files.
ConfigMapVolumeSource.items: Which keys, and their paths; all if unset.
ConfigMapVolumeSource.name: The ConfigMap.
ConfigMapVolumeSource.optional: Whether it may be missing.
SecretVolumeSource.defaultMode: Permission bits of the files.
SecretVolumeSource.items: Which keys, and their paths; all if unset.
SecretVolumeSource.optional: Whether it may be missing.
SecretVolumeSource.secretName: The Secret.
Toleration: A taint that a pod may ignore.
Toleration.effect: The effect of the taint; empty for all.
Toleration.key: The key of the taint; empty for all.
Toleration.operator: Exists or Equal.
Toleration.tolerationSeconds: How long NoExecute is ignored.
Toleration.value: The value of the taint.
PodStatus: What the system sees of a pod.
PodStatus.conditions: What holds: PodScheduled, Initialized, ContainersReady, Ready.
PodStatus.containerStatuses: The state of each container.
PodStatus.hostIP: The address of the device.
PodStatus.initContainerStatuses: The state of each init container.
PodStatus.message: Why the pod is in this state, for people.
PodStatus.phase: Pending, Running, Succeeded, Failed or Unknown.
PodStatus.podIP: The address of the pod.
PodStatus.podIPs: The addresses of the pod.
PodStatus.qosClass: Guaranteed, Burstable or BestEffort.
PodStatus.reason: Why the pod is in this state, one word.
PodStatus.startTime: When the device took the pod on.
ContainerStatus: The state of a container.
ContainerStatus.containerID: The id that containerd knows it by.
ContainerStatus.image: The image it runs.
ContainerStatus.imageID: The digest of the image.
ContainerStatus.lastState: How it ended last time.
ContainerStatus.ready: Whether it is ready for traffic.
ContainerStatus.restartCount: How often it was restarted.
ContainerStatus.started: Whether it runs and its startup probe has succeeded.
ContainerStatus.state: Waiting, running or terminated.
PodTemplateSpec: The pods that a controller makes.
PodTemplateSpec.metadata: Labels and annotations of the pods.
PodTemplateSpec.spec: What the pods run.
Service: One address for many pods.
Service.spec: Which pods, which ports.
Service.status: Addresses of a load balancer.
ServiceSpec: Which pods a Service leads to, and how it is reached.
ServiceSpec.clusterIP: The address; chosen by the system, None for a headless Service.
ServiceSpec.clusterIPs: The addresses, one for each family.
ServiceSpec.externalIPs: Addresses of the device that lead here too.
ServiceSpec.externalName: The name that the Service stands for, with type ExternalName.
ServiceSpec.externalTrafficPolicy: Cluster, or Local to keep the client's address.
ServiceSpec.internalTrafficPolicy: Cluster or Local.
ServiceSpec.ipFamilies: IPv4, IPv6 or both.
ServiceSpec.ipFamilyPolicy: SingleStack, PreferDualStack or RequireDualStack.
ServiceSpec.ports: The ports.
ServiceSpec.publishNotReadyAddresses: Lead to pods that are not ready, too.
ServiceSpec.selector: Labels of the pods.
ServiceSpec.sessionAffinity: ClientIP sends a client to the same pod each time.
ServiceSpec.type: ClusterIP, NodePort, LoadBalancer or ExternalName.
ServicePort: A port of a Service.
ServicePort.appProtocol: What is spoken, for programs that ask.
ServicePort.name: The name; needed when there are several ports.
ServicePort.nodePort: The port of the device, with type NodePort.
ServicePort.port: The port of the Service.
ServicePort.protocol: TCP, UDP or SCTP.
ServicePort.targetPort: The port of the pods, by number or name; port if unset.
Namespace: A room for names.
Namespace.spec: Finalizers.
Namespace.status: Whether it is being emptied.
Node: This device.
Node.spec: Its taints, and whether it takes new pods.
Node.status: Its resources, addresses and conditions.
NodeSpec.podCIDR: The addresses for pods.
NodeSpec.taints: What keeps pods away.
NodeSpec.unschedulable: Takes no new pods.
NodeStatus.addresses: Addresses and host name.
NodeStatus.allocatable: What pods may use.
NodeStatus.capacity: What there is.
NodeStatus.conditions: Whether it is well, and what presses it.
NodeStatus.images: Images on the device.
NodeStatus.nodeInfo: Versions of kernel, runtime and system.
ConfigMap: Configuration, as text.
ConfigMap.binaryData: Values that are no text, base64.
ConfigMap.data: Names and texts.
ConfigMap.immutable: The data cannot be changed any more.
Secret: Data to be kept confidential.
Secret.data: Names and values, base64.
Secret.immutable: The data cannot be changed any more.
Secret.stringData: Names and plain values; written into data.
Secret.type: What it is for, such as kubernetes.io/dockerconfigjson.
ServiceAccount: Who a pod is, towards the API.
ServiceAccount.automountServiceAccountToken: Whether pods get a token.
ServiceAccount.imagePullSecrets: Registry credentials for its pods.
Endpoints: The addresses behind a Service; see EndpointSlice.
Endpoints.subsets: Addresses and ports.
Event: Something that happened to an object.
Event.count: How often it happened.
Event.firstTimestamp: When it happened first.
Event.involvedObject: The object.
Event.lastTimestamp: When it happened last.
Event.message: What happened, for people.
Event.reason: What happened, one word.
Event.source: Who tells it.
Event.type: Normal or Warning.
discovery.v1.EndpointSlice: Addresses behind a Service.
discovery.v1.EndpointSlice.addressType: IPv4, IPv6 or FQDN.
discovery.v1.EndpointSlice.endpoints: The pods.
discovery.v1.EndpointSlice.ports: The ports.
discovery.v1.Endpoint.addresses: The addresses of one pod.
discovery.v1.Endpoint.conditions: Whether it is ready, serving, terminating.
discovery.v1.Endpoint.targetRef: The pod.
apps.v1.Deployment: Keeps a number of equal pods running and rolls changes out.
apps.v1.Deployment.spec: Which pods, how many, how to change them.
apps.v1.Deployment.status: How far it is.
apps.v1.DeploymentSpec.minReadySeconds: How long a new pod must be ready before it counts.
apps.v1.DeploymentSpec.paused: Roll nothing out.
apps.v1.DeploymentSpec.progressDeadlineSeconds: A rollout without progress for so long has failed.
apps.v1.DeploymentSpec.replicas: How many pods.
apps.v1.DeploymentSpec.revisionHistoryLimit: How many old ReplicaSets are kept for undo.
apps.v1.DeploymentSpec.selector: Labels of its pods; cannot be changed.
apps.v1.DeploymentSpec.strategy: How old pods are replaced.
apps.v1.DeploymentSpec.template: The pods.
apps.v1.DeploymentStrategy.rollingUpdate: How many at a time.
apps.v1.DeploymentStrategy.type: RollingUpdate or Recreate.
apps.v1.RollingUpdateDeployment.maxSurge: How many pods above replicas, a number or percentage.
apps.v1.RollingUpdateDeployment.maxUnavailable: How many may be missing, a number or percentage.
apps.v1.DeploymentStatus.availableReplicas: Pods ready for at least minReadySeconds.
apps.v1.DeploymentStatus.conditions: Available, Progressing, ReplicaFailure.
apps.v1.DeploymentStatus.observedGeneration: The generation that this status tells of.
apps.v1.DeploymentStatus.readyReplicas: Pods that are ready.
apps.v1.DeploymentStatus.replicas: Pods there are.
apps.v1.DeploymentStatus.unavailableReplicas: Pods still missing.
apps.v1.DeploymentStatus.updatedReplicas: Pods of the newest template.
apps.v1.ReplicaSet: Keeps a number of equal pods running.
apps.v1.ReplicaSet.spec: Which pods and how many.
apps.v1.ReplicaSet.status: How many there are.
apps.v1.ReplicaSetSpec.minReadySeconds: How long a new pod must be ready before it counts.
apps.v1.ReplicaSetSpec.replicas: How many pods.
apps.v1.ReplicaSetSpec.selector: Labels of its pods; cannot be changed.
apps.v1.ReplicaSetSpec.template: The pods.
autoscaling.v1.Scale: The size of something that has replicas.
autoscaling.v1.ScaleSpec.replicas: How many are wanted.
autoscaling.v1.ScaleStatus.replicas: How many there are.
autoscaling.v1.ScaleStatus.selector: Labels of the pods, as text.
"""

# Fields that mean the same wherever they stand.
_COMMON = {
    "apiVersion": "The version of the API that this object is written in.",
    "kind": "The kind of the object.",
    "metadata": "Name, labels, annotations and the like.",
    "items": "The objects.",
}


@functools.cache
def _texts() -> dict[str, str]:
    found = {}
    for line in _TEXTS.strip().splitlines():
        name, _, text = line.partition(": ")
        found[name] = text
    return found


def _short(type_name: str) -> str:
    return type_name.replace("meta.v1.", "meta.").removeprefix("core.v1.")


def of_type(type_name: str) -> str:
    """ "" when nothing is told."""
    return _texts().get(_short(type_name), "")


def of_field(type_name: str, field: str) -> str:
    """ "" when nothing is told."""
    return _texts().get(f"{_short(type_name)}.{field}") or _COMMON.get(field, "")


def digest() -> bytes:
    """Changes when a text does."""
    return hashlib.sha256(_TEXTS.encode()).digest()


def told() -> list[str]:
    """Every `Type` and `Type.field` with a text, under its full name."""
    groups = ("meta.", "apps.", "discovery.", "autoscaling.")
    return [
        name.replace("meta.", "meta.v1.", 1) if name.startswith(groups) else f"core.v1.{name}"
        for name in _texts()
    ]

"""AppArmor: what a pod asks for, when the node cannot give it, and the default profile.

The default is applied where a pod asks for RuntimeDefault; one that says nothing is not confined by
AppArmor. Its rules are those that container runtimes agree on: no mounts, nothing written below
/proc and /sys but what belongs to the process, signals and traces only among containers.

Words of the kubelet (pkg/security/apparmor); syntax of apparmor.d(5).
"""

from __future__ import annotations

from edgeorch.model import views

REASON = "AppArmor"
DEFAULT = "edgeorch-default"
UNCONFINED = "unconfined"

PROFILE = f"""\
#include <tunables/global>

profile {DEFAULT} flags=(attach_disconnected,mediate_deleted) {{
  #include <abstractions/base>

  network,
  capability,
  file,
  umount,

  signal (receive) peer=unconfined,
  signal (receive) peer=runc,
  signal (send,receive) peer={DEFAULT},
  ptrace (trace,read,tracedby,readby) peer={DEFAULT},

  deny mount,

  deny @{{PROC}}/* w,
  deny @{{PROC}}/{{[^1-9/],[^1-9/][^0-9/],[^1-9s/][^0-9y/][^0-9s/],[^1-9/][^0-9/][^0-9/][^0-9/]*}}/** w,
  deny @{{PROC}}/sys/[^k]** w,
  deny @{{PROC}}/sys/kernel/{{?,??,[^s][^h][^m]**}} w,
  deny @{{PROC}}/sysrq-trigger rwklx,
  deny @{{PROC}}/kcore rwklx,

  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/fs/c[^g]*/** wklx,
  deny /sys/fs/cg[^r]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/security/** rwklx,
}}
"""  # noqa: E501 -- one rule of the profile is one line


def wish(pod: views.Pod, container: views.Container) -> views.Profile | None:
    """The container's word comes before the pod's."""
    own = container.security_context or views.ContainerSecurity()
    of_pod = pod.spec.security_context or views.PodSecurity()
    return own.app_armor_profile or of_pod.app_armor_profile


def refusal(pod: views.Pod, *, available: bool) -> str | None:
    """Why the node does not take the pod, or None."""
    if available:
        return None
    spec = pod.spec
    context = spec.security_context or views.PodSecurity()
    asked = [context.app_armor_profile]
    for container in (*spec.init_containers, *spec.containers):
        own = container.security_context or views.ContainerSecurity()
        asked.append(own.app_armor_profile)
    if all(profile is None or profile.type == "Unconfined" for profile in asked):
        return None
    return "Cannot enforce AppArmor: AppArmor is not enabled on the host"

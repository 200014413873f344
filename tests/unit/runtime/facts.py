"""What containerd's published API says of the messages used here: names, numbers, types.

Taken from containerd's api/ protos (v2.4, unchanged since 1.6 for these fields). One line a
message: `field=number:type`, `*` repeated, `%` map. A stand-in for a foreign message has the name
of ours on the left of an arrow.
"""

from __future__ import annotations

MESSAGES = """
containerd.types.Descriptor media_type=1:string digest=2:string size=3:int64 annotations=5:%string,string
containerd.types.Mount type=1:string source=2:string target=3:string options=4:*string
containerd.types.Envelope timestamp=1:google.protobuf.Timestamp namespace=2:string topic=3:string event=4:google.protobuf.Any
containerd.v1.types.Process container_id=1:string id=2:string pid=3:uint32 status=4:containerd.v1.types.Status stdin=5:string stdout=6:string stderr=7:string terminal=8:bool exit_status=9:uint32 exited_at=10:google.protobuf.Timestamp
containerd.services.containers.v1.Container id=1:string labels=2:%string,string image=3:string runtime=4:containerd.services.containers.v1.Container.Runtime spec=5:google.protobuf.Any snapshotter=6:string snapshot_key=7:string created_at=8:google.protobuf.Timestamp updated_at=9:google.protobuf.Timestamp
containerd.services.containers.v1.Container.Runtime name=1:string options=2:google.protobuf.Any
containerd.services.containers.v1.GetContainerRequest id=1:string
containerd.services.containers.v1.GetContainerResponse container=1:containerd.services.containers.v1.Container
containerd.services.containers.v1.ListContainersRequest filters=1:*string
containerd.services.containers.v1.ListContainersResponse containers=1:*containerd.services.containers.v1.Container
containerd.services.containers.v1.CreateContainerRequest container=1:containerd.services.containers.v1.Container
containerd.services.containers.v1.CreateContainerResponse container=1:containerd.services.containers.v1.Container
containerd.services.containers.v1.UpdateContainerRequest container=1:containerd.services.containers.v1.Container update_mask=2:google.protobuf.FieldMask
containerd.services.containers.v1.UpdateContainerResponse container=1:containerd.services.containers.v1.Container
containerd.services.containers.v1.DeleteContainerRequest id=1:string
containerd.services.tasks.v1.CreateTaskRequest container_id=1:string rootfs=3:*containerd.types.Mount stdin=4:string stdout=5:string stderr=6:string terminal=7:bool options=9:google.protobuf.Any
containerd.services.tasks.v1.CreateTaskResponse container_id=1:string pid=2:uint32
containerd.services.tasks.v1.StartRequest container_id=1:string exec_id=2:string
containerd.services.tasks.v1.StartResponse pid=1:uint32
containerd.services.tasks.v1.DeleteTaskRequest container_id=1:string
containerd.services.tasks.v1.DeleteProcessRequest container_id=1:string exec_id=2:string
containerd.services.tasks.v1.DeleteResponse id=1:string pid=2:uint32 exit_status=3:uint32 exited_at=4:google.protobuf.Timestamp
containerd.services.tasks.v1.GetRequest container_id=1:string exec_id=2:string
containerd.services.tasks.v1.GetResponse process=1:containerd.v1.types.Process
containerd.services.tasks.v1.ListTasksRequest filter=1:string
containerd.services.tasks.v1.ListTasksResponse tasks=1:*containerd.v1.types.Process
containerd.services.tasks.v1.KillRequest container_id=1:string exec_id=2:string signal=3:uint32 all=4:bool
containerd.services.tasks.v1.ExecProcessRequest container_id=1:string stdin=2:string stdout=3:string stderr=4:string terminal=5:bool spec=6:google.protobuf.Any exec_id=7:string
containerd.services.tasks.v1.ResizePtyRequest container_id=1:string exec_id=2:string width=3:uint32 height=4:uint32
containerd.services.tasks.v1.CloseIORequest container_id=1:string exec_id=2:string stdin=3:bool
containerd.services.tasks.v1.UpdateTaskRequest container_id=1:string resources=2:google.protobuf.Any
containerd.services.tasks.v1.MetricsRequest filters=1:*string
containerd.services.tasks.v1.MetricsResponse metrics=1:*containerd.types.Metric
containerd.services.tasks.v1.MetricsResponse.Metric->containerd.types.Metric timestamp=1:google.protobuf.Timestamp id=2:string data=3:google.protobuf.Any
containerd.services.tasks.v1.WaitRequest container_id=1:string exec_id=2:string
containerd.services.tasks.v1.WaitResponse exit_status=1:uint32 exited_at=2:google.protobuf.Timestamp
containerd.services.images.v1.Image name=1:string labels=2:%string,string target=3:containerd.types.Descriptor created_at=7:google.protobuf.Timestamp updated_at=8:google.protobuf.Timestamp
containerd.services.images.v1.GetImageRequest name=1:string
containerd.services.images.v1.GetImageResponse image=1:containerd.services.images.v1.Image
containerd.services.images.v1.CreateImageRequest image=1:containerd.services.images.v1.Image
containerd.services.images.v1.CreateImageResponse image=1:containerd.services.images.v1.Image
containerd.services.images.v1.UpdateImageRequest image=1:containerd.services.images.v1.Image update_mask=2:google.protobuf.FieldMask
containerd.services.images.v1.UpdateImageResponse image=1:containerd.services.images.v1.Image
containerd.services.images.v1.ListImagesRequest filters=1:*string
containerd.services.images.v1.ListImagesResponse images=1:*containerd.services.images.v1.Image
containerd.services.images.v1.DeleteImageRequest name=1:string sync=2:bool
containerd.services.images.v1.ImageCreate name=1:string
containerd.services.images.v1.ImageUpdate name=1:string
containerd.services.images.v1.ImageDelete name=1:string
containerd.services.content.v1.Info digest=1:string size=2:int64 created_at=3:google.protobuf.Timestamp updated_at=4:google.protobuf.Timestamp labels=5:%string,string
containerd.services.content.v1.InfoRequest digest=1:string
containerd.services.content.v1.InfoResponse info=1:containerd.services.content.v1.Info
containerd.services.content.v1.UpdateRequest info=1:containerd.services.content.v1.Info update_mask=2:google.protobuf.FieldMask
containerd.services.content.v1.UpdateResponse info=1:containerd.services.content.v1.Info
containerd.services.content.v1.ListContentRequest filters=1:*string
containerd.services.content.v1.ListContentResponse info=1:*containerd.services.content.v1.Info
containerd.services.content.v1.DeleteContentRequest digest=1:string
containerd.services.content.v1.ReadContentRequest digest=1:string offset=2:int64 size=3:int64
containerd.services.content.v1.ReadContentResponse offset=1:int64 data=2:bytes
containerd.services.content.v1.Status started_at=1:google.protobuf.Timestamp updated_at=2:google.protobuf.Timestamp ref=3:string offset=4:int64 total=5:int64 expected=6:string
containerd.services.content.v1.StatusRequest ref=1:string
containerd.services.content.v1.StatusResponse status=1:containerd.services.content.v1.Status
containerd.services.content.v1.ListStatusesRequest filters=1:*string
containerd.services.content.v1.ListStatusesResponse statuses=1:*containerd.services.content.v1.Status
containerd.services.content.v1.WriteContentRequest action=1:containerd.services.content.v1.WriteAction ref=2:string total=3:int64 expected=4:string offset=5:int64 data=6:bytes labels=7:%string,string
containerd.services.content.v1.WriteContentResponse action=1:containerd.services.content.v1.WriteAction started_at=2:google.protobuf.Timestamp updated_at=3:google.protobuf.Timestamp offset=4:int64 total=5:int64 digest=6:string
containerd.services.content.v1.AbortRequest ref=1:string
containerd.services.snapshots.v1.PrepareSnapshotRequest snapshotter=1:string key=2:string parent=3:string labels=4:%string,string
containerd.services.snapshots.v1.PrepareSnapshotResponse mounts=1:*containerd.types.Mount
containerd.services.snapshots.v1.MountsRequest snapshotter=1:string key=2:string
containerd.services.snapshots.v1.MountsResponse mounts=1:*containerd.types.Mount
containerd.services.snapshots.v1.CommitSnapshotRequest snapshotter=1:string name=2:string key=3:string labels=4:%string,string
containerd.services.snapshots.v1.RemoveSnapshotRequest snapshotter=1:string key=2:string
containerd.services.snapshots.v1.StatSnapshotRequest snapshotter=1:string key=2:string
containerd.services.snapshots.v1.Info name=1:string parent=2:string kind=3:containerd.services.snapshots.v1.Kind created_at=4:google.protobuf.Timestamp updated_at=5:google.protobuf.Timestamp labels=6:%string,string
containerd.services.snapshots.v1.StatSnapshotResponse info=1:containerd.services.snapshots.v1.Info
containerd.services.snapshots.v1.ListSnapshotsRequest snapshotter=1:string filters=2:*string
containerd.services.snapshots.v1.ListSnapshotsResponse info=1:*containerd.services.snapshots.v1.Info
containerd.services.snapshots.v1.UsageRequest snapshotter=1:string key=2:string
containerd.services.snapshots.v1.UsageResponse size=1:int64 inodes=2:int64
containerd.services.diff.v1.ApplyRequest diff=1:containerd.types.Descriptor mounts=2:*containerd.types.Mount sync_fs=4:bool
containerd.services.diff.v1.ApplyResponse applied=1:containerd.types.Descriptor
containerd.services.leases.v1.Lease id=1:string created_at=2:google.protobuf.Timestamp labels=3:%string,string
containerd.services.leases.v1.CreateRequest id=1:string labels=3:%string,string
containerd.services.leases.v1.CreateResponse lease=1:containerd.services.leases.v1.Lease
containerd.services.leases.v1.DeleteRequest id=1:string sync=2:bool
containerd.services.leases.v1.ListRequest filters=1:*string
containerd.services.leases.v1.ListResponse leases=1:*containerd.services.leases.v1.Lease
containerd.services.events.v1.PublishRequest topic=1:string event=2:google.protobuf.Any
containerd.services.events.v1.SubscribeRequest filters=1:*string
containerd.events.TaskCreate container_id=1:string pid=6:uint32
containerd.events.TaskStart container_id=1:string pid=2:uint32
containerd.events.TaskDelete container_id=1:string pid=2:uint32 exit_status=3:uint32 exited_at=4:google.protobuf.Timestamp id=5:string
containerd.events.TaskExit container_id=1:string id=2:string pid=3:uint32 exit_status=4:uint32 exited_at=5:google.protobuf.Timestamp
containerd.events.TaskOOM container_id=1:string
containerd.events.TaskPaused container_id=1:string
containerd.events.TaskResumed container_id=1:string
containerd.services.version.v1.VersionResponse version=1:string revision=2:string
containerd.services.namespaces.v1.Namespace name=1:string labels=2:%string,string
containerd.services.namespaces.v1.CreateNamespaceRequest namespace=1:containerd.services.namespaces.v1.Namespace
containerd.services.namespaces.v1.CreateNamespaceResponse namespace=1:containerd.services.namespaces.v1.Namespace
containerd.services.introspection.v1.Plugin type=1:string id=2:string exports=5:%string,string capabilities=6:*string init_err=7:google.rpc.Status
containerd.services.introspection.v1.Plugin.InitError->google.rpc.Status code=1:int32 message=2:string
containerd.services.introspection.v1.PluginsRequest filters=1:*string
containerd.services.introspection.v1.PluginsResponse plugins=1:*containerd.services.introspection.v1.Plugin
containerd.runc.v1.Options no_pivot_root=1:bool no_new_keyring=2:bool shim_cgroup=3:string io_uid=4:uint32 io_gid=5:uint32 binary_name=6:string root=7:string systemd_cgroup=9:bool
"""  # noqa: E501

ENUMS = """
containerd.v1.types.Status UNKNOWN=0 CREATED=1 RUNNING=2 STOPPED=3 PAUSED=4 PAUSING=5
containerd.services.content.v1.WriteAction STAT=0 WRITE=1 COMMIT=2
containerd.services.snapshots.v1.Kind UNKNOWN=0 VIEW=1 ACTIVE=2 COMMITTED=3
"""

# Method: request → answer, `~` before one that is a stream.
METHODS = """
containerd.services.containers.v1.Containers Get List Create Update Delete=Empty
containerd.services.tasks.v1.Tasks Create Start Delete DeleteProcess Get List Kill=Empty Exec=Empty ResizePty=Empty CloseIO=Empty Update=Empty Metrics Wait
containerd.services.images.v1.Images Get List Create Update Delete=Empty
containerd.services.content.v1.Content Info Update List=>~ Delete=Empty Read=>~ Status ListStatuses Write=~>~ Abort=Empty
containerd.services.snapshots.v1.Snapshots Prepare Mounts Commit=Empty Remove=Empty Stat List=>~ Usage
containerd.services.diff.v1.Diff Apply
containerd.services.leases.v1.Leases Create Delete=Empty List
containerd.services.events.v1.Events Publish=Empty Subscribe=>~
containerd.services.version.v1.Version Version
containerd.services.namespaces.v1.Namespaces Create
containerd.services.introspection.v1.Introspection Plugins
"""  # noqa: E501

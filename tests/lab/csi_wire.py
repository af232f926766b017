"""What a kubelet and a CSI node driver say to each other, as far as the lab speaks it: messages and services.

The messages are made at run time from the fields that are used, so that no generated code is kept. Names and numbers are
those of the Container Storage Interface v1 (csi.proto) and of the kubelet's plugin registration v1.
"""

from collections.abc import Callable, Mapping
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, message_factory

_CSI = {
    "GetPluginInfoRequest": "",
    "GetPluginInfoResponse": "name:string:1 vendor_version:string:2",
    "GetPluginCapabilitiesRequest": "",
    "GetPluginCapabilitiesResponse": "",
    "ProbeRequest": "",
    "ProbeResponse": "",
    "NodeGetCapabilitiesRequest": "",
    "NodeGetCapabilitiesResponse": "capabilities:NodeServiceCapability*:1",
    "NodeServiceCapability": "rpc:RPC:1",
    "RPC": "type:int32:1",  # an enum, nested in NodeServiceCapability there; on the wire it is the same
    "NodeGetInfoRequest": "",
    "NodeGetInfoResponse": "node_id:string:1 max_volumes_per_node:int64:2",
    "NodeStageVolumeRequest": "volume_id:string:1 staging_target_path:string:3 volume_context:map:6",
    "NodeStageVolumeResponse": "",
    "NodeUnstageVolumeRequest": "volume_id:string:1 staging_target_path:string:2",
    "NodeUnstageVolumeResponse": "",
    "NodePublishVolumeRequest": "volume_id:string:1 staging_target_path:string:3 target_path:string:4",
    "NodePublishVolumeResponse": "",
    "NodeUnpublishVolumeRequest": "volume_id:string:1 target_path:string:2",
    "NodeUnpublishVolumeResponse": "",
}
_REGISTRATION = {
    "InfoRequest": "",
    "PluginInfo": "type:string:1 name:string:2 endpoint:string:3 supported_versions:string*:4",
    "RegistrationStatus": "plugin_registered:bool:1 error:string:2",
    "RegistrationStatusResponse": "",
}
STAGE_UNSTAGE_VOLUME = 1
"""The NodeServiceCapability without which a kubelet publishes a volume and never stages it."""

_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "string": _Field.TYPE_STRING,
    "bool": _Field.TYPE_BOOL,
    "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64,
}


def _messages(package: str, described: Mapping[str, str]) -> dict[str, Any]:
    """Make the classes of the messages; a field is `name:type:number`, its type with a star where it repeats."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    for name, fields in described.items():
        message = file.message_type.add(name=name)
        for field in fields.split():
            field_name, kind, number = field.split(":")
            _add_field(message, f".{package}", field_name, kind, int(number))
    made = message_factory.GetMessages([file])
    return {name: made[f"{package}.{name}"] for name in described}


def _add_field(message: Any, package: str, name: str, kind: str, number: int) -> None:
    repeated = kind.endswith("*") or kind == "map"
    field = message.field.add(name=name, number=number, label=3 if repeated else 1)
    if kind == "map":  # from string to string
        entry = message.nested_type.add(name="".join(word.title() for word in name.split("_")) + "Entry")
        entry.options.map_entry = True
        for number_of, part in enumerate(("key", "value"), 1):
            _add_field(entry, package, part, "string", number_of)
        field.type, field.type_name = _Field.TYPE_MESSAGE, f"{package}.{message.name}.{entry.name}"
    elif (bare := kind.removesuffix("*")) in _SCALARS:
        field.type = _SCALARS[bare]
    else:
        field.type, field.type_name = _Field.TYPE_MESSAGE, f"{package}.{bare}"


csi: dict[str, Any] = _messages("csi.v1", _CSI)
registration: dict[str, Any] = _messages("pluginregistration", _REGISTRATION)

Answer = Callable[[Any, grpc.ServicerContext], Any]


def service(name: str, requests: Mapping[str, type[Any]], answers: Mapping[str, Answer]) -> grpc.GenericRpcHandler:
    """The service `name` of one function for each method; `requests` are the classes of what the methods are told."""
    handlers = {
        method: grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=requests[method].FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )
        for method, answer in answers.items()
    }
    return grpc.method_handlers_generic_handler(name, handlers)


def csi_service(name: str, answers: Mapping[str, Answer]) -> grpc.GenericRpcHandler:
    """A service of CSI: each method's request is named after it."""
    return service(f"csi.v1.{name}", {method: csi[f"{method}Request"] for method in answers}, answers)

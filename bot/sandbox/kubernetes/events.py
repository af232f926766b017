"""Events as Kubernetes' components post them: the same words about the same object again only raise the count."""

from bot.sandbox.kubernetes.refusals import Refused
from bot.sandbox.kubernetes.registry import Registry
from bot.sandbox.kubernetes.resources import EVENTS, Object, timestamp


def reference(kind: str, stored: Object, version: str = "v1") -> Object:
    """What an event says it is about."""
    meta = stored["metadata"]
    about: Object = {"kind": kind, "apiVersion": version, "name": meta["name"], "uid": meta["uid"]}
    return about | ({"namespace": meta["namespace"]} if meta.get("namespace") else {})


def post(
    registry: Registry, about: Object, reason: str, message: str, *, component: str, host: str = "",
    kind: str = "Normal",
) -> None:  # fmt: skip
    """Post an event, or count it again. An event nobody can store is lost, as in a real cluster."""
    namespace, moment = about.get("namespace") or "default", timestamp(registry.now())
    source = {"component": component} | ({"host": host} if host else {})
    for known in registry.store.all(EVENTS, namespace):
        same = known.get("involvedObject", {}).get("uid") == about["uid"] and known.get("source") == source
        if same and (known.get("reason"), known.get("message")) == (reason, message):
            registry.store.put(EVENTS, {**known, "count": known.get("count", 1) + 1, "lastTimestamp": moment})
            return
    suffix = f"{int(registry.now().timestamp() * 1_000_000_000) + registry.store.revision:x}"
    event: Object = {"metadata": {"name": f"{about['name']}.{suffix}"}, "involvedObject": about, "reason": reason}
    event |= {"message": message, "type": kind, "count": 1, "source": source}
    event |= {"firstTimestamp": moment, "lastTimestamp": moment}
    try:
        registry.create(EVENTS, namespace, event)
    except Refused:
        return  # its namespace is gone

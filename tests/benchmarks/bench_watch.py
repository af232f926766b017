"""What one change of a watch costs to decode: into our own structs against the client's own watch, and to judge it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from kubernetes.aio import client
from kubernetes.aio.watch import Watch as ClientWatch

from bot.watch.shapes import EVENTS, PODS, WatchedPod
from bot.watch.waiting import Creating
from diagnostics.sources.kubernetes.watching import Change, change_of, line_decoder
from tests.benchmarks.conftest import Measured, cpu_seconds
from tests.bot import churn

LINES = 20_000
TYPED = 400  # the typed models are too slow for all: their time is scaled up
BEGAN = datetime(2026, 3, 14, tzinfo=UTC)
Report = Callable[[str, Measured], None]


def container(name: str) -> dict[str, Any]:
    """A container as charts make them."""
    probe = {
        "httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"},
        "periodSeconds": 10,
        "failureThreshold": 3,
    }
    secret = {"secretKeyRef": {"name": "search", "key": "password", "optional": False}}
    return {
        "name": name, "image": f"registry.example/{name}:1.2.3", "imagePullPolicy": "IfNotPresent",
        "env": [{"name": f"SETTING_{n}", "value": "some value"} for n in range(12)]
        + [{"name": f"SECRET_{n}", "valueFrom": secret} for n in range(3)],
        "ports": [{"name": f"p{n}", "containerPort": 8080 + n, "protocol": "TCP"} for n in range(3)],
        "resources": {"requests": {"cpu": "100m", "memory": "1Gi"}, "limits": {"memory": "2Gi"}},
        "volumeMounts": [{"name": f"v{n}", "mountPath": f"/mnt/{n}", "readOnly": True} for n in range(6)],
        "livenessProbe": probe, "readinessProbe": probe,
        "securityContext": {"runAsNonRoot": True, "capabilities": {"drop": ["ALL"]}},
    }  # fmt: skip


def lines(count: int) -> list[bytes]:
    """Changes of pods as an API server sends them; a quarter of each is about who manages which field."""
    made = churn.pod("p", BEGAN, 0, "Running", "node2")
    names = ("app", "proxy", "metrics")
    managed = [{"manager": "kubelet", "operation": "Update", "fieldsV1": {f"f:{n}": {"k:x": {}} for n in range(120)}}]
    types = ("Initialized", "Ready", "ContainersReady", "PodScheduled")
    when = "2026-03-14T09:00:00Z"
    made["spec"] |= {
        "containers": [container(name) for name in names],
        "volumes": [{"name": f"v{n}", "configMap": {"name": f"c{n}", "defaultMode": 420}} for n in range(6)],
        "tolerations": [{"key": f"k{n}", "operator": "Exists", "effect": "NoExecute"} for n in range(3)],
    }
    made["status"] |= {
        "conditions": [{"type": t, "status": "True", "lastProbeTime": None, "lastTransitionTime": when} for t in types],
        "containerStatuses": [
            {
                "name": name, "image": "i", "imageID": "sha256:" + "0" * 64, "ready": True, "restartCount": 0,
                "started": True, "lastState": {}, "state": {"running": {"startedAt": when}},
            }
            for name in names
        ],
    }  # fmt: skip

    def line(number: int) -> bytes:
        meta = {"name": f"p-{number}", "uid": f"u-{number}", "resourceVersion": str(number), "managedFields": managed}
        stored: dict[str, Any] = {**made, "metadata": {**made["metadata"], **meta}}
        return json.dumps({"type": "MODIFIED", "object": stored}, separators=(",", ":")).encode()

    return [line(number) for number in range(1, count + 1)]


async def bench_decoding_changes_of_pods(report: Report) -> None:
    made = lines(LINES)
    few = [line.decode() for line in made[:TYPED]]
    decoder = line_decoder(PODS.struct)
    assert decoder.decode(made[41]).object.metadata.name == "p-42"
    theirs = ClientWatch(return_type=client.V1Pod)

    def typed() -> None:
        for line in few:
            theirs.unmarshal_event(line, client.V1Pod)

    def untyped() -> None:
        for line in few:
            theirs.unmarshal_event(line, None)

    took = {
        "ours": cpu_seconds(lambda: [decoder.decode(line) for line in made]),
        "the client's watch, untyped": cpu_seconds(untyped, times=1) * LINES / TYPED,
        "the client's watch, typed": cpu_seconds(typed, times=1) * LINES / TYPED,
    }
    each = len(made[0]) / 1024
    report(f"{LINES:,} changes of pods of {each:.0f} KiB: {LINES / took['ours']:,.0f} a second of CPU", took)
    await theirs._api_client.close()  # type: ignore[no-untyped-call]


def bench_an_hour_of_churn(report: Report) -> None:
    steps = churn.hour(BEGAN)
    made = [(step.plural, churn.as_line(step)) for step in steps]
    decoders = {"pods": line_decoder(PODS.struct), "events": line_decoder(EVENTS.struct)}

    def decoded() -> None:
        for plural, line in made:
            decoders[plural].decode(line)

    def judged() -> None:
        creating, now = Creating(timedelta(seconds=60)), BEGAN
        for plural, line in made:
            found = decoders[plural].decode(line)
            if not isinstance(found.object, WatchedPod):
                creating.event(found.object)
            elif change_of(found) is Change.DELETED:
                creating.gone(found.object.metadata.uid, now)
            else:
                creating.pod(found.object, now)

    report(
        f"an hour with 1,000 pod starts: {len(made):,} changes (CPU time)",
        {"decoded": cpu_seconds(decoded), "decoded and judged": cpu_seconds(judged)},
    )

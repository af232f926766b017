"""The API server's own audit log of what Unstick's accounts changed: a count of effects that nothing of ours makes.

https://kubernetes.io/docs/tasks/debug/debug-cluster/audit/
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

POLICY, LOG = "audit-policy.yaml", "audit.log"
_VERBS = ["create", "update", "patch", "delete", "deletecollection"]
# Questions whether something would be allowed: they are sent as creations, and keep nothing.
_QUESTIONS = "authorization.k8s.io"


def write_policy(file: Path, group: str) -> None:
    """Write a policy by which every write of a group of users is logged with its body, and nothing else is."""
    writes = {"level": "Request", "userGroups": [group], "verbs": _VERBS}
    policy = {
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
        "rules": [writes, {"level": "None"}],
    }  # fmt: skip
    file.write_text(yaml.safe_dump(policy))


def written(log: Path, user: str, *, answered: bool = True) -> Iterator[str]:
    """The successful writes of a user, dry runs left out, such as `create pods/eviction shop/web-1`.

    Those that were not `answered`: who asked was gone by then, or the server failed, and they may have been done or not.
    """
    for line in log.read_text().splitlines(keepends=True) if log.exists() else ():
        if not line.endswith("\n"):
            return  # it is being written
        event = json.loads(line)
        code = event.get("responseStatus", {}).get("code", 500)
        if event["user"]["username"] == user and _is_write(event) and (code < 300 if answered else code >= 500):
            yield _said(event)


def _is_write(event: dict[str, Any]) -> bool:
    body = event.get("requestObject") or {}
    options = [body, body.get("deleteOptions") or {}] if isinstance(body, dict) else []
    dry = "dryRun=" in event["requestURI"] or any(each.get("dryRun") for each in options)
    return not dry and event["objectRef"].get("apiGroup") != _QUESTIONS


def _said(event: dict[str, Any]) -> str:
    ref, body = event["objectRef"], event.get("requestObject")
    name = ref.get("name") or (body["metadata"]["name"] if isinstance(body, dict) else "")
    resource = "/".join(filter(None, (ref["resource"], ref.get("subresource"))))
    return f"{event['verb']} {resource} {'/'.join(filter(None, (ref.get('namespace'), name)))}"

"""Patches a workload's pod template in one step, bound to the template that was looked at.

The whole template is tested by the server before it is replaced, so that nothing newer can be overwritten, whatever
happens between the read and the patch; scaling meanwhile does no harm. Templates are read when the act is done and
kept nowhere, because they may hold secrets: a plan knows them by their sha256 alone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from diagnostics.facts.rollouts import sha256
from diagnostics.model import Subject
from diagnostics.sources import CouldNotLook
from diagnostics.sources.kubernetes.api import KubernetesError, refusal
from runbooks.actions import ActFailed, Write
from runbooks.actions.kubernetes_api import WritingApi

TEMPLATE = "/spec/template"
WORKLOAD_WRITES = tuple(
    Write("apps", f"{kind.lower()}s", verb, kind)
    for kind in ("Deployment", "StatefulSet", "DaemonSet") for verb in ("get", "patch")
)  # fmt: skip
"""What reading and patching a workload of any of these kinds takes."""
Operations = Sequence[Mapping[str, Any]]


async def read_first(api: WritingApi, target: Subject, *, dry: bool) -> dict[str, Any]:
    """An object as it is now, before anything is written.

    Raises:
        ActFailed: it could not be read; nothing was changed.
        CouldNotLook: no answer came, to what was only a dry run.
    """
    try:
        return await api.read(target)
    except KubernetesError as error:
        raise ActFailed(refusal(error, f"read {target}")) from None
    except CouldNotLook as error:
        if dry:
            raise
        raise ActFailed(f"Nothing was changed: {error.reason}") from None


def is_there(found: Mapping[str, Any], effect: Mapping[str, Any]) -> bool:
    """Whether an object has the wanted template already; else it has the one that was looked at.

    Raises:
        ActFailed: it has neither.
    """
    now = sha256(found["spec"]["template"])
    if now == effect["to"]["template"]:
        return True
    if now != effect["from"]["template"]:
        raise ActFailed("Nothing was changed: a newer rollout has changed the template: plan anew.")
    return False


def tested(found: Mapping[str, Any]) -> dict[str, Any]:
    """The test that the template is still the one that was read."""
    return {"op": "test", "path": TEMPLATE, "value": found["spec"]["template"]}


def annotate(holder: Mapping[str, Any], path: str, name: str, value: str) -> Operations:
    """The operations that set an annotation, where there may be none yet. `path` leads to the metadata."""
    key = name.replace("~", "~0").replace("/", "~1")
    if (holder.get("metadata") or {}).get("annotations") is None:
        none_yet = {"op": "test", "path": f"{path}/annotations", "value": None}
        return (none_yet, {"op": "add", "path": f"{path}/annotations", "value": {name: value}})
    return ({"op": "add", "path": f"{path}/annotations/{key}", "value": value},)

"""Writes a case from a real cluster: what was read for a plan, as a world that can be played back.

What is written is what was decoded, and no more. Of pod templates, which may hold secrets, only what says which
containers and volumes there are is kept; every other text in them becomes a placeholder, the same for the same text,
so that equal templates stay equal. Secrets and ConfigMaps are left out. The file is for its owner alone.
"""

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import yaml

from diagnostics.facts import NotSeen, Read, Snapshot, in_order
from diagnostics.facts.ceph import SIGHTINGS
from diagnostics.facts.kubernetes import List, Listing, Resource
from diagnostics.model import Subject
from runbooks.guards import Answer
from runbooks.hands import Hands
from runbooks.plan import Plan, PlannedStep
from runbooks.verifying import World

Json = dict[str, Any]
_LEFT_OUT = ("secrets", "configmaps")
_PLAIN_IN_TEMPLATES = frozenset({"name", "image", "claimName", "secretName", "path", "type", "restartPolicy", "$patch"})
_HEAD = """\
# Recorded from cluster {cluster} by `unstick runbook plan --record`. It holds names, addresses and states of what was
# read for this plan, as far as Unstick decodes it: no Secret, no ConfigMap, and of pod templates no environment value,
# argument or annotation. Read it through before you give it to anybody. As a case it lies in VERSION.cases/ beside its
# runbook and is named allowed_*, refused_<guard>* or interrupted_after_<step>*; `after` has to be written by hand.
"""


class Recorder:
    """A world that remembers the last look."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.reads: tuple[Read[Any], ...] = ()
        self.snapshot: Snapshot | None = None

    async def look(self, reads: Sequence[Read[Any]], subject: Subject | None) -> Snapshot:
        """Fresh facts, remembered."""
        self.reads = tuple(reads)
        self.snapshot = await self._world.look(reads, subject)
        return self.snapshot

    def hands(self, requester: str) -> AbstractAsyncContextManager[Hands]:
        """The world's own hands."""
        return self._world.hands(requester)

    def now(self) -> datetime:
        """The time."""
        return self._world.now()

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await self._world.sleep(seconds)


def case_of(plan: Plan, reads: Sequence[Read[Any]], snapshot: Snapshot) -> Json:
    """The case that a plan and the facts that it was made from are."""
    refused = plan.refusals
    expect: Json = {"plan": "refused" if refused else "allowed", "risk": str(plan.risk)}
    if refused:
        expect["refused_by"] = list(dict.fromkeys(name for step in plan.steps for name in _refusing(step)))
    else:
        expect["acts"] = [act.says for act in plan.acts]
    return {
        "why": f"Recorded from a real cluster: {plan.runbook} is {expect['plan']}.",
        "params": dict(plan.params), "world": world_of(reads, snapshot), "after": [], "expect": expect,
    }  # fmt: skip


def _refusing(step: PlannedStep) -> list[str]:
    own = [r.guard for r in step.rulings if r.answer is not Answer.ALLOWED] if step.skipped is None else []
    return own + (_refusing(step.otherwise) if step.otherwise is not None else [])


def world_of(reads: Sequence[Read[Any]], snapshot: Snapshot) -> Json:
    """What a snapshot shows, in the shape of a recorded world."""
    kubernetes: dict[str, dict[tuple[Any, ...], Json]] = {}
    ceph: Json = {}
    unseen: Json = {}
    masks: dict[str, str] = {}
    for kind in in_order(read.kind for read in reads):
        fact = snapshot[kind]
        if isinstance(fact, NotSeen):
            if kind is not SIGHTINGS:
                unseen[kind.name] = {"reason": fact.reason, "configured": fact.configured}
        elif isinstance(kind, Resource) and isinstance(fact, Listing):
            _add(kubernetes, kind, fact, _selected_by(kind, snapshot), masks)
        elif kind is not SIGHTINGS:
            ceph[kind.name] = _json(fact)
    made = {"taken_at": _json(snapshot.taken_at), "kubernetes": {k: list(v.values()) for k, v in kubernetes.items()}}
    found = snapshot.seen(SIGHTINGS) or ()
    return {**made, "ceph": ceph, "unseen": unseen, "sightings": [_json(each) for each in found]}


def _selected_by(kind: Resource[Any], snapshot: Snapshot) -> dict[str, str]:
    """The labels that a kind's objects were asked for by: they have them, although they are not decoded."""
    requests = list(kind.requests(snapshot))
    if len(requests) != 1 or not isinstance(requests[0], List):
        return {}
    pairs = (part.partition("=") for part in (requests[0].labels or "").split(",") if "=" in part)
    return {key: value for key, _, value in pairs}


def _add(
    into: dict[str, dict[tuple[Any, ...], Json]], kind: Resource[Any], fact: Listing[Any], labels: dict[str, str],
    masks: dict[str, str],
) -> None:  # fmt: skip
    """One kind's objects, joined with what other kinds read of the same objects."""
    if kind.plural in _LEFT_OUT:
        return
    objects = into.setdefault(kind.plural, {})
    for struct in fact.full:
        item = _without_nulls(_json(struct))
        _mask_templates(item, masks)
        meta = item["metadata"]
        if labels:
            meta["labels"] = {**labels, **meta.get("labels", {})}
        key = (meta.get("namespace"), meta.get("name"), meta.get("uid"))
        objects[key] = _joined(objects.get(key, {}), item)


def _json(value: Any) -> Any:
    """A struct as JSON has it."""
    return msgspec.json.decode(msgspec.json.encode(value))


def _without_nulls(value: Any) -> Any:
    """What an object has, without the fields that it does not have."""
    if isinstance(value, dict):
        return {key: _without_nulls(each) for key, each in value.items() if each is not None}
    return [_without_nulls(each) for each in value] if isinstance(value, list) else value


def _joined(one: Any, other: Any) -> Any:
    """Both readings of one thing: of mappings all fields, of lists of the same length each item's, else the longer."""
    if isinstance(one, dict) and isinstance(other, dict):
        return {key: _joined(one.get(key), other.get(key)) for key in {**one, **other}}
    if isinstance(one, list) and isinstance(other, list):
        if len(one) == len(other):
            return [_joined(*pair) for pair in zip(one, other, strict=True)]
        return max(one, other, key=len)
    return one if other is None else other


def _mask_templates(item: Any, masks: dict[str, str]) -> None:
    """Put placeholders into every pod template that an object has, however deep it lies."""
    for key, value in item.items() if isinstance(item, dict) else ():
        if key == "template" and isinstance(value, dict):
            labels = (value.get("metadata") or {}).get("labels")
            item[key] = _masked(value, "", masks)
            if labels:
                item[key]["metadata"]["labels"] = labels
        else:
            _mask_templates(value, masks)


def _masked(value: Any, name: str, masks: dict[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _masked(each, key, masks) for key, each in value.items()}
    if isinstance(value, list):
        return [_masked(each, name, masks) for each in value]
    if not isinstance(value, str) or name in _PLAIN_IN_TEMPLATES:
        return value
    return masks.setdefault(value, f"redacted-{len(masks) + 1}")


def write(path: Path, plan: Plan, recorder: Recorder) -> None:
    """Write the case into a new file that only its owner may read.

    Raises:
        OSError: it is there already, or cannot be written.
    """
    assert recorder.snapshot is not None, "a plan is made from a look"
    case = case_of(plan, recorder.reads, recorder.snapshot)
    text = _HEAD.format(cluster=plan.cluster) + yaml.safe_dump(case, sort_keys=False, allow_unicode=True, width=120)
    descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_NOFOLLOW", 0), 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)

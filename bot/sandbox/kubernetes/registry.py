"""What the verbs of the API mean: create, update, patch, bind and delete, with identities, conflicts and dry runs.

Behaviour and wording are those of a real API server, as far as Unstick meets them; the contract test compares both.
Controllers call it directly, people over HTTP. It must never invent an answer where the real server would refuse.
"""

import copy
import random
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, uuid4, uuid5

from bot.sandbox.kubernetes import defaults, patches, refusals
from bot.sandbox.kubernetes.refusals import bad_request, conflict, invalid, not_found
from bot.sandbox.kubernetes.resources import BY_KIND, NAMESPACES, PODS, Object, Resource, timestamp
from bot.sandbox.kubernetes.store import Store
from bot.sandbox.kubernetes.validation import check_name, check_pod_update, check_preconditions, expect, is_dry

_SUFFIX_LETTERS = "bcdfghjklmnpqrstvwxz2456789"


class Registry:
    """The cluster's objects and what may be done with them. `now` gives the time in UTC."""

    def __init__(self, now: Callable[[], datetime], store: Store | None = None) -> None:
        self.now = now
        self.store = store or Store()
        self._random = random.Random()  # noqa: S311 - a name's suffix is no secret

    def load(self, objects: Iterable[Object]) -> None:
        """Put whole objects in place as they are, status and times included; missing identities are filled in."""
        for given in objects:
            resource = BY_KIND[given["apiVersion"], given["kind"]]
            left_out = ("kind", "apiVersion", *resource.never_stored)
            stored = {name: value for name, value in given.items() if name not in left_out}
            meta = {"uid": uid_of(given), "creationTimestamp": timestamp(self.now()), **given["metadata"]}
            self.store.put(resource, {**stored, "metadata": meta})

    def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        """One object.

        Raises:
            Refused: 404.
        """
        found = self.store.get(resource, namespace, name)
        if found is None:
            raise not_found(resource, name)
        return found

    def create(self, resource: Resource, namespace: str | None, given: Any, *, dry_run: bool = False) -> Object:
        """Create an object: identity, times and defaults are the server's.

        Raises:
            Refused: 400 for the wrong kind or namespace, 404 for a namespace that is not there, 409 for a name that
                is taken, 422 for a name that breaks the rules.
        """
        given = expect(resource, given)
        meta = dict(given.get("metadata") or {})
        if namespace is not None:
            if meta.setdefault("namespace", namespace) != namespace:
                raise bad_request(
                    "the namespace of the provided object does not match the namespace sent on the request"
                )
            if self.store.get(NAMESPACES, None, namespace) is None:
                raise not_found(NAMESPACES, namespace)
        if not meta.get("name") and meta.get("generateName"):
            meta["name"] = meta["generateName"] + "".join(self._random.choices(_SUFFIX_LETTERS, k=5))
        name = meta.get("name", "")
        check_name(resource, name)
        if self.store.get(resource, namespace, name) is not None:
            raise refusals.already_exists(resource, name)
        made = defaults.new_object(resource, {**given, "metadata": meta})
        made["metadata"] |= {"uid": str(uuid4()), "creationTimestamp": timestamp(self.now())}
        for ours in ("resourceVersion", "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields"):
            made["metadata"].pop(ours, None)
        if resource.counts_generations:
            made["metadata"]["generation"] = 1
        return made if dry_run else self.store.put(resource, made)

    def update(
        self, resource: Resource, namespace: str | None, name: str, given: Any, *, subresource: str = "",
        dry_run: bool = False,
    ) -> Object:  # fmt: skip
        """Replace an object, or its status.

        Raises:
            Refused: 400, 404, 409 for a uid or resourceVersion of another object, 422.
        """
        given = expect(resource, given)
        meta = given.get("metadata") or {}
        if meta.get("name", name) != name:
            raise bad_request(f"the name of the object ({meta['name']}) does not match the name on the URL ({name})")
        before = self.get(resource, namespace, name)
        uid = before["metadata"]["uid"]
        if meta.get("uid") and meta["uid"] != uid:
            why = f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: {uid}"
            raise conflict(resource, name, why)
        return self._change(resource, before, given, subresource, dry_run)

    def patch(
        self, resource: Resource, namespace: str | None, name: str, patch: Any, *, content_type: str = patches.MERGE,
        subresource: str = "", dry_run: bool = False,
    ) -> Object:  # fmt: skip
        """Patch an object, or its status. A resourceVersion in the patch is a precondition.

        Raises:
            Refused: 400, 404, 409 for a stale resourceVersion, 415, 422 for a failed `test` or another uid.
        """
        before = self.get(resource, namespace, name)
        after = expect(resource, patches.apply(content_type, resource.whole(before), patch))
        return self._change(resource, before, after, subresource, dry_run)

    def _change(self, resource: Resource, before: Object, after: Object, subresource: str, dry_run: bool) -> Object:
        dropped = ("kind", "apiVersion", *resource.never_stored)
        after = {field: value for field, value in copy.deepcopy(after).items() if field not in dropped}
        meta = {**before["metadata"], **(after.get("metadata") or {})}
        name = before["metadata"]["name"]
        for field in ("labels", "annotations", "ownerReferences", "finalizers"):
            if field not in (after.get("metadata") or {}):
                meta.pop(field, None)
        if meta["resourceVersion"] not in ("", before["metadata"]["resourceVersion"]):
            raise conflict(resource, name, refusals.MODIFIED)
        for field in ("uid", "name", "namespace"):
            if meta.get(field) != before["metadata"].get(field):
                why = f'Invalid value: "{meta.get(field)}": field is immutable'
                raise invalid(resource, name, (f"metadata.{field}", "FieldValueInvalid", why))
        for ours in ("creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"):
            meta.pop(ours, None)
            if ours in before["metadata"]:
                meta[ours] = before["metadata"][ours]
        meta["resourceVersion"] = before["metadata"]["resourceVersion"]
        meta = {field: value for field, value in meta.items() if value not in (None, {}, [])}
        if subresource == "status":
            after = {**before, "status": after.get("status") or {}}
        elif resource.has_status and resource.kind != "Node":
            after = {**after} | ({"status": before["status"]} if "status" in before else {})
        after["metadata"] = meta
        return self._write(resource, before, after, dry_run)

    def _write(self, resource: Resource, before: Object, after: Object, dry_run: bool) -> Object:
        if resource.kind == "Pod":
            check_pod_update(before, after)
        if resource.counts_generations and after.get("spec") != before.get("spec"):
            after["metadata"]["generation"] = before["metadata"].get("generation", 1) + 1
        if after == before or dry_run:
            return after
        if before["metadata"].get("deletionTimestamp") and not _stays(after):
            return self.store.remove(resource, after)
        return self.store.put(resource, after)

    def bind(self, namespace: str, name: str, node: str, *, dry_run: bool = False) -> None:
        """Assign a pod to a node.

        Raises:
            Refused: 404, or 409 where it has a node already.
        """
        before = self.get(PODS, namespace, name)
        if there := before["spec"].get("nodeName"):
            why = f'pod {name} is already assigned to node "{there}"'
            raise conflict(PODS, name, why, "pods/binding")
        after = copy.deepcopy(before)
        after["spec"]["nodeName"] = node
        scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None}
        scheduled["lastTransitionTime"] = timestamp(self.now())
        others = [c for c in after["status"].get("conditions", []) if c["type"] != "PodScheduled"]
        after["status"]["conditions"] = [*others, scheduled]
        if not dry_run:
            self.store.put(PODS, after)

    def delete(
        self, resource: Resource, namespace: str | None, name: str, options: Mapping[str, Any] | None = None
    ) -> Object:
        """Delete an object, at once or gracefully, as its finalizers and (a pod's) grace period ask for.

        Returns:
            What the API answers: the object, or a Status that says it is gone.

        Raises:
            Refused: 404, 409 for a precondition that does not hold, 422 for options that mean nothing.
        """
        options = options or {}
        before = self.get(resource, namespace, name)
        check_preconditions(resource, before, options.get("preconditions") or {})
        policy = options.get("propagationPolicy")
        if policy not in (None, "", "Foreground", "Background", "Orphan"):
            why = f'Unsupported value: "{policy}": supported values: "Foreground", "Background", "Orphan", "nil"'
            owner = Resource("deleteoptions", "DeleteOptions", "meta.k8s.io")
            raise invalid(owner, "", ("propagationPolicy", "FieldValueNotSupported", why))
        after = self._deleted(resource, before, options)
        if not is_dry(options.get("dryRun")):
            at_once = after["metadata"].get("deletionGracePeriodSeconds") == 0 and not _stays(after)
            if at_once:
                after = self.store.remove(resource, after)
            elif after != before:
                after = self.store.put(resource, after)
            if not at_once:
                return resource.whole(after)
        if resource.returns_deleted or _stays(after):
            return resource.whole(after)
        details = {"name": name} | ({"group": resource.group} if resource.group else {})
        details |= {"kind": resource.plural, "uid": before["metadata"]["uid"]}
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}

    def _deleted(self, resource: Resource, before: Object, options: Mapping[str, Any]) -> Object:
        """The object with its deletion marked: when it ends, and how much grace it has."""
        after = copy.deepcopy(before)
        meta = after["metadata"]
        if resource is NAMESPACES:
            meta.setdefault("deletionTimestamp", timestamp(self.now()))
            after["status"] = {"phase": "Terminating"}
            return after
        grace = _grace(resource, before, options)
        if "deletionTimestamp" in meta and grace >= meta.get("deletionGracePeriodSeconds", 0):
            return after
        meta["deletionTimestamp"] = timestamp(self.now() + timedelta(seconds=grace))
        meta["deletionGracePeriodSeconds"] = grace
        return after


def uid_of(given: Object) -> str:
    """The uid of an object that is loaded rather than created: the same in every run."""
    meta = given["metadata"]
    return str(uuid5(NAMESPACE_URL, f"{given['kind']}/{meta.get('namespace', '')}/{meta['name']}"))


def _grace(resource: Resource, before: Object, options: Mapping[str, Any]) -> int:
    """Seconds of grace: only pods that may be running on a node have any."""
    if resource is not PODS:
        return 0
    if not before["spec"].get("nodeName") or before["status"].get("phase") in ("Succeeded", "Failed"):
        return 0
    asked = options.get("gracePeriodSeconds")
    return int(before["spec"].get("terminationGracePeriodSeconds", 30) if asked is None else asked)


def _stays(stored: Object) -> bool:
    """Whether an object that is being deleted has to stay until somebody is done with it."""
    meta = stored["metadata"]
    return bool(meta.get("finalizers") or meta.get("deletionGracePeriodSeconds", 1) != 0)

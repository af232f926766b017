"""Lists as the API answers them: selected, and in pages that all show one moment. The token says where to go on."""

import base64
import json
from collections.abc import Iterable, Mapping

from bot.sandbox.kubernetes import refusals
from bot.sandbox.kubernetes.refusals import bad_request
from bot.sandbox.kubernetes.resources import Object, Resource
from bot.sandbox.kubernetes.selectors import by_fields, by_labels
from bot.sandbox.kubernetes.store import Store, key_of


def page(store: Store, resource: Resource, namespace: str | None, query: Mapping[str, str]) -> Object:
    """A list object: of one namespace or all, selected, and in pages where `limit` asks for them.

    Raises:
        Refused: 400 for a selector, limit or token that makes no sense, 410 for a token that has expired.
    """
    selected = [by_fields(resource, query.get("fieldSelector", "")), by_labels(query.get("labelSelector", ""))]
    limit = _limit(query.get("limit", ""))
    revision, start = store.revision, ""
    found: Iterable[Object] | None = None
    if token := query.get("continue", ""):
        revision, start = _continued(token)
        if query.get("resourceVersion"):
            raise bad_request("specifying resource version is not allowed when using continue")
        found = store.kept_list(resource, revision) if revision > 0 else None
        if found is None and revision > 0:
            raise refusals.continue_expired(_continue_token(-1, start))
        revision = revision if revision > 0 else store.revision
    whole = store.all(resource) if found is None else found
    rest = [o for o in whole if namespace in (None, o["metadata"].get("namespace")) and key_of(o) >= start]
    chosen: list[Object] = []
    meta: Object = {"resourceVersion": str(revision)}
    for position, stored in enumerate(rest):
        if limit and len(chosen) == limit:
            meta |= _next_page(store, resource, revision, key_of(chosen[-1]), found is None)
            if not (query.get("fieldSelector") or query.get("labelSelector")):
                meta["remainingItemCount"] = len(rest) - position
            break
        if all(matches(stored) for matches in selected):
            chosen.append(stored)
    return {"kind": f"{resource.kind}List", "apiVersion": resource.group_version, "metadata": meta, "items": chosen}


def _next_page(store: Store, resource: Resource, revision: int, last: str, first_page: bool) -> Object:
    if first_page and revision == store.revision:
        store.keep_list(resource)
    return {"continue": _continue_token(revision, last + "\0")}


def _continued(token: str) -> tuple[int, str]:
    try:
        read = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        return int(read["rv"]), str(read["start"])
    except (ValueError, KeyError, TypeError) as error:
        raise bad_request(f"invalid continue token: continue key is not valid: {error}") from None


def _limit(text: str) -> int:
    try:
        return int(text or 0)
    except ValueError:
        raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def _continue_token(revision: int, start: str) -> str:
    token = json.dumps({"v": "meta.k8s.io/v1", "rv": revision, "start": start}, separators=(",", ":"))
    return base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")

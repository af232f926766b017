"""Watches: the changes of a resource after a revision, as a stream of JSON lines that ends by itself in time."""

import asyncio
from collections.abc import Callable, Iterator

import msgspec
from aiohttp import web

from bot.sandbox.kubernetes import refusals
from bot.sandbox.kubernetes.refusals import bad_request
from bot.sandbox.kubernetes.resources import Object, Resource
from bot.sandbox.kubernetes.selectors import Predicate, by_fields, by_labels
from bot.sandbox.kubernetes.store import Change, Forgotten, Store

LONGEST = 3600.0
"""Seconds after which a watch ends if its client did not ask for less (`timeoutSeconds`)."""


async def watch(
    store: Store, resource: Resource, namespace: str | None, request: web.Request, closing: Callable[[], bool]
) -> web.StreamResponse:
    """Stream the changes that a client asked to watch, from its resourceVersion on, until its time is over.

    Raises:
        Refused: 400 for a selector, time or resourceVersion that makes no sense.
    """
    query = request.query
    fields, labels = by_fields(resource, query.get("fieldSelector", "")), by_labels(query.get("labelSelector", ""))

    def matches(stored: Object) -> bool:
        return namespace in (None, stored["metadata"].get("namespace")) and fields(stored) and labels(stored)

    try:
        revision = int(query.get("resourceVersion") or 0)
        seconds = min(float(query.get("timeoutSeconds") or LONGEST), LONGEST)
    except ValueError as error:
        raise bad_request(str(error)) from None
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    try:
        async with asyncio.timeout(seconds):
            if revision == 0:
                revision = await _send_all(store, resource, matches, response)
            await _follow(store, resource, revision, matches, response, closing)
    except (TimeoutError, ConnectionError):
        pass  # a watch ends when its time is over or its client has gone
    return response


async def _send_all(store: Store, resource: Resource, matches: Predicate, response: web.StreamResponse) -> int:
    """A watch without a resourceVersion begins with what is there."""
    revision = store.revision
    for stored in store.all(resource):
        if matches(stored):
            await _send(response, "ADDED", resource.whole(stored))
    return revision


async def _follow(
    store: Store, resource: Resource, revision: int, matches: Predicate, response: web.StreamResponse,
    closing: Callable[[], bool],
) -> None:  # fmt: skip
    while not closing():
        try:
            changes = store.since(revision)
        except Forgotten as forgotten:
            await _send(response, "ERROR", refusals.gone(revision, forgotten.oldest).status)
            return
        for change in changes:
            if change.resource is resource:
                for kind, stored in _seen_by(change, matches):
                    await _send(response, kind, resource.whole(stored))
        revision = max(revision, store.revision if not changes else changes[-1].revision)
        await store.written(revision, closing)


def _seen_by(change: Change, matches: Predicate) -> Iterator[tuple[str, Object]]:
    """What a change is to a watcher: an object that leaves its selection is deleted, one that enters is added."""
    before, after = change.before, change.after
    was, is_now = before is not None and matches(before), after is not None and matches(after)
    if is_now and after is not None:
        yield ("MODIFIED" if was else "ADDED"), after
    elif was and before is not None:
        shown = after or before
        yield "DELETED", {**shown, "metadata": {**shown["metadata"], "resourceVersion": str(change.revision)}}


async def _send(response: web.StreamResponse, kind: str, stored: Object) -> None:
    await response.write(msgspec.json.encode({"type": kind, "object": stored}) + b"\n")

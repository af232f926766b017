"""What decoding costs: pods into our own structs against the other ways, and lock replies with and without care."""

import json
import struct
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import msgspec
from kubernetes.aio import client

from bot.sandbox.kubernetes import incident
from diagnostics.facts.ceph import Address, Locker
from diagnostics.facts.resources import Pod
from diagnostics.sources.ceph.cls_lock import LockInfo, LockKind, decode_info, encode_info
from tests.benchmarks.conftest import Measured, cpu_seconds

PODS = 10_000
TYPED = 500  # the typed models are too slow for all: their time is scaled up
PAGE = 500
REPLIES = 10_000
Report = Callable[[str, Measured], None]


class Page(msgspec.Struct):
    """One page of a list, as the source decodes it."""

    items: list[Pod]


def pages(count: int) -> list[bytes]:
    """Pages of a list of pods as an API server sends them, each pod with a name of its own."""
    now = datetime(2026, 3, 14, tzinfo=UTC)
    pattern = next(o for o in incident.objects(now) if o["kind"] == "Pod" and o["status"]["phase"] == "Running")

    def pod(number: int) -> dict[str, Any]:
        return {**pattern, "metadata": {**pattern["metadata"], "name": f"pod-{number}", "uid": f"uid-{number}"}}

    return [
        json.dumps({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": [pod(n + i) for i in range(PAGE)]}).encode()
        for n in range(0, count, PAGE)
    ]  # fmt: skip


def bench_pods(report: Report) -> None:
    listed = pages(PODS)
    decoder = msgspec.json.Decoder(Page, strict=False)
    few = pages(TYPED)

    def typed() -> None:
        for page in few:
            client.V1PodList.from_dict(json.loads(page))

    assert sum(len(decoder.decode(page).items) for page in listed) == PODS
    size = sum(map(len, listed)) / 2**20
    report(
        f"{PODS:,} pods, {size:.0f} MiB of JSON (CPU time)",
        {
            "msgspec into our structs": cpu_seconds(lambda: [decoder.decode(page) for page in listed]),
            "json.loads into dicts": cpu_seconds(lambda: [json.loads(page) for page in listed]),
            "the client's typed models": cpu_seconds(typed, times=1) * PODS / TYPED,
        },
    )


def naive(data: bytes) -> tuple[int, str, str]:
    """The client, cookie and IP of a reply with one locker, read from where they lie in the usual case."""
    (number,) = struct.unpack_from("<q", data, 6 + 4 + 6 + 1)
    at = 6 + 4 + 6 + 1 + 8
    (length,) = struct.unpack_from("<I", data, at)
    cookie = data[at + 4 : at + 4 + length].decode()
    ip = at + 4 + length + 6 + 8 + 1 + 6 + 4 + 4 + 4 + 4
    return number, cookie, ".".join(map(str, data[ip : ip + 4]))


def bench_lock_replies(report: Report) -> None:
    replies = [
        encode_info(
            LockInfo(
                LockKind.EXCLUSIVE,
                "",
                (Locker(f"client.{n}", "kubelet_lock_magic_node1", Address("10.47.136.60", 0, n)),),
            )
        )
        for n in range(1, REPLIES + 1)
    ]
    number, cookie, ip = naive(replies[41])
    [locker] = decode_info(replies[41]).lockers
    assert (f"client.{number}", cookie, ip) == (locker.client, locker.cookie, locker.address.ip)
    report(
        f"{REPLIES:,} get_info replies (CPU time)",
        {
            "at fixed places, nothing checked": cpu_seconds(lambda: [naive(reply) for reply in replies]),
            "decode_info, every byte accounted for": cpu_seconds(lambda: [decode_info(reply) for reply in replies]),
        },
    )

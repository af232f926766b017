"""How every part of the bot stands, for /readyz: what is degraded, and why."""

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

from bot.http.health import OK, Look, Part

if TYPE_CHECKING:
    from bot.serve import Server

BEHIND = 60.0  # seconds for which a message may wait before that is told
LAG = timedelta(seconds=120)


def readiness(server: "Server") -> Mapping[str, Look]:
    """The parts by name. Each look may ask the store."""
    parts = {
        "store": partial(_store, server), "replica": partial(_replica, server), "slack": partial(_slack, server),
        "delivery": partial(_delivery, server), "leader": partial(_leader, server),
    }  # fmt: skip
    return {**parts, **{f"watch {name}": partial(_watch, server, name) for name in server.settings.clusters}}


def _store(server: "Server") -> Part:
    server.state.counts.look()
    return OK


def _replica(server: "Server") -> Part:
    if server.ending:
        return Part("down", "this replica ends")
    if server.pulse.alive(0):
        return OK
    return Part(
        "down", "this replica could not tell the others in time that it lives: the state database is slow or away"
    )


def _slack(server: "Server") -> Part:
    if server.identity is None:
        return Part("degraded", "Slack has not said yet who the bot is: it is tried again until it does")
    standing = sum(each.connected for each in server.connections)
    if standing == len(server.connections):
        return OK
    return Part("degraded", f"{standing} of {len(server.connections)} connections to Slack stand")


def _delivery(server: "Server") -> Part:
    there = server.state.counts.look()
    if there.behind_for <= BEHIND:
        return OK
    return Part("degraded", f"{there.behind} messages wait for Slack, the oldest for {there.behind_for:.0f} s")


def _leader(server: "Server") -> Part:
    trouble = server.election.trouble
    return Part("degraded", trouble) if trouble else OK


def _watch(server: "Server", cluster: str) -> Part:
    """A watch is the leader's alone: other replicas have none to tell of."""
    if why := server.duties.unwatched.get(cluster):
        return Part("ok", f"not watched: {why}")
    watch = server.duties.watches.get(cluster)
    if watch is None:
        return OK
    if watch.problem:
        return Part("degraded", watch.problem)
    if watch.lag is not None and watch.lag > LAG:
        return Part("degraded", f"the watch has heard nothing for {watch.lag.total_seconds():.0f} s")
    return OK

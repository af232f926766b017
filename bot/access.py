"""Who somebody is and may do what: by the settings `people`, then `groups`, then `unknown_people`; and in which channels.

Pure, but for `login`. Of a Slack group that could not be asked about nobody is taken to be a member, and a refusal says so.
"""

import os
import pwd
from collections.abc import Collection, Mapping

import msgspec

from bot.settings import Settings
from bot.settings.people import GrantSettings
from runbooks.approval import Person

DIRECT = "D"
"""What the id of a direct conversation begins with: two people can read there."""


class Membership(msgspec.Struct, frozen=True):
    """In which of the Slack groups that the settings name a user is, and of which of them that is not known."""

    groups: frozenset[str] = frozenset()
    unseen: frozenset[str] = frozenset()


NO_GROUPS = Membership()


class Grant(msgspec.Struct, frozen=True):
    """What somebody may do by one rule, in any cluster: `by` is the rule, `clusters` and `namespaces` where (none: all)."""

    id: str
    roles: tuple[str, ...]
    namespaces: tuple[str, ...]
    clusters: tuple[str, ...]
    also: tuple[str, ...]
    by: str


def grant(settings: Settings, name: str | None = None, member: Membership = NO_GROUPS) -> Grant:
    """The one rule that holds for somebody: `people` before the first of `groups` before `unknown_people`.

    Whoever is known by several ids (`also`) is the same person by each of them. `name`: a Slack user's id, or `cli:` and a
    login; without one, whoever runs this process.
    """
    asked = f"cli:{login()}" if name is None else name  # "" is nobody: what nobody asked for has no asker
    known_as = next((main for main, words in settings.people.items() if asked in words.also), asked)
    if (words := settings.people.get(known_as)) is not None:
        return _granted(known_as, words, f"people.{known_as}", words.also)
    unseen: dict[str, GrantSettings] = {}
    for group, held in settings.groups.items():
        if group in member.unseen:
            unseen[group] = held
        elif group in member.groups and not unseen:
            return _granted(known_as, held, f"groups.{group}")
    return _unknown(settings, known_as, unseen)


def _granted(name: str, words: GrantSettings, by: str, also: tuple[str, ...] = ()) -> Grant:
    return Grant(name, words.roles, words.namespaces, words.clusters, also, by)


def _unknown(settings: Settings, name: str, unseen: Mapping[str, GrantSettings]) -> Grant:
    """What all others may do. Where a group that could not be asked about allows less than that, nothing: it might count."""
    by = f"unknown_people: {settings.unknown_people}"
    looks = settings.unknown_people == "viewer"
    if unseen:
        names = ", ".join(unseen)
        one = "group" if len(unseen) == 1 else "groups"
        by = f"{by}, as Slack could not be asked who is in {one} {names}"
        looks = looks and not any(held.namespaces or held.clusters or not held.roles for held in unseen.values())
    return Grant(name, ("viewer",) if looks else (), (), (), (), by)


def person(
    settings: Settings, name: str | None = None, member: Membership = NO_GROUPS, cluster: str | None = None
) -> Person:
    """A person and what the configuration lets that person do in a cluster.

    Roles that hold in some clusters alone do not hold where none is named.
    """
    found = grant(settings, name, member)
    roles, by = found.roles, found.by
    if found.clusters and cluster not in found.clusters:
        roles, by = (), f"{by}: roles in cluster {', '.join(found.clusters)} alone"
    return Person(found.id, frozenset(roles), frozenset(found.namespaces), frozenset(found.also), by)


def without_slack(settings: Settings, name: str | None = None, cluster: str | None = None) -> Person:
    """The same where nobody asks Slack who is in which group, as on the command line."""
    in_slack = name is not None and not name.startswith("cli:")
    return person(settings, name, Membership(unseen=frozenset(settings.groups)) if in_slack else NO_GROUPS, cluster)


def may_look(who: Person, namespace: str | None) -> tuple[str, ...]:
    """Why a person may not look into a namespace (None: into all of them); empty where they may."""
    if not who.roles:
        return (f"{who.id} is not known here: `people` and `groups` in unstick.yaml name who may do what{who.rule}",)
    if who.namespaces and namespace not in who.namespaces:
        where = f"namespace {namespace}" if namespace else "all namespaces"
        return (f"{who.id} may look into {', '.join(sorted(who.namespaces))}, not into {where}{who.rule}",)
    return ()


def may_use(settings: Settings, channel: str, *, diagnosis: bool = True) -> tuple[str, ...]:
    """Why Unstick may not be used in a channel; empty where it may. `diagnosis`: for a look, which changes nothing.

    A channel that the configuration gives to a cluster or a report is one of those in which it may be used.
    """
    if channel.startswith(DIRECT):
        if not settings.slack.direct_messages:
            return ("Unstick is not used in direct messages (says slack.direct_messages): ask in a channel",)
        if not diagnosis:
            return (
                "in a direct message Unstick only diagnoses (says slack.direct_messages): ask in a channel, where others see it",
            )
        return ()
    if not settings.slack.channels or channel in _channels(settings):
        return ()
    named = ", ".join(f"<#{each}>" for each in settings.slack.channels)
    return (f"Unstick is not used in this channel (says slack.channels): ask in {named}",)


def _channels(settings: Settings) -> Collection[str]:
    of_clusters = (each for words in settings.clusters.values() for each in (words.channel, *words.channels))
    of_reports = (words.channel for words in settings.schedules.values())
    return {each for each in (*settings.slack.channels, settings.slack.channel, *of_clusters, *of_reports) if each}


def login() -> str:
    """Who runs this command, by the process's real user: the environment of an ordinary user is not believed.

    Root can become anyone with su, so root may say for whom it works: SUDO_USER, then LOGNAME or USER.
    """
    uid = os.getuid()
    if uid == 0:
        for name in ("SUDO_USER", "LOGNAME", "USER"):
            if stated := os.environ.get(name):
                return stated
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid-{uid}"

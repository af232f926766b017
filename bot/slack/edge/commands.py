"""Commands: what is answered from the store is answered at once, all else becomes a job; the same for mentions."""

import asyncio
import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from slack_bolt.async_app import AsyncAck

from bot import access
from bot.diagnose import library
from bot.slack import commands, jobs
from bot.slack.blocks import answers, lists
from bot.slack.blocks.modals import About, pick_modal, run_modal
from bot.slack.commands import DIAGNOSES, NotUnderstood, parse, usages
from bot.slack.edge.core import Body, Edge, NotTaken
from bot.slack.place import Place
from bot.store.messages import Content
from diagnostics.model import Subject
from runbooks.catalog import NoSuchRunbookError
from runbooks.database import StoreError
from runbooks.execution import Execution
from runbooks.format.wording import instead
from runbooks.loader import RunbookErrors
from runbooks.model import Runbook

COMING = "The answer comes in this channel; if none does, `/invite @unstick` first."
_TAKEN = "Taken: the incident's message says so in a moment."
_FILL_IN = "Fill in the window that has just opened."
_OF_HISTORY, _SHOWN = 100, 20
_LINKED = 50  # incidents: more than a message or a home shows
# Seconds that a hint may take: it is worth no waiting.
_HINT = 0.3
_PRIVATE = (commands.Help, commands.WhoAmI)
Answer = Content | str
"""What is answered at once: all of it, or a sentence that says where the rest comes."""


@dataclass(frozen=True)
class Asker:
    """Who asks, where the answer goes, and what a window can be opened with. `key`: of one there is one job."""

    user: str
    place: Place
    trigger: str | None = None
    key: str | None = None


async def command(edge: Edge, ack: AsyncAck, body: Body) -> None:
    """Take a command."""
    asker = Asker(body["user_id"], Place(body["channel_id"]), body.get("trigger_id"))
    try:
        wanted = parse(body.get("text") or "")
        answer = await edge.accepted(take(edge, wanted, asker))
    except (NotUnderstood, NotTaken) as error:
        await ack(text=html.escape(str(error), quote=False))  # it repeats what was typed
        return
    if isinstance(answer, Content):
        await ack(text=answer.text, blocks=list(answer.blocks))
    else:
        await ack(text=html.escape(f"{answer}{await hint(edge, wanted, asker.user)}", quote=False))


def is_private(wanted: commands.Wanted) -> bool:
    """Whether the answer is for nobody but whoever asks, also where all can read the question."""
    return isinstance(wanted, _PRIVATE)


async def take(edge: Edge, wanted: commands.Wanted, asker: Asker) -> Answer:
    """Answer what was asked for, or accept it.

    Raises:
        NotTaken, NotUnderstood, Refusal, KeyError, StoreError, Busy: it is not taken, and why.
    """
    await edge.insist_on_place(asker.user, asker.place.channel, diagnosis=isinstance(wanted, DIAGNOSES))
    match wanted:
        case commands.Help():
            return answers.help_text(usages())
        case commands.WhoAmI():
            return lists.who(edge.desk.grant(asker.user), asker.user)
        case commands.Runbooks():
            return answers.runbooks(await _books(edge))
        case commands.Incidents(cluster):
            return await _incidents(edge, asker, _of_one(edge, cluster, asker))
        case commands.History(cluster):
            return await _history(edge, asker, _of_one(edge, cluster, asker))
        case commands.Ack(incident) | commands.Snooze(incident):
            return await _answered(edge, wanted, incident, asker)
        case commands.RunRunbook():
            return await _run(edge, wanted, asker)
        case commands.GoOn(execution):
            await asyncio.to_thread(edge.desk.state.runbooks.get, execution)
            await edge.worker.accept(jobs.GoOn(asker.user, asker.place.channel, execution), asker.key)
            return COMING
    return await _job(edge, wanted, asker)


async def _job(edge: Edge, wanted: commands.Wanted, asker: Asker) -> str:
    """Accept what takes a look at a cluster, or a word on one."""
    user, place, channel, key = asker.user, asker.place, asker.place.channel, asker.key
    match wanted:
        case commands.Why(subject, named):
            cluster = cluster_of(edge, named, channel)
            await edge.insist_on_look(user, cluster, (subject.namespace,), f"{subject} is not looked at")
            what = f"Looking at {subject}"
            await edge.begin(place, what, lambda m: jobs.LookAtSubject(user, channel, subject, cluster, m), key)
        case commands.Check(namespace, named):
            cluster = cluster_of(edge, named, channel)
            await edge.insist_on_look(user, cluster, (namespace,), "nothing is looked at")
            what = f"Looking at {f'namespace {namespace}' if namespace else 'everything'}"
            await edge.begin(place, what, lambda m: jobs.LookAtAll(user, channel, namespace, cluster, m), key)
        case commands.Locks(named):
            cluster = cluster_of(edge, named, channel)
            await edge.insist_on_look(user, cluster, (None,), "locks are not looked at")
            await edge.begin(place, "Reading locks", lambda m: jobs.LookAtLocks(user, channel, cluster, m), key)
        case commands.Report(named):
            cluster = cluster_of(edge, named, channel)
            await edge.insist_on_look(user, cluster, (None,), "no report is made")
            await edge.begin(place, "Making a report", lambda m: jobs.AskReport(user, channel, cluster, m), key)
        case commands.Freeze(why, named):
            cluster = cluster_of(edge, named, channel)
            await edge.begin(place, "Stopping everything", lambda m: jobs.Freeze(user, channel, cluster, why, m), key)
        case commands.Thaw(named):
            cluster = cluster_of(edge, named, channel)
            await edge.begin(place, "Letting acts go on", lambda m: jobs.Thaw(user, channel, cluster, m), key)
        case _:
            raise AssertionError(f"nobody takes {wanted!r}")
    return COMING


def cluster_of(edge: Edge, named: str | None, channel: str) -> str:
    """The cluster that is meant: the one that is named, that of the channel, or the default one.

    Raises:
        NotUnderstood: there is none of that name.
        SettingsError: there are several, and none is meant.
    """
    settings = edge.desk.settings
    if named is not None and named not in settings.clusters:
        raise NotUnderstood(
            f"There is no cluster {named[:80]!r} in the configuration; {instead(named, settings.clusters)}"
        )
    return settings.cluster(named or settings.of_channel(channel))[0]


def _of_one(edge: Edge, named: str | None, asker: Asker) -> str | None:
    """The cluster whose rows are listed; None for all, where neither a name nor the channel says which."""
    if named is None and edge.desk.settings.of_channel(asker.place.channel) is None:
        return None
    return cluster_of(edge, named, asker.place.channel)


async def _books(edge: Edge) -> tuple[Runbook, ...]:
    try:
        return (await asyncio.to_thread(library, edge.desk.settings)).all()
    except RunbookErrors as error:
        raise NotTaken(str(error)) from None


async def _incidents(edge: Edge, asker: Asker, cluster: str | None) -> Content:
    shown, hidden = await asyncio.to_thread(open_incidents, edge, asker.user, cluster)
    return lists.incidents(shown, f"cluster {cluster}" if cluster else "all clusters", hidden)


def open_incidents(edge: Edge, user: str, cluster: str | None) -> tuple[list[lists.Linked], int]:
    """The open incidents that somebody may read of, the worst first, and how many others there are. It blocks."""
    desk = edge.desk
    found = desk.state.incidents.open(cluster)
    people = {name: desk.person(user, name) for name in {each.cluster for each in found}}
    may = [each for each in found if not access.may_look(people[each.cluster], each.subject.namespace)]
    ordered = lists.worst_first([lists.Linked(each, None) for each in may])
    linked = [
        each._replace(link=desk.link(desk.state.messages.get(each.incident.message))) for each in ordered[:_LINKED]
    ]
    return [*linked, *ordered[_LINKED:]], len(found) - len(may)


async def _history(edge: Edge, asker: Asker, cluster: str | None) -> Content:
    def found() -> Content:
        desk, hidden = edge.desk, 0
        rows: list[tuple[Execution, str | None]] = []
        for each in desk.state.runbooks.history(_OF_HISTORY):
            if cluster not in (None, each.plan.cluster):
                continue
            person = desk.person(asker.user, each.plan.cluster)
            if any(access.may_look(person, namespace) for namespace in each.plan.namespaces or (None,)):
                hidden += 1
            elif len(rows) < _SHOWN:
                request = desk.state.requests.get(each.id)
                rows.append((each, desk.link(desk.state.messages.get(request.message)) if request else None))
        return lists.history(rows, f"cluster {cluster}" if cluster else "all clusters", hidden)

    return await asyncio.to_thread(found)


async def _answered(edge: Edge, wanted: commands.Wanted, incident: str, asker: Asker) -> str:
    """Accept an ack or a snooze; who may give it is judged when it is done."""
    try:
        await asyncio.to_thread(edge.desk.state.incidents.get, incident)
    except KeyError:
        shown, _ = await asyncio.to_thread(open_incidents, edge, asker.user, None)
        known = [each.incident.id for each in shown]
        near = get_close_matches(incident, known, n=1)
        more = f"did you mean `{near[0]}`?" if near else "`/unstick incidents` lists those that are open."
        raise NotTaken(f"There is no incident {incident[:40]!r}: {more}") from None
    channel = asker.place.channel
    job: jobs.AnyJob = jobs.Ack(asker.user, channel, incident)
    if isinstance(wanted, commands.Snooze):
        job = jobs.Snooze(asker.user, channel, incident, wanted.seconds)
    await edge.worker.accept(job, asker.key)
    return _TAKEN


async def _run(edge: Edge, wanted: commands.RunRunbook, asker: Asker) -> str:
    """Accept a run, or first ask for what it must be told."""
    user, place, channel = asker.user, asker.place, asker.place.channel
    cluster = cluster_of(edge, wanted.cluster, channel)
    if not edge.desk.person(user, cluster).roles:
        await edge.insist_on_look(user, cluster, (None,), "nothing is planned")
    about = About(channel, cluster, place.thread)
    if not wanted.runbook:
        if asker.trigger is None:
            raise NotUnderstood("`run` takes a runbook: `/unstick runbooks` lists them.")
        books = {book.id: book for book in await _books(edge)}
        await edge.open(asker.trigger, pick_modal(tuple(books.values()), about))
        return _FILL_IN
    book = await book_of(edge, wanted.runbook)
    given = {name: value for name, equals, value in (pair.partition("=") for pair in wanted.params) if equals}
    if asker.trigger is not None and _can_be_filled_in(book, given, wanted.params):
        await edge.open(asker.trigger, run_modal(book, given, about))
        return _FILL_IN
    await begin_run(edge, place, user, wanted.runbook, wanted.params, cluster, asker.key)
    return COMING


async def begin_run(
    edge: Edge, place: Place, user: str, runbook: str, params: tuple[str, ...], cluster: str | None,
    key: str | None = None,
) -> None:  # fmt: skip
    """Accept a run."""
    channel = place.channel

    def job(message: int) -> jobs.AnyJob:
        return jobs.RunRunbook(user, channel, runbook, params, cluster, message)

    await edge.begin(place, f"Planning {runbook}", job, key)


async def book_of(edge: Edge, name: str) -> Runbook:
    """A runbook by its id, with or without a version.

    Raises:
        NotTaken: there is none of that name, and what is called alike.
    """
    try:
        return (await asyncio.to_thread(library, edge.desk.settings)).find(name)
    except (NoSuchRunbookError, RunbookErrors) as error:
        raise NotTaken(str(error)) from None


def _can_be_filled_in(book: Runbook, given: Mapping[str, str], pairs: Iterable[str]) -> bool:
    """Whether nothing is wrong with what was given but that something is missing."""
    missing = [name for name, each in book.parameters.items() if each.must_be_given and name not in given]
    return bool(missing) and given.keys() <= book.parameters.keys() and len(given) == len(tuple(pairs))


async def hint(edge: Edge, wanted: commands.Wanted, user: str) -> str:
    """What may have been meant by a name that no incident knows while it knows one like it; "" where nothing is alike.

    Nobody is told a name of a namespace that they may not look into.
    """
    if not isinstance(wanted, commands.Why | commands.Check):
        return ""
    try:
        seen = await asyncio.wait_for(edge.seen(), _HINT)
    except (StoreError, TimeoutError):
        return ""
    known = [s for cluster, s in seen if not access.may_look(edge.desk.person(user, cluster), s.namespace)]
    meant = _pod_like(wanted.subject, known) if isinstance(wanted, commands.Why) else ""
    meant = meant or _namespace_like(
        wanted.subject.namespace if isinstance(wanted, commands.Why) else wanted.namespace, known
    )
    return f" {meant}" if meant else ""


def _pod_like(subject: Subject, known: list[Subject]) -> str:
    names = {f"{each.namespace}/{each.name}" for each in known}
    asked = f"{subject.namespace}/{subject.name}"
    if asked in names:
        return ""
    elsewhere = sorted(name for name in names if name.partition("/")[2] == subject.name)
    near = elsewhere or get_close_matches(asked, sorted(names), n=1, cutoff=0.85)
    return (
        f"If it is not there, did you mean `pod/{near[0].partition('/')[2]} -n {near[0].partition('/')[0]}`?"
        if near
        else ""
    )


def _namespace_like(namespace: str | None, known: list[Subject]) -> str:
    names = sorted({each.namespace for each in known if each.namespace})
    if namespace is None or namespace in names:
        return ""
    near = get_close_matches(namespace, names, n=1, cutoff=0.75)
    return f"If nothing is there, did you mean `-n {near[0]}`?" if near else ""

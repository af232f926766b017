"""Sightings in the store: what one look changed, without losing what others kept meanwhile."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
from sqlalchemy import create_engine

from bot.store import open_state
from bot.store.sightings import Sightings
from diagnostics.facts.ceph import Sighting
from runbooks.database import StoreError

T0 = datetime(2026, 3, 3, 3, 20, tzinfo=UTC)


@pytest.fixture
def sightings(database: str) -> Iterator[Sightings]:
    state = open_state(database)
    yield state.sightings
    state.runbooks.engine.dispose()


def seen(image: str = "p/a", after: float = 0, **changed: Any) -> Sighting:
    """A lock on an image, quiet since `after` seconds past T0."""
    sighting = Sighting("fsid", image, "client.1/c", T0 + timedelta(seconds=after), primary=1, ips=("10.0.0.1",))
    return msgspec.structs.replace(sighting, **changed)


def kept(sightings: Sightings, cluster: str = "here") -> dict[str, Sighting]:
    return {sighting.image: sighting for sighting in sightings.load(cluster)}


def test_what_a_look_saw_first_is_there_for_the_next(sightings: Sightings) -> None:
    assert sightings.load("here") == ()
    sightings.keep("here", (), (seen(), seen("p/b")))
    assert kept(sightings) == {"p/a": seen(), "p/b": seen("p/b")}
    assert sightings.load("another cluster") == ()


def test_a_sighting_that_ended_is_dropped_and_others_stay(sightings: Sightings) -> None:
    sightings.keep("here", (), (seen(), seen("p/b")))
    sightings.keep("there", (), (seen(),))
    sightings.keep("here", sightings.load("here"), (seen("p/b"),))
    assert kept(sightings) == {"p/b": seen("p/b")}
    assert kept(sightings, "there") == {"p/a": seen()}


def test_what_another_process_kept_of_other_images_meanwhile_stays(sightings: Sightings) -> None:
    loaded = sightings.load("here")
    sightings.keep("here", (), (seen("p/b"),))
    sightings.keep("here", loaded, (seen(),))
    assert set(kept(sightings)) == {"p/a", "p/b"}
    sightings.keep("here", (seen(),), ())
    assert set(kept(sightings)) == {"p/b"}


def test_of_two_first_looks_at_the_same_lock_the_later_one_stays_in_either_order(sightings: Sightings) -> None:
    for first, second in ((0.0, 20.0), (20.0, 0.0)):
        sightings.keep("here", sightings.load("here"), ())
        sightings.keep("here", (), (seen(after=first),))
        sightings.keep("here", (), (seen(after=second),))
        assert kept(sightings)["p/a"].first_seen == seen(after=20).first_seen


def test_a_quiet_that_began_anew_is_not_put_back_by_a_look_that_knew_the_old_one(sightings: Sightings) -> None:
    """Another process saw life and began again; this one continues what it had loaded before."""
    sightings.keep("here", (), (seen(),))
    loaded = sightings.load("here")
    sightings.keep("here", loaded, (seen(after=60),))
    sightings.keep("here", loaded, (seen(last_look=T0 + timedelta(seconds=70)),))
    assert kept(sightings)["p/a"].first_seen == seen(after=60).first_seen


def test_a_lock_that_another_process_saw_alive_is_not_called_quiet_again(sightings: Sightings) -> None:
    sightings.keep("here", (), (seen(),))
    loaded = sightings.load("here")
    sightings.keep("here", loaded, ())
    sightings.keep("here", loaded, (seen(last_look=T0 + timedelta(seconds=40)),))
    assert all(sighting.first_seen is None for sighting in sightings.load("here"))


def test_a_look_that_changes_nothing_writes_nothing(sightings: Sightings) -> None:
    sightings.keep("here", (), (seen(),))
    loaded = sightings.load("here")
    sightings.keep("here", loaded, ())  # somebody else saw life
    sightings.keep("here", loaded, loaded)
    assert sightings.load("here") == ()


def test_watchers_that_two_processes_saw_are_all_remembered(sightings: Sightings) -> None:
    sightings.keep("here", (), (seen(watched_from=("10.0.0.1:0/1",)),))
    sightings.keep("here", (), (seen(watched_from=("10.0.0.2:0/2",)),))
    assert set(kept(sightings)["p/a"].watched_from) == {"10.0.0.1:0/1", "10.0.0.2:0/2"}


def fence(after: float, boot: str, until: float = 3_600) -> Sighting:
    """A fence over node1 that was seen first so many seconds past T0, and ends at `until`."""
    at = T0 + timedelta(seconds=after)
    return Sighting(
        "fsid", "", "10.0.0.1:0/77 node1", at, boot=boot, last_look=at, until=T0 + timedelta(seconds=until)
    )  # fmt: skip


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_two_first_looks_at_a_fence_the_earlier_boot_stays_in_either_order(
    sightings: Sightings, order: tuple[int, int]
) -> None:
    """The node rebooted between two looks that knew nothing of each other: the first boot is the one that was fenced."""
    looks = (fence(0, "boot-1"), fence(40, "boot-2"))
    for index in order:
        sightings.keep("here", (), (looks[index],))
    (kept_one,) = sightings.load("here")
    assert (kept_one.boot, kept_one.first_seen, kept_one.last_look) == ("boot-1", T0, looks[1].last_look)


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_of_a_fence_that_was_made_anew_the_newer_look_stays_in_either_order(
    sightings: Sightings, order: tuple[int, int]
) -> None:
    looks = (fence(0, "boot-1"), fence(40, "boot-2", until=9_000))
    for index in order:
        sightings.keep("here", (), (looks[index],))
    assert sightings.load("here") == (looks[1],)


def test_a_fence_is_kept_beside_the_locks_and_dropped_when_it_is_over(sightings: Sightings) -> None:
    sightings.keep("here", (), (seen(), fence(0, "boot-1")))
    loaded = sightings.load("here")
    assert set(loaded) == {seen(), fence(0, "boot-1")}
    sightings.keep("here", loaded, (seen(),))
    assert sightings.load("here") == (seen(),)


def test_a_look_that_knew_a_fence_which_another_process_dropped_keeps_its_first_boot(sightings: Sightings) -> None:
    sightings.keep("here", (), (fence(0, "boot-1"),))
    loaded = sightings.load("here")
    sightings.keep("here", loaded, ())
    later = msgspec.structs.replace(loaded[0], last_look=T0 + timedelta(seconds=50))
    sightings.keep("here", loaded, (later,))
    assert sightings.load("here") == (later,)


def test_lockers_with_names_of_any_length_are_kept_apart(sightings: Sightings) -> None:
    """A lock's cookie is anybody's word, and no look may fail for it."""
    long = [seen(locker=f"client.1/{sign * 9_000}{end}") for sign in ("a", "ü", "☂") for end in ("1", "2")]
    sightings.keep("here", (), tuple(long))
    assert set(sightings.load("here")) == set(long)
    sightings.keep("here", tuple(long), tuple(long[1:]))
    assert set(sightings.load("here")) == set(long[1:])


def test_a_database_without_tables_is_one_sentence() -> None:
    engine = create_engine("sqlite://")
    broken = Sightings(engine)
    with pytest.raises(StoreError, match="cannot be read"):
        broken.load("here")
    with pytest.raises(StoreError, match="cannot be written"):
        broken.keep("here", (), (seen(),))
    engine.dispose()

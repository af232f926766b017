"""Each row of the verdict table on a real Ceph: what `unstick locks` told of everybody on `verdict_stage`.

Two rows are simulated elsewhere, since no small real Ceph shows them: several monitors, and lockers in the old encoding.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from tests.integration.verdict_stage import COOKIE, FROZEN, POOL, SECOND_SHARER, SUCCESSOR, Told, address_of, perform
from tests.lab.ceph import Ceph
from tests.lab.kubernetes import Kubernetes


@pytest.fixture(scope="module")
def told(ceph: Ceph, kubernetes: Kubernetes, lab_folder: Path) -> Iterator[Told]:
    """What each look told, by its name, and the stage."""
    with ExitStack() as stack:
        yield perform(ceph, kubernetes, lab_folder / "verdicts", stack)


# --- Somebody watches the image


def test_who_writes_under_a_managed_lock_is_live_by_its_own_watch(told: Told) -> None:
    holder = told["stage"].clients["managed"]
    for when in ("early", "second"):
        row = told[when].row("managed")
        assert (row["verdict"], row["managed"], row["tag"], row["format"]) == ("live", True, "internal", 2)
        assert row["watchers"] == [{"client": holder.id, "address": row["address"]}]
        assert row["locker"] == holder.id


def test_a_kubelets_lock_is_live_by_another_client_of_its_host(told: Told) -> None:
    writer = told["stage"].clients["kubelet"]
    for when in ("early", "second"):
        row = told[when].row("kubelet")
        assert (row["verdict"], row["managed"], row["tag"], row["format"]) == ("live", False, "", 1)
        [watcher] = row["watchers"]
        assert watcher["client"] == writer.id != row["locker"]
        assert watcher["address"].partition("/")[0] == row["address"].partition("/")[0]
        assert watcher["address"] != row["address"]


@pytest.mark.parametrize("image", ["killed", "team/killed", "killed-managed", "taken-over", "fenced-by-another-nonce"])
def test_a_killed_holder_counts_as_live_while_its_watch_is_there(told: Told, image: str) -> None:
    assert not told["stage"].clients[image].alive
    assert told["early"].verdict(image) == "live"


@pytest.mark.parametrize("image", ["in-use", "in-use-fenced", "in-use-managed"])
def test_an_image_that_only_others_watch_is_in_use_elsewhere_even_behind_a_fence(told: Told, image: str) -> None:
    row = told["second"].row(image)
    user = told["stage"].clients[f"user of {image}"]
    assert row["verdict"] == "in_use_elsewhere"
    assert [watcher["client"] for watcher in row["watchers"]] == [user.id] != [row["locker"]]
    assert user.id in row["why"]
    same_host = row["watchers"][0]["address"].partition(":")[0] == row["address"].partition(":")[0]
    assert same_host == (image == "in-use-managed"), "a managed lock's holder is the writer itself, not its host"


def test_a_managed_lock_that_another_client_took_over_is_that_ones_and_live(told: Told) -> None:
    row = told["second"].row("taken-over")
    assert (row["verdict"], row["locker"]) == ("live", told["stage"].clients["successor"].id)
    assert row["address"].startswith(f"{SUCCESSOR}:0/")


# --- Nobody watches it, and a fence is there


@pytest.mark.parametrize(
    ("image", "entry"),
    [("fenced", f"{address_of('fenced')}:0/0"), ("fenced-by-range", "cidr:127.0.62.0:0/24"), ("fenced-exactly", None)],
)
def test_a_lasting_fence_on_every_address_of_the_writer_makes_fenced_at_once(
    told: Told, image: str, entry: str | None
) -> None:
    for when in ("first", "blind first"):
        row = told[when].row(image)
        assert row["verdict"] == "fenced"
        assert f"{entry or row['address']} is fenced until " in row["why"]


def test_a_managed_holder_that_was_fenced_could_not_write_on(told: Told) -> None:
    assert told["stage"].clients["fenced-exactly"].wait_for("error")["errno"] == 108


@pytest.mark.parametrize(
    ("image", "verdict"),
    [
        ("fenced-command-only", "stale"),  # whoever took the lock for a kubelet is not the one that writes
        ("fenced-for-an-hour", "stale"),
        ("fenced-for-an-hour-managed", "stale_managed"),
        ("fenced-by-another-nonce", "stale_managed"),
    ],
)
def test_a_fence_that_is_short_or_on_another_address_is_none(told: Told, image: str, verdict: str) -> None:
    assert told["first"].verdict(image) == "suspect"
    assert told["second"].verdict(image) == verdict


def test_a_fence_on_an_address_that_the_writer_does_not_use_stops_nothing_and_is_seen_to_cover_nothing(
    told: Told,
) -> None:
    assert told["second"].verdict("fenced-elsewhere") == "live"
    writer = told["stage"].clients["fenced-elsewhere"]
    writer.wait_for_writes()
    assert writer.error is None


# --- Nobody watches it, and somebody has a session


@pytest.mark.parametrize("image", FROZEN)
def test_a_frozen_holder_is_alive_or_cut_off_and_writes_on_when_it_is_let_go(told: Told, image: str) -> None:
    holder = told["stage"].clients[image]
    assert told["early"].verdict(image) == "live"
    for when in ("first", "second"):
        row = told[when].row(image)
        assert (row["verdict"], row["watchers"]) == ("alive_or_cut_off", [])
        assert f"({holder.id}) on mon a" in row["why"]
    assert told["thawed"].verdict(image) == "live"
    assert holder.error is None


def test_a_kubelets_lock_is_judged_by_the_sessions_of_its_host(told: Told) -> None:
    row = told["second"].row("beside-kubelet")
    assert (row["verdict"], row["watchers"]) == ("alive_or_cut_off", [])
    assert told["stage"].clients["kubelet"].id in row["why"]


# --- Nobody watches it, and nothing else is known


QUIET = ("killed", "team/killed", "format-2", "trashed", "killed-managed")


@pytest.mark.parametrize("image", QUIET)
def test_without_the_right_to_see_sessions_a_lock_stays_suspect_however_often_it_is_looked_at(
    told: Told, image: str
) -> None:
    for when in ("blind first", "blind between", "blind second"):
        row = told[when].row(image)
        assert row["verdict"] == "suspect"
        assert "give the cephx user" in row["why"] or "the cephx user needs the caps" in row["why"]
        assert "allow command sessions" in row["why"]


def test_without_rights_on_the_pool_its_locks_are_unknown_and_none_is_called_free(told: Told) -> None:
    ran = told["no osd"]
    assert (ran.code, ran.json["locks"], ran.json["pools"]) == (3, [], [])
    [problem] = ran.json["problems"]
    assert problem["pool"] == POOL
    assert "give the cephx user the caps osd 'profile rbd-read-only'" in problem["reason"]


# --- Nobody watches it, and nobody has a session


@pytest.mark.parametrize("image", QUIET)
def test_one_look_leaves_a_suspect_and_a_second_one_30_s_later_makes_it_stale(told: Told, image: str) -> None:
    first, again, second, fresh = (told[when].row(image) for when in ("first", "again", "second", "fresh"))
    assert [row["verdict"] for row in (first, again, fresh)] == ["suspect"] * 3
    assert "look again after 30 s" in first["why"]
    assert second["verdict"] == ("stale_managed" if image == "killed-managed" else "stale")
    assert (second["watchers"], second["managed"]) == ([], image == "killed-managed")
    began, ended = (datetime.fromisoformat(when) for when in re.findall(r"\d{4}-\S+Z", second["why"])[:2])
    assert ended - began > timedelta(seconds=30)
    assert f"first seen {began:%Y-%m-%dT%H:%M:%SZ}" in again["why"], "the second look completes the first one"


def test_images_of_each_kind_are_told_apart(told: Told) -> None:
    look = told["second"]
    kinds = {name: (look.row(name)["namespace"], look.row(name)["format"]) for name in QUIET}
    assert kinds == {"killed": ("", 1), "team/killed": ("team", 2), "format-2": ("", 2), "trashed": ("", 2),
                     "killed-managed": ("", 2)}  # fmt: skip
    assert look.ran.code == 1
    assert look.ran.json["problems"] == []


def test_each_holder_of_a_shared_lock_has_a_row_and_a_verdict_of_its_own(told: Told) -> None:
    rows = {row["cookie"]: row for row in told["second"].rows("shared")}
    assert {cookie: row["verdict"] for cookie, row in rows.items()} == {COOKIE: "stale", "another": "fenced"}
    assert [(row["exclusive"], row["tag"]) for row in rows.values()] == [(False, "together")] * 2
    assert rows["another"]["address"].startswith(f"{SECOND_SHARER}:0/")


def test_a_check_completes_what_locks_began(told: Told) -> None:
    assert told["begun by locks"].verdict("killed") == "suspect"
    summaries = [finding["summary"] for finding in told["ended by check"]["findings"]]
    about = {image: [text for text in summaries if text.startswith(f"{POOL}/{image} is locked")] for image in QUIET}
    for image in set(QUIET) - {"killed-managed"}:
        assert len(about[image]) == 1
        assert ": stale; no watcher and no mon session in two looks" in about[image][0]
    assert about["killed-managed"] == [], "a managed lock heals itself"
    [counts] = [text for text in summaries if text.startswith(f"{POOL}/fenced-for-an-hour-managed ")]
    assert "stale_managed" in counts, "unless a fence on its holder ends within the day"


def test_locks_completes_what_a_check_began(told: Told) -> None:
    reasons = told["begun by check"]["reason"].split("; ")
    begun = [reason for reason in reasons if f" on {POOL}/" in reason and "suspect: first seen" in reason]
    assert begun, reasons  # those that are quiet for the first time share a line
    assert begun[0].endswith("look again after 30 s")
    assert told["ended by locks"].verdict("killed") == "stale"


# --- IPv6


def test_the_table_holds_for_addresses_of_ipv6(told: Told) -> None:
    if "v6 early" not in told:
        pytest.skip("this machine has no ::1, or CEPH_CONF names a cluster that has none")
    told_of = {
        name: [told[f"v6 {when}"].verdict(name) for when in ("early", "first", "second")]
        for name in ("kubelet", "killed", "fenced")
    }
    assert told_of == {
        "kubelet": ["live", "suspect", "stale"],
        "killed": ["live", "suspect", "stale_managed"],
        "fenced": ["fenced"] * 3,
    }
    early = {name: told["v6 early"].row(name) for name in told_of}
    assert all(re.fullmatch(r"\[::1\]:0/\d+", row["address"]) for row in early.values())
    assert early["killed"]["watchers"][0]["address"] == early["killed"]["address"]
    assert f"{early['fenced']['address']} is fenced until " in early["fenced"]["why"]

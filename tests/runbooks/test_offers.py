"""Which runbooks answer a finding, and with which of its chain's links as parameters."""

from diagnostics.model import Finding, Link, Subject
from runbooks.catalog import Library
from runbooks.model import Parameter, ParameterKind, Runbook, RunbookStatus, Step
from runbooks.offers import Offer, offers

POD = Subject("Pod", "search", "new", "u1")
IMAGE = Subject("RBDImage", None, "mioss/index", "fsid/mioss//index")
LOCK = Subject("RBDLock", None, "client.1/cookie", "x")
SECOND_LOCK = Subject("RBDLock", None, "client.2/cookie", "y")
NODE = Subject("Node", None, "node1", "u2")
CHECK = "ceph/locks_stale"


def finding(*chain: Subject, about: Subject = POD) -> Finding:
    return Finding(about, "it hangs", chain=tuple(Link(subject, "is so") for subject in chain))


def book(version: str = "1.0.0", status: str = "stable", **parameters: ParameterKind | Parameter) -> Runbook:
    made = {name: p if isinstance(p, Parameter) else Parameter(kind=p) for name, p in parameters.items()}
    return Runbook(
        id="ceph/free", version=version, status=RunbookStatus(status), title="t", meaning="m", impact="i", owner="o",
        changelog="c", answers=(CHECK,), parameters=made, steps=(Step(id="n", note="n"),),
    )  # fmt: skip


def made(runbook: Runbook, found: Finding, check: str = CHECK) -> tuple[Offer, ...]:
    return offers(check, found, Library([runbook]))


def test_the_links_of_the_chain_fill_the_parameters_of_their_kinds() -> None:
    runbook = book(image="rbd_image", locker="rbd_locker", node="node", pod="pod")
    [offer] = made(runbook, finding(POD, IMAGE, LOCK, NODE))
    assert offer.params == {
        "image": "mioss/index", "locker": "client.1/cookie", "node": "node1", "pod": "search/new",
    }  # fmt: skip
    assert (offer.runbook, offer.version) == ("ceph/free", "1.0.0")


def test_what_the_finding_is_about_counts_where_its_chain_does_not_name_it() -> None:
    [offer] = made(book(image="rbd_image"), finding(LOCK, about=IMAGE))
    assert offer.params == {"image": "mioss/index"}


def test_a_runbook_whose_required_parameter_nothing_fills_is_not_offered() -> None:
    assert made(book(node="node"), finding(POD, IMAGE)) == ()
    assert made(book(reason="string"), finding(POD)) == ()


def test_optional_parameters_and_those_with_a_default_may_stay_empty() -> None:
    optional = Parameter(kind="node", required=False)
    [offer] = made(book(image="rbd_image", node=optional), finding(IMAGE))
    assert offer.params == {"image": "mioss/index"}
    [offer] = made(book(reason=Parameter(kind="string", default="because")), finding(POD))
    assert offer.params == {}


def test_of_several_lockers_the_first_is_offered() -> None:
    [offer] = made(book(locker="rbd_locker"), finding(IMAGE, LOCK, SECOND_LOCK))
    assert offer.params == {"locker": "client.1/cookie"}


def test_only_runbooks_that_answer_the_check_are_offered_in_their_latest_stable_version() -> None:
    assert made(book(pod="pod"), finding(POD), check="storage/another") == ()
    library = Library(
        [book(v, s, pod="pod") for v, s in (("1.0.0", "stable"), ("1.10.0", "stable"), ("2.0.0", "preview"))]
    )
    assert [offer.version for offer in offers(CHECK, finding(POD), library)] == ["1.10.0"]

"""Tells what became of a write to Kubernetes: done, refused for certain, or unknown because no answer came."""

from collections.abc import Iterator
from contextlib import contextmanager

from diagnostics.sources import CouldNotLook
from diagnostics.sources.kubernetes.api import KubernetesError, refusal

# How long, in seconds, a write without an answer may still land. A request ends with its connection, which is closed
# when the client gives it up or dies: the API server cancels what it does for it (else after its --request-timeout of
# 60 s: https://kubernetes.io/docs/reference/command-line-tools-reference/kube-apiserver/). What had reached etcd by then
# may still be committed, for which etcd gives itself 5 s (its ReqTimeout; more only for a leader's election).
SETTLES = 5.0
# What a server says that does not know such a request at all.
_UNKNOWN_TO_THE_SERVER = (501, 505)
# The API gives this refusal of an eviction as a 500, before it writes anything:
# https://kubernetes.io/docs/concepts/scheduling-eviction/api-eviction/#how-api-initiated-eviction-works
_TWO_BUDGETS = "more than one PodDisruptionBudget"


def refused(error: KubernetesError) -> bool:
    """Whether an error in answer to a write says for certain that nothing was written.

    A 4xx does; 429 is given before anything is done. A 500 may be etcd's time-out, a 502 or 504 that of the server or of
    a gateway before it, and a 503 that of a server that is shutting down: what was sent may have been written.
    """
    return error.status < 500 or error.status in _UNKNOWN_TO_THE_SERVER or _TWO_BUDGETS in error.message


@contextmanager
def telling_outcome(doing: str, *, dry: bool = False, gone_is_done: bool = False) -> Iterator[None]:
    """Translate errors of a write. `gone_is_done`: a deletion of what is not there has been done already.

    Raises:
        ActFailed: the server refused; or it failed at what was only a dry run.
        CouldNotLook: no answer came, to what was only a dry run.
        OutcomeUnknown: no answer came, or one that does not say whether it was done.
    """
    from runbooks.actions import ActFailed, OutcomeUnknown

    try:
        yield
    except KubernetesError as error:
        if error.status == 404 and gone_is_done:
            return
        if dry or refused(error):
            raise ActFailed(refusal(error, doing)) from None
        raise OutcomeUnknown(f"{refusal(error, doing)} It may have been done all the same.") from None
    except CouldNotLook as error:
        if dry:  # nothing was changed, and nobody said no
            raise
        raise OutcomeUnknown(f"{error.reason} Whether it could {doing} is not known.") from None

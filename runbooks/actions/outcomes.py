"""Tells what became of a write to Kubernetes: done, refused for certain, or unknown because no answer came."""

from collections.abc import Iterator
from contextlib import contextmanager

from diagnostics.sources import CouldNotLook
from diagnostics.sources.kubernetes.api import KubernetesError, refusal


@contextmanager
def telling_outcome(doing: str, *, dry: bool = False, gone_is_done: bool = False) -> Iterator[None]:
    """Translate errors of a write. `gone_is_done`: a deletion of what is not there has been done already.

    Raises:
        ActFailed: the server refused.
        CouldNotLook: no answer came, to what was only a dry run.
        OutcomeUnknown: no answer came.
    """
    from runbooks.actions import ActFailed, OutcomeUnknown

    try:
        yield
    except KubernetesError as error:
        if error.status == 404 and gone_is_done:
            return
        raise ActFailed(refusal(error, doing)) from None
    except CouldNotLook as error:
        if dry:  # nothing was changed, and nobody said no
            raise
        raise OutcomeUnknown(f"{error.reason} Whether it could {doing} is not known.") from None

"""The one error of the lab: something real could not be brought up, or did not do what was asked in time."""


class LabError(Exception):
    """One sentence: what happened, and where to look or what to do next."""

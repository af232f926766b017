"""Tests of runbooks: a runbook's own cases, played by the real engine on a world that was written down.

No cluster and no connection is needed: the hands of such a world write down each act and move the world on, as the case
says. A case is a file of `<version>.cases/` beside the runbook, and its name says what it shows: `allowed_*`,
`refused_<guard>*`, `interrupted_after_<step>*`.
"""

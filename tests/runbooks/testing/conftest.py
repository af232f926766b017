"""A runbook of one's own with its cases in a folder, to be played."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from runbooks.loader import load
from runbooks.model import Runbook
from runbooks.testing.cases import Case, load_case
from runbooks.testing.runner import Result, run_cases
from runbooks.vocabulary import vocabulary

BOOK = """\
id: shop/uncordon
version: 1.0.0
status: preview
title: Give a node back
meaning: It is well again.
impact: Pods are scheduled to it.
owner: shop on-call
changelog: First.
parameters:
  node: node
  why: {kind: string, required: false}
steps:
  - id: uncordon
    act: kubernetes.uncordon
    with: {node: "{{node}}"}
    require: [node_is_cordoned]
    verify: node_is_schedulable
    undo: kubernetes.cordon
    on_failure: ask
  - id: wait
    given: [why]
    manual: look at the node
"""
ALLOWED = """\
why: A node that is well is cordoned.
params: {node: node1}
world:
  taken_at: "2026-03-14T09:30:00Z"
  kubernetes:
    nodes:
      - metadata: {name: node1, uid: uid-1}
        spec: {unschedulable: true}
        status: {conditions: [{type: Ready, status: "True", lastTransitionTime: null}]}
after:
  - step: uncordon
    changes:
      - {set: nodes/node1 spec.unschedulable, to: false}
"""


@dataclass
class Shelf:
    """A runbook, and the folder of its cases."""

    folder: Path

    @property
    def file(self) -> Path:
        """The runbook's file."""
        return self.folder / "uncordon.yaml"

    @property
    def runbook(self) -> Runbook:
        """The runbook as it is now."""
        return load(self.file, vocabulary())

    def write(self, name: str, text: str) -> Path:
        """Write a case."""
        path = self.folder / "uncordon.cases" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return path

    def case(self, name: str, text: str) -> Case:
        """Write a case, and read it."""
        return load_case(self.write(name, text), self.runbook)

    async def result(self, name: str, text: str) -> Result:
        """Write a case, and what it comes to."""
        self.write(name, text)
        results = [result async for result in run_cases(self.runbook) if result.case == name]
        return results[0]


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """A runbook with one case that is as it should be."""
    made = Shelf(tmp_path)
    made.file.write_text(BOOK)
    made.write("allowed_it_is_well", ALLOWED)
    return made

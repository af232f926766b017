"""What a runbook is: the words that a YAML file may use, as frozen data.

The loader makes these from a file and judges what goes beyond one field (rules); the engine reads them. Nothing here
reads a file, knows a cluster or decides whether something may be done. There is no expression language: a value is
written out or is one whole parameter, and a condition is the name of a guard.
"""

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, PlainValidator, Tag

PLACEHOLDER = re.compile(r"\{\{([a-z][a-z0-9_]*)\}\}")

_DURATION = re.compile(r"(?:([0-9]{1,6})d)?(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,10})s)?")
_LONGEST = timedelta(days=36525)
_SEMVER = re.compile(r"(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})\.(0|[1-9][0-9]{0,5})")
_RUNBOOK_ID = re.compile(r"[a-z][a-z0-9_]{0,99}/[a-z][a-z0-9_]{0,99}")
_SUCCESSOR = re.compile(rf"{_RUNBOOK_ID.pattern}(?:@{_SEMVER.pattern})?")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_STEP_ID = re.compile(r"[a-z][a-z0-9_]{0,39}(\.otherwise)?")


class Risk(StrEnum):
    """How dangerous a step is, and so who must agree. An action sets it; a runbook may raise it, never lower it."""

    READ = "read"
    LOW = "low"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """Position in the order read < low < high < critical."""
        return list(Risk).index(self)


class RunbookStatus(StrEnum):
    """A preview may still change; a stable or deprecated version is released, and its file never changes again."""

    PREVIEW = "preview"
    STABLE = "stable"
    DEPRECATED = "deprecated"


def duration(text: object) -> timedelta:
    """Read a length of time such as `90s`, `3m`, `2h` or `1h30m`. Raises ValueError with the reader's next move."""
    if isinstance(text, timedelta):
        return text
    parts = _DURATION.fullmatch(text) if isinstance(text, str) and text else None
    if parts is None:
        raise ValueError(f"{text!r} is not a duration; write a number with a unit, as 90s, 3m, 2h or 1h30m")
    days, hours, minutes, seconds = (int(part or 0) for part in parts.groups())
    length = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    if not timedelta(0) < length <= _LONGEST:
        raise ValueError(f"{text!r} is no usable duration; write one between 1s and {_LONGEST.days}d")
    return length


def semver(version: str) -> tuple[int, int, int]:
    """The three numbers of a version, for ordering. Raises ValueError with the reader's next move."""
    parts = _SEMVER.fullmatch(version)
    if parts is None:
        raise ValueError(f"{version!r} is not a version; write three numbers, as 1.0.0")
    major, minor, patch = (int(part) for part in parts.groups())
    return major, minor, patch


def _matching(pattern: re.Pattern[str], what: str) -> AfterValidator:
    def judge(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(f"{value!r} is not {what}")
        return value

    return AfterValidator(judge)


def _version(value: str) -> str:
    semver(value)
    return value


def _said(value: str) -> str:
    if not value.strip():
        raise ValueError("this text is empty; write what the reader needs to know")
    return value


def _scalar(value: object) -> str | int | bool:
    if not isinstance(value, str | int | bool):
        raise ValueError("this must be one value; write text, a whole number, true or false")
    return value


_SMALL_LETTERS = "small letters, digits and _, beginning with a letter"
Scalar = Annotated[str | int | bool, PlainValidator(_scalar)]
Duration = Annotated[timedelta, BeforeValidator(duration)]
Version = Annotated[str, AfterValidator(_version)]
RunbookId = Annotated[
    str, _matching(_RUNBOOK_ID, "an id; write area/situation in small letters, as ceph/stale_rbd_lock")
]
Successor = Annotated[
    str, _matching(_SUCCESSOR, "a runbook; write area/situation, or area/situation@1.0.0 for one version of it")
]
Name = Annotated[str, _matching(_NAME, f"a name; write {_SMALL_LETTERS}")]
StepId = Annotated[str, _matching(_STEP_ID, f"a step's id; write {_SMALL_LETTERS}")]
Text = Annotated[str, AfterValidator(_said)]


class _Words(BaseModel):
    """Frozen, strict, and closed: a field that nobody knows is a mistake, never ignored."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, validate_by_name=True, validate_by_alias=True,
        use_attribute_docstrings=True,
    )  # fmt: skip


ParameterKind = Literal[
    "rbd_image", "rbd_locker", "node", "pod", "workload", "job", "volume_attachment", "namespace", "string", "int", "enum",
    "duration",
]  # fmt: skip
OBJECT_KINDS: frozenset[ParameterKind] = frozenset(
    {"rbd_image", "rbd_locker", "node", "pod", "workload", "job", "volume_attachment", "namespace"}
)
"""The kinds that name something in a cluster: always told by whoever runs a runbook, never written into its file."""


class Parameter(_Words):
    """What a runbook is told. In YAML `image: rbd_image` is short for `image: {kind: rbd_image}`."""

    kind: ParameterKind
    """What it names, or the sort of value that it is."""
    required: bool = True
    """Whether the runbook can be run without it; a step that needs an optional one says so with `given`."""
    values: tuple[str, ...] = ()
    """What an `enum` may be."""
    default: str | None = None
    """What stands in where it is not given. What names something in a cluster has none."""
    description: str = ""
    """What it means, for whoever fills it in."""

    @property
    def must_be_given(self) -> bool:
        """Whether nothing stands in where it is not given."""
        return self.required and self.default is None

    @property
    def may_be_missing(self) -> bool:
        """Whether a plan can lack a value for it."""
        return not self.required and self.default is None


class GuardCall(_Words):
    """A named predicate, and its arguments. In YAML `name`, or `{name: {argument: value}}`."""

    name: str
    """The guard's name."""
    args: dict[str, Scalar] = Field(default_factory=dict)
    """Its arguments: whole parameters, numbers or durations."""


class CheckBecomes(_Words):
    """A check, judged anew over the runbook's subjects, must come to this."""

    check: str
    """The check's id, as ceph/locks_stale."""
    becomes: Literal["found", "ok"]
    """What it must come to."""


class Replacement(_Words):
    """The pod that the owner makes in place of a deleted one must get into this phase in time."""

    replacement: Literal["Running"]
    """The phase to get into."""
    within: Duration
    """How long that may take."""


def _verify_tag(value: object) -> str:
    """The tags cannot be fields of a file, so that an error's location tells the two apart."""
    fields = value if isinstance(value, Mapping) else getattr(type(value), "model_fields", {})
    if "check" in fields:
        return "<check>"
    return "<replacement>" if "replacement" in fields else "<guard>"


Verify = Annotated[
    Annotated[GuardCall, Tag("<guard>")]
    | Annotated[CheckBecomes, Tag("<check>")]
    | Annotated[Replacement, Tag("<replacement>")],
    Discriminator(_verify_tag),
]

StepKind = Literal["check", "prove", "act", "wait", "manual", "attest", "note"]
STEP_KINDS: tuple[StepKind, ...] = get_args(StepKind)
Attested = Literal["node_is_off"]
"""What a person may be asked to attest, because no fact that Unstick can read proves it."""
OnFailure = Literal["stop", "undo", "ask"]


class Step(_Words):
    """One step: exactly one of `check`, `prove`, `act`, `wait`, `manual`, `attest`, `note` (rules see to it).

    - `check` + `becomes`: the check, judged over fresh facts, must come to `found` or `ok`, or the run ends here.
    - `prove` [+ `within`]: the guard is judged until it allows or the time is over (without `within`: once).
    - `act` + `with`: the only kind that changes anything. `verify`, `undo` and, for `undo: none`, `because` are due.
    - `wait` + `within`: the parameter that it names (a pod) gets into that phase; else `otherwise`, if there is one.
    - `manual` [+ `verify`]: the exact command for a human; the run waits for "done", then verifies.
    - `attest` + `with`: a person's word for what no fact shows (`node_is_off`), with their name and the time of it.
    - `note`: a printed follow-up; it leaves no execution open.
    """

    id: StepId
    """The step's name in plans, in the journal and in the audit log."""
    check: str | None = None
    """The check to judge anew over fresh facts; it must come to `becomes`, or the run ends here."""
    becomes: Literal["found", "ok"] | None = None
    """What `check` must come to."""
    prove: GuardCall | None = None
    """The guard to judge until it allows or `within` is over; without `within`, once."""
    act: str | None = None
    """The action to do: the only kind of step that changes anything."""
    wait: dict[str, Literal["Running"]] | None = None
    """The parameter (a pod) to wait for, and the phase that it must get into, as {pod: Running}."""
    manual: Text | None = None
    """The exact command for a human; the run waits for "done"."""
    attest: Attested | None = None
    """What a person must give their word for, because no fact shows it."""
    note: Text | None = None
    """A follow-up to print."""
    given: tuple[str, ...] = ()
    """The step is skipped, and that is said, where one of these optional parameters has no value."""
    when: tuple[GuardCall, ...] = ()
    """The step is skipped, with the guard's reasons, where one of these guards refuses; unknown refuses the run."""
    require: tuple[GuardCall, ...] = ()
    """All of these guards must allow at plan, at approval and immediately before the act."""
    with_: dict[str, Scalar] = Field(default_factory=dict, alias="with")
    """What the action or the attestation is told. What names something in a cluster is a whole "{{parameter}}"."""
    risk: Annotated[Risk, Field(strict=False)] | None = None
    """A higher risk than the action's own; lower it cannot be."""
    verify: Verify | None = None
    """What proves afterwards that it was done: a guard, a check, or that the pod's replacement runs."""
    undo: str | None = None
    """The action that takes this one back, or `none` together with `because`."""
    because: Text | None = None
    """Why this cannot or must not be taken back, or why a human has to do it."""
    within: Duration | None = None
    """How long to wait, or to go on proving."""
    timeout: Duration = timedelta(minutes=2)
    """What the act and its verification may take together."""
    on_failure: OnFailure = "stop"
    """The run ends (`stop`), takes back what it did where that can be (`undo`), or leaves it to a person to try again,
    skip or cancel (`ask`)."""
    otherwise: "Step | None" = None
    """The act that follows a wait in vain; it goes by the id of its step."""

    @property
    def kind(self) -> StepKind:
        """Which of these kinds this step is."""
        return next(kind for kind in STEP_KINDS if getattr(self, kind) is not None)

    @property
    def acts(self) -> tuple["Step", ...]:
        """The steps that may change something here: itself if it is an act, and what follows a wait in vain."""
        own = (self,) if self.act is not None else ()
        return own + (self.otherwise.acts if self.otherwise else ())


class Runbook(_Words):
    """One version of one runbook. `sha256` is of the file's bytes: a plan and its approvals are bound to it."""

    id: RunbookId
    """area/situation, as ceph/stale_rbd_lock."""
    version: Version
    """Three numbers, as 1.0.0. A released version never changes."""
    status: Annotated[RunbookStatus, Field(strict=False)]
    """preview may still change; stable is released; deprecated is released and has a successor."""
    title: Text
    """One line that says what is done."""
    meaning: Text
    """Markdown: what the situation means, and when not to use this runbook."""
    impact: Text
    """Markdown: what it may cost."""
    owner: Text
    """Who answers for this runbook."""
    changelog: Text
    """One line: what is new in this version."""
    answers: tuple[str, ...] = ()
    """The checks and causes that it is offered for."""
    parameters: dict[Name, Parameter] = Field(default_factory=dict)
    """What it is told when it is run."""
    steps: tuple[Step, ...]
    """What is done, in this order."""
    successor: Successor | None = None
    """The runbook to use instead of a deprecated one: its id, or id@version."""
    sha256: str = Field(default="", exclude=True)
    source: str = Field(default="", exclude=True)

    @property
    def name(self) -> str:
        """`id@version`, as people and `versions.lock` write it."""
        return f"{self.id}@{self.version}"

    @property
    def deprecation(self) -> str | None:
        """For a deprecated version, a sentence that says so and what to use; None for any other."""
        if self.status is not RunbookStatus.DEPRECATED:
            return None
        return f"{self.name} is deprecated: use {self.successor} instead."


@dataclass(frozen=True)
class ActionWords:
    """What a runbook must know of an action: its risk, the parameters that it takes in `with`, what takes it back.

    `kinds` has the kind of each of these parameters; one that is not in it takes any value.
    """

    risk: Risk
    parameters: frozenset[str]
    required: frozenset[str] = frozenset()
    lifts_fence: bool = False
    undone_by: str | None = None
    kinds: Mapping[str, ParameterKind] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """The names that a runbook may use. The caller brings them, so that the format knows no engine and no cluster.

    `guards` maps a guard's name to the names of the arguments that it takes; `causes` are the slugs of the classifier.
    `guard_kinds` has the kinds of a guard's arguments, where it gives them.
    """

    checks: frozenset[str]
    guards: Mapping[str, frozenset[str]]
    actions: Mapping[str, ActionWords]
    causes: frozenset[str] = frozenset()
    guard_kinds: Mapping[str, Mapping[str, ParameterKind]] = field(default_factory=dict)


def substitute(value: Scalar, params: Mapping[str, str]) -> Scalar | None:
    """A value of `with` or of a guard: `{{name}}` as a whole is the parameter, all else is itself.

    None where an optional parameter was not given. Nothing is ever pasted into the middle of a value.
    """
    whole = PLACEHOLDER.fullmatch(value) if isinstance(value, str) else None
    return value if whole is None else params.get(whole[1])


def fill_in(text: str, params: Mapping[str, str]) -> str:
    """The text of `note`, `manual` or `because` with its parameters, each quoted where a shell would trip over it.

    People copy commands from these texts, and a lock's cookie may hold anything. What was not given shows as `<name>`.
    """
    return PLACEHOLDER.sub(lambda hit: shlex.quote(params[hit[1]]) if hit[1] in params else f"<{hit[1]}>", text)

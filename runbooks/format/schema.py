"""The JSON Schema of a runbook, for editors: what may be written where, with the words of the model's own docstrings.

It is made from the model and the vocabulary, and says less than `unstick runbook lint`: names of parameters, order,
places of placeholders and what lies beside a file cannot be told by a schema. It never refuses what lint lets pass.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pydantic import BaseModel

from runbooks.format.rules import ATTESTED, BELONGS, DUE, lifts_a_fence
from runbooks.model import (
    OBJECT_KINDS,
    STEP_KINDS,
    ActionWords,
    CheckBecomes,
    GuardCall,
    OnFailure,
    Parameter,
    ParameterKind,
    Replacement,
    Risk,
    Runbook,
    RunbookStatus,
    Step,
    Vocabulary,
)  # fmt: skip

Schema = dict[str, Any]

_ID = "[a-z][a-z0-9_]*/[a-z][a-z0-9_]*"
_NUMBER = "(0|[1-9][0-9]{0,5})"
_SEMVER = rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}"
_NAME = "^[a-z][a-z0-9_]*$"
_WHOLE = r"\{\{[a-z][a-z0-9_]*\}\}"
_TIME = "(?=.)([0-9]{1,6}d)?([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,10}s)?"
_TEXT: Schema = {"type": "string", "pattern": r"\S"}
_WITHOUT_PARAMETERS: Schema = {"type": "string", "pattern": r"^(?![\s\S]*(\{\{|\}\}))[\s\S]*\S"}
_SCALAR: Schema = {"type": ["string", "integer", "boolean"]}
_DURATION: Schema = {"type": "string", "pattern": f"^{_TIME}$"}
# What a guard may be told where it gives no kind, and an act for text: a whole parameter, a number or a duration.
_UNDECLARED: Schema = {
    "anyOf": [{"type": ["integer", "boolean"]}, {"type": "string", "pattern": f"^({_WHOLE}|-?[0-9]{{1,18}}|{_TIME})$"}]
}
_SHORT_KINDS = [kind for kind in get_args(ParameterKind) if kind != "enum"]  # which needs its values
_NAMES: Schema = {"type": "array", "items": {"type": "string"}}


def schema(words: Vocabulary) -> Schema:
    """The schema (draft 7, which editors know) of a file that may use these names."""
    never_lifting = frozenset(name for name in words.actions if not lifts_a_fence(name, words))
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "A runbook of Unstick",
        **_object(Runbook, _runbook(words)),
        "if": {"properties": {"status": {"const": RunbookStatus.DEPRECATED}}, "required": ["status"]},
        "then": {"required": ["successor"]},
        "else": {"properties": {"successor": False}},
        "definitions": {
            "parameter": _either(_enum(_SHORT_KINDS), _parameter(), Parameter),
            "guard": _guard(words),
            "check": _enum(words.checks),
            "verify": {
                "anyOf": [
                    {"$ref": "#/definitions/guard"},
                    _object(CheckBecomes, {"check": _ref("check"), "becomes": _enum(("found", "ok"))}),
                    _object(Replacement, {"replacement": _enum(("Running",)), "within": _DURATION}),
                ]
            },
            "told": {
                "allOf": [
                    *(_told("act", name, action) for name, action in sorted(words.actions.items())),
                    *(_told("attest", name, kinds) for name, kinds in ATTESTED.items()),
                ]
            },
            "step": _step(words, words.actions, required="id"),
            "otherwise": _step(words, never_lifting, required="act", without="id"),
        },
    }


def text(words: Vocabulary) -> str:
    """The schema as it is published: JSON that a person can read, with a line break at its end."""
    return f"{json.dumps(schema(words), indent=2, ensure_ascii=False)}\n"


def _runbook(words: Vocabulary) -> Mapping[str, Schema]:
    return {
        "id": {"type": "string", "pattern": f"^{_ID}$"},
        "version": {"type": "string", "pattern": f"^{_SEMVER}$"},
        "status": _enum(RunbookStatus),
        **dict.fromkeys(("title", "meaning", "impact", "owner", "changelog"), _WITHOUT_PARAMETERS),
        "answers": {"type": "array", "items": _enum(words.checks | words.causes)},
        "parameters": {
            "type": "object", "propertyNames": {"pattern": _NAME}, "additionalProperties": _ref("parameter"),
        },
        "steps": {"type": "array", "minItems": 1, "items": _ref("step")},
        "successor": {"type": "string", "pattern": f"^{_ID}(@{_SEMVER})?$"},
    }  # fmt: skip


def _parameter() -> Schema:
    fields = {
        "kind": _enum(get_args(ParameterKind)), "required": {"type": "boolean"}, "values": _NAMES,
        "default": {"type": "string"}, "description": {"type": "string"},
    }  # fmt: skip
    of_enum = {"properties": {"kind": {"const": "enum"}}}
    named = {"properties": {"kind": _enum(OBJECT_KINDS)}, "required": ["kind"]}
    plain = {"int": "-?[0-9]{1,18}", "duration": _TIME}
    return {
        **_object(Parameter, fields),
        "allOf": [
            {"if": of_enum, "then": {"required": ["values"], "properties": {"values": {"minItems": 1}}},
             "else": {"properties": {"values": {"maxItems": 0}}}},
            {"if": named, "then": {"properties": {"default": False}}},
            *(
                {"if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]},
                 "then": {"properties": {"default": {"pattern": f"^({pattern})$"}}}}
                for kind, pattern in plain.items()
            ),
        ],
    }  # fmt: skip


def _guard(words: Vocabulary) -> Schema:
    """`name`, or `{name: {argument: value}}`."""
    calls = {
        name: _arguments(taken, words.guard_kinds.get(name, {}), _UNDECLARED)
        for name, taken in sorted(words.guards.items())
    }
    long = {
        "type": "object", "minProperties": 1, "maxProperties": 1, "properties": calls, "additionalProperties": False,
    }  # fmt: skip
    return _either(_enum(words.guards), long, GuardCall)


def _step(words: Vocabulary, actions: Iterable[str], required: str, without: str = "") -> Schema:
    fields: Mapping[str, Schema] = {
        "id": {"type": "string", "pattern": _NAME},
        "check": _ref("check"),
        "becomes": _enum(("found", "ok")),
        "prove": _ref("guard"),
        "act": _enum(frozenset(actions)),
        "wait": {
            "type": "object", "minProperties": 1, "maxProperties": 1, "propertyNames": {"pattern": _NAME},
            "additionalProperties": _enum(("Running",)),
        },
        "manual": _TEXT,
        "attest": _enum(ATTESTED),
        "note": _TEXT,
        "given": _NAMES,
        "when": {"type": "array", "items": _ref("guard")},
        "require": {"type": "array", "items": _ref("guard")},
        "with": {"type": "object", "additionalProperties": _SCALAR},
        "risk": _enum(Risk),
        "verify": _ref("verify"),
        "undo": _enum(frozenset(name for name in words.actions if not lifts_a_fence(name, words)) | {"none"}),
        "because": _TEXT,
        "within": _DURATION,
        "timeout": _DURATION,
        "on_failure": _enum(get_args(OnFailure)),
        "otherwise": _ref("otherwise"),
    }  # fmt: skip
    made = _object(Step, fields, without)
    return {
        **made,
        "required": [required],
        "oneOf": [{"required": [kind]} for kind in STEP_KINDS],
        "allOf": [*(_of_kind(kind) for kind in STEP_KINDS), _ref("told")],
    }


def _of_kind(kind: str) -> Schema:
    """What a step of one kind must have, and must not."""
    then: Schema = {"properties": {field: False for field, kinds in BELONGS.items() if kind not in kinds}}
    if kind == "manual":
        then["properties"]["verify"] = {"properties": {"replacement": False}}
    if kind in DUE:
        then["required"] = sorted(DUE[kind])
    if kind == "act":
        then |= {
            "if": {"properties": {"undo": {"const": "none"}}, "required": ["undo"]},
            "then": {"required": ["because"]},
        }
    return {"if": {"required": [kind]}, "then": then}


def _told(kind: str, name: str, taker: ActionWords | Mapping[str, ParameterKind]) -> Schema:
    """What `with` tells an action or an attestation, what takes it back, and the risks that it may be given."""
    properties: dict[str, Any] = {}
    if isinstance(taker, ActionWords):
        told, required = _told_to(taker.parameters, taker.kinds), sorted(taker.required)
        properties["risk"] = _enum(risk for risk in Risk if risk.rank >= taker.risk.rank)
        properties["undo"] = _enum(("none", *([taker.undone_by] if taker.undone_by else ())))
    else:
        told, required = _told_to(frozenset(taker), taker), sorted(taker)
    properties["with"] = {**told, "required": required} if required else told
    then: Schema = {"properties": properties}
    if required:
        then["required"] = ["with"]
    return {"if": {"properties": {kind: {"const": name}}, "required": [kind]}, "then": then}


def _told_to(taken: frozenset[str], kinds: Mapping[str, ParameterKind]) -> Schema:
    """The same for an act or an attestation, which takes an object by the parameter of its name, and text by any one."""
    made = _arguments(taken, kinds)
    for name, kind in kinds.items():
        if kind in OBJECT_KINDS:
            made["properties"][name] = {"const": f"{{{{{name}}}}}", "description": f"the parameter {name}, a {kind}"}
        elif kind == "string":
            made["properties"][name] = _UNDECLARED
    return made


def _arguments(taken: frozenset[str], kinds: Mapping[str, ParameterKind], other: Schema = _SCALAR) -> Schema:
    return {
        "type": "object",
        "properties": {name: _value(kinds[name]) if name in kinds else other for name in sorted(taken)},
        "additionalProperties": False,
    }


def _value(kind: ParameterKind) -> Schema:
    """A value that an action or a guard is told: a whole parameter, or what may be written out for it."""
    if kind in OBJECT_KINDS:
        return {
            "type": "string",
            "pattern": f"^{_WHOLE}$",
            "description": f'a parameter of kind {kind}, as "{{{{name}}}}"',
        }
    if kind == "duration":
        return {"type": "string", "pattern": f"^({_WHOLE}|{_TIME})$"}
    if kind == "int":
        return {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": f"^({_WHOLE}|-?[0-9]{{1,18}})$"}]}
    return _SCALAR


def _object(model: type[BaseModel], fields: Mapping[str, Schema], without: str = "") -> Schema:
    """A mapping with the model's fields. Each must be described here: a new one that is not fails when this is made."""
    known = {info.alias or name: info for name, info in model.model_fields.items() if not info.exclude}
    assert known.keys() == fields.keys(), f"{model.__name__}: {sorted(known.keys() ^ fields.keys())}"
    return {
        "type": "object",
        "description": " ".join((model.__doc__ or "").split("\n\n")[0].split()),
        "properties": {
            name: _described(fields[name], info.description) for name, info in known.items() if name != without
        },
        "required": [name for name, info in known.items() if info.is_required()],
        "additionalProperties": False,
    }


def _described(what: Schema, description: str | None) -> Schema:
    """A `$ref` hides what stands beside it in this draft, so it is wrapped."""
    said = {"description": " ".join((description or "").split())}
    return {"allOf": [what], **said} if "$ref" in what else {**what, **said}


def _either(short: Schema, long: Schema, model: type[BaseModel]) -> Schema:
    return {"description": " ".join((model.__doc__ or "").split()), "anyOf": [short, long]}


def _enum(names: Iterable[str]) -> Schema:
    """One of these words: in their own order where they have one, else sorted."""
    return {"enum": [str(name) for name in (sorted(names) if isinstance(names, frozenset | Mapping) else names)]}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/definitions/{name}"}

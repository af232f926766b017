"""The short ways to write a parameter, a guard and an `otherwise`, written out in full before anything is judged.

After this every rule and the data model see one shape only. What has no such shape is left for the model to refuse.
"""

from runbooks.format.marks import Node

GUARD_LISTS = ("when", "require")


def written_out(root: Node) -> Node:
    """The document with its short forms expanded; every part keeps its place."""
    parameters, steps = root.at("parameters"), root.at("steps")
    if parameters.fields:
        full = {name: _parameter(node) for name, node in parameters.fields.items()}
        root = root.with_field("parameters", parameters.of(full, parameters.keys))
    return root.with_field("steps", steps.of([_step(node) for node in steps.items])) if steps.items else root


def _parameter(node: Node) -> Node:
    """`image: rbd_image` is `image: {kind: rbd_image}`."""
    return node.of({"kind": node}) if node.text else node


def _call(node: Node) -> Node:
    """`name` and `{name: {argument: value}}` are `{name: name, args: {argument: value}}`."""
    if node.text:
        return node.of({"name": node, "args": node.of({})})
    if len(node.fields) != 1:
        return node.of([])  # never None, which would read as "no guard was asked for"
    ((name, args),) = node.fields.items()
    return node.of({"name": node.key(name), "args": args})


def _verify(node: Node) -> Node:
    """A guard, unless it is said of a check or of a replacement."""
    return node if {"check", "becomes", "replacement", "within"} & set(node.fields) else _call(node)


def _step(node: Node) -> Node:
    step = node
    for name in GUARD_LISTS:
        if calls := step.at(name).items:
            step = step.with_field(name, step.at(name).of([_call(call) for call in calls]))
    for name, full in (("prove", _call), ("verify", _verify)):
        if name in step.fields:
            step = step.with_field(name, full(step.fields[name]))
    return step.with_field("otherwise", _otherwise(step)) if step.at("otherwise").fields else step


def _otherwise(step: Node) -> Node:
    """It is a step in the place of another, and goes by its name: `retry.otherwise`."""
    otherwise = step.at("otherwise")
    name = f"{step.at('id').text or 'step'}.otherwise"
    return _step(otherwise).with_field("id", otherwise.at("id").of(name))

"""The ways in which an API server says no, in its own words: clients read `reason`, people read `message`.

The sentences are those of Kubernetes (seen on 1.20), because Unstick's own code reacts to some of them.
"""

from bot.sandbox.kubernetes.resources import Object, Resource

EXPIRED_CONTINUE = (
    "The provided continue parameter is too old to display a consistent list result. You can start a new list "
    "without the continue parameter, or use the continue token in this response to retrieve the remainder of the "
    "results. Continuing with the provided token results in an inconsistent list - objects that were created, "
    "modified, or deleted between the time the first chunk was returned and now may show up in the list."
)
MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


class Refused(Exception):
    """A request that the API server does not carry out, with the Status that it answers."""

    def __init__(self, code: int, reason: str, message: str, details: Object | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.metadata: Object = {}

    @property
    def status(self) -> Object:
        """The body of the answer, a `Status` object."""
        body: Object = {"kind": "Status", "apiVersion": "v1", "metadata": self.metadata, "status": "Failure"}
        body |= {"message": self.message}
        if self.reason:
            body["reason"] = self.reason
        if self.details is not None:
            body["details"] = self.details
        return body | {"code": self.code}


def _details(resource: Resource, name: str) -> Object:
    group = {"group": resource.group} if resource.group else {}
    return ({"name": name} if name else {}) | group | {"kind": resource.plural}


def not_found(resource: Resource, name: str) -> Refused:
    """There is no object of that name."""
    return Refused(404, "NotFound", f'{resource.qualified} "{name}" not found', _details(resource, name))


def no_such_resource() -> Refused:
    """The server does not serve what the path names."""
    return Refused(404, "NotFound", "the server could not find the requested resource", {})


def method_not_allowed() -> Refused:
    """The path is served, but not for this method."""
    message = "the server does not allow this method on the requested resource"
    return Refused(405, "MethodNotAllowed", message, {})


def already_exists(resource: Resource, name: str) -> Refused:
    """The name is taken."""
    message = f'{resource.qualified} "{name}" already exists'
    return Refused(409, "AlreadyExists", message, _details(resource, name))


def conflict(resource: Resource, name: str, why: str, called: str | None = None) -> Refused:
    """The object is not what the request takes it for. `called` is what the message names instead of the plural."""
    details = _details(resource, name) | ({"kind": called} if called else {})
    message = f'Operation cannot be fulfilled on {called or resource.qualified} "{name}": {why}'
    return Refused(409, "Conflict", message, details)


def bad_request(message: str) -> Refused:
    """The request cannot be understood."""
    return Refused(400, "BadRequest", message)


def invalid(resource: Resource, name: str, *causes: tuple[str, str, str]) -> Refused:
    """The object would break a rule. Each cause is a field, its reason and its message."""
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    said = [f"{where}: {message}" for where, _, message in causes]
    text = said[0] if len(said) == 1 else f"[{', '.join(said)}]"
    details: Object = ({"name": name} if name else {}) | ({"group": resource.group} if resource.group else {})
    details["kind"] = resource.kind
    details["causes"] = [{"reason": why, "message": message, "field": where} for where, why, message in causes]
    return Refused(422, "Invalid", f'{kind} "{name}" is invalid: {text}', details)


def rejected() -> Refused:
    """A JSON patch that does not apply, a failed `test` among them: the real server says no more than this."""
    return Refused(422, "Invalid", "the server rejected our request due to an error in our request", {})


def unauthorized() -> Refused:
    """Nobody is known by that token."""
    return Refused(401, "Unauthorized", "Unauthorized")


def gone(revision: int, oldest: int) -> Refused:
    """A watch from before what is remembered."""
    return Refused(410, "Expired", f"too old resource version: {revision} ({oldest})")


def continue_expired(fresh_token: str) -> Refused:
    """A list that can no longer be continued as it was begun; `fresh_token` continues it inconsistently."""
    refused = Refused(410, "Expired", EXPIRED_CONTINUE)
    refused.metadata = {"continue": fresh_token}
    return refused

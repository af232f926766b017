"""Who may do what: bearer tokens and a table of RBAC rules for each user. Nothing is allowed that no rule allows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bot.sandbox.kubernetes.refusals import Refused
from bot.sandbox.kubernetes.resources import Object

ANONYMOUS = "system:anonymous"
OPEN_PATHS = ("/version", "/healthz", "/livez", "/readyz")
"""Paths that need no rights at all."""


@dataclass(frozen=True)
class Rule:
    """What is allowed, as in an RBAC rule: `*` stands for all. `namespace` None: everywhere (a ClusterRoleBinding)."""

    verbs: tuple[str, ...]
    groups: tuple[str, ...]
    resources: tuple[str, ...]
    namespace: str | None = None
    names: tuple[str, ...] = ()

    @classmethod
    def of(cls, rbac: Mapping[str, Sequence[str]], namespace: str | None = None) -> "Rule":
        """The rule that RBAC writes as `{"apiGroups": [...], "resources": [...], "verbs": [...]}`."""
        names = tuple(rbac.get("resourceNames", ()))
        return cls(tuple(rbac["verbs"]), tuple(rbac["apiGroups"]), tuple(rbac["resources"]), namespace, names)


EVERYTHING = Rule(("*",), ("*",), ("*",))


@dataclass(frozen=True)
class Request:
    """What a request wants, in the terms that RBAC judges. `resource` is None for paths that are no resource."""

    verb: str
    group: str = ""
    resource: str | None = None
    subresource: str = ""
    namespace: str | None = None
    name: str = ""
    path: str = ""

    @property
    def full_resource(self) -> str:
        """The resource as rules name it: `pods`, `pods/status`."""
        return f"{self.resource}/{self.subresource}" if self.subresource else str(self.resource)


class Access:
    """Tokens and rules. `tokens` maps a user's name to the token that proves it."""

    def __init__(self, tokens: Mapping[str, str], rules: Mapping[str, Sequence[Rule]]) -> None:
        self.tokens = dict(tokens)
        self._users = {token: user for user, token in tokens.items()}
        self._rules = {user: tuple(given) for user, given in rules.items()}

    def grant(self, user: str, rules: Sequence[Rule]) -> None:
        """Give a user exactly these rules from now on."""
        self._rules[user] = tuple(rules)

    def user(self, authorization: str | None) -> str:
        """The user that an Authorization header proves.

        Raises:
            Refused: 401, nobody has that token.
        """
        if not authorization:
            return ANONYMOUS
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or token not in self._users:
            raise Refused(401, "Unauthorized", "Unauthorized")
        return self._users[token]

    def allows(self, user: str, wanted: Request) -> bool:
        """Whether a user may do that."""
        if wanted.resource is None:
            is_open = wanted.path in OPEN_PATHS or (user != ANONYMOUS and _is_discovery(wanted.path))
            return is_open or EVERYTHING in self._rules.get(user, ())
        if wanted.resource == "selfsubjectaccessreviews" and wanted.verb == "create":
            return user != ANONYMOUS
        return any(_covers(rule, wanted) for rule in self._rules.get(user, ()))

    def check(self, user: str, wanted: Request) -> None:
        """Refuse what a user may not do.

        Raises:
            Refused: 403, in the real server's words.
        """
        if self.allows(user, wanted):
            return
        if wanted.resource is None:
            message = f'forbidden: User "{user}" cannot {wanted.verb} path "{wanted.path}"'
            raise Refused(403, "Forbidden", message, {})
        qualified = f"{wanted.resource}.{wanted.group}" if wanted.group else wanted.resource
        named = f'{qualified} "{wanted.name}"' if wanted.name else qualified
        where = f'in the namespace "{wanted.namespace}"' if wanted.namespace else "at the cluster scope"
        message = (
            f'{named} is forbidden: User "{user}" cannot {wanted.verb} resource "{wanted.full_resource}" '
            f'in API group "{wanted.group}" {where}'
        )
        details: Object = {"name": wanted.name} if wanted.name else {}
        details |= {"group": wanted.group} if wanted.group else {}
        raise Refused(403, "Forbidden", message, {**details, "kind": wanted.resource})


def _covers(rule: Rule, wanted: Request) -> bool:
    return (
        _has(rule.verbs, wanted.verb)
        and _has(rule.groups, wanted.group)
        and _has(rule.resources, wanted.full_resource)
        and rule.namespace in (None, wanted.namespace)
        and (not rule.names or wanted.name in rule.names)
    )


def _has(allowed: tuple[str, ...], wanted: str) -> bool:
    return "*" in allowed or wanted in allowed


def _is_discovery(path: str) -> bool:
    return path in ("/api", "/apis") or path.startswith(("/api/", "/apis/"))

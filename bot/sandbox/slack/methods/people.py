"""Who is in the workspace: auth.test, users.* and usergroups.* methods. Pure."""

from collections.abc import Callable, Mapping

from bot.sandbox.slack.groups import Group, Groups
from bot.sandbox.slack.methods.arguments import Method, required, yes
from bot.sandbox.slack.refusals import Refused
from bot.sandbox.slack.state import Object, State, User


class People:
    """Reads of people and of user groups.

    Args:
        state: the people.
        groups: the user groups.
        url: the workspace's address.
    """

    def __init__(self, state: State, groups: Groups, url: Callable[[], str]) -> None:
        self._state, self._groups, self._url = state, groups, url

    @property
    def known(self) -> Mapping[str, Method]:
        """The methods by name."""
        return {
            "auth.test": self._auth_test,
            "users.info": self._user,
            "usergroups.list": self._list_groups,
            "usergroups.users.list": self._list_members,
        }

    def _auth_test(self, _given: Object) -> Object:
        bot = self._state.bot
        about = {"user_id": bot.id, "bot_id": self._state.bot_id, "team_id": self._state.team}
        return {"url": self._url(), "team": "Sandbox", "user": bot.name, **about, "is_enterprise_install": False}

    def _user(self, given: Object) -> Object:
        required(given, "user")
        if given["user"] not in self._state.users:
            raise Refused("user_not_found")
        return {"user": self._profile(self._state.users[given["user"]])}

    def _profile(self, user: User) -> Object:
        about = {"id": user.id, "team_id": self._state.team, "name": user.name, "real_name": user.name.title()}
        named = {"real_name": user.name.title(), "display_name": user.name}
        return {**about, "deleted": False, "is_bot": user.is_bot, "tz": "Etc/UTC", "tz_offset": 0, "profile": named}

    def _list_groups(self, given: Object) -> Object:
        disabled, users, count = (yes(given.get(f"include_{what}")) for what in ("disabled", "users", "count"))
        there = [group for group in self._groups.all if disabled or not group.disabled]
        return {"usergroups": [self._group(group, users=users, count=count) for group in there]}

    def _group(self, group: Group, *, users: bool, count: bool) -> Object:
        about: Object = {
            "id": group.id, "team_id": self._state.team, "is_usergroup": True, "name": group.name,
            "handle": group.name, "description": "", "is_external": False, "auto_type": None,
            "date_delete": 1 if group.disabled else 0, "prefs": {"channels": [], "groups": []},
        }  # fmt: skip
        if users:
            about["users"] = list(group.members)
        if count:
            about["user_count"] = len(group.members)
        return about

    def _list_members(self, given: Object) -> Object:
        required(given, "usergroup")
        group = self._groups.find(given["usergroup"])
        if group is None or (group.disabled and not yes(given.get("include_disabled"))):
            raise Refused("no_such_subteam")
        return {"users": list(group.members)}

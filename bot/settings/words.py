"""What all settings have in common: nothing unknown is taken, and nothing changes afterwards."""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from runbooks.model import duration

# https://docs.slack.dev/reference/objects/user-object and conversation-object: ids are upper case, names are not.
PERSON = re.compile(r"[UW][A-Z0-9]{2,}|cli:\S+")
_CHANNEL = re.compile(r"[CGD][A-Z0-9]{2,}")
_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_GROUP = re.compile(r"S[A-Z0-9]{2,}")


class Words(BaseModel):
    """A mapping of settings."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def _channel_id(channel: str) -> str:
    if not _CHANNEL.fullmatch(channel):
        raise ValueError(
            "it is no channel's id, such as C024BE7LR: in Slack, open the channel's details; the id is at their end"
        )
    return channel


def _group_id(group: str) -> str:
    if not _GROUP.fullmatch(group):
        raise ValueError("it is no user group's id, such as S0614TZR7: in Slack, the group's menu has Copy group ID")
    return group


def _namespace(name: str) -> str:
    if not _NAMESPACE.fullmatch(name):
        raise ValueError(
            "no namespace can be called that: write one name, without a pattern, as `kubectl get namespaces` has it"
        )
    return name


def _length(value: object) -> object:
    return duration(value) if isinstance(value, str) else value


ChannelId = Annotated[str, AfterValidator(_channel_id)]
Namespace = Annotated[str, AfterValidator(_namespace)]
GroupId = Annotated[str, AfterValidator(_group_id)]
Length = Annotated[timedelta, BeforeValidator(_length)]

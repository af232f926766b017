"""What Slack says no with, as three kinds that differ in what comes next: wait, see to a token, or give the message up.

No token, ticket or payload is ever part of a sentence here.
"""

import asyncio
import math
from collections.abc import Awaitable, Iterator

import aiohttp
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.web.async_slack_response import AsyncSlackResponse

BOT_TOKEN = "SLACK_BOT_TOKEN"  # noqa: S105 - the name of an environment variable
APP_TOKEN = "SLACK_APP_TOKEN"  # noqa: S105 - the name of an environment variable
# Seconds for one call, after which it counts as lost; Slack itself gives up on its own side after about as long.
CALL_TIMEOUT = 15.0
# Seconds to wait after a 429 that does not say how long, or nothing that can be meant.
UNSAID_RETRY_AFTER = 30.0
# No channel is silent for longer than this because of one answer: Slack says it again where it means it.
LONGEST_RETRY_AFTER = 300.0


class TokenRefused(Exception):
    """Slack does not take a token: one sentence that names its environment variable, Slack's code and the next move."""


class SlackUnreachable(Exception):
    """Slack could not be asked, or is in trouble itself: one sentence. The same call may succeed later."""


class RateLimited(SlackUnreachable):
    """Slack wants to be left alone for `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"Slack takes no more calls of this kind for {seconds:g} s (429).")
        self.seconds = seconds


class Rejected(Exception):
    """Slack will never take this call as it is. `code` is Slack's own."""

    def __init__(self, code: str) -> None:
        super().__init__(f"Slack answered {code}.")
        self.code = code


# https://docs.slack.dev/reference/methods/chat.postMessage, chat.update, chat.postEphemeral, apps.connections.open
_OF_A_TOKEN = {
    "invalid_auth", "not_authed", "token_revoked", "token_expired", "account_inactive", "missing_scope",
    "not_allowed_token_type", "access_denied", "accesslimited", "enterprise_is_restricted", "forbidden_team",
    "team_access_not_granted", "two_factor_setup_required",
}  # fmt: skip
_PASSING = {
    "internal_error", "fatal_error", "service_unavailable", "request_timeout", "team_added_to_org",
    "org_login_required", "update_failed", "external_channel_migrating",
}  # fmt: skip
_LIMITED = {"ratelimited", "rate_limited", "message_limit_exceeded"}
_ISSUE_AGAIN = "issue a new one under api.slack.com/apps, set it and start anew"
_TOKEN_MOVES = {
    "not_authed": "set it and start anew",
    "account_inactive": "install the app in the workspace again, set its new token and start anew",
    "token_revoked": "install the app in the workspace again, set its new token and start anew",
    "not_allowed_token_type": "a bot token begins with xoxb-, an app-level token with xapp-: set the right kind",
    "accesslimited": "the workspace takes calls from certain networks only: let this one in",
}

_INVITE = "invite the bot there: /invite @unstick"
_NEXT_MOVES = {
    "channel_not_found": f"check the channel's id in the settings, and if it is private, {_INVITE}",
    "not_in_channel": _INVITE,
    "no_permission": _INVITE,
    "is_archived": "unarchive the channel or name another in the settings",
    "user_not_in_channel": "let the person join the channel and try again",
    "user_not_found": "the person is no longer in the workspace",
    "restricted_action": "let an admin of the workspace allow the app to post in the channel",
    "restricted_action_read_only_channel": "let an admin of the workspace allow the app to post in the channel",
    "restricted_action_thread_only_channel": "name a channel that takes messages outside threads",
    "restricted_action_non_threadable_channel": "name a channel that takes threads",
    "ekm_access_denied": "let an admin of the workspace lift the suspension of its key",
    "msg_too_long": "look at it with `unstick` on the command line",
}


async def answer_of(
    call: Awaitable[AsyncSlackResponse], token: str, timeout: float = CALL_TIMEOUT
) -> AsyncSlackResponse:
    """Slack's answer to one call, made with the token of an environment variable, within `timeout` seconds.

    Raises:
        TokenRefused: the token is not good for it.
        RateLimited: not now, and for how long not.
        SlackUnreachable: no answer, or Slack is in trouble.
        Rejected: never like this.
    """
    try:
        async with asyncio.timeout(timeout):
            return await call
    except TimeoutError:
        raise SlackUnreachable(f"Slack did not answer within {timeout:g} s.") from None
    except SlackApiError as error:
        raise _translated(error, token) from None
    except (aiohttp.ClientError, OSError, SlackClientError) as error:
        raise SlackUnreachable(f"Slack cannot be reached: {reason_of(error)}.") from None
    except (ValueError, AttributeError):
        # The SDK trips over an answer that is no JSON object, as a proxy's own page is.
        raise SlackUnreachable(
            "Something that is not Slack answered; look at slack.api_url and at the proxy."
        ) from None


def reason_of(error: Exception) -> str:
    """Why a connection failed. An address is left out where it could carry a ticket."""
    if isinstance(error, aiohttp.ClientResponseError):
        return f"HTTP status {error.status}"
    if isinstance(error, OSError):
        return error.strerror or str(error) or type(error).__name__
    return type(error).__name__


def next_move(code: str) -> str:
    """What a person can do about a message that Slack does not take."""
    return _NEXT_MOVES.get(code, "look it up under docs.slack.dev/reference/methods/chat.postMessage")


def waits(first: float = 1.0, longest: float = 15.0) -> Iterator[float]:
    """Seconds to wait before each next try, for ever: doubling, up to `longest`, so that who is back is soon met."""
    while True:
        yield first
        first = min(first * 2, longest)


def _translated(error: SlackApiError, token: str) -> Exception:
    response = error.response
    # The SDK puts aiohttp's own response in here where it could not read the body.
    status: int = getattr(response, "status_code", None) or getattr(response, "status", None) or 0
    data = getattr(response, "data", None)
    answer = data if isinstance(data, dict) else {}
    code = str(answer.get("error") or "")
    if status == 429 or code in _LIMITED:
        return RateLimited(_retry_after(str(response.headers.get("Retry-After", ""))))
    if code in _OF_A_TOKEN:
        return TokenRefused(_token_sentence(token, code, str(answer.get("needed") or "")))
    if code in _PASSING:
        return SlackUnreachable(f"Slack is in trouble: it answered {code}.")
    if code and status < 500:
        return Rejected(code)
    return SlackUnreachable(f"Slack is in trouble: HTTP status {status} without an answer that can be read.")


def _retry_after(header: str) -> float:
    try:
        seconds = float(header)
    except ValueError:
        return UNSAID_RETRY_AFTER
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER) if math.isfinite(seconds) else UNSAID_RETRY_AFTER


def _token_sentence(token: str, code: str, needed: str) -> str:
    move = _TOKEN_MOVES.get(code, _ISSUE_AGAIN)
    if code == "missing_scope":
        move = f"add the scope {needed or 'that `unstick slack manifest` lists'} to the app and install it again"
    return f"Slack refuses the token in {token} ({code}): {move}."

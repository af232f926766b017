"""One payload on its way to an app, whichever way it goes."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Request:
    """An HTTP request with every byte that counts: replayed as it is, it is the same request."""

    body: bytes
    headers: Mapping[str, str]


@dataclass
class Delivery:
    """One payload on its way to the bot.

    Attributes:
        envelope_id: what names it; every try of an event has its own.
        type: slash_commands, interactive or events_api.
        seconds: real time until it was acknowledged, also if that was too late; None if it never was.
        ack: the payload of the acknowledgement; None without one, and if it came too late to matter.
        error: dispatch_failed if nothing took it, operation_timeout without an acknowledgement in time, and over HTTP
            http_client_error or http_service_error if the answer was not a 2xx.
        connection: which socket got it, counted from 1 in the order they were opened; None for none.
        retry: 0 for the first try of an event, then 1 to 3; `reason` is why the try before it did not count.
        request: what was sent over HTTP; None over a socket.
        status: the answer's HTTP status, also if it came too late.
        final: the app has said that it wants no retry.
    """

    type: str
    payload: dict[str, Any]
    retry: int = 0
    reason: str = ""
    envelope_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    seconds: float | None = None
    ack: dict[str, Any] | None = None
    error: str | None = None
    connection: int | None = None
    request: Request | None = None
    status: int | None = None
    final: bool = False

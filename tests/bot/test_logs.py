"""What the bot says of itself has a form, and no secrets."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from bot.logs import log_to

BOT = "xoxb-123456789012-abcdefghijkl"


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    kept, level = root.handlers[:], root.level
    yield
    root.handlers[:] = kept
    root.setLevel(level)
    for name in ("unstick", "unstick.slack.sdk"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def said(**form: Any) -> io.StringIO:
    stream = io.StringIO()
    log_to(stream, **form)
    return stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_line_is_one_json_object_with_its_fields() -> None:
    stream = said()
    logging.getLogger("unstick.work").info("looked at %s", "Pod a/b", extra={"cluster": "prod", "seconds": 1.5})
    (line,) = lines(stream)
    assert line["event"] == "looked at Pod a/b"
    assert (line["level"], line["logger"], line["cluster"], line["seconds"]) == ("info", "unstick.work", "prod", 1.5)
    assert line["at"].endswith("Z")


def test_text_is_for_people() -> None:
    stream = said(form="text")
    logging.getLogger("unstick").warning("Slack is away")
    assert "Slack is away" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


def test_libraries_are_heard_from_warnings_on() -> None:
    stream = said()
    logging.getLogger("aiohttp.access").info("GET /healthz")
    logging.getLogger("aiohttp").warning("something is wrong")
    assert [line["event"] for line in lines(stream)] == ["something is wrong"]


@pytest.mark.parametrize("secret", [BOT, "xapp-1-A0123-456-deadbeef", "xoxe.xoxb-1-abcdefgh"])
def test_nothing_that_looks_like_a_token_of_slack_gets_out(secret: str) -> None:
    stream = said()
    logging.getLogger("unstick").error("refused: %s", secret, extra={"headers": {"a": [secret]}})
    assert secret not in stream.getvalue()
    assert "refused" in stream.getvalue()


def test_the_ticket_of_a_socket_stays_hidden() -> None:
    stream = said()
    logging.getLogger("unstick").error("cannot open wss://wss.slack.example/link/?ticket=5f1a-22-77&app_id=1")
    assert lines(stream)[0]["event"] == "cannot open wss://wss.slack.example/link/?ticket=***&app_id=1"


def test_the_secrets_of_the_environment_are_taken_out_wherever_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPASSWORD", "correct horse")
    stream = said()
    try:
        raise ValueError("the server said: correct horse is wrong")
    except ValueError:
        logging.getLogger("unstick").exception("the database is away")
    assert "correct horse" not in stream.getvalue()
    assert "ValueError: the server said: *** is wrong" in lines(stream)[0]["exception"]


def test_a_traceback_shows_no_local_variables() -> None:
    stream = said(form="text")
    hidden_value = "only-a-local-variable"
    try:
        raise KeyError(len(hidden_value))
    except KeyError:
        logging.getLogger("unstick").exception("it failed")
    assert "KeyError" in stream.getvalue()
    assert "only-a-local" not in stream.getvalue().replace('hidden_value = "only-a-local-variable"', "")


def test_a_password_in_an_address_and_a_key_of_ceph_are_taken_out() -> None:
    stream = said()
    key = "AQ" + "B" * 36 + "=="
    logging.getLogger("unstick").error("postgresql://unstick:hunter22@db/x and %s", key)
    assert "hunter22" not in stream.getvalue()
    assert key not in stream.getvalue()

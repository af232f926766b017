"""Keys and passwords in texts of others get no further than the decoder; names and all else stay."""

import json

import msgspec
import pytest

from diagnostics.facts.resources import AttachError, Condition, Event, PhaseStatus, Waiting
from diagnostics.facts.resources.redaction import redacted

KEY = "AQD3pG5jAAAAABAAq0P5Xw6Zr1YlB7o2kVn4Tg=="


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            f"mount failed: exit status 32 Mounting arguments: -t ceph -o name=admin,secret={KEY},ro 10.0.0.1:6789:/ /v",
            "mount failed: exit status 32 Mounting arguments: -t ceph -o name=admin,secret=***,ro 10.0.0.1:6789:/ /v",
        ),
        (f"rbd map img --id admin --key {KEY} -m 10.0.0.1", "rbd map img --id admin --key *** -m 10.0.0.1"),
        (f"rbd map img --key={KEY}", "rbd map img --key=***"),
        (f"the key {KEY} was refused", "the key *** was refused"),
        ("mount.cifs -o username=u,password=p@ss,uid=0", "mount.cifs -o username=u,password=***,uid=0"),
        ("-o user=u,pass=word //server/share", "-o user=u,pass=*** //server/share"),
        ("Authorization: Bearer eyJhbGciOi.J9.x-y", "Authorization: Bearer ***"),
        ("dial https://robot:hunter2@registry.example/v2", "dial https://robot:***@registry.example/v2"),
        ('args [--secret=abc def] token=t0k3n"', 'args [--secret=*** def] token=***"'),
    ],
)
def test_the_value_goes_and_its_name_stays(text: str, shown: str) -> None:
    assert redacted(text) == shown
    assert redacted(shown) == shown, "what is hidden stays as it is"


@pytest.mark.parametrize(
    "text",
    [
        'MountVolume.SetUp failed for volume "v" : secret "db-password" not found',
        "configmap references non-existent config key: token",
        "rbd: image foo is locked by other nodes",
        "keyring=/etc/ceph/keyring --keyfile /tmp/k-1 secretfile=/etc/s",
        "secretName=csi-rbd-secret is of type kubernetes.io/rbd",
        "volume monkey=see, turkey=do",
        "",
    ],
)  # fmt: skip
def test_names_and_paths_are_no_secrets(text: str) -> None:
    assert redacted(text) == text


def test_it_is_linear_in_what_it_looks_at() -> None:
    for text in ("key=" * 200_000, "key=" + "a" * 1_000_000, "://" * 300_000, "AQ" * 500_000, "--key " * 200_000):
        assert isinstance(redacted(text), str)


def test_every_text_of_the_api_that_is_shown_is_redacted_while_it_is_read() -> None:
    message = f"-o name=admin,secret={KEY}"
    shown = "-o name=admin,secret=***"
    event = {"metadata": {"name": "e"}, "message": message}
    assert msgspec.json.decode(json.dumps(event), type=Event).message == shown
    assert msgspec.json.decode(json.dumps({"message": message}), type=AttachError).message == shown
    assert msgspec.convert({"phase": "Failed", "message": message}, PhaseStatus).message == shown
    assert msgspec.convert({"reason": "x", "message": message}, Waiting).message == shown
    assert msgspec.convert({"type": "Ready", "status": "True", "message": message}, Condition).message == shown
    assert msgspec.convert({"metadata": {"name": "e"}, "message": None}, Event).message is None

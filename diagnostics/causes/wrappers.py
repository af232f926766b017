"""Unwraps a message: kubelet, gRPC, ceph-csi and mount wrap each other's errors, and the inside tells the cause.

Pure, and linear in what it looks at: the text is capped before anything else, each pattern has bounded repeats, and
each kind of wrapper is looked for once. It must never raise, whatever the text is, and never change the message itself.
"""

import re
from itertools import islice

import msgspec

HEAD, TAIL = 64 * 1024, 16 * 1024
"""Characters examined at the beginning and at the end of a message; errors are told first or last, never in between."""

WRAPPERS_READ = 64
"""How many gRPC wrappers of one message are read; real ones nest four deep."""

# What cannot be seen (controls, directions, zero widths, half surrogates, tags) becomes a space, so that a name cut out of
# the text is still a piece of the message and never holds such a character.
_UNSEEN = (
    *(range(32), range(127, 160), [0x00AD, 0x061C, 0x180E, 0xFEFF], range(0x200B, 0x2010), range(0x2028, 0x202F)),
    *(range(0x2060, 0x2070), range(0xFFF9, 0xFFFC), range(0xD800, 0xE000), range(0xE0000, 0xE0080)),
)
_PLAIN: dict[int, str] = dict.fromkeys((code for codes in _UNSEEN for code in codes), " ")
_PLAIN |= dict.fromkeys(map(ord, "“”„‟«»"), '"') | dict.fromkeys(map(ord, "‘’‚‛`"), "'")

_OPERATION = re.compile(
    r"\b((?:Mount|Map|Attach|Detach|Unmount|Unmap|Expand|NodeExpand|VerifyController)(?:Attached)?"
    r"(?:Volume|Device)\.\w{2,40})|\bGRPC call: /csi\.v\d\.\w{4,10}/(\w{4,40})"
)
_CODE = re.compile(r"rpc error:? ?code ?= ?(\w{2,20})")
_CSI_COMMAND = re.compile(r"\(exit status (\d{1,3})\) occurred while running ([\w./-]{1,60}) args")
_KUBELET_COMMAND = re.compile(r"([\w./-]{1,60}):? (?:map |command )?failed:? (?:with )?exit status (\d{1,3})")
_ROOK_COMMAND = re.compile(r"[Ff]ailed to complete '?([\w./-]{1,60})'?[^:]{0,80}: exit status (\d{1,3})")
_EXIT = re.compile(r"exit (?:status|code):? (\d{1,3})\b")
_ERRNO = re.compile(
    r"(?:failed|error|image|pool|cluster|keyring|\bfs)[^()]{0,120}: \((\d{1,3})\) [A-Z]"
    r"|ret(?:val)?=-(\d{1,3})\b|mount error:? ?\(?(\d{1,3})\)?(?: =|:)|\[errno (\d{1,3})\]"
    r"|(?:failed to (?:acquire lock|b\w{3,4}klist \w{1,40})|error|failed): -(\d{1,3})\b",
    re.IGNORECASE,
)
_REASON = re.compile(r"\b(?:Warning|Normal) ([A-Z][A-Za-z]{3,40}) |\breason: '([A-Z][A-Za-z]{3,40})'")
_FSTYPE = re.compile(r"(?:mount|--|arguments:|\[) {0,2}-t (\w{2,16})[ \]]")

_SANDBOX_REASONS = frozenset({"FailedCreatePodSandBox", "FailedKillPod", "FailedPodSandBoxStatus"})
_SANDBOX_WORDS = ("sandbox", "networkplugin", "cni", "plugin type=", "clusterinformation", "ipam", "network for pod")
_VOLUME_REASONS = frozenset(
    {
        *("FailedMount", "FailedMapVolume", "FailedUnMount", "FailedUnmount", "FailedUnmapDevice"),
        *("FailedAttachVolume", "FailedDetachVolume", "ProvisioningFailed", "FailedBinding"),
        *("VolumeResizeFailed", "FileSystemResizeFailed", "VolumeFailedDelete", "VolumeFailedRecycle"),
    }
)
FAILURE_REASONS = _SANDBOX_REASONS | _VOLUME_REASONS
"""Reasons of events that tell of a failure to mount, or to start a sandbox, whatever their message says."""
_GROWTH_REASONS = frozenset({"VolumeResizeFailed", "FileSystemResizeFailed"})
_CLAIM_REASONS = frozenset(
    {"FailedBinding", "ClaimLost", "ClaimMisbound", "VolumeMismatch", "WaitForFirstConsumer", "WaitForPodScheduled"}
)
KNOWN_REASONS = FAILURE_REASONS | _GROWTH_REASONS | _CLAIM_REASONS
"""Reasons that say what a message is about; another one may be a guess, so one in the text (a line of a table) goes before."""
_VOLUME_WORDS = ("volume", "csi", "pvc", "storageclass", "rbd: ", "rbd image", "grpc error")


_CONTAINER_WORDS = (
    *("createcontainererror", "containermetadata", "startcontainer", "killcontainer", "stopcontainer"),
    *("from runtime service failed", "error determining status", "genericpleg", "listcontainers", "listpodsandbox"),
    *("createctr", "runtimeservice/"),
)


class Parsed(msgspec.Struct, frozen=True):
    """A message without its wrappers, and what the wrappers said. Fields that were not found are empty or None.

    text: readable, capped, quotes made plain; folded: the same in lower case; inner: the lower-case innermost error;
    operation: kubelet's (`mountvolume.setup`) or the CSI call; codes: gRPC codes, lower case, outermost first;
    command, exit_status, errno: the program that failed and how; fstype: of a mount; about: any of "volume",
    "sandbox", "container", "growth", "claim".
    """

    text: str
    folded: str
    inner: str
    reason: str
    operation: str
    codes: tuple[str, ...]
    command: str
    exit_status: int | None
    errno: int | None
    fstype: str
    about: frozenset[str]


def parse(message: str, reason: str | None = None) -> Parsed:
    """Unwrap a message. `reason` is the event's reason, where there is one; else one that the text gives. Never raises."""
    text = readable(message)
    folded = text.lower()
    command, status = _command(text)
    operation = _group(_OPERATION, text).lower()
    reason = reason if reason in KNOWN_REASONS else _group(_REASON, text) or reason or ""
    return Parsed(
        text=text,
        folded=folded,
        inner=_inner(folded),
        reason=reason,
        operation=operation,
        codes=tuple(match.group(1).lower() for match in islice(_CODE.finditer(text), WRAPPERS_READ)),
        command=command,
        exit_status=status,
        errno=_number(_group(_ERRNO, text)),
        fstype=_group(_FSTYPE, text).lower(),
        about=_about(folded, reason, operation),
    )


def readable(message: str) -> str:
    """The part of a message that is examined: capped, without controls and escapes, with plain quotes."""
    if len(message) > HEAD + TAIL:
        message = f"{message[:HEAD]}\n{message[-TAIL:]}"
    plain = message.translate(_PLAIN).replace("\\n", " ").replace("\\t", " ").replace("\\", "")
    return " ".join(plain.split())


def _inner(folded: str) -> str:
    """What stands behind the last wrapper, without the punctuation around it."""
    _, mark, behind = folded.rpartition(" desc = ")
    inner = behind if mark else folded.rpartition('" : ')[2]
    return inner.strip(" .:;\"'")


def _command(text: str) -> tuple[str, int | None]:
    """The program that failed, without its folder, and its exit status."""
    if found := _CSI_COMMAND.search(text):
        status, program = found.groups()
    elif found := _ROOK_COMMAND.search(text) or _KUBELET_COMMAND.search(text):
        program, status = found.groups()
    elif found := _EXIT.search(text):
        program, status = "", found.group(1)
    else:
        return "", None
    return program.rpartition("/")[2].lower().rstrip(":"), _number(status)


def _about(folded: str, reason: str, operation: str) -> frozenset[str]:
    about = set()
    if reason in _SANDBOX_REASONS or any(word in folded for word in _SANDBOX_WORDS):
        about.add("sandbox")
    if reason in _VOLUME_REASONS or any(word in folded for word in _VOLUME_WORDS):
        about.add("volume")
    if reason in _GROWTH_REASONS or "expandvolume" in operation:
        about.add("growth")
    if reason in _CLAIM_REASONS:
        about.add("claim")
    if reason == "Failed" or any(word in folded for word in _CONTAINER_WORDS):
        about.add("container")
    return frozenset(about)


def _group(pattern: re.Pattern[str], text: str) -> str:
    """The first group that took part in the first match; "" without one."""
    match = pattern.search(text)
    return next((group for group in match.groups() if group), "") if match else ""


def _number(digits: str) -> int | None:
    # `\d` also matches digits of other scripts, which no program prints as its status.
    return int(digits) if digits.isascii() and digits.isdigit() else None

"""Takes keys and passwords out of texts that others wrote: old kubelets print the arguments of `mount` in their events.

What is read is shown to people, kept and posted, so a secret must not get any further than the decoder.
"""

import re

import msgspec

HIDDEN = "***"
_LONGEST = 4096  # characters of a value: bounds what one match may look at
_WORDS = r"secret|passwd|password|pass|token|access[_-]?key|secret[_-]?key|api[_-]?key|key|credentials?"
# mount's and ceph's options (`secret=AQ...`, `--key AQ...`), a header, an address with a password, and a bare cephx key,
# which is base64 of 28 bytes that begin with its type (https://docs.ceph.com/en/latest/dev/cephx/).
_SECRETS = (
    re.compile(rf"(?i)(?<![\w-])((?:{_WORDS})=)(?!\*\*\*)[^\s,;\"'\])]{{1,{_LONGEST}}}"),
    re.compile(rf"(?i)(?<![\w-])(--?(?:{_WORDS})[ =])(?!\*\*\*)[^\s,;\"'\])]{{1,{_LONGEST}}}"),
    re.compile(rf"(?i)\b((?:bearer|basic) )[A-Za-z0-9._~+/=-]{{8,{_LONGEST}}}"),
    re.compile(r"(://[^\s/:@]{1,256}:)[^\s/@]{1,256}(?=@)"),
    re.compile(r"()(?<![A-Za-z0-9+/])AQ[A-Za-z0-9+/]{36}==(?![A-Za-z0-9+/=])"),
)
_HINTS = ("=", "--", "earer ", "asic ", "://", "AQ", " -")


def redacted(text: str) -> str:
    """The text with the values of keys, passwords and tokens replaced by `***`; names and all else stay."""
    if not any(hint in text for hint in _HINTS):
        return text
    for pattern in _SECRETS:
        text = pattern.sub(rf"\g<1>{HIDDEN}", text)
    return text


def redact(struct: msgspec.Struct, field: str = "message") -> None:
    """Redact a text field of a struct that is being made. (Frozen ones are not for anybody else to change.)"""
    text = getattr(struct, field)
    if text:
        msgspec.structs.force_setattr(struct, field, redacted(text))

"""Ceph's binary encoding, as far as its replies use it: little-endian numbers, counted text, versioned structs.

A reply may be cut or be junk. Whatever the bytes are, only MalformedReply leaves this module.
"""

import struct


class MalformedReply(ValueError):
    """Bytes that are not what they should be: one sentence that says where they stop making sense."""


class Reader:
    """Reads an encoded reply from front to back. `what` names it in the error: `the reply to get_info`."""

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._what = what
        self._at = 0

    @property
    def left(self) -> int:
        """How many bytes are still unread."""
        return len(self._data) - self._at

    def broken(self, why: str) -> MalformedReply:
        """The error for what was found at the present place."""
        return MalformedReply(f"{self._what} does not make sense at byte {self._at} of {len(self._data)}: {why}")

    def take(self, size: int, part: str) -> bytes:
        """The next `size` bytes, which hold `part`."""
        if size > self.left:
            raise self.broken(f"{part} needs {size} bytes and {self.left} are left")
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken

    def _number(self, form: str, part: str) -> int:
        value: int = struct.unpack(form, self.take(struct.calcsize(form), part))[0]
        return value

    def u8(self, part: str) -> int:
        """An unsigned byte."""
        return self._number("<B", part)

    def u32(self, part: str) -> int:
        """An unsigned number of four bytes."""
        return self._number("<I", part)

    def u64(self, part: str) -> int:
        """An unsigned number of eight bytes."""
        return self._number("<Q", part)

    def s64(self, part: str) -> int:
        """A signed number of eight bytes."""
        return self._number("<q", part)

    def text(self, part: str) -> str:
        """Counted text. Ceph would allow any bytes; names that are not UTF-8 could not be said again faithfully."""
        raw = self.take(self.u32(f"the length of {part}"), part)
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise self.broken(f"{part} is not UTF-8") from None

    def struct(self, part: str, understood: int = 1) -> "Reader":
        """The inside of a versioned struct. What newer releases append is left unread in it.

        Raises:
            MalformedReply: it is cut, or only readers of a later version than `understood` may read it.
        """
        self.u8(f"the version of {part}")
        compat = self.u8(f"the version that {part} needs")
        if compat > understood:
            raise self.broken(f"{part} has a format of version {compat}, and only {understood} is known")
        size = self.u32(f"the length of {part}")
        return Reader(self.take(size, part), f"{part} in {self._what}")

    def end(self) -> None:
        """Make sure that nothing follows.

        Raises:
            MalformedReply: bytes are left over.
        """
        if self.left:
            raise self.broken(f"{self.left} bytes follow its end")


def u8(value: int) -> bytes:
    """Encode an unsigned byte."""
    return struct.pack("<B", value)


def u32(value: int) -> bytes:
    """Encode an unsigned number of four bytes."""
    return struct.pack("<I", value)


def u64(value: int) -> bytes:
    """Encode an unsigned number of eight bytes."""
    return struct.pack("<Q", value)


def s64(value: int) -> bytes:
    """Encode a signed number of eight bytes."""
    return struct.pack("<q", value)


def text(value: str) -> bytes:
    """Encode counted text."""
    raw = value.encode()
    return u32(len(raw)) + raw


def versioned(*parts: bytes, version: int = 1, compat: int = 1) -> bytes:
    """Encode a versioned struct."""
    body = b"".join(parts)
    return u8(version) + u8(compat) + u32(len(body)) + body

"""Files, the current way: an address is asked for, the bytes are posted there, and then the file is shared.

Pure. Facts: docs.slack.dev/reference/methods/files.getUploadURLExternal and .completeUploadExternal, as of 2026. That a
file appears in a channel only after the last call is answered, and without a `ts` in the answer, is Slack's way.
"""

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bot.sandbox.slack.methods.arguments import LONGEST_TEXT, Method, decoded, number, required
from bot.sandbox.slack.methods.chat import thread
from bot.sandbox.slack.methods.shown import of_file
from bot.sandbox.slack.refusals import Refused
from bot.sandbox.slack.state import Channel, File, Message, Object, State

LARGEST = 1024**3
LONGEST_ALT = 1000


@dataclass
class _Upload:
    """A file on its way: `file` once its bytes are there, `shared` once the upload was completed."""

    id: str
    name: str
    length: int
    alt_text: str
    file: File | None = None
    shared: bool = False


class Files:
    """Uploads under way and files that were shared.

    Args:
        state: channels and messages.
        url: the workspace's address, below which files are taken.
    """

    def __init__(self, state: State, url: Callable[[], str]) -> None:
        self._state, self._url = state, url
        self._uploads: dict[str, _Upload] = {}
        self._addresses: dict[str, str] = {}

    @property
    def known(self) -> Mapping[str, Method]:
        """The methods by name."""
        return {
            "files.getUploadURLExternal": self._get_url,
            "files.completeUploadExternal": self._complete,
            "files.info": self._info,
        }

    def take(self, secret: str, content: bytes) -> int:
        """Take bytes that were posted to an upload address: the HTTP status to answer."""
        upload = self._uploads.get(self._addresses.get(secret, ""))
        if upload is None or upload.shared:
            return 404
        if len(content) != upload.length:
            return 400
        upload.file = File(upload.id, upload.name, upload.name, content, upload.alt_text)
        return 200

    def has(self, which: str) -> bool:
        """Whether there is a file of this id, private address or permalink that a block may show."""
        for upload in self._uploads.values():
            if upload.file is not None and upload.shared:
                about = of_file(self._state, upload.file, self._state.bot.id)
                if which in (about["id"], about["url_private"], about["permalink"]):
                    return True
        return False

    def _get_url(self, given: Object) -> Object:
        required(given, "filename", "length")
        length = int(number(given["length"]))
        if length <= 0:
            raise Refused("missing_argument")
        if length > LARGEST:
            raise Refused("file_upload_size_restricted")
        alt_text = str(given.get("alt_txt") or "")
        if len(alt_text) > LONGEST_ALT:
            raise Refused("alt_txt_too_large")
        secret, made = secrets.token_urlsafe(24), f"F0{len(self._uploads) + 1:08d}"
        self._uploads[made] = _Upload(made, str(given["filename"]), length, alt_text)
        self._addresses[secret] = made
        return {"upload_url": f"{self._url()}upload/v1/{secret}", "file_id": made}

    def _complete(self, given: Object) -> Object:
        required(given, "files")
        wanted = decoded(given["files"], list, "invalid_arguments")
        uploads = [self._uploaded(each) for each in wanted]
        text = str(given.get("initial_comment") or "")
        if len(text) > LONGEST_TEXT:
            raise Refused("msg_too_long")
        channels = self._channels(given)
        for upload, each in zip(uploads, wanted, strict=True):
            title = str(each.get("title") or upload.name)
            upload.file = File(
                upload.id, upload.name, title, upload.file.content if upload.file else b"", upload.alt_text
            )
            upload.shared = True
        files = [upload.file for upload in uploads if upload.file is not None]
        for channel, root in channels:
            self._state.post(channel.id, self._state.bot.id, text, thread_ts=root, files=files)
        return {"files": [{"id": file.id, "title": file.title} for file in files]}

    def _uploaded(self, wanted: object) -> _Upload:
        upload = self._uploads.get(str(wanted.get("id"))) if isinstance(wanted, dict) else None
        if upload is None or upload.file is None or upload.shared:
            raise Refused("file_not_found")
        return upload

    def _channels(self, given: Object) -> list[tuple[Channel, str | None]]:
        """Where to share: nowhere, one channel and maybe a thread of it, or several channels."""
        several = [each.strip() for each in str(given.get("channels") or "").split(",") if each.strip()]
        wanted = [given["channel_id"]] if given.get("channel_id") else several
        if len(wanted) > 1 and given.get("thread_ts"):
            raise Refused("invalid_arguments", ["[ERROR] one channel only with thread_ts"])
        found = []
        for each in wanted:
            channel = self._state.find(each)
            if not channel.has_bot:
                raise Refused("not_in_channel")
            if channel.archived:
                raise Refused("is_archived")
            found.append((channel, thread(self._state, channel, given)))
        return found

    def _info(self, given: Object) -> Object:
        """Where a file was shared, which the answer to an upload does not tell."""
        required(given, "file")
        upload = self._uploads.get(str(given["file"]))
        if upload is None or upload.file is None or not upload.shared:
            raise Refused("file_not_found")
        shares: dict[str, dict[str, list[Object]]] = {}
        for channel in self._state.channels.values():
            said = [_share(m) for m in self._state.messages(channel.id) if upload.id in [f.id for f in m.files]]
            if said:
                shares.setdefault("private" if channel.private or channel.with_user else "public", {})[channel.id] = (
                    said
                )
        about = of_file(self._state, upload.file, self._state.bot.id) | {"shares": shares}
        copy: Object = json.loads(json.dumps({"file": about}))
        return copy


def _share(message: Message) -> Object:
    return {"ts": message.ts, **({"thread_ts": message.thread_ts} if message.thread_ts else {})}

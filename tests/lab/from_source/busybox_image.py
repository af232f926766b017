"""Write a container image that consists of a static busybox: pause image and workload of a real kubelet.

Usage: busybox_image.py BUSYBOX IMAGE.tar. The image is in the format of `docker save`, which containerd imports.
"""

import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path

NAMES = ["lab.invalid/busybox:1", "lab.invalid/app:1", "lab.invalid/app:2"]
FOLDERS = ["bin", "dev", "etc", "proc", "sys", "tmp"]
COMMANDS = ["cat", "df", "echo", "env", "false", "id", "ls", "mount", "ps", "sh", "sleep", "touch", "true"]


def put(archive: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    archive.addfile(entry, io.BytesIO(data))


def layer(busybox: bytes) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        for folder in FOLDERS:
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        put(archive, "bin/busybox", busybox, 0o755)
        for command in COMMANDS:
            entry = tarfile.TarInfo(f"bin/{command}")
            entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
            archive.addfile(entry)
        put(archive, "etc/passwd", b"root:x:0:0:root:/:/bin/sh\n")
    return written.getvalue()


def main() -> int:
    busybox, image = map(Path, sys.argv[1:])
    content = layer(busybox.read_bytes())
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Env": ["PATH=/bin"], "Cmd": ["/bin/sleep", "1000000"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(content).hexdigest()}"]},
        }
    ).encode()
    name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": NAMES, "Layers": ["layer.tar"]}]
    with tarfile.open(image, "w") as archive:
        put(archive, name, config)
        put(archive, "layer.tar", content)
        put(archive, "manifest.json", json.dumps(manifest).encode())
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

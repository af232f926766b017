"""Adapt Kubernetes 1.20.2's source so that it compiles with Debian 12's Go and runs on a loopback alone.

Each change is small, and fails loudly where the source is not what it was made for. Usage: adapt.py SOURCE DEBIAN,
where DEBIAN is a folder with Debian's Go packages unpacked.
"""

import shutil
import sys
from pathlib import Path
from typing import NamedTuple


class Change(NamedTuple):
    """A text that occurs once in a file of the source, and what takes its place."""

    file: str
    old: str
    new: str


_HOLLOW_KUBELET = "pkg/kubemark/hollow_kubelet.go"
_FAKE_RUNTIME = "pkg/kubelet/cri/remote/fake/endpoint.go"
_TEMPORARY = "test/utils/tmpdir.go"

CHANGES = [
    # A hollow kubelet listens on the loopback only, and has its node's address there.
    Change(_HOLLOW_KUBELET, 'c.Address = "0.0.0.0"', 'c.Address = "127.0.0.1"'),
    Change(
        _HOLLOW_KUBELET,
        "f.HostnameOverride = opt.NodeName\n",
        'f.HostnameOverride = opt.NodeName\n\tf.NodeIP = "127.0.0.1"\n',
    ),
    Change("pkg/kubelet/kubelet_node_status.go", "if nodeIP.IsLoopback() {", "if false && nodeIP.IsLoopback() {"),
    # It leaves attaching to the controller, as nodes do, and sends Events, which the original keeps to itself.
    Change(_HOLLOW_KUBELET, "c.EnableControllerAttachDetach = false", "c.EnableControllerAttachDetach = true"),
    Change(
        _HOLLOW_KUBELET,
        "HeartbeatClient:      heartbeatClient,\n",
        "HeartbeatClient:      heartbeatClient,\n\t\tEventClient:          client.CoreV1(),\n",
    ),
    # Each keeps its scratch folder and its fake runtime's socket in its own $TMPDIR instead of sharing one in /tmp.
    Change(_TEMPORARY, 'baseDir = "/tmp"', "baseDir = os.TempDir()"),
    Change(_TEMPORARY, '"io/ioutil"\n', '"io/ioutil"\n\t"os"\n'),
    Change(_FAKE_RUNTIME, "const (\n", 'import "os"\n\nconst (\n'),
    Change(_FAKE_RUNTIME, '"unix:///tmp/kubelet_remote.sock"', '"/kubelet_remote.sock"'),
    Change(
        _FAKE_RUNTIME, "return defaultUnixEndpoint, nil", 'return "unix://" + os.TempDir() + defaultUnixEndpoint, nil'
    ),
]

# The vendored 1.0.1 reads Go's maps in a way that crashes with Go 1.18 and later; Debian has 1.0.2.
REFLECT2 = "github.com/modern-go/reflect2"


def replace_reflect2(source: Path, debian: Path) -> None:
    vendored, good = source / "vendor" / REFLECT2, debian / "usr/share/gocode/src" / REFLECT2
    for file in [*vendored.glob("*.go"), *vendored.glob("*.s")]:
        file.unlink()
    for file in [*good.glob("*.go"), *good.glob("*.s")]:
        if not file.name.endswith("_test.go"):
            shutil.copy(file, vendored)


def main() -> int:
    source, debian = map(Path, sys.argv[1:])
    replace_reflect2(source, debian)
    for change in CHANGES:
        file = source / change.file
        text = file.read_text()
        if text.count(change.old) != 1:
            print(
                f"{change.file}: expected {change.old!r} once; is this another version of Kubernetes?", file=sys.stderr
            )
            return 1
        file.write_text(text.replace(change.old, change.new))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

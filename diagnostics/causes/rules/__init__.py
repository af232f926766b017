"""The rules in the order of precedence: the first that holds names the cause.

Specific stands before general, and who speaks before what is quoted:

1.  `ordinary`: what is not ours (pulls, probes, records of calls), because its words resemble ours.
2.  Registration: without a driver on the node nothing that is quoted from it can be newer.
3.  The secrets store, then the sandbox's network: both quote other systems (clouds, the API server) inside their errors.
4.  The runtime, behind the network: its time-outs stand around the plugins' errors.
5.  The kubelet's own objects, growth and subPaths: named exactly by the kubelet.
6.  Ceph in words: locks before the image, the image before configuration and credentials.
7.  Calls and attachments of any driver.
8.  Missing helpers and stale mounts, then Ceph's bare errno, which several faults share.
9.  What mount, fsck and mkfs print, and paths.
10. Claims, time-outs of calls, and last the umbrella, whose words surround all others.
"""

from diagnostics.causes.model import Rule
from diagnostics.causes.rules.attachment import ATTACHMENT
from diagnostics.causes.rules.ceph import IMAGE, LOCKS
from diagnostics.causes.rules.ceph_access import ACCESS
from diagnostics.causes.rules.ceph_errno import ERRNO
from diagnostics.causes.rules.csi import CALLS, EXPANSION, REGISTRATION, TIMEOUTS
from diagnostics.causes.rules.disks import DISK
from diagnostics.causes.rules.kubelet import CLAIMS, OBJECTS, UMBRELLA
from diagnostics.causes.rules.mounts import BUSY, REMOTE
from diagnostics.causes.rules.network import NETWORK
from diagnostics.causes.rules.ordinary import ORDINARY
from diagnostics.causes.rules.paths import PATHS, SUBPATH
from diagnostics.causes.rules.runtime import RUNTIME
from diagnostics.causes.rules.secrets_store import SECRETS_STORE

RULES: tuple[Rule, ...] = (
    *ORDINARY,
    *REGISTRATION,
    *SECRETS_STORE,
    *NETWORK,
    *RUNTIME,
    *OBJECTS,
    *EXPANSION,
    *SUBPATH,
    *LOCKS,
    *IMAGE,
    *ACCESS,
    *CALLS,
    *ATTACHMENT,
    *REMOTE,
    *ERRNO,
    *BUSY,
    *DISK,
    *PATHS,
    *CLAIMS,
    *TIMEOUTS,
    *UMBRELLA,
)

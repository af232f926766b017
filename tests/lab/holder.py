"""The child process behind `clients.Client`: opens one RBD image, holds it, and tells its parent in JSON lines.

It is run as a script, so that it imports nothing but Ceph's bindings, and it never outlives its time. It does not
repair what goes wrong: the first error is told, with its errno, and ends it, as an I/O error ends the work of a node.
"""

import argparse
import json
import signal
import time

import rados
import rbd

WRITE_EVERY = 0.02  # seconds
TELL_EVERY = 0.2  # seconds
BLOCK = 512  # bytes
BLOCKS = 1000


def tell(event: str, **about: object) -> None:
    print(json.dumps({"event": event, **about}), flush=True)


def write_on(image: rbd.Image) -> None:
    """Write block after block, round and round, until somebody ends this process or a write fails."""
    writes, told = 0, 0.0
    while True:
        image.write(writes.to_bytes(8, "little") * (BLOCK // 8), BLOCK * (writes % BLOCKS))
        writes += 1
        if time.monotonic() - told >= TELL_EVERY:
            tell("writing", writes=writes)
            told = time.monotonic()
        time.sleep(WRITE_EVERY)


def hold(image: rbd.Image, mode: str) -> None:
    """Hold the image until SIGTERM comes, and then close it, so that its watch goes at once."""

    def leave(number: int, frame: object) -> None:
        raise SystemExit

    signal.signal(signal.SIGTERM, leave)
    try:
        if mode == "write":
            write_on(image)
        while True:
            signal.pause()
    except SystemExit:
        image.close()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("mode", choices=["write", "watch"])
    for name in ("conf", "user", "pool", "namespace", "image"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--life", type=int, required=True, help="seconds")
    args = parser.parse_args()
    signal.alarm(args.life)  # the default action of the alarm ends the process, whatever it hangs in
    # The time-out of an OSD operation is this process's life: a stalled OSD makes a node's writer wait, not fail.
    bounds = {"client_mount_timeout": "15", "rados_mon_op_timeout": "20", "rados_osd_op_timeout": str(args.life)}
    try:
        cluster = rados.Rados(conffile=args.conf, name=args.user, conf=bounds)
        cluster.connect()
        pool = cluster.open_ioctx(args.pool)
        pool.set_namespace(args.namespace)
        image = rbd.Image(pool, args.image)
        tell("open", client=cluster.get_instance_id(), addresses=cluster.get_addrs())
        hold(image, args.mode)
    except (rados.Error, rbd.Error) as error:
        tell("error", errno=error.errno, message=str(error))
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

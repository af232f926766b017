"""Closes a connection under the calls of many threads, in a process of its own: what may die of it must not be the tests.

Arguments: the ceph.conf, a pool with the image `watched`, and how many times. It prints one line for each time:
how many calls went well, and the errnos of those that did not.
"""

import sys
import threading
from collections import Counter
from collections.abc import Callable

from diagnostics.sources.ceph import cls_lock
from diagnostics.sources.ceph.librados import LibRados, Timeouts
from diagnostics.sources.ceph.rados import RadosError


def main(conf: str, pool: str, times: int) -> None:
    oids = [f"rbd_header.{number}" for number in range(500)]
    request = cls_lock.encode_get_info()
    for _ in range(times):
        rados = LibRados(conf, timeouts=Timeouts(mount=5, mon=3, osd=3, batch=4)).connect()
        well, refused = Counter[str](), Counter[int]()
        begun = threading.Semaphore(0)

        def batch(rados: LibRados = rados) -> None:
            for answer in rados.execute_each(pool, "", oids, "lock", "get_info", request):
                if isinstance(answer, RadosError) and answer.errno != 2:
                    raise answer

        calls: list[Callable[[], object]] = [
            batch,
            lambda rados=rados: rados.omap(pool, "", "rbd_directory", ""),
            lambda rados=rados: rados.watchers(pool, "", "watched"),
            lambda rados=rados: rados.mon({"prefix": "osd dump"}),
            lambda rados=rados: rados.own_ips(),
            rados.wait_for_map,
        ]

        def work(
            call: Callable[[], object],
            well: Counter[str] = well,
            refused: Counter[int] = refused,
            begun: threading.Semaphore = begun,
        ) -> None:
            while not refused[107]:
                try:
                    call()
                    well["calls"] += 1
                except RadosError as error:
                    refused[error.errno] += 1
                begun.release()

        threads = [threading.Thread(target=work, args=[call]) for call in calls * 2]
        for thread in threads:
            thread.start()
        for _ in range(30):
            begun.acquire()
        rados.close()
        for thread in threads:
            thread.join(20)
        assert not any(thread.is_alive() for thread in threads)
        print(well["calls"], sorted(refused), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))

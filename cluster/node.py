"""A Ray of one node on this machine, whose control service (GCS) is started again when it dies.

The GCS knows which actors there are and has lost ones replaced. No token passes through it, so texts go on
without it; but Ray's other processes give up when it stays away for a minute.
"""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

log = logging.getLogger(__name__)

GCS = "gcs_server"  # Ray's name for it
_LOOK_SECONDS = 0.1
_LAST_SECONDS = 2.0  # at most, between a death and the next start


@contextmanager
def one_node(folder: Path, **options: Any) -> Iterator[None]:
    """Ray, started with `options` of ray.init, as long as this lasts.

    What the GCS knows is in files in `folder`: they need to outlive it, and not this node.
    """
    storage = folder / "gcs"
    storage.mkdir(mode=0o700)
    known = {"gcs_storage": "rocksdb", "gcs_storage_path": str(storage)}
    ray.init(_temp_dir=str(folder), _system_config=known, **options)
    keeper = _Keeper()
    try:
        yield
    finally:
        with keeper.leaving():
            ray.shutdown()


class _Keeper:
    """A thread that looks after the GCS. The kernel ends a GCS with the thread that started it, so this one
    ends behind Ray."""

    def __init__(self) -> None:
        self._node: Any = ray._private.worker._global_node
        self._at_work = threading.Lock()
        self._left, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._keep, name="gcs", daemon=True)
        self._thread.start()

    @contextmanager
    def leaving(self) -> Iterator[None]:
        """Whatever dies from here on stays dead."""
        with self._at_work:
            self._left.set()
        yield
        self._over.set()
        self._thread.join()

    def _keep(self) -> None:
        pause = _LOOK_SECONDS
        began = time.monotonic()
        while not self._left.wait(pause):
            pause = _LOOK_SECONDS
            with self._at_work:
                process = self._node.all_processes[GCS][0].process
                if self._left.is_set() or process.poll() is None:
                    continue
                log.warning("Ray's control service ended with %s; it is started again", process.returncode)
                self._node.kill_gcs_server(check_alive=False)  # which forgets it, or it could not be started
                self._node.start_gcs_server()  # on the port it had
            lasted = time.monotonic() - began > _LAST_SECONDS
            pause, began = _LOOK_SECONDS if lasted else _LAST_SECONDS, time.monotonic()
        self._over.wait()

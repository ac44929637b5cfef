"""Worker processes of a DataLoader: begun as we want them, and ended when no longer needed.

Torch ends them when the loader's iterator is collected, which a traceback that holds it puts off
for as long as it is held itself. There is no public way to do it at once, nor to learn which worker
is waited for, nor to read a loader in another order; so this module, and no other, uses private
names of torch (the same from 2.4 to 2.13).
"""

# ruff: noqa: SLF001

import copy
import faulthandler
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any, final

from torch.utils.data import DataLoader, get_worker_info
from torch.utils.data.dataloader import _BaseDataLoaderIter, _MultiProcessingDataLoaderIter

from lt_data.fetching import Fetch

_STACKS = getattr(signal, "SIGUSR2", None)
"""The signal at which a worker writes its stack to standard error."""


def is_loader_iterator(iterator: Any) -> bool:
    """Return whether this is what ``iter()`` makes of a DataLoader."""
    return isinstance(iterator, _BaseDataLoaderIter)


def has_nothing_more(iterator: Any) -> bool:
    """Return whether a DataLoader without workers has seen its iterable dataset end already.

    A last batch that is not full was ended by it. After a full one that is not known yet.
    """
    fetcher = getattr(iterator, "_dataset_fetcher", None) if is_loader_iterator(iterator) else None
    return bool(getattr(fetcher, "ended", False))


def reads_like_torch(loader: Any) -> bool:
    """Return whether this is a DataLoader that is read as torch's own class does it."""
    own = ("__iter__", "_get_iterator", "_index_sampler", "_auto_collation")
    return isinstance(loader, DataLoader) and all(
        getattr(type(loader), name) is getattr(DataLoader, name) for name in own
    )


def end_workers_of(iterator: Any) -> None:
    """End the workers that serve one iterator, unless they are to serve the next one too."""
    if isinstance(iterator, _MultiProcessingDataLoaderIter) and not iterator._persistent_workers:
        _end(iterator)


def end_persistent_workers(loader: Any) -> None:
    """End the workers that a DataLoader keeps; when it is read again, it starts new ones."""
    if not isinstance(loader, DataLoader):
        return
    iterator = loader._iterator
    if isinstance(iterator, _MultiProcessingDataLoaderIter):
        _end(iterator)
        loader._iterator = None  # a reader would wait forever for workers that are gone


def _end(iterator: _MultiProcessingDataLoaderIter) -> None:
    iterator._shutdown_workers()
    for worker in iterator._workers:
        if worker.is_alive():  # it hangs where no other signal reaches it
            worker.kill()
            worker.join()


def without_workers(loader: DataLoader[Any]) -> DataLoader[Any]:
    """Let the copy of a loader forget the workers that serve the original, and return it."""
    loader._iterator = None
    return loader


def copied(loader: DataLoader[Any], **replaced: Any) -> DataLoader[Any]:
    """Return a copy of a loader with other parts, workers of its own, and what those do first."""
    twin = without_workers(copy.copy(loader))
    vars(twin).update(replaced)  # past the loader's own check that nobody sets them later
    twin.worker_init_fn = _Begin(loader.worker_init_fn)
    return twin


@final
class _Begin:
    """What a worker does first: it looks after its parent, then calls what the user gave."""

    def __init__(self, then: Any) -> None:
        self._then = then

    def __call__(self, worker: int) -> None:
        parent = multiprocessing.parent_process()  # as of before the fork: it may be gone by now
        pid = os.getppid() if parent is None or parent.pid is None else parent.pid
        threading.Thread(target=_die_with, args=(pid,), daemon=True).start()
        if _STACKS is not None:
            faulthandler.register(_STACKS, file=2, all_threads=True)
        info = get_worker_info()
        if info is not None and isinstance(info.dataset, Fetch):
            object.__setattr__(info, "dataset", info.dataset.given)  # as the user expects
        if self._then is not None:
            self._then(worker)


def _die_with(parent: int) -> None:
    """End this process when its parent is gone, also while it hangs in a sample."""
    direct = os.getppid() == parent  # else a fork server's, or that of a parent that is gone
    while os.getppid() == parent if direct else _exists(parent):
        time.sleep(1)
    os._exit(1)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def began(loader: DataLoader[Any], timeout: float) -> Iterator[Any]:
    """Begin to read a loader, with a limit to how long its workers may keep us waiting.

    Args:
        loader: which one. It is left as it is.
        timeout: seconds, where the loader has workers and no limit of its own.
    """
    own = loader.timeout
    if loader.num_workers and not own:
        loader.timeout = timeout
    try:
        return iter(loader)
    finally:
        loader.timeout = own


def explained(error: RuntimeError, iterator: Any, name: str) -> RuntimeError | None:
    """Return what to tell of workers that hang or were killed; None where it is another error."""
    told = str(error)
    if not isinstance(iterator, _MultiProcessingDataLoaderIter):
        return None
    if told.startswith("DataLoader timed out"):
        number, pid = _awaited(iterator)
        _write_stack(iterator, pid)
        return RuntimeError(
            f"A worker of a {name} loader hands over a batch within {iterator._timeout:g} seconds. "
            f"Worker {number} (pid {pid}) did not; where it hangs is on standard error. Look at "
            "what its dataset waits for (a lock, a file, a network), or allow more: DataLoader("
            "timeout=seconds) or TorchFeed(timeout=seconds), where 0 waits without end."
        )
    if told.startswith("DataLoader worker"):
        return RuntimeError(
            f"Workers of a {name} loader live as long as they are needed. Received: "
            f"{told.rstrip('. ')}. The usual cause is that memory ran out: take fewer workers, a "
            "smaller prefetch_factor or smaller batches. num_workers=0 shows what happens in the "
            "dataset itself."
        )
    return None


def _awaited(iterator: _MultiProcessingDataLoaderIter) -> tuple[int, int | None]:
    number = int(iterator._task_info[iterator._rcvd_idx][0])
    return number, iterator._workers[number].pid


def _write_stack(iterator: _MultiProcessingDataLoaderIter, pid: int | None) -> None:
    """Let a worker of ours write where it is; others would be ended by the signal."""
    if isinstance(iterator._worker_init_fn, _Begin) and _STACKS is not None and pid is not None:
        os.kill(pid, _STACKS)
        time.sleep(0.2)  # it is ended right after

"""Claiming a folder of a remote store, which has no lock: can it be written, what lies around?"""

import logging

from lt_checkpoint import manifest as manifests
from lt_checkpoint.disk import Disk
from lt_checkpoint.places import EXTENSION

log = logging.getLogger("lt_checkpoint")

PROBE = ".writable"
"""The name of a file that is written and deleted, to learn whether that is possible."""


def enter(disk: Disk, folder: str, *, take_over: bool) -> None:
    """Look whether a run can save into a folder, and at what others did not finish.

    Args:
        disk: the store.
        folder: the folder.
        take_over: whether no other run writes into it, so that what is not finished never will be.

    Raises:
        OSError: it can't be written.
    """
    _probe(disk, folder)
    for name in unfinished(disk, folder):
        path = disk.join(folder, name)
        if take_over:
            log.warning("deleting %s, which a run did not finish", path)
            disk.remove(path)
        else:
            log.warning("%s is not finished: its run still writes it, or has ended", path)


def unfinished(disk: Disk, folder: str) -> list[str]:
    """Return the names of checkpoints of which there are files, and no manifest yet or no more."""
    found = []
    for name in disk.names(folder):
        if not name.endswith(EXTENSION):
            continue
        files = disk.names(disk.join(folder, name))
        if files and all(map(manifests.is_file_name, files)):
            found.append(name)
    return found


def _probe(disk: Disk, folder: str) -> None:
    path = disk.join(folder, PROBE)
    with disk.create(path) as file:
        file.write(memoryview(b"?"))
    try:
        disk.remove(path)
    except OSError as error:  # some may write and not delete, which is enough to save
        log.warning("what is obsolete will stay in %s: %s", folder, error)

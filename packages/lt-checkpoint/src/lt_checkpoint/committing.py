"""Committing: a checkpoint is there, whole, or it is not there.

Locally: everything is written into a stage in the folder that will hold it, each file is flushed,
the stage is flushed, one rename gives it its name, and the folder is flushed. Where nothing can be
renamed, the files get their names at once, and the manifest, written last, makes them a checkpoint.
"""

import contextlib
import logging

from lt_checkpoint import manifest as manifests
from lt_checkpoint import reading, tensor_file
from lt_checkpoint.disk import Disk
from lt_checkpoint.draft import Draft, Table
from lt_checkpoint.errors import DamagedCheckpointError, SaveError
from lt_checkpoint.hashing import Hashing
from lt_checkpoint.manifest import FileRecord, Manifest
from lt_checkpoint.places import hidden, kept_copy, read_hidden
from lt_checkpoint.raw_bytes import bytes_of, tensor_of

log = logging.getLogger("lt_checkpoint")

ROOM_FOR_THE_REST = 1 << 20
"""Bytes for the manifest, the names, and what a file system needs beside the files."""


def prepare(disk: Disk, folder: str, name: str, *, size: int, locked: bool) -> str:
    """Make the folder that files are written into, after looking whether they fit.

    Raises:
        SaveError: the target can't be written, or has too little room.
    """
    target = disk.join(folder, name)
    try:
        disk.make_folder(folder)
        check_ours(disk, target)
        free, needed = disk.free(folder), size + ROOM_FOR_THE_REST
        if free is not None and free < needed:
            raise SaveError(
                f"A checkpoint needs room before it is written. Received {target}, which needs "
                f"{needed:,} bytes where {free:,} are free. Make room, or choose another folder."
            )
        if not disk.renames:
            if disk.exists(target):
                raise SaveError(
                    "A checkpoint in a remote store is not replaced, because that could not be "
                    f"done in one step. Received {target}, which exists. Choose another name, or "
                    "remove it first."
                )
            disk.make_folder(target)
            return target
        stage = disk.join(folder, hidden("stage" if locked else "alone", name))
        disk.make_folder(stage)
    except OSError as error:
        raise failed(target, error) from error
    return stage


def check_ours(disk: Disk, target: str) -> None:
    """Refuse to touch what is there if it is anything else than a checkpoint, whole or not.

    Raises:
        SaveError: it is.
    """
    if not disk.exists(target):
        return
    known = [manifests.NAME, *filter(manifests.is_file_name, disk.names(target))]
    if not disk.is_folder(target) or not set(disk.names(target)) <= set(known):
        raise SaveError(
            "Only checkpoints are replaced and deleted: folders that hold nothing else. Received "
            f"{target}, which is no such folder. Choose another name, or move it away."
        )


def write(disk: Disk, stage: str, draft: Draft) -> dict[str, FileRecord]:
    """Write the files of a draft and flush each; return what they are like."""
    with contextlib.ExitStack() as hashings:
        written = {
            name: _write(disk, disk.join(stage, name), content, hashings)
            for name, content in draft.files.items()
        }
        # Only now: what is hashed still was hashed while the last file was flushed.
        return {
            name: FileRecord(size, hashing.hexdigest()) for name, (size, hashing) in written.items()
        }


def _write(
    disk: Disk, path: str, content: bytes | Table, hashings: contextlib.ExitStack
) -> tuple[int, Hashing]:
    if isinstance(content, bytes):
        parts, in_memory = iter([tensor_of(content)]), True
    else:
        parts = tensor_file.pieces(content.tensors, content.metadata)
        in_memory = all(tensor.is_cpu for tensor in content.tensors.values())
    size, hashing = 0, hashings.enter_context(Hashing(bounded=not in_memory))
    with disk.create(path) as file:
        for part in parts:
            hashing.add(part)
            left = bytes_of(part)
            size += len(left)
            while left:  # the kernel may take less than all, and the error comes with the rest
                left = left[file.write(left) :]
        disk.flush(file)
    return size, hashing


def commit(disk: Disk, folder: str, name: str, *, stage: str, manifest: Manifest) -> None:
    """Write the manifest and give the checkpoint its name. When this returns, it survives."""
    write(disk, stage, Draft({manifests.NAME: manifests.as_text(manifest)}))
    if not disk.renames:
        return
    target = disk.join(folder, name)
    disk.flush_folder(stage)
    kept = None
    if disk.exists(target):
        kept = disk.join(folder, hidden("kept", name))
        disk.rename(target, kept)
        disk.flush_folder(folder)
    disk.rename(stage, target)
    disk.flush_folder(folder)
    if kept is not None:
        _check_successor(disk, folder, target, kept=kept, name=name)
        discard(disk, folder, kept, name)


def _check_successor(disk: Disk, folder: str, target: str, *, kept: str, name: str) -> None:
    """Read what has taken a checkpoint's name; if it is not whole, give the old one its name back.

    Raises:
        SaveError: it is not whole.
    """
    try:
        reading.check(disk, target)
    except DamagedCheckpointError as error:
        gone = disk.join(folder, hidden("gone", name))
        disk.rename(target, gone)
        disk.rename(kept, target)
        disk.flush_folder(folder)
        disk.remove(gone)
        raise SaveError(f"{error} What it was to replace is back.") from error


def abandon(disk: Disk, folder: str, name: str, *, stage: str) -> None:
    """Delete what was written of a checkpoint that failed; one that was set aside comes back."""
    with contextlib.suppress(OSError):  # the disk has just failed; the next start sweeps
        disk.remove(stage)
    if not disk.renames:
        return
    with contextlib.suppress(OSError):
        kept = kept_copy(disk, folder, name)
        if kept is not None and not disk.exists(disk.join(folder, name)):
            disk.rename(kept, disk.join(folder, name))


def discard(disk: Disk, folder: str, path: str, name: str) -> None:
    """Delete a checkpoint. From the first moment on, nothing bears its name.

    Raises:
        SaveError: it is something else.
    """
    check_ours(disk, path)
    if not disk.renames:
        manifest = disk.join(path, manifests.NAME)
        if disk.exists(manifest):
            disk.remove(manifest)  # without it, the rest is no checkpoint
        disk.remove(path)
        return
    gone = disk.join(folder, hidden("gone", name))
    disk.rename(path, gone)
    disk.flush_folder(folder)
    disk.remove(gone)


def sweep(disk: Disk, folder: str, *, locked: bool) -> None:
    """Clear away what processes that have ended left in a folder."""
    if not disk.renames:
        return
    for name in disk.names(folder):
        found = read_hidden(name)
        if found is None or not found.is_abandoned(locked=locked):
            continue
        path, target = disk.join(folder, name), disk.join(folder, found.name)
        if found.kind == "kept" and not disk.exists(target):
            log.warning("%s was being replaced when its run ended; it is back", target)
            disk.rename(path, target)
            disk.flush_folder(folder)
        else:
            log.info("deleting %s, which a run that has ended left behind", path)
            disk.remove(path)


def failed(target: str, error: OSError) -> SaveError:
    """Return the error that says that a checkpoint was not saved."""
    if isinstance(error, SaveError):
        return error
    found = SaveError(
        f"A checkpoint is written whole or not at all. Received {target}, which could not be "
        f"written: {str(error).rstrip('.')}. What was saved before is still there."
    )
    found.errno = error.errno
    return found

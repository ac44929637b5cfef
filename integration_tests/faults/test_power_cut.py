"""A power cut at any instant: what was done is recorded, and replayed up to each point.

What a disk keeps of it is not what a process sees. The content of a file is kept when the file was
flushed, and a name when the folder it is in was flushed: that folder alone. What was not flushed
may be kept or lost, for each file and each folder by itself; within a folder, file systems keep
the order of the changes. So a folder may bear its new name and lack the files that were written
into it, or have them empty.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import pytest
import torch

from lt_checkpoint import FolderStore, folder_store
from lt_checkpoint.disk import LocalDisk
from lt_checkpoint.folder import Folder, Note
from lt_checkpoint.owner import this_process
from lt_checkpoint.places import read_hidden
from lt_checkpoint.reading import check, read
from lt_checkpoint.saver import Saver
from lt_checkpoint.together import Alone

FOLDER = "run/checkpoints"

Operation = tuple[Any, ...]
World = dict[str, bytes | None]
"""Files with their content, folders as None."""


class Recorded:
    """A file that writes down what is written to it."""

    def __init__(self, file: BinaryIO, path: str, log: list[Operation]) -> None:
        self._file, self._path, self._log = file, path, log

    def write(self, data: Any) -> int:
        count = self._file.write(data)
        self._log.append(("write", self._path, bytes(data)[:count]))
        return count

    def flushed(self) -> None:
        self._log.append(("flush", self._path))

    def __enter__(self) -> "Recorded":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


class RecordingDisk:
    """A disk that writes down the order of what is done, under paths from a folder on."""

    renames, removal = True, "remove"

    def __init__(self, top: Path) -> None:
        self._disk, self.top = LocalDisk(), top
        self.log: list[Operation] = []

    def _name(self, path: str) -> str:
        return os.path.relpath(path, self.top)

    def make_folder(self, path: str) -> None:
        places = [Path(path), *Path(path).parents]
        missing = [self._name(str(place)) for place in places if not place.is_dir()]
        self.log += [("folder", name) for name in reversed(missing)]
        LocalDisk.make_folder(self, path)  # type: ignore[arg-type]  # which flushes by this one

    def create(self, path: str) -> Any:
        self.log.append(("create", self._name(path)))
        return Recorded(self._disk.create(path), self._name(path), self.log)

    def flush(self, file: Any) -> None:
        file.flushed()

    def flush_folder(self, path: str) -> None:
        self.log.append(("flush folder", self._name(path)))

    def rename(self, path: str, to: str) -> None:
        self.log.append(("rename", self._name(path), self._name(to)))
        self._disk.rename(path, to)

    def remove(self, path: str) -> None:
        below = os.walk(path, topdown=False)
        names = [os.path.join(folder, name) for folder, _, files in below for name in files]
        self.log += [(self.removal, self._name(name)) for name in (*names, path)]
        self._disk.remove(path)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._disk, name)


class WholeFile(Recorded):
    """A file in a remote store: it is there, whole, when it is closed."""

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._log.append(("put", self._path, Path(self._file.name).read_bytes()))

    def write(self, data: Any) -> int:
        return self._file.write(data)

    def flushed(self) -> None:
        pass


class RecordingStore(RecordingDisk):
    """A remote store that writes down the order of what is done. What was answered is kept."""

    renames, removal = False, "delete"

    def create(self, path: str) -> Any:
        return WholeFile(self._disk.create(path), self._name(path), self.log)


@dataclass(eq=False)
class File:
    """A file on the disk, whatever its names are."""

    written: bytes = b""
    flushed: bytes = b""

    def kept(self) -> list[bytes]:
        """Return what may be found of it: what was flushed, more of it, its length, all of it."""
        more = self.written[len(self.flushed) :]
        ways = [b"", more[: len(more) // 2], bytes(len(more)), more]
        return [self.flushed + way for way in dict.fromkeys(ways)]


@dataclass(eq=False)
class Directory:
    """A folder on the disk: the names that were flushed, and changes of names since, in order."""

    flushed: dict[str, "File | Directory | None"] = field(default_factory=dict)
    changes: list[dict[str, "File | Directory | None"]] = field(default_factory=list)

    def kept(self) -> list[dict[str, "File | Directory"]]:
        """Return what may be found of it: after the flush, after one change more, and so on."""
        ways = [{**self.flushed}]
        for change in self.changes:
            ways.append(ways[-1] | change)
        return [{name: one for name, one in way.items() if one is not None} for way in ways]

    def flush(self) -> None:
        self.flushed, self.changes = {**self.kept()[-1]}, []

    def reachable(self) -> Iterator["File | Directory"]:
        """Yield what may be found in it and below, each once."""
        found = [one for names in (self.flushed, *self.changes) for one in names.values()]
        yield self
        for one in dict.fromkeys(found):
            if isinstance(one, Directory):
                yield from one.reachable()
            elif one is not None:
                yield one


class Durable:
    """A disk, and what it may keep."""

    def __init__(self) -> None:
        self.top = Directory()

    def apply(self, operation: Operation) -> None:
        kind, path, *rest = operation
        folder, name = self._directory(PurePosixPath(path).parent), PurePosixPath(path).name
        if kind in ("write", "flush"):
            file = folder.kept()[-1][name]
            assert isinstance(file, File)
            if kind == "write":
                file.written += rest[0]
            else:
                file.flushed = file.written
        elif kind == "flush folder":
            self._directory(PurePosixPath(path)).flush()
        elif kind == "rename":
            to = PurePosixPath(rest[0])
            assert to.parent == PurePosixPath(path).parent, "between folders it is two changes"
            assert to.name not in folder.kept()[-1]
            folder.changes.append({name: None, to.name: folder.kept()[-1][name]})
        elif kind in ("remove", "delete"):
            folder.changes.append({name: None})
        else:
            made = {"create": File, "folder": Directory}.get(kind, lambda: File(*rest, *rest))
            folder.changes.append({name: made()})
        if kind in ("put", "delete"):
            folder.flush()

    def _directory(self, path: PurePosixPath) -> Directory:
        found = self.top
        for part in path.parts:
            below = found.kept()[-1][part]
            assert isinstance(below, Directory)
            found = below
        return found

    def worlds(self) -> Iterator[World]:
        """What may be found after a cut now.

        All that was not flushed is lost, or all is kept, or one is lost and all else kept, or one
        is kept and all else lost. One is a file's content, or a folder's changes from one on.
        """
        ways = {one: one.kept() for one in dict.fromkeys(self.top.reachable())}
        for rest in (0, -1):
            yield dict(_found(self.top, "", {one: kept[rest] for one, kept in ways.items()}))
            for apart, kept in ways.items():
                for way in kept:
                    chosen: dict[Any, Any] = {one: kept[rest] for one, kept in ways.items()}
                    yield dict(_found(self.top, "", chosen | {apart: way}))


def _found(folder: Directory, path: str, chosen: dict[Any, Any]) -> Iterator[tuple[str, Any]]:
    for name, one in chosen[folder].items():
        if isinstance(one, File):
            yield path + name, chosen[one]
        else:
            yield path + name, None
            yield from _found(one, f"{path}{name}/", chosen)


def state(step: int) -> dict[str, Any]:
    return {"global_step": step, "state_dict": {"w": torch.full((50,), float(step))}}


def recorded(disk: RecordingDisk, monkeypatch: pytest.MonkeyPatch) -> list[Operation]:
    """Save, replace, prune and delete; return what was done, and what was acknowledged between.

    ``saved`` comes when a save has returned, ``may go`` before a checkpoint may be deleted.
    """
    disk.top.mkdir()
    log = disk.log
    monkeypatch.setattr(folder_store, "disk_of", lambda path, options: disk)
    store = FolderStore(disk.top / FOLDER)
    saver = Saver(store, Alone(), asynchronous=False)

    def acknowledged(given: dict[str, Any], path: str, **words: Any) -> None:
        kept(given, path, **words)
        log.append(("saved", os.path.basename(path), given["global_step"]))

    def save(name: str, step: int, *obsolete: str) -> None:
        log.extend(("may go", old) for old in obsolete)
        saver.save(state(step), store.place(name), Note(), obsolete=[*map(store.place, obsolete)])
        saver.settle()  # what is obsolete is deleted beside

    kept = store.save
    monkeypatch.setattr(store, "save", acknowledged)
    saver.claim()
    save("a.ckpt", 1)
    save("b.ckpt", 2, "a.ckpt")
    save("same.ckpt", 3)
    if disk.renames:  # else a name that is taken is refused
        save("same.ckpt", 4)
        save("same.ckpt", 5)
    save("c.ckpt", 6, "b.ckpt")
    log.append(("may go", "same.ckpt"))
    store.remove("same.ckpt")
    saver.close()
    monkeypatch.undo()
    return log


def materialise(world: World, top: Path) -> None:
    """Make a world. Its processes have ended with the boot in which they lived."""
    mine = this_process().mark
    parts = mine.split("-")
    parts[1] = "0" * 8
    top.mkdir()
    for path, content in sorted(world.items()):
        place = top / path.replace(mine, "-".join(parts))
        if content is None:
            place.mkdir()
        else:
            place.write_bytes(content)


def check_world(root: Path, acknowledged: dict[str, int], newest: int, begun: set[int]) -> None:
    """Whatever was acknowledged loads, before and after the next run has swept."""
    store = FolderStore(root)
    for swept in (False, True):
        if swept:
            store.claim()
        for name, step in acknowledged.items():
            found = store.load(name)
            assert found["global_step"] in {step} | begun
            assert torch.equal(found["state_dict"]["w"], torch.full((50,), found["global_step"]))
        if newest:
            assert store.load("last")["global_step"] in {newest} | begun
        for name in os.listdir(root) if root.exists() else ():
            if not name.startswith("."):
                check(LocalDisk(), str(root / name))  # whatever bears a final name is whole
            assert not swept or read_hidden(name) is None, "nothing piles up"
    store.close()


def replay(log: Iterable[Operation], folder: Path, look: Callable[..., None]) -> int:
    """Cut the power at every point, and look at every world that may come; return how many."""
    durable, acknowledged, newest = Durable(), dict[str, int](), 0
    steps = [operation[2] for operation in log if operation[0] == "saved"]
    seen = set()
    for operation in log:
        if operation[0] == "saved":
            acknowledged[operation[1]] = newest = operation[2]
        elif operation[0] == "may go":
            acknowledged.pop(operation[1], None)
        else:
            durable.apply(operation)
        begun = {min([step for step in steps if step > newest], default=newest)}
        for world in durable.worlds():
            one = (frozenset(world.items()), frozenset(acknowledged.items()), newest)
            if one not in seen:
                seen.add(one)
                materialise(world, folder / f"world-{len(seen)}")
                look(folder / f"world-{len(seen)}", acknowledged, newest, begun)
    return len(seen)


def look_at_folder(top: Path, *expected: Any) -> None:
    check_world(top / FOLDER, *expected)


class LostError(Exception):
    """Something that was acknowledged is lost, or something bears a name and is not whole."""


def telling(look: Callable[..., None]) -> Callable[..., None]:
    """Let what a look finds be told from an error of the replay's own."""

    def look_and_tell(*words: Any) -> None:
        try:
            look(*words)
        except (AssertionError, LookupError, UserWarning) as error:
            raise LostError from error

    return look_and_tell


def look_at_store(top: Path, acknowledged: dict[str, int], newest: int, begun: set[int]) -> None:
    """In a store without renames, what has a manifest is whole."""
    root = top / FOLDER
    folder = Folder(RecordingStore(top), str(root))
    for name, step in acknowledged.items():
        assert read(folder.disk, folder.found(name))[0]["global_step"] == step
    for manifest in root.glob("*/manifest.json"):
        check(folder.disk, str(manifest.parent))
    whole, _ = folder.manifests()
    assert not newest or whole[-1][1].step in {newest} | begun


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_acknowledged_save_survives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = recorded(RecordingDisk(tmp_path / "recorded"), monkeypatch)
    assert replay(log, tmp_path, look_at_folder) > 100, "there was something to cut"


@pytest.mark.slow
def test_in_a_store_without_renames_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = recorded(RecordingStore(tmp_path / "recorded"), monkeypatch)
    assert replay(log, tmp_path, look_at_store) > 30


def forget(log: list[Operation], forgotten: Callable[[Operation], bool]) -> list[Operation]:
    rest = [operation for operation in log if not forgotten(operation)]
    assert len(rest) < len(log)
    return rest


def is_of(operation: Operation, kind: str, words: str) -> bool:
    return operation[0] == kind and words in operation[1]


def no_flush_after_renaming(log: list[Operation]) -> list[Operation]:
    renamed = [i for i, one in enumerate(log) if is_of(one, "rename", ".stage-")]
    assert all(log[i + 1] == ("flush folder", FOLDER) for i in renamed)
    return [one for i, one in enumerate(log) if i - 1 not in renamed]


def rename_before_the_flush_of_the_stage(log: list[Operation]) -> list[Operation]:
    place = next(i for i, one in enumerate(log) if is_of(one, "flush folder", ".stage-"))
    rename = log[place + 1]
    assert is_of(rename, "rename", ".stage-")
    return [*log[:place], rename, ("flush folder", rename[2]), *log[place + 2 :]]


def prune_before_the_flush_of_the_new_one(log: list[Operation]) -> list[Operation]:
    place = log.index(("may go", "a.ckpt"))
    place += next(i for i, one in enumerate(log[place:]) if is_of(one, "rename", ".stage-")) + 1
    gone = next(one for one in log[place:] if one[0] == "rename" and ".gone-" in one[2])
    pruning = [gone, *(one for one in log if is_of(one, "remove", gone[2]))]
    return [*log[:place], *pruning, *(one for one in log[place:] if one not in pruning)]


def prune_without_a_flush_between(log: list[Operation]) -> list[Operation]:
    gone = [i for i, one in enumerate(log) if one[0] == "rename" and ".gone-" in one[2]]
    assert all(log[i + 1] == ("flush folder", FOLDER) for i in gone)
    return [one for i, one in enumerate(log) if i - 1 not in gone]


def manifest_before_the_files(log: list[Operation]) -> list[Operation]:
    first = next(i for i, one in enumerate(log) if is_of(one, "put", ".safetensors"))
    manifest = next(one for one in log if is_of(one, "put", "manifest.json"))
    return [*log[:first], manifest, *(one for one in log[first:] if one is not manifest)]


MISTAKES: dict[str, Callable[[list[Operation]], list[Operation]]] = {
    "no flush of files": lambda log: forget(log, lambda one: one[0] == "flush"),
    "no flush of the manifest": lambda log: forget(
        log, lambda one: is_of(one, "flush", "manifest")
    ),
    "no flush of the stage": lambda log: forget(log, lambda o: is_of(o, "flush folder", ".stage-")),
    "no flush after the rename": no_flush_after_renaming,
    "no flush of the folders above": lambda log: forget(
        log, lambda o: o == ("flush folder", "run")
    ),
    "renamed before the flush of the stage": rename_before_the_flush_of_the_stage,
    "pruned before the flush of the new one": prune_before_the_flush_of_the_new_one,
    "deleted without a flush of its new name": prune_without_a_flush_between,
}


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_the_order_is_noticed(
    mistake: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The replay notices what it is there for."""
    log = MISTAKES[mistake](recorded(RecordingDisk(tmp_path / "recorded"), monkeypatch))
    with pytest.raises(LostError):
        replay(log, tmp_path, telling(look_at_folder))


@pytest.mark.slow
def test_a_manifest_before_its_files_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = recorded(RecordingStore(tmp_path / "recorded"), monkeypatch)
    with pytest.raises(LostError):
        replay(manifest_before_the_files(log), tmp_path, telling(look_at_store))

"""A power cut at any instant: what was done is recorded, and replayed up to each point.

What a disk keeps of it is not what a process sees: the content of a file that was not flushed, and
names in a folder that was not flushed, may be gone. File systems keep the order of the changes of a
folder, so each prefix of the changes since its last flush is a world that may come.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import pytest
import torch

from lt_checkpoint import FolderStore
from lt_checkpoint.disk import LocalDisk
from lt_checkpoint.folder import Folder, Note
from lt_checkpoint.reading import check
from lt_checkpoint.together import Alone

Operation = tuple[Any, ...]


class Recorded:
    """A file that writes down what is written to it."""

    def __init__(self, file: BinaryIO, path: str, log: list[Operation]) -> None:
        self._file, self._path, self._log = file, path, log

    def write(self, data: Any) -> int:
        self._log.append(("write", self._path, bytes(data)))
        return self._file.write(data)

    def fileno(self) -> int:
        return self._file.fileno()

    def __enter__(self) -> "Recorded":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


class RecordingDisk:
    """A disk that writes down the order of what is done."""

    renames = True

    def __init__(self, root: Path) -> None:
        self._disk, self._root = LocalDisk(), root
        self.log: list[Operation] = []

    def _name(self, path: str) -> str:
        return os.path.relpath(path, self._root)

    def make_folder(self, path: str) -> None:
        if not os.path.isdir(path):
            self.log.append(("folder", self._name(path)))
        os.makedirs(path, exist_ok=True)

    def create(self, path: str) -> Any:
        self.log.append(("create", self._name(path)))
        return Recorded(self._disk.create(path), self._name(path), self.log)

    def flush(self, file: Any) -> None:
        self.log.append(("flush", file._path))

    def flush_folder(self, path: str) -> None:
        self.log.append(("flush folder", self._name(path)))

    def rename(self, path: str, to: str) -> None:
        self.log.append(("rename", self._name(path), self._name(to)))
        self._disk.rename(path, to)

    def remove(self, path: str) -> None:
        for folder, _, files in os.walk(path, topdown=False):
            self.log += [("remove", self._name(os.path.join(folder, name))) for name in files]
            self.log.append(("remove", self._name(folder)))
        self._disk.remove(path)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._disk, name)


class Durable:
    """What a disk keeps: names, and what was flushed of the files."""

    def __init__(self) -> None:
        self.written: dict[int, bytes] = {}  # by the number of a file
        self.flushed: dict[int, bytes] = {}
        self.now: dict[str, int | None] = {".": None}  # numbers of files, None for folders
        self.changes: list[tuple[str, Callable[[dict[str, Any]], None]]] = []
        self.names: dict[str, int | None] = {".": None}

    def apply(self, operation: Operation) -> None:
        kind, path, *rest = operation
        if kind == "write":
            self.written[self._file(path)] += rest[0]
        elif kind == "flush":
            self.flushed[self._file(path)] = self.written[self._file(path)]
        elif kind == "flush folder":
            self._settle(path)
        elif kind == "rename":
            self._change(path, lambda names: _renamed(names, path, rest[0]))
        elif kind == "remove":
            self._change(path, lambda names: names.pop(path, None))
        else:
            number = None if kind == "folder" else len(self.written)
            if number is not None:
                self.written[number], self.flushed[number] = b"", b""
            self._change(path, lambda names: names.__setitem__(path, number))

    def _file(self, path: str) -> int:
        number = self.now[path]
        assert number is not None
        return number

    def _change(self, path: str, change: Callable[[dict[str, Any]], Any]) -> None:
        change(self.now)
        self.changes.append((str(PurePosixPath(path).parent), change))

    def _settle(self, folder: str) -> None:
        last = max((i for i, (where, _) in enumerate(self.changes) if where == folder), default=-1)
        for _, change in self.changes[: last + 1]:  # a journal: what came before is there too
            change(self.names)
        del self.changes[: last + 1]

    def worlds(self) -> Iterator[dict[str, bytes | None]]:
        """What may be found after a cut now: files with their content, folders as None."""
        for kept in range(len(self.changes) + 1):
            names = dict(self.names)
            for _, change in self.changes[:kept]:
                change(names)
            for torn in (False, True):
                yield {
                    path: None if number is None else self._content(number, torn=torn)
                    for path, number in names.items()
                }

    def _content(self, number: int, *, torn: bool) -> bytes:
        flushed, written = self.flushed[number], self.written[number]
        return flushed + written[len(flushed) : (len(flushed) + len(written)) // 2 if torn else 0]


def _renamed(names: dict[str, Any], path: str, to: str) -> None:
    for name in [n for n in names if n == path or n.startswith(path + "/")]:
        names[to + name.removeprefix(path)] = names.pop(name)


def state(step: int) -> dict[str, Any]:
    return {"global_step": step, "state_dict": {"w": torch.full((50,), float(step))}}


def scenario(folder: Folder, log: list[Operation]) -> None:
    """Saves, prunes and replaces; writes down what was acknowledged in between."""

    def save(name: str, step: int) -> None:
        folder.save(state(step), name, note=Note(), world=Alone())
        log.append(("saved", name, step))

    def remove(name: str) -> None:
        log.append(("removing", name))
        folder.remove(name)

    save("a.ckpt", 1)
    save("b.ckpt", 2)
    remove("a.ckpt")
    save("same.ckpt", 3)
    save("same.ckpt", 4)
    save("same.ckpt", 5)
    remove("b.ckpt")


def materialise(world: dict[str, bytes | None], root: Path) -> None:
    root.mkdir()
    for path, content in sorted(world.items()):
        if content is None:
            (root / path).mkdir(exist_ok=True, parents=True)
        else:
            (root / path).parent.mkdir(exist_ok=True, parents=True)
            (root / path).write_bytes(content)


def check_world(root: Path, acknowledged: dict[str, int], replacing: Sequence[int]) -> None:
    """Whatever was acknowledged loads, before and after the next run has swept."""
    store = FolderStore(root)
    for swept in (False, True):
        if swept:
            store.claim()
        for name, step in acknowledged.items():
            found = store.load(name)
            assert found["global_step"] in (step, *replacing)
            assert torch.equal(found["state_dict"]["w"], torch.full((50,), found["global_step"]))
        if acknowledged:
            assert store.load("last")["global_step"] >= max(acknowledged.values())
        for name in [name for name in os.listdir(root) if name.endswith(".ckpt")]:
            if not name.startswith("."):
                check(LocalDisk(), str(root / name))  # whatever bears a final name is whole
    store.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_acknowledged_save_survives(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    root = tmp_path / "run"
    root.mkdir()
    disk = RecordingDisk(root)
    scenario(Folder(disk, str(root)), disk.log)
    durable, acknowledged, count = Durable(), dict[str, int](), 0
    steps = [operation[2] for operation in disk.log if operation[0] == "saved"]
    for operation in [*disk.log, ("end", "")]:
        for world in durable.worlds():
            materialise(world, tmp_path / f"{count}")
            check_world(
                tmp_path / f"{count}", acknowledged, steps[len(done(acknowledged, steps)) :]
            )
            count += 1
        if operation[0] == "saved":
            acknowledged[operation[1]] = operation[2]
        elif operation[0] == "removing":
            del acknowledged[operation[1]]
        elif operation[0] != "end":
            durable.apply(operation)
    assert count > 200, "there was something to cut"
    assert acknowledged == {"same.ckpt": 5}


def done(acknowledged: dict[str, int], steps: list[int]) -> list[int]:
    """The saves acknowledged so far: any later one may have come to be already."""
    return [step for step in steps if step <= max(acknowledged.values(), default=0)]


@pytest.mark.slow
def test_without_the_flush_of_the_folder_saves_would_be_lost(tmp_path: Path) -> None:
    """The replay notices what it is there for."""

    class Forgetful(RecordingDisk):
        def flush_folder(self, path: str) -> None:
            pass

    root = tmp_path / "run"
    root.mkdir()
    disk = Forgetful(root)
    folder = Folder(disk, str(root))
    folder.save(state(1), "a.ckpt", note=Note(), world=Alone())
    durable = Durable()
    for operation in disk.log:
        durable.apply(operation)
    materialise(next(durable.worlds()), tmp_path / "cut")
    assert FolderStore(tmp_path / "cut").list() == []

"""Reading: a checkpoint is checked before it is believed."""

import contextlib
import errno
import json
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from typing import Any, BinaryIO, final

import torch

from lt_checkpoint import manifest as manifests
from lt_checkpoint import tensor_file
from lt_checkpoint.decoding import Decoder
from lt_checkpoint.disk import Disk
from lt_checkpoint.draft import MODEL, STATE, STATE_TENSORS, rank_file
from lt_checkpoint.encoding import TAG, Json
from lt_checkpoint.errors import DamagedCheckpointError, StoreUnavailableError
from lt_checkpoint.hashing import Hashing
from lt_checkpoint.manifest import Manifest
from lt_checkpoint.raw_bytes import bytes_of, fill
from lt_checkpoint.sharding import Shard, assembled
from lt_checkpoint.tensor_types import PLAIN, restored

LARGEST_JSON = 1 << 30
"""Bytes. In memory, JSON takes many times its size."""

TO_GO_ON = frozenset(
    {
        *("optimizer_states", "lr_schedulers", "callbacks", "loops", "backend"),
        *("fingerprint", "exactness", "per_rank"),
    }
)
"""The entries of a state that only a run that goes on needs: not read with ``weights_only``."""


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """Let what is wrong with a checkpoint say which one it is.

    Raises:
        DamagedCheckpointError: something is.
        StoreUnavailableError: that can't be known.
    """
    try:
        yield
    except StoreUnavailableError:
        raise
    except DamagedCheckpointError as error:
        message = str(error)
        if message.startswith("The checkpoint "):
            raise
        raise DamagedCheckpointError(
            f"The checkpoint {path} is damaged and was not read: {message}."
        ) from error
    except OSError as error:
        if error.errno == errno.EACCES:
            raise
        raise DamagedCheckpointError(
            f"The checkpoint {path} is damaged and was not read: {error}."
        ) from error


def read_manifest(disk: Disk, path: str) -> Manifest:
    """Read the manifest of a checkpoint, and look whether its files have their sizes.

    Raises:
        DamagedCheckpointError: one has not, or the manifest is not as it was written.
    """
    with naming(path):
        if not disk.is_folder(path):
            raise DamagedCheckpointError("it is no folder")
        name = disk.join(path, manifests.NAME)
        size = _size(disk, path, manifests.NAME)
        if size is None or size > manifests.LARGEST:
            raise DamagedCheckpointError(f"its {manifests.NAME} is no file of at most 16 MiB")
        with _opened(disk, name) as file:
            text = torch.empty(size, dtype=torch.uint8)
            fill(file, text)
        found = manifests.from_text(bytes(bytes_of(text)))
        _check_sizes(disk, path, found)
        return found


def _check_sizes(disk: Disk, path: str, manifest: Manifest) -> None:
    if STATE not in manifest.files:
        raise DamagedCheckpointError(f"it has no {STATE}")
    for name, record in manifest.files.items():
        size = _size(disk, path, name)
        if size != record.size:
            what = "is no file" if size is None else f"has {size} bytes"
            raise DamagedCheckpointError(f"its {name} {what}, not {record.size} bytes")
        if name.endswith(".json") and record.size > LARGEST_JSON:
            raise DamagedCheckpointError(f"its {name} has {record.size} bytes, more than is read")
    total, memory = sum(record.size for record in manifest.files.values()), _memory()
    if memory is not None and total > memory:
        raise DamagedCheckpointError(f"it has {total:,} bytes, the memory here {memory:,}")


def _size(disk: Disk, path: str, name: str) -> int | None:
    """Return the bytes of a file, None where it is none; one question, as stores may be far."""
    try:
        return disk.size(disk.join(path, name))
    except FileNotFoundError:
        raise DamagedCheckpointError(f"it has no {name}") from None


def _memory() -> int | None:
    """Return the bytes of this machine's memory, None where nobody knows."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def check(disk: Disk, path: str) -> Manifest:
    """Read a checkpoint through and compare each file with its hash.

    Raises:
        DamagedCheckpointError: one is not as it was written.
    """
    manifest = read_manifest(disk, path)
    with naming(path):
        for name in manifest.files:
            if name.endswith(".json"):
                _text(disk, path, name, manifest)
            else:
                _tensors(disk, path, name, manifest, wanted=())
    return manifest


def read(
    disk: Disk, path: str, *, rank: int = 0, weights_only: bool = False
) -> tuple[dict[str, Any], Manifest]:
    """Return the state in a checkpoint, as this rank needs it, and its manifest.

    What is read is compared with its hash first. Tensors are on the CPU.

    Args:
        disk: where it is.
        path: its folder.
        rank: whose state, where ranks have their own.
        weights_only: leave out what only a run that goes on needs; files with nothing else in
            them are not read.

    Raises:
        DamagedCheckpointError: it is not whole.
    """
    manifest = read_manifest(disk, path)
    with naming(path):
        body = _json(disk, path, STATE, manifest)
        if not isinstance(body, dict):
            raise DamagedCheckpointError(f"its {STATE} holds no state")
        if weights_only and TAG not in body:
            body = {key: value for key, value in body.items() if key not in TO_GO_ON}
        source = _Source(disk, path, manifest, rank=rank)
        try:
            state = Decoder(source.at_rank(None), source.aside).decode(body)
        except RecursionError as error:
            raise DamagedCheckpointError(f"its {STATE} is nested too deeply") from error
        if not isinstance(state, dict):
            raise DamagedCheckpointError(f"its {STATE} holds no state")
        return state, manifest


@final
class _Source:
    """The tensors of a checkpoint. A file is read when the first of its tensors is wanted."""

    def __init__(self, disk: Disk, path: str, manifest: Manifest, *, rank: int) -> None:
        self._disk, self._path, self._manifest = disk, path, manifest
        self._rank = rank % max(1, manifest.world_size)
        self._tables: dict[str, dict[str, torch.Tensor]] = {}
        self._restored: dict[tuple[str, str], torch.Tensor] = {}
        self._whole: dict[str, torch.Tensor] = {}
        self._asides: list[list[Json]] | None = None
        self._shards: dict[str, list[tuple[str, str, list[int]]]] | None = None

    def at_rank(self, rank: int | None) -> "_Ranked":
        """Return the source for what one rank wrote for itself, None for all others."""
        return _Ranked(self, rank)

    def get(self, reference: Mapping[str, Json], rank: int | None) -> torch.Tensor:
        """Return the tensor behind a reference."""
        if reference[TAG] == "sharded":
            return self._assembled(reference)
        within = {"model": MODEL, "state": STATE_TENSORS}.get(reference["in"])
        if within is None and rank is not None and reference["in"] == "rank":
            within = rank_file(rank, "safetensors")
        if within is None:
            raise DamagedCheckpointError(f"a tensor is said to be in {reference['in']!r}")
        key = (within, reference["name"])
        if key not in self._restored:
            tensor = self._stored(*key)
            named = reference.get("as")
            self._restored[key] = tensor if named is None else restored(tensor, named)
        return self._restored[key]

    def _stored(self, file: str, name: str) -> torch.Tensor:
        if file not in self._tables:
            self._tables[file] = _tensors(self._disk, self._path, file, self._manifest, wanted=None)
        if name not in self._tables[file]:
            raise DamagedCheckpointError(f"its {file} has no tensor {name!r}")
        return self._tables[file][name]

    def aside(self, tagged: Mapping[str, Json]) -> Any:
        """Return a value that this rank wrote for itself."""
        if self._asides is None:
            body = _json(self._disk, self._path, rank_file(self._rank, "json"), self._manifest)
            self._asides = body["values"]
        for path, value in self._asides:
            if path == tagged["path"]:
                return Decoder(self.at_rank(self._rank)).decode(value)
        raise DamagedCheckpointError(
            f"rank {self._rank} has no value of its own at {tagged['path']}"
        )

    def _assembled(self, reference: Mapping[str, Json]) -> torch.Tensor:
        name = reference["name"]
        if name not in self._whole:
            parts = self._parts().get(name, [])
            shards = [Shard(tuple(at), self._stored(file, held)) for file, held, at in parts]
            self._whole[name] = assembled(
                reference["shape"],
                PLAIN[reference["dtype"]],
                shards,
                limit=sum(shard.part.numel() * shard.part.element_size() for shard in shards),
            )
            for file, held, _ in parts:  # not needed twice, and as large as the whole
                del self._tables[file][held]
        return self._whole[name]

    def _parts(self) -> dict[str, list[tuple[str, str, list[int]]]]:
        """Return where the parts of each sharded tensor are: file, name in it, offset."""
        if self._shards is None:
            self._shards = {}
            for rank in range(self._manifest.world_size):
                name = rank_file(rank, "json")
                if name not in self._manifest.files:
                    continue
                for shard in _json(self._disk, self._path, name, self._manifest)["shards"]:
                    place = (rank_file(rank, "safetensors"), shard["name"], shard["offset"])
                    self._shards.setdefault(shard["of"], []).append(place)
        return self._shards


@final
class _Ranked:
    """A source of tensors for what one rank wrote."""

    def __init__(self, source: _Source, rank: int | None) -> None:
        self._source, self._rank = source, rank

    def get(self, reference: Mapping[str, Json]) -> torch.Tensor:
        """Return the tensor behind a reference."""
        return self._source.get(reference, self._rank)


def _json(disk: Disk, path: str, name: str, manifest: Manifest) -> Any:
    try:
        return json.loads(_text(disk, path, name, manifest))
    except (ValueError, RecursionError) as error:
        raise DamagedCheckpointError(f"its {name} is no JSON: {error}") from error


def _text(disk: Disk, path: str, name: str, manifest: Manifest) -> bytes:
    if name not in manifest.files:
        raise DamagedCheckpointError(f"it has no {name}")
    text = torch.empty(manifest.files[name].size, dtype=torch.uint8)
    with _opened(disk, disk.join(path, name)) as file, Hashing() as hashing:
        fill(file, text)
        hashing.add(text)
        _compare(name, manifest, hashing)
    return bytes(bytes_of(text))


def _tensors(
    disk: Disk, path: str, name: str, manifest: Manifest, *, wanted: Collection[str] | None
) -> dict[str, torch.Tensor]:
    if name not in manifest.files:
        raise DamagedCheckpointError(f"it has no {name}")
    with _opened(disk, disk.join(path, name)) as file, Hashing() as hashing:
        try:
            found = tensor_file.read(file, manifest.files[name].size, hashing, wanted=wanted)
        except DamagedCheckpointError as error:
            raise DamagedCheckpointError(f"its {name} is not as it was written: {error}") from error
        _compare(name, manifest, hashing)
        return found


def _compare(name: str, manifest: Manifest, hashing: Hashing) -> None:
    if hashing.hexdigest() != manifest.files[name].sha256:
        raise DamagedCheckpointError(f"its {name} is not as it was written: its hash differs")


@contextlib.contextmanager
def _opened(disk: Disk, path: str) -> Iterator[BinaryIO]:
    with disk.open(path) as file:
        number = getattr(file, "fileno", None)
        local = disk.renames and number is not None
        if local and not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise DamagedCheckpointError("one of its files is none")
        yield file

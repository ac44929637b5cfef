"""Drafts: what one process will write of a state, laid out in files and checked, in memory."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

import torch

from lt_checkpoint import tensor_file
from lt_checkpoint.encoding import TAG, Encoder, Json
from lt_checkpoint.errors import UnsavableStateError
from lt_checkpoint.key_paths import KeyPath, flat, shown
from lt_checkpoint.sharding import is_sharded, shards_of
from lt_checkpoint.tensor_types import NAMES, plain_name, storable

MODEL = "model.safetensors"
STATE_TENSORS = "state.safetensors"
STATE = "state.json"


def rank_file(rank: int, ending: str) -> str:
    """Return the name of a file that holds what is one rank's alone."""
    return f"rank-{rank}.{ending}"


@final
@dataclass(slots=True)
class Table:
    """The tensors of one file, and its metadata."""

    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """The bytes of the file."""
        return tensor_file.size_of(self.tensors, self.metadata)

    def add(self, name: str, tensor: torch.Tensor) -> str:
        """Take a tensor under a name, or one like it where that is taken; return the name."""
        unique, count = name, 2
        while unique in self.tensors:
            unique, count = f"{name}~{count}", count + 1
        self.tensors[unique] = tensor
        return unique


@final
@dataclass(slots=True)
class Draft:
    """The files that one process writes, by name: text, or a table of tensors."""

    files: dict[str, bytes | Table]

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(
            len(content) if isinstance(content, bytes) else content.size
            for content in self.files.values()
        )


def draft(state: Mapping[str, Any], *, rank: int = 0, world_size: int = 1) -> Draft:
    """Lay out what one rank writes of a state.

    Rank 0 writes what all ranks share. Each writes the values at the key paths in
    ``state["per_rank"]``, and its parts of the DTensors.

    Raises:
        UnsavableStateError: the state holds something that is no data.
    """
    own_paths = _own_paths(state) if world_size > 1 else []
    tables = _Tables(rank)
    aside = {path: {TAG: "aside", "path": list(path)} for path in own_paths}
    shared = Encoder(tables, aside).encode(state)
    values = [[list(path), _encoded_own(state, path, tables)] for path in own_paths]
    files: dict[str, bytes | Table] = {}
    if rank == 0:
        files[STATE] = _as_text(shared)
        if "state_dict" in state:
            files[MODEL] = tables.model
        if tables.state.tensors:
            files[STATE_TENSORS] = tables.state
    if values or tables.shards:
        files[rank_file(rank, "json")] = _as_text({"values": values, "shards": tables.shards})
        files[rank_file(rank, "safetensors")] = tables.own
    return Draft(files)


def plain_encoder() -> Encoder:
    """Return an encoder for values that hold no tensors."""
    return Encoder(_NoTensors())


def _as_text(value: Json) -> bytes:
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()


def _own_paths(state: Mapping[str, Any]) -> list[KeyPath]:
    return [path for given in state.get("per_rank", ()) if _has(state, path := tuple(given))]


def _has(state: Any, path: KeyPath) -> bool:
    for key in path:
        if not isinstance(state, Mapping) or key not in state:
            return False
        state = state[key]
    return bool(path)


def _encoded_own(state: Any, path: KeyPath, tables: "_Tables") -> Json:
    for key in path:
        state = state[key]
    tables.owned = True
    try:
        return Encoder(tables).encode(state, path)
    finally:
        tables.owned = False


@final
class _NoTensors:
    """A sink that takes nothing."""

    def put(self, tensor: torch.Tensor, path: KeyPath) -> Json:
        """Refuse.

        Raises:
            UnsavableStateError: always.
        """
        raise _no_data(tensor, path, "what is said there is kept in a text: use numbers")


@final
class _Tables:
    """The sink of a draft: sorts tensors into tables, one that is met twice only once."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.model, self.state, self.own = Table(), Table(), Table()
        self.shards: list[Json] = []
        self.owned = False
        self._seen: dict[Any, Json] = {}
        self._sharded: dict[str, int] = {}

    def put(self, tensor: torch.Tensor, path: KeyPath) -> Json:
        """Take a tensor; return the reference to write in its place."""
        if is_sharded(tensor):
            return self._put_sharded(tensor, path)
        if self.rank and not self.owned:
            return None  # rank 0 writes it
        tensor = _checked(tensor, path)
        in_model = path[:1] == ("state_dict",) and len(path) == 2 and not self.owned
        key = (_place(tensor), self.owned)
        known = self._seen.get(key) if key[0] else None
        if known and (known["in"] == "model" or not in_model):
            if in_model:
                self.model.metadata[path[1]] = known["name"]
            return known
        stored, stands_for = storable(tensor)
        if in_model:
            reference = {TAG: "tensor", "in": "model", "name": self.model.add(path[1], stored)}
        elif self.owned:
            reference = {TAG: "tensor", "in": "rank", "name": self.own.add(flat(path), stored)}
        else:
            reference = {TAG: "tensor", "in": "state", "name": self.state.add(flat(path), stored)}
        if stands_for:
            reference["as"] = stands_for
        self._seen[key] = reference
        return reference

    def _put_sharded(self, tensor: torch.Tensor, path: KeyPath) -> Json:
        name = flat(path)
        self._sharded[name] = count = self._sharded.get(name, 0) + 1
        name = name if count == 1 else f"{name}~{count}"
        if tensor.dtype not in NAMES:
            raise _no_data(tensor, path, f"its type {tensor.dtype} can't be sharded")
        try:
            shards = shards_of(tensor)
        except ValueError as error:
            raise _no_data(tensor, path, str(error)) from error
        for shard in shards:
            held = self.own.add(name, shard.part.detach())
            self.shards.append({"of": name, "name": held, "offset": list(shard.offset)})
        return {
            TAG: "sharded",
            "name": name,
            "shape": list(tensor.shape),
            "dtype": plain_name(tensor.dtype),
        }


def _checked(tensor: torch.Tensor, path: KeyPath) -> torch.Tensor:
    """Return a tensor without its gradient, if its numbers can be stored.

    Raises:
        UnsavableStateError: they can't.
    """
    if tensor.layout != torch.strided:
        raise _no_data(tensor, path, f"its layout is {tensor.layout}: call .to_dense()")
    if tensor.is_meta:
        raise _no_data(tensor, path, "it is on the meta device and has no numbers")
    if tensor.is_quantized:
        raise _no_data(tensor, path, "it is quantized: save .int_repr() and its scale")
    if type(tensor) not in (torch.Tensor, torch.nn.Parameter, torch.nn.Buffer):
        raise _no_data(tensor, path, f"it is a {type(tensor).__name__}: save what it is made of")
    return tensor.detach().resolve_conj().resolve_neg()


def _place(tensor: torch.Tensor) -> Any:
    """Return where a tensor's numbers are, equal for two that share all of them."""
    if not tensor.numel():
        return None
    where = (tensor.device, tensor.untyped_storage().data_ptr(), tensor.storage_offset())
    return (*where, tensor.shape, tensor.stride(), tensor.dtype)


def _no_data(tensor: torch.Tensor, path: KeyPath, why: str) -> UnsavableStateError:
    return UnsavableStateError(
        f"A checkpoint holds tensors of plain numbers. Received one of shape "
        f"{tuple(tensor.shape)} at {shown(path)}, but {why}."
    )

"""Manifests: what a checkpoint says about itself. It is written last and makes it whole."""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from types import NoneType
from typing import Any, Literal, final

from lt_checkpoint.errors import DamagedCheckpointError

NAME = "manifest.json"
FORMAT = 1
LARGEST = 16 << 20
"""Bytes; a manifest has about two thousand."""

_FILE = re.compile(
    r"(?:model|state|rank-(?:0|[1-9][0-9]{0,6}))\.safetensors|"
    r"(?:state|rank-(?:0|[1-9][0-9]{0,6}))\.json"
)
"""The names that files of a checkpoint can have. There is no way out of the folder among them."""


def is_file_name(name: str) -> bool:
    """Return whether a file of a checkpoint can have this name."""
    return _FILE.fullmatch(name) is not None


@final
@dataclass(frozen=True, slots=True)
class FileRecord:
    """What a file must be like.

    Attributes:
        size: its bytes.
        sha256: their hash, in hexadecimal.
    """

    size: int
    sha256: str


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a checkpoint says about itself.

    Attributes:
        format: the version of the layout.
        kind: ``"full"``, or ``"weights"`` where the run can't go on from it.
        epoch: epochs done, None where the state did not say.
        step: optimizer steps done, None where the state did not say.
        serial: how many checkpoints were saved into the folder before. It orders those of one step.
        world_size: how many processes wrote it.
        metrics: what was logged, by name.
        monitor: the name of the metric that decides which one is the best.
        mode: whether the least or the greatest value of it is the best.
        names: other names it had when it was saved, such as ``last``.
        fingerprint: what the run was like, for the one that goes on.
        exactness: what of it can't be gone on from exactly, and why.
        versions: of the packages that wrote it.
        saved_at: the time by the clock. Nothing is decided by it.
        files: the other files in the folder.
    """

    format: int = FORMAT
    kind: Literal["full", "weights"] = "full"
    epoch: int | None = None
    step: int | None = None
    serial: int = 0
    world_size: int = 1
    metrics: Mapping[str, float] = field(default_factory=dict)
    monitor: str | None = None
    mode: Literal["min", "max"] = "min"
    names: tuple[str, ...] = ()
    fingerprint: Any = None
    exactness: Any = None
    versions: Mapping[str, str] = field(default_factory=dict)
    saved_at: str = ""
    files: Mapping[str, FileRecord] = field(default_factory=dict)

    @property
    def order(self) -> tuple[int, int, int]:
        """The key by which newer ones come later: step, epoch, serial."""
        step, epoch = self.step, self.epoch
        return (-1 if step is None else step, -1 if epoch is None else epoch, self.serial)

    @property
    def score(self) -> float | None:
        """The monitored metric, None where there is none."""
        return None if self.monitor is None else self.metrics.get(self.monitor)


def as_text(manifest: Manifest) -> bytes:
    """Return the manifest as the text of its file, which is the only spelling of it."""
    body = {one.name: getattr(manifest, one.name) for one in fields(manifest)}
    body["metrics"] = {name: _number(value) for name, value in manifest.metrics.items()}
    body["names"] = list(manifest.names)
    body["files"] = {
        name: {"size": record.size, "sha256": record.sha256}
        for name, record in manifest.files.items()
    }
    return _spelled({"manifest": body, "sha256": _hash(body)})


def from_text(text: bytes) -> Manifest:
    """Read the text of a manifest.

    Raises:
        DamagedCheckpointError: it is not exactly what :func:`as_text` returned, or is of a later
            format.
    """
    try:
        outer = json.loads(text)
        body = outer["manifest"]
        version = body["format"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedCheckpointError(f"its {NAME} can't be read: {error}") from error
    if type(version) is int and version > FORMAT:
        raise DamagedCheckpointError(
            f"it is of format {version}, this version reads up to {FORMAT}: update lt-checkpoint"
        )
    if version != FORMAT or outer.get("sha256") != _hash(body) or _spelled(outer) != text:
        raise DamagedCheckpointError(f"its {NAME} is not as it was written")
    try:
        return _checked(body)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DamagedCheckpointError(f"its {NAME} is no manifest: {error}") from error


def _checked(body: dict[str, Any]) -> Manifest:
    """Return the manifest in a table of a right hash, which anybody can make."""
    for name, kinds in _TYPES.items():
        if not isinstance(body[name], kinds):
            raise TypeError(f"{name} is {body[name]!r}")
    if body["mode"] not in ("min", "max") or body["kind"] not in ("full", "weights"):
        raise ValueError(f"mode {body['mode']!r} or kind {body['kind']!r}")
    words = dict(body)
    words["files"] = {name: _record(name, one) for name, one in body["files"].items()}
    words["metrics"] = {name: float(value) for name, value in body["metrics"].items()}
    words["names"] = tuple(map(str, body["names"]))
    return Manifest(**words)


_TYPES: dict[str, tuple[type, ...]] = {
    "epoch": (int, NoneType),
    "step": (int, NoneType),
    "serial": (int,),
    "world_size": (int,),
    "monitor": (str, NoneType),
    "metrics": (dict,),
    "names": (list,),
    "versions": (dict,),
    "saved_at": (str,),
    "files": (dict,),
}


def _record(name: str, one: dict[str, Any]) -> FileRecord:
    if not is_file_name(name):
        raise ValueError(f"{name!r} is no name of a file in a checkpoint")
    size, digest = one["size"], one["sha256"]
    if type(size) is not int or size < 0 or not re.fullmatch("[0-9a-f]{64}", digest):
        raise ValueError(f"size or hash of {name}")
    return FileRecord(size, digest)


def _number(value: float) -> float | str:
    number = float(value)
    return number if math.isfinite(number) else repr(number)


def _hash(body: Any) -> str:
    return hashlib.sha256(_spelled(body)).hexdigest()


def _spelled(value: Any) -> bytes:
    try:
        return json.dumps(value, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"
    except (ValueError, TypeError, RecursionError) as error:  # NaN, or keys that can't be sorted
        raise DamagedCheckpointError(f"its {NAME} is not as it was written: {error}") from error

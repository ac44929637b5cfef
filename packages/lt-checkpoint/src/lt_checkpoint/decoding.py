"""Decoding: from JSON back to a state. Nothing that a file names is imported or called."""

import base64
import datetime
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, final

import torch

from lt_checkpoint import numpy_values
from lt_checkpoint.encoding import TAG, Json
from lt_checkpoint.errors import DamagedCheckpointError
from lt_checkpoint.raw_bytes import bytes_of
from lt_checkpoint.tensor_types import PLAIN


class TensorSource(Protocol):
    """Where the tensors of a state come from."""

    def get(self, reference: Mapping[str, Json]) -> torch.Tensor:
        """Return the tensor behind a reference that a sink returned.

        Raises:
            DamagedCheckpointError: there is none.
        """


@final
class Decoder:
    """Turns JSON back into a state.

    Args:
        source: where tensors come from.
        aside: returns the values that stand elsewhere, by what was written in their place.
    """

    def __init__(
        self, source: TensorSource, aside: Callable[[Mapping[str, Json]], Any] | None = None
    ) -> None:
        self._source = source
        self._aside = aside
        self._kinds: dict[str, Callable[[Mapping[str, Json]], Any]] = {
            **_KINDS,
            "tensor": source.get,
            "sharded": source.get,
            "tuple": lambda tagged: tuple(self._items(tagged)),
            "set": lambda tagged: set(self._items(tagged)),
            "frozenset": lambda tagged: frozenset(self._items(tagged)),
            "dict": lambda tagged: {self.decode(k): self.decode(v) for k, v in tagged["items"]},
            "array": self._array,
            "scalar": lambda tagged: self._array(tagged)[()],
            "complex": lambda tagged: complex(*map(self.decode, tagged["parts"])),
        }
        if aside is not None:
            self._kinds["aside"] = aside

    def decode(self, value: Json) -> Any:
        """Return what a JSON value stands for.

        Raises:
            DamagedCheckpointError: it stands for nothing.
        """
        if isinstance(value, list):
            return [self.decode(item) for item in value]
        if not isinstance(value, dict):
            return value
        if TAG not in value:
            return {key: self.decode(item) for key, item in value.items()}
        kind = self._kinds.get(value[TAG]) if isinstance(value[TAG], str) else None
        if kind is None:
            raise DamagedCheckpointError(
                f"it holds a value of the kind {value[TAG]!r}, unknown here"
            )
        try:
            return kind(value)
        except (KeyError, TypeError, ValueError, OverflowError, RuntimeError) as error:
            raise DamagedCheckpointError(f"it holds no whole {value[TAG]}: {error}") from error

    def _items(self, tagged: Mapping[str, Json]) -> list[Any]:
        return [self.decode(item) for item in tagged["items"]]

    def _array(self, tagged: Mapping[str, Json]) -> Any:
        data = self._source.get(tagged["bytes"])
        return numpy_values.array_of(bytes_of(data), tagged["type"], tagged["shape"])


def _datetime(tagged: Mapping[str, Json]) -> datetime.datetime:
    return datetime.datetime.fromisoformat(tagged["iso"]).replace(fold=tagged["fold"])


def _float(tagged: Mapping[str, Json]) -> float:
    if tagged["is"] not in ("nan", "inf", "-inf"):
        raise ValueError(f"{tagged['is']!r} is none of nan, inf and -inf")
    return float(tagged["is"])


_KINDS: dict[str, Callable[[Mapping[str, Json]], Any]] = {
    "int": lambda tagged: int(tagged["hex"], 16),
    "float": _float,
    "bytes": lambda tagged: base64.b64decode(tagged["base64"], validate=True),
    "path": lambda tagged: Path(tagged["is"]),
    "datetime": _datetime,
    "date": lambda tagged: datetime.date.fromisoformat(tagged["iso"]),
    "timedelta": lambda tagged: datetime.timedelta(*tagged["parts"]),
    "dtype": lambda tagged: PLAIN[tagged["is"]],
    "device": lambda tagged: torch.device(tagged["is"]),
    "size": lambda tagged: torch.Size(tagged["items"]),
}

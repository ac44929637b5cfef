"""``lt doctor``: whether the installation is whole, and what to install where something lacks."""

import importlib.util
import platform
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from typing import Any, Literal

from lt_cli.exits import Exit
from lt_cli.installed import announced
from lt_cli.plain import PlainParser
from lt_cli.table import table

HOUSE = {
    "lt-loop": "the engine",
    "lt-module": "LTModule and LTDataModule",
    "lt-accel": "devices, precision, processes",
    "lt-data": "batches that can be gone on from",
    "lt-checkpoint": "checkpoints: --ckpt_path, lt ckpt",
    "lt-callbacks": "progress bar, loggers, early stopping",
    "lt-cli": "this command",
    "lt": "import lt",
}
"""The packages of the house, with what is missing without each."""

LIBRARIES = {
    "torch": ("the computing itself", "torch"),
    "numpy": ("arrays", "numpy"),
    "tensorboard": ("TensorBoardLogger, the default logger", "lt-callbacks[tensorboard]"),
    "tqdm": ("the progress bar", "lt-callbacks[tqdm]"),
}
"""Libraries by distribution: what needs each, and what to install for it."""

Verdict = Literal["ok", "missing", "broken"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        verdict: ``ok``, ``missing`` (something is not served) or ``broken`` (something fails).
        what: the thing.
        detail: its version, its place, or what goes wrong.
        remedy: a command, or nothing.
    """

    verdict: Verdict
    what: str
    detail: str
    remedy: str = ""


def findings() -> Iterator[Finding]:
    """Yield everything that was looked at. The entry points are imported."""
    yield Finding("ok", "python", f"{platform.python_version()}, {sys.executable}")
    for name, purpose in HOUSE.items():
        yield _distribution(name, purpose, name)
    for name, (purpose, install) in LIBRARIES.items():
        yield _distribution(name, purpose, install)
    for one in announced():
        yield _loaded(f"{one.group}: {one.name}", one.point)
    yield from _devices()


def _distribution(name: str, purpose: str, install: str) -> Finding:
    try:
        return Finding("ok", name, metadata.version(name))
    except metadata.PackageNotFoundError:
        return Finding("missing", name, purpose, f"pip install '{install}'")


def _loaded(what: str, point: metadata.EntryPoint) -> Finding:
    package = point.dist.name if point.dist else point.module
    try:
        point.load()
    except Exception as error:  # whatever a package raises when it is imported is the finding
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return Finding("broken", what, reason, f"pip install --force-reinstall '{package}'")
    return Finding("ok", what, point.value)


def _devices() -> Iterator[Finding]:
    if importlib.util.find_spec("torch") is None:
        return
    torch: Any = import_module("torch")
    yield Finding("ok", "device: cpu", f"{torch.get_num_threads()} threads")
    for index in range(torch.cuda.device_count()):
        gpu = torch.cuda.get_device_properties(index)
        memory = f"{gpu.total_memory / 2**30:.1f} GiB"
        yield Finding("ok", f"device: cuda:{index}", f"{gpu.name}, {memory}")
    if torch.backends.mps.is_available():
        yield Finding("ok", "device: mps", "available")


def main(arguments: Sequence[str]) -> int:
    """Print what was found; the exit code is 1 if something is broken."""
    PlainParser(
        prog="lt doctor",
        description="Look at versions, packages, entry points and devices. The exit code is 1 if "
        "something is broken; what is merely not installed is no fault.",
    ).parse_args(arguments)
    found = list(findings())
    rows = [(one.verdict, one.what, one.detail, one.remedy) for one in found]
    sys.stdout.write(table(("", "what", "found", "to install it"), rows))
    return Exit.FAILED if any(one.verdict == "broken" for one in found) else Exit.OK

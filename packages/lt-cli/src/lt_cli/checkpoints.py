"""``lt ckpt``: looks at checkpoints, through lt-checkpoint where it is installed."""

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lt_cli.exits import Exit
from lt_cli.plain import PlainParser
from lt_cli.table import table

PACKAGE = "lt_checkpoint"


def main(arguments: Sequence[str]) -> int:
    """List, verify, show or export checkpoints; what a file names is never imported.

    Raises:
        LookupError: lt-checkpoint is not installed, or there is no such checkpoint.
    """
    parser = PlainParser(prog="lt ckpt", description="Look at checkpoints.")
    chosen = parser.add_subparsers(dest="verb", required=True, metavar=" | ".join(VERBS))
    for verb, (run, summary) in VERBS.items():
        one = chosen.add_parser(verb, help=summary, description=summary)
        one.add_argument("folder", type=Path, metavar="DIR")
        if verb == "export":
            one.add_argument("target", type=Path, metavar="FILE")
        one.set_defaults(run=run)
    asked = parser.parse_args(arguments)
    if not asked.folder.exists():
        raise LookupError(f"there is nothing at {asked.folder}.")
    if asked.verb in ("show", "export") and (inside := _inside(asked.folder)):
        raise LookupError(
            f"lt ckpt {asked.verb} takes one checkpoint. Received {asked.folder}, which holds "
            f"{', '.join(str(path) for path in inside)}. Name one of them."
        )
    code: int = asked.run(library(), asked)
    return code


def library() -> Any:
    """Return lt_checkpoint.

    Raises:
        LookupError: it is not installed.
    """
    if importlib.util.find_spec(PACKAGE) is None:
        raise LookupError(
            "Checkpoints are read by lt-checkpoint, which is not installed. "
            "Run: pip install lt-checkpoint"
        )
    return importlib.import_module(PACKAGE)


def list_them(reader: Any, asked: argparse.Namespace) -> int:
    """Print a table of the whole checkpoints in a folder, oldest first."""
    store = reader.FolderStore(asked.folder)
    rows = []
    for name in store.list():
        found = store.manifest(name)
        score = "" if found.score is None else f"{found.monitor}={found.score:.6g}"
        rows.append((name, str(found.step), found.kind, score))
    if not rows:
        raise LookupError(
            f"there is no whole checkpoint in {asked.folder.absolute()}.{_elsewhere(asked.folder)}"
        )
    sys.stdout.write(table(("name", "step", "kind", "score"), rows))
    return Exit.OK


def verify(reader: Any, asked: argparse.Namespace) -> int:
    """Check a checkpoint, or each in a folder; the exit code is 1 if one is damaged."""
    damaged, paths = 0, _paths(asked.folder)
    if not paths:
        raise LookupError(
            f"there is no checkpoint in {asked.folder.absolute()}.{_elsewhere(asked.folder)}"
        )
    for path in paths:
        try:
            reader.verify(path)
        except (LookupError, OSError, ValueError) as error:
            damaged += 1
            sys.stdout.write(f"DAMAGED {path}: {' '.join(str(error).split())}\n")
        else:
            sys.stdout.write(f"whole   {path}\n")
    return Exit.FAILED if damaged else Exit.OK


def show(reader: Any, asked: argparse.Namespace) -> int:
    """Print what a checkpoint holds: keys, types, shapes; no values of tensors."""
    for line in outline(reader.load(asked.folder)):
        sys.stdout.write(f"{line}\n")
    return Exit.OK


def export(reader: Any, asked: argparse.Namespace) -> int:
    """Write a checkpoint as one file that Lightning loads."""
    if asked.target.exists():
        raise FileExistsError(f"The file is a new one. Received {asked.target}, which is there.")
    importlib.import_module(f"{PACKAGE}.lightning").export(asked.folder, asked.target)
    return Exit.OK


Verb = Callable[[Any, argparse.Namespace], int]

VERBS: dict[str, tuple[Verb, str]] = {
    "list": (list_them, "name the whole checkpoints in a folder, oldest first"),
    "verify": (verify, "check a checkpoint, or each in a folder"),
    "show": (show, "show what a checkpoint holds"),
    "export": (export, "write a checkpoint as a file that Lightning loads"),
}


def _paths(folder: Path) -> list[Path]:
    """Return the folder itself if it is a checkpoint, else every checkpoint-like entry in it."""
    return [folder] if _is_one(folder) else _inside(folder)


def _is_one(folder: Path) -> bool:
    return folder.suffix == ".ckpt" or (folder / "manifest.json").exists()


def _inside(folder: Path) -> list[Path]:
    """Return what looks like a checkpoint in a folder that is none."""
    return [] if _is_one(folder) else sorted(folder.glob("*.ckpt"))


def _elsewhere(folder: Path) -> str:
    """Say where checkpoints are instead: beside this one, or in folders within, three deep."""
    if _is_one(folder):
        return f" It is one itself: name the folder it is in, {folder.parent}."
    if _inside(folder):
        return f" Run: lt ckpt verify {folder}"
    holders = {
        path.parent for depth in range(1, 5) for path in folder.glob("*/" * depth + "*.ckpt")
    }
    return f" There are some in {', '.join(map(str, sorted(holders)))}." if holders else ""


def outline(value: Any, name: str = "", depth: int = 0) -> list[str]:
    """Return lines that show the shape of a value.

    >>> outline({"epoch": 3, "state_dict": {"w": [1, 2]}})
    ['epoch: 3', 'state_dict: 1 entry', '  w: list of 2']
    """
    lead = "  " * max(depth - 1, 0)
    if isinstance(value, Mapping):
        count = f"{len(value)} entr{'y' if len(value) == 1 else 'ies'}"
        lines = [f"{lead}{name}: {count}"] if depth else []
        for key, inner in value.items():
            lines += outline(inner, str(key), depth + 1)
        return lines
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        told = f"{value.dtype} {tuple(value.shape)}"
    elif isinstance(value, list | tuple):
        told = f"{type(value).__name__} of {len(value)}"
    else:
        told = repr(value)
    return [f"{lead}{name}: {told}"]

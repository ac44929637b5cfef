"""``lt ckpt``: looks at checkpoints, through lt-checkpoint where it is installed."""

import argparse
import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lt_cli.exits import Exit
from lt_cli.looked_at import LocalPlace, LookedAt, RemotePlace, is_url
from lt_cli.plain import PlainParser
from lt_cli.table import table

PACKAGE = "lt_checkpoint"


def main(arguments: Sequence[str]) -> int:
    """List, verify, show or export checkpoints; what a file names is never imported.

    Raises:
        LookupError: lt-checkpoint is not installed, or there is no such checkpoint.
        OSError: a remote store does not answer.
    """
    parser = PlainParser(prog="lt ckpt", description="Look at checkpoints.")
    chosen = parser.add_subparsers(dest="verb", required=True, metavar=" | ".join(VERBS))
    for verb, (run, summary) in VERBS.items():
        one = chosen.add_parser(verb, help=summary, description=summary)
        one.add_argument("folder", metavar="DIR", help="a path or a URL")
        if verb == "export":
            one.add_argument("target", type=Path, metavar="FILE")
        one.set_defaults(run=run)
    asked = parser.parse_args(arguments)
    if is_url(asked.folder):
        found: LookedAt = RemotePlace(asked.folder, library())
    else:
        found = LocalPlace(Path(asked.folder))
    if not found.exists():
        raise LookupError(f"there is nothing at {found.place}.")
    if asked.verb in ("show", "export") and (inside := found.inside()):
        raise LookupError(
            f"lt ckpt {asked.verb} takes one checkpoint. Received {found.place}, which holds "
            f"{', '.join(str(path) for path in inside)}. Name one of them."
        )
    code: int = asked.run(library(), found, asked)
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


def list_them(reader: Any, found: LookedAt, asked: argparse.Namespace) -> int:
    """Print a table of the whole checkpoints in a folder, oldest first."""
    store = reader.FolderStore(found.place)
    rows = []
    for name in store.list():
        one = store.manifest(name)
        score = "" if one.score is None else f"{one.monitor}={one.score:.6g}"
        rows.append((name, str(one.step), one.kind, score))
    if not rows:
        place = found.whole_place
        raise LookupError(f"there is no whole checkpoint in {place}.{found.elsewhere()}")
    sys.stdout.write(table(("name", "step", "kind", "score"), rows))
    return Exit.OK


def verify(reader: Any, found: LookedAt, asked: argparse.Namespace) -> int:
    """Check a checkpoint, or each in a folder; the exit code is 1 if one is damaged."""
    damaged, paths = 0, [found.place] if found.is_one() else found.inside()
    if not paths:
        raise LookupError(f"there is no checkpoint in {found.whole_place}.{found.elsewhere()}")
    for path in paths:
        try:
            reader.verify(path)
        except reader.StoreUnavailableError:
            raise  # nothing is known of it
        except (LookupError, OSError, ValueError) as error:
            if isinstance(error, reader.CheckpointNotFoundError):
                raise
            damaged += 1
            sys.stdout.write(f"DAMAGED {path}: {' '.join(str(error).split())}\n")
        else:
            sys.stdout.write(f"whole   {path}\n")
    return Exit.FAILED if damaged else Exit.OK


def show(reader: Any, found: LookedAt, asked: argparse.Namespace) -> int:
    """Print what a checkpoint holds: keys, types, shapes; no values of tensors."""
    for line in outline(reader.load(found.place)):
        sys.stdout.write(f"{line}\n")
    return Exit.OK


def export(reader: Any, found: LookedAt, asked: argparse.Namespace) -> int:
    """Write a checkpoint as one file that Lightning loads."""
    if asked.target.exists():
        raise FileExistsError(f"The file is a new one. Received {asked.target}, which is there.")
    importlib.import_module(f"{PACKAGE}.lightning").export(found.place, asked.target)
    return Exit.OK


Verb = Callable[[Any, LookedAt, argparse.Namespace], int]

VERBS: dict[str, tuple[Verb, str]] = {
    "list": (list_them, "name the whole checkpoints in a folder, oldest first"),
    "verify": (verify, "check a checkpoint, or each in a folder"),
    "show": (show, "show what a checkpoint holds"),
    "export": (export, "write a checkpoint as a file that Lightning loads"),
}


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

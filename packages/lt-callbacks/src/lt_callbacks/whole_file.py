"""Files that a crash leaves whole."""

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write a file beside its place, then put it there in one step."""
    stage = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with stage.open("w", newline="", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        stage.replace(path)
    finally:
        stage.unlink(missing_ok=True)

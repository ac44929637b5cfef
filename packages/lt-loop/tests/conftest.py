"""Makes toys.py importable, wherever the suite is run from, and pretends what is installed."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lt_loop.discovery import announced

sys.path.append(str(Path(__file__).parent))


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Pretend that nothing is installed but what the test installs.

    ``install(group, name, code)`` installs a package with one module of that code, whose object
    ``made`` it announces.
    """

    def install(group: str, name: str, code: str) -> None:
        folder = tmp_path / f"package_{len(list(tmp_path.iterdir()))}"
        information = folder / f"{folder.name}-1.0.dist-info"
        information.mkdir(parents=True)
        (folder / f"{folder.name}.py").write_text(code)
        (information / "METADATA").write_text(f"Name: {folder.name}\nVersion: 1.0\n")
        (information / "entry_points.txt").write_text(f"[{group}]\n{name} = {folder.name}:made\n")
        sys.path.append(str(folder))
        announced.cache_clear()

    without_packages = [path for path in sys.path if not any(Path(path).glob("*.dist-info"))]
    monkeypatch.setattr(sys, "path", without_packages)
    before = set(sys.modules)
    announced.cache_clear()
    yield install
    announced.cache_clear()
    for name in set(sys.modules) - before:
        if name.startswith("package_"):
            del sys.modules[name]

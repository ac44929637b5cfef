"""``lt new``: a small project that trains at once, with a test and a configuration."""

import keyword
import sys
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from lt_cli.exits import Exit
from lt_cli.plain import PlainParser

FILES = {
    "README.md": "README.md",
    "config.yaml": "config.yaml",
    "pyproject.toml": "pyproject.toml",
    "gitignore": ".gitignore",
    "package.py": "{package}/__init__.py",
    "data.py": "{package}/data.py",
    "model.py": "{package}/model.py",
    "test_model.py": "tests/test_model.py",
}
"""The templates, and the file that each becomes."""


def main(arguments: Sequence[str]) -> int:
    """Make the project.

    Raises:
        FileExistsError: there is something of that name.
        ValueError: the name can't be that of a package.
    """
    parser = PlainParser(
        prog="lt new",
        description="Make a small project: a classifier of the handwritten digits that come with "
        "scikit-learn, a configuration and a test.",
    )
    parser.add_argument("name", help="of the folder, and of the package in it")
    folder = Path(parser.parse_args(arguments).name)
    make_project(folder)
    sys.stdout.write(
        f"{folder} is ready. Train and test:\n\n"
        f"  cd {folder}\n  lt fit --config config.yaml\n"
        "  lt test --config config.yaml --ckpt_path best\n  pytest\n"
    )
    return Exit.OK


def make_project(folder: Path) -> None:
    """Write the files of a project into a new folder.

    Args:
        folder: its name is the project's.

    Raises:
        FileExistsError: there is something of that name.
        ValueError: the name can't be that of a package.
    """
    package = folder.name.replace("-", "_")
    if not package.isidentifier() or keyword.iskeyword(package) or package in TAKEN:
        raise ValueError(
            "A project's name is that of a package too: letters, digits, - and _, and none that "
            f"another package has. Received {folder.name!r}. Choose another."
        )
    if folder.exists():
        raise FileExistsError(
            f"A project gets a new folder. Received {folder}, which is there. Choose another name."
        )
    templates = files("lt_cli") / "template"
    for template, target in FILES.items():
        text = (templates / f"{template}.txt").read_text("utf-8")
        path = folder / target.format(package=package)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.replace("PACKAGE", package).replace("PROJECT", folder.name), "utf-8")


TAKEN = frozenset({"lt", "numpy", "sklearn", "tests", "torch", *sys.stdlib_module_names})
"""Names that a package of the user's would hide."""

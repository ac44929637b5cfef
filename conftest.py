"""Settings of the whole suite: threads, devices, and Markdown files that run as tests."""

import os
import re
import tempfile
from collections.abc import Iterable
from doctest import ELLIPSIS
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from sybil import Document, Region, Sybil
from sybil.parsers.markdown import CodeBlockParser, PythonCodeBlockParser, SkipParser

# Before anything imports torch: on small models its threads mostly wait for each other, which
# makes the suite several times slower. Subprocesses inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example takes says nothing: the machine may be busy, and the first one imports torch.
settings.register_profile("house", deadline=None)
settings.load_profile("house")

# Scripts, not modules to search for doctests: integration_tests/ runs the examples.
collect_ignore_glob = ["examples/*.py", "tools/*"]
# Modules with doctests to look for are imported, and these need what is not in every environment.
collect_ignore_glob += [
    f"packages/lt-callbacks/src/lt_callbacks/{client}_runs.py"
    for client in ("mlflow", "wandb")
    if find_spec(client) is None
]


class PyconFences:
    """Runs ```` ```pycon ```` fences as doctests, as sybil does with ```` ```python ```` ones."""

    def __init__(self, optionflags: int) -> None:
        self._doctests = PythonCodeBlockParser(doctest_optionflags=optionflags)
        self._doctests.codeblock_parser = CodeBlockParser("pycon", evaluator=self._refuse)

    def __call__(self, document: Document) -> Iterable[Region]:
        return self._doctests(document)

    @staticmethod
    def _refuse(example: Any) -> str:
        return f"a pycon fence starts with '>>>', this one with {example.parsed[:20]!r}"


def enter_empty_folder(namespace: dict[str, Any]) -> None:
    """Run the examples of a document where they may write logs and checkpoints."""
    folder = tempfile.TemporaryDirectory()
    namespace["_left"], namespace["_folder"] = Path.cwd(), folder
    os.chdir(folder.name)


def leave_folder(namespace: dict[str, Any]) -> None:
    os.chdir(namespace["_left"])
    namespace["_folder"].cleanup()


# Names are shared by the fences of a file; `<!-- skip: next -->` leaves a fence out.
pytest_collect_file = Sybil(
    parsers=[
        SkipParser(),
        PythonCodeBlockParser(doctest_optionflags=ELLIPSIS),
        PyconFences(ELLIPSIS),
    ],
    patterns=["*.md"],
    setup=enter_empty_folder,
    teardown=leave_folder,
).pytest()


def pytest_configure(config: pytest.Config) -> None:
    """Leave GPUs to those who ask for them: ``-m gpu``.

    A process that has used one can't be forked, and most tests of several ranks do that.
    """
    if "gpu" not in re.sub(r"not\s+gpu", "", config.getoption("markexpr")):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked ``gpu`` where there is none, or nobody has asked for it."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and -m gpu"))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep a file together, whatever --dist says: the fences of a document share their names."""
    from xdist.scheduler import LoadFileScheduling

    return LoadFileScheduling(config, log)

"""What the package hands out, and what it costs to import."""

import subprocess
import sys

import pytest

import lt_callbacks
from lt_callbacks.extras import LIBRARIES
from lt_loop import Callback


def fresh_process(code: str) -> str:
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return run.stdout.strip()


FUNCTIONS = {"summarize"}


@pytest.mark.parametrize("name", sorted(set(lt_callbacks.__all__) - FUNCTIONS - {"Tuner"}))
def test_every_name_is_a_callback_or_its_theme(name: str) -> None:
    found = getattr(lt_callbacks, name)

    assert issubclass(found, Callback) or name.endswith("Theme")
    assert found.__name__ == name
    assert name in dir(lt_callbacks)


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_the_others_are_functions(name: str) -> None:
    assert getattr(lt_callbacks, name).__name__ == name


def test_all_is_exact() -> None:
    names: dict[str, object] = {}
    exec("from lt_callbacks import *", names)

    assert set(names) - {"__builtins__"} == set(lt_callbacks.__all__) == set(dir(lt_callbacks))


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"lt_callbacks has .*CSVLogger, .* Received 'Banana'"):
        _ = lt_callbacks.Banana


@pytest.mark.parametrize(
    "code",
    [
        "import lt_callbacks",
        "from lt_callbacks import *",
        "import lt_callbacks.defaults",
        "from lt_callbacks.defaults import logger; logger('nowhere').log_dir",
    ],
)
def test_importing_brings_no_library(code: str) -> None:
    libraries = {library for extra in LIBRARIES.values() for library in extra} | {"numpy"}

    loaded = fresh_process(f"{code}\nimport sys; print(*sys.modules)").split()

    assert libraries.isdisjoint(loaded)

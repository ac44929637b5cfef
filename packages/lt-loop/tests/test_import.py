"""What importing the package brings along, what it leaves alone, and what it costs."""

import os
import subprocess
import sys
from types import ModuleType

import pytest

import lt_loop

AT_MOST = 2.0
"""Times what importing asyncio costs: the standard library's own package of this size."""


def fresh_process(code: str) -> list[str]:
    """Run code in an interpreter that has imported nothing yet; return the words it prints."""
    # The measurement of coverage would be measured too.
    environ = {name: v for name, v in os.environ.items() if not name.startswith("COVERAGE_")}
    command = [sys.executable, "-I", "-W", "error", "-c", code]
    run = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout.split()


ALL_MODULES = """
import importlib, pkgutil, lt_loop
for module in pkgutil.walk_packages(lt_loop.__path__, "lt_loop."):
    importlib.import_module(module.name)
"""


@pytest.mark.parametrize("imports", ["import lt_loop", ALL_MODULES], ids=["package", "modules"])
def test_importing_brings_neither_torch_nor_numpy_nor_anything_else(imports: str) -> None:
    show = "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    brought = fresh_process(f"import sys; before = set(sys.modules)\n{imports}\n{show}")

    assert {"torch", "numpy"}.isdisjoint(brought)
    assert set(brought) - sys.stdlib_module_names == {"lt_loop"}


def test_importing_costs_about_as_much_as_a_package_of_the_standard_library() -> None:
    """Processor time, of which other processes take nothing; the fastest of several, in turns."""
    code = "import time; start = time.process_time(); import {}; print(time.process_time() - start)"
    ours, theirs = [], []
    while len(ours) < 20 and (len(ours) < 3 or min(ours) > AT_MOST * min(theirs)):
        ours += map(float, fresh_process(code.format("lt_loop")))
        theirs += map(float, fresh_process(code.format("asyncio")))

    assert min(ours) <= AT_MOST * min(theirs)


def test_importing_does_no_work() -> None:
    show = (
        "import lt_loop, logging, signal, threading;"
        "print(logging.getLogger().handlers, threading.active_count(),"
        "signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    )

    assert fresh_process(show) == ["[]", "1", "True"]


def test_what_it_has_to_say_is_printed_only_where_somebody_listens() -> None:
    show = (
        "import sys, logging, lt_loop; sys.stderr = sys.stdout;"
        "logging.getLogger('lt_loop').warning('unheard');"
        "logging.basicConfig(format='%(message)s', stream=sys.stdout);"
        "logging.getLogger('lt_loop').warning('heard')"
    )

    assert fresh_process(show) == ["heard"]


def test_all_is_exact() -> None:
    public = {
        name
        for name, value in vars(lt_loop).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }

    assert public == set(lt_loop.__all__)
    assert len(set(lt_loop.__all__)) == len(lt_loop.__all__)

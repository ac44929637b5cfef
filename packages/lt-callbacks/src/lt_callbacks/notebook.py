"""Whether this is a notebook that can show widgets."""

import sys
from importlib.util import find_spec


def in_notebook() -> bool:
    """Return whether the code runs in a notebook's kernel, and ipywidgets is installed.

    IPython is asked only if somebody imported it, as a kernel has.
    """
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    is_kernel = getattr(shell, "kernel", None) is not None
    return is_kernel and find_spec("ipywidgets") is not None

"""Stays warm: imports what takes long, and forks a process for each line it reads.

A process so forked is like one that was started: it has a session of its own, its standard streams
are files, and what its program does not catch ends it as it ends a script.
"""

import gc
import importlib
import json
import os
import runpy
import sys
from typing import Any

for name in (
    *("numpy", "torch", "torch._dynamo", "torch.distributed.launcher.api", "torchmetrics"),
    *("lt", "lt_accel", "lt_callbacks", "lt_checkpoint", "lt_cli", "lt_data", "experiment"),
):
    importlib.import_module(name)

importlib.import_module("torch").set_num_threads(1)
gc.collect()
gc.freeze()  # a collection would write to all pages, which a forked process would have to copy


def put(path: str, text: str) -> None:
    """Write a file that nobody sees in part."""
    with open(f"{path}.draft", "w", encoding="utf-8") as file:
        file.write(text)
    os.rename(f"{path}.draft", path)


def keep(child: int, folder: str) -> None:
    """Write down how a process ended, once it has."""
    put(f"{folder}/pid", str(child))
    _, status = os.waitpid(child, 0)
    put(f"{folder}/exit", str(os.waitstatus_to_exitcode(status)))
    os._exit(0)


def forked() -> dict[str, Any]:
    """Return what to run, in the process that is to run it."""
    while line := sys.stdin.readline():
        words: dict[str, Any] = json.loads(line)
        if os.fork():
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
            continue
        if child := os.fork():
            keep(child, words["folder"])
        os.setsid()
        for number, name in enumerate(("/dev/null", "out", "err")):
            place = os.path.join(words["folder"], name)
            os.dup2(os.open(place, os.O_RDWR | os.O_CREAT | os.O_APPEND), number)
        os.chdir(words["folder"])
        return words
    os._exit(0)


words = forked()
sys.argv = ["program", *words.get("arguments", [])]
if "module" in words:
    runpy.run_module(words["module"], run_name="__main__", alter_sys=True)
else:
    place = os.path.join(os.path.dirname(__file__), f"{words['program']}.py")
    runpy.run_path(place, {"given": words["given"]}, "__main__")

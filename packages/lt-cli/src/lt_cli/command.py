"""The command ``lt``: finds the subcommand, runs it, and turns what happens into an exit code."""

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from importlib import metadata

from lt_cli.cli import LTCLI
from lt_cli.exits import Exit, is_message
from lt_cli.spelling import suggestion

RUNS = {
    "fit": "train, and validate on the way",
    "validate": "run the validation loop once",
    "test": "run the test loop once",
    "predict": "predict every batch",
    "plan": "show what a run will do, and do nothing",
}
"""The subcommands that are methods of the trainer."""

OTHERS = {
    "backends": ("show what is installed for each port", "lt_cli.installed"),
    "doctor": ("check the installation: versions, devices, what is missing", "lt_cli.doctor"),
    "ckpt": ("list, verify, show and export checkpoints", "lt_cli.checkpoints"),
    "new": ("make a small project that trains at once", "lt_cli.new_project"),
    "completion": ("print a completion script for a shell", "lt_cli.completion"),
}
"""The other subcommands, each with the module whose ``main`` it is."""

ENV = "--env"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line ``lt``.

    Args:
        arguments: what follows ``lt``; by default that of this process.

    Returns:
        The exit code, one of :class:`lt_cli.Exit`.

    Raises:
        SystemExit: the parser ended it (code 0 after help, 2 after an error), or the user's code.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    asked: list[OneRun] = []
    try:
        code = _dispatch(words, asked)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        if set(words) & (RUNS.keys() - {"plan"}):  # it may be another pipe, of the user's code
            raise
        # As in `lt plan | head`: who reads has read enough. Python flushes once more at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except KeyboardInterrupt:
        return _say(Exit.INTERRUPTED, "stopped by Ctrl-C", words)
    except Exception as error:
        if not is_message(error):
            traceback.print_exception(error)
            return Exit.FAILED
        began = any(run.began for run in asked)
        return _say(Exit.FAILED if began else Exit.USAGE, " ".join(_text(error).split()), words)


def _dispatch(words: list[str], asked: "list[OneRun]") -> int:
    by_env = words[:1] == [ENV]
    name, *rest = words[by_env:] or ["--help"]
    if name in ("-h", "--help"):
        sys.stdout.write(help_text())
        return Exit.OK
    if name == "--version":
        sys.stdout.write(f"lt {metadata.version('lt-cli')}\n")
        return Exit.OK
    if name in RUNS:
        return _run(name, rest, by_env, asked)
    if name in OTHERS:
        command: Callable[[list[str]], int] = importlib.import_module(OTHERS[name][1]).main
        return command(rest)
    what = "option" if name.startswith("-") else "subcommand"
    near = suggestion(name, [*RUNS, *OTHERS, "--help", "--version", ENV])
    return _say(Exit.USAGE, f"there is no {what} {name!r}.{near} See lt -h.")


def _run(name: str, words: list[str], by_env: bool, asked: "list[OneRun]") -> int:
    # As for `python script.py`: the project is where the command is given.
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    run = OneRun(name, words, by_env=by_env)
    asked.append(run)
    run.start()
    if name == "fit" and run.trainer.is_global_zero:
        result = run.result
        sys.stdout.write(f"fit: {result.reason}, after {result.progress.steps} steps\n")
    return Exit.OK


class OneRun(LTCLI):
    """One subcommand of ``lt``: made when it is read, run when it is started.

    The other subcommands are not even parsed, so that help comes at once.
    """

    def __init__(self, name: str, words: Sequence[str], *, by_env: bool = False) -> None:
        self._name = name
        super().__init__(args=[name, *words], parser_kwargs={"prog": "lt", "default_env": by_env})

    def subcommands(self) -> dict[str, set[str]]:
        """Return the one subcommand that was asked for."""
        return {self._name: super().subcommands()[self._name]}

    def run_subcommand(self, name: str) -> None:
        """Wait for :meth:`start`."""

    def start(self) -> None:
        """Run what was asked for."""
        super().run_subcommand(self._name)

    @property
    def began(self) -> bool:
        """Whether the trainer has begun a run, well or not."""
        return self.trainer.state.status != "initializing"


def help_text() -> str:
    """Return what ``lt -h`` shows."""
    rows = {**RUNS, **{name: summary for name, (summary, _) in OTHERS.items()}}
    width = max(map(len, rows)) + 2
    lines = [f"  {name:{width}}{summary}" for name, summary in rows.items()]
    return "\n".join(
        [
            "usage: lt [--env] SUBCOMMAND ...",
            "",
            "Train, validate, test and predict from the command line and configuration files.",
            "",
            *lines,
            "",
            "  lt SUBCOMMAND -h shows the options of each.",
            "  --env         reads environment variables too, such as LT_FIT__TRAINER__MAX_EPOCHS",
            "  --version     shows the version",
            "",
            "exit codes: 0 done, 1 failed, 2 asked for what can't be done, 130 Ctrl-C",
            "",
        ]
    )


def _text(error: BaseException) -> str:
    return str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)


def _say(code: Exit, line: str, words: Sequence[str] = ()) -> Exit:
    name = next((f" {word}" for word in words if word in RUNS or word in OTHERS), "")
    sys.stderr.write(f"lt{name}: {line}\n")
    return code

"""``lt completion``: a script that completes subcommands and options in a shell.

The script is complete in itself: pressing Tab starts no Python.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from jsonargparse import capture_parser

from lt_cli.checkpoints import VERBS
from lt_cli.command import OTHERS, RUNS, OneRun
from lt_cli.exits import Exit
from lt_cli.plain import PlainParser

SHELLS = ("bash", "zsh", "fish")


def options_of(subcommand: str) -> list[str]:
    """Return the long options of a subcommand that runs something; nothing is parsed."""
    parser: Any = capture_parser(lambda: OneRun(subcommand, []))
    return [option for option in parser.options(subcommand) if option.startswith("--")]


def words_after() -> dict[str, list[str]]:
    """Return what may follow each subcommand."""
    words: dict[str, list[str]] = {name: options_of(name) for name in RUNS}
    words |= {name: ["--help"] for name in OTHERS}
    words["completion"] += SHELLS
    words["ckpt"] += VERBS
    return words


def bash(words: Mapping[str, Sequence[str]]) -> str:
    """Return the script for bash; files complete what no option does."""
    cases = "\n".join(f"    {name}) words='{' '.join(after)}' ;;" for name, after in words.items())
    return f"""\
# Completion of lt for bash. To use it: eval "$(lt completion bash)"
_lt() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" words=''
  if [ "$COMP_CWORD" -eq 1 ]; then
    words='{" ".join(words)}'
  else
    case "${{COMP_WORDS[1]}}" in
{cases}
    esac
  fi
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _lt lt
"""


def zsh(words: Mapping[str, Sequence[str]]) -> str:
    """Return the script for zsh."""
    cases = "\n".join(
        f"    {name}) compadd -- {' '.join(after)} ;;" for name, after in words.items()
    )
    return f"""\
# Completion of lt for zsh. To use it: eval "$(lt completion zsh)", after compinit
_lt() {{
  if (( CURRENT == 2 )); then
    compadd -- {" ".join(words)}
    return
  fi
  case "${{words[2]}}" in
{cases}
  esac
  _files
}}
compdef _lt lt
"""


def fish(words: Mapping[str, Sequence[str]]) -> str:
    """Return the script for fish."""
    lines = ["# Completion of lt for fish. To use it: lt completion fish | source"]
    lines += [f"complete -c lt -n __fish_use_subcommand -f -a '{' '.join(words)}'"]
    for name, after in words.items():
        seen = f"-n '__fish_seen_subcommand_from {name}'"
        plain = [word for word in after if not word.startswith("-")]
        lines += [f"complete -c lt {seen} -l '{word[2:]}'" for word in after if word[:2] == "--"]
        lines += [f"complete -c lt {seen} -f -a '{' '.join(plain)}'"] if plain else []
    return "\n".join([*lines, ""])


def main(arguments: Sequence[str]) -> int:
    """Print the script for a shell."""
    parser = PlainParser(
        prog="lt completion", description="Print a script that completes lt in a shell."
    )
    parser.add_argument("shell", choices=SHELLS)
    shell = parser.parse_args(arguments).shell
    scripts = {"bash": bash, "zsh": zsh, "fish": fish}
    sys.stdout.write(scripts[shell](words_after()))
    return Exit.OK

"""The command line in a script of your own, under the names that Lightning gives it.

Imported when it is first asked for: ``from lt.cli import LightningCLI``.
"""

from lt_cli import (
    LTCLI,
    ArgsType,
    LightningArgumentParser,
    LightningCLI,
    LTArgumentParser,
    SaveConfigCallback,
)

__all__ = [
    "LTCLI",
    "ArgsType",
    "LTArgumentParser",
    "LightningArgumentParser",
    "LightningCLI",
    "SaveConfigCallback",
]

"""The command line of lt: fit, validate, test and predict from configuration files.

``lt`` is the command; :class:`LTCLI` is the same in a script of your own.
"""

import logging

from lt_cli.cli import LTCLI
from lt_cli.exits import Exit
from lt_cli.named import ArgsType
from lt_cli.parser import LTArgumentParser
from lt_cli.save_config import SaveConfigCallback

LightningCLI = LTCLI
LightningArgumentParser = LTArgumentParser

__all__ = [
    "LTCLI",
    "ArgsType",
    "Exit",
    "LTArgumentParser",
    "LightningArgumentParser",
    "LightningCLI",
    "SaveConfigCallback",
]

logging.getLogger(__name__).addHandler(logging.NullHandler())

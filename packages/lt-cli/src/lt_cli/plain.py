"""A parser for the subcommands that read no configuration; its errors are one line too."""

import argparse
import re
from typing import NoReturn, final

from lt_cli.exits import Exit
from lt_cli.spelling import suggestion


@final
class PlainParser(argparse.ArgumentParser):
    """argparse's parser, without the usage before an error and with the closest valid name."""

    def error(self, message: str) -> NoReturn:
        """End with one line on stderr."""
        received = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        near = suggestion(received[1], re.findall(r"[\w-]+", received[2])) if received else ""
        self.exit(Exit.USAGE, f"{self.prog}: {message}.{near}\n")

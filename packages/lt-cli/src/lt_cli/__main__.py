"""``python -m lt_cli`` is ``lt``."""

import sys

from lt_cli.command import main

if __name__ == "__main__":
    sys.exit(main())

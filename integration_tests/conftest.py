"""User files and the programs of the faults are run by tests; they are no modules with doctests."""

import pytest

collect_ignore_glob = ["user_files/*", "faults/programs/*"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--whole-faults",
        action="store_true",
        help="inject every fault of integration_tests/faults as often as was planned, which takes "
        "many minutes, rather than a few times",
    )

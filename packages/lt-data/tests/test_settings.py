from typing import Any

import pytest

from lt_data import TorchFeed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            {"order": "troch"},
            r"^order is one of 'seeded', 'torch'\. Received 'troch'\. Did you mean",
        ),
        (
            {"on_unseekable": "raise"},
            r"^on_unseekable is one of 'warn', 'error'\. Received 'raise'",
        ),
        ({"timeout": -1}, r"^timeout is 0 seconds or more\. Received -1\. 0 waits"),
        ({"timeout": float("nan")}, r"^timeout is 0 seconds or more\. Received nan"),
    ],
)
def test_what_there_is_not_is_refused(words: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TorchFeed(**words)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"seed": "1"}, r"^seed is an int, or None for that of torch\. Received '1' of type str"),
        ({"seed": True}, r"^seed is an int.* Received True of type bool"),
        ({"timeout": None}, r"^timeout is a number of seconds\. Received None of type NoneType"),
    ],
)
def test_what_is_no_number_is_refused(words: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        TorchFeed(**words)

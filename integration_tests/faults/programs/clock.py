"""Fit the experiment on a machine whose clock stands in 1999. Given is what ``fit`` reads."""

import datetime
import os
import time
from pathlib import Path
from typing import Any

given: dict[str, Any] = globals()["given"]
PAST = 915_148_800.0
STARTED = time.time()
true_time, true_datetime = time.time, datetime.datetime


class Back(true_datetime):
    """A clock that was set back."""

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        return true_datetime.fromtimestamp(time.time(), tz)


time.time = lambda: true_time() - STARTED + PAST
datetime.datetime = Back  # type: ignore[misc]
rename = os.rename


def renamed_in_the_past(source: Any, target: Any, **words: Any) -> None:
    """Rename, and let the file system's clock be wrong too."""
    rename(source, target, **words)
    if str(target).endswith(".ckpt"):
        os.utime(target, (time.time(), time.time()))


os.rename = renamed_in_the_past
source = Path(os.path.dirname(__file__), "fit.py").read_text()
exec(compile(source, "fit.py", "exec"))

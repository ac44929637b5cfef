"""The promises of a kit by name, and running them without a test runner."""

from typing import Any


def promises(kit: type) -> list[str]:
    """Return the names of a kit's tests, but for those that were left out.

    >>> class Kit:
    ...     def test_one(self): ...
    ...     test_two = None
    >>> promises(Kit)
    ['test_one']
    """
    return [name for name in dir(kit) if name.startswith("test_") and callable(getattr(kit, name))]


def failures(kit: type) -> dict[str, Exception]:
    """Run a kit, each test on an instance of its own; return what failed, by the test's name.

    For places without a test runner, such as each rank of a group of processes: there all ranks
    run the same tests in the same order.

    Args:
        kit: a complete one, with what is left open filled in.
    """
    failed: dict[str, Exception] = {}
    for name in promises(kit):
        instance: Any = kit()
        try:
            getattr(instance, name)()
        except Exception as error:
            failed[name] = error
    return failed

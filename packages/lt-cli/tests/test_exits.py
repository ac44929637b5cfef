"""Who is to blame for an exception."""

from typing import Any

from lt_cli.exits import is_message


def run_in(module: str, code: str, **names: Any) -> Any:
    """Define ``f`` in a module of some name."""
    space: dict[str, Any] = {"__name__": module, **names}
    exec(code, space)
    return space["f"]


def blamed(f: Any) -> bool:
    try:
        f()
    except Exception as error:
        return is_message(error)
    raise AssertionError("f must raise")


def test_what_the_house_says_is_a_message() -> None:
    says = run_in("lt_loop.limits", "def f(): raise ValueError('no')")
    assert blamed(run_in("lt_cli.cli", "def f(): g()", g=says))


def test_what_fails_in_the_house_is_a_mistake() -> None:
    fails = run_in("lt_loop.limits", "def f(): return None + 1")
    assert not blamed(run_in("lt_cli.cli", "def f(): g()", g=fails))


def test_an_assertion_of_the_house_is_a_mistake() -> None:
    fails = run_in("lt_loop.limits", "def f(): assert False")
    assert not blamed(run_in("lt_cli.cli", "def f(): g()", g=fails))


def test_what_the_user_raises_is_no_message() -> None:
    raises = run_in("my.model", "def f(): raise ValueError('no')")
    assert not blamed(run_in("lt_cli.cli", "def f(): g()", g=raises))


def test_what_the_house_says_to_the_users_code_is_no_message() -> None:
    says = run_in("lt_loop.logbook", "def f(): raise ValueError('no')")
    calls = run_in("my.model", "def f(): g()", g=says)
    assert not blamed(run_in("lt_cli.cli", "def f(): g()", g=calls))

"""Other packages are found by the names they announce, and loaded only when asked for."""

import sys
from collections.abc import Callable

import pytest

from lt_loop.discovery import PACKAGES, announced, find, require

Install = Callable[..., None]


def test_what_is_announced_is_found_under_its_name(install: Install) -> None:
    install("lt.feeds", "shelf", "made = 'a shelf'")
    install("lt.feeds", "river", "made = 'a river'")

    assert (find("lt.feeds", "shelf"), find("lt.feeds", "river")) == ("a shelf", "a river")
    assert require("lt.feeds", "river", wanted_by="a test") == "a river"


def test_a_name_belongs_to_its_group(install: Install) -> None:
    install("lt.feeds", "torch", "made = 'a feed'")
    install("lt.backends", "torch", "made = 'a backend'")

    assert (find("lt.feeds", "torch"), find("lt.backends", "torch")) == ("a feed", "a backend")
    assert find("lt.stores", "torch") is None


def test_nothing_is_loaded_that_was_not_asked_for(install: Install) -> None:
    install("lt.feeds", "other", "raise AssertionError('loaded')")
    install("lt.feeds", "asked", "made = 'loaded'")

    assert sorted(announced("lt.feeds")) == ["asked", "other"]
    assert not [name for name in sys.modules if name.startswith("package_")]
    assert find("lt.feeds", "asked") == "loaded"


def test_trouble_in_an_installed_package_is_not_taken_for_its_absence(install: Install) -> None:
    install("lt.feeds", "broken", "import a_library_that_is_not_there")

    with pytest.raises(ModuleNotFoundError, match="a_library_that_is_not_there"):
        find("lt.feeds", "broken")


def test_the_closest_name_is_suggested(install: Install) -> None:
    install("lt.feeds", "river", "made = 'a river'")
    install("lt.feeds", "shelf", "made = 'a shelf'")
    message = (
        r"^Trainer\(feed='shelv'\) needs 'shelv' among the entry points of 'lt\.feeds'\. Received "
        r"river, shelf from the installed packages\. Did you mean 'shelf'\? "
        r"Install the package that brings it\.$"
    )
    with pytest.raises(LookupError, match=message):
        require("lt.feeds", "shelv", wanted_by="Trainer(feed='shelv')")


@pytest.mark.parametrize(("group", "name"), PACKAGES)
def test_the_package_that_brings_a_known_name_is_named(
    install: Install, group: str, name: str
) -> None:
    message = (
        rf"^A test needs '{name}' among the entry points of '{group}'\. Received none from the "
        rf"installed packages\. Install {PACKAGES[group, name]}\.$"
    )
    with pytest.raises(LookupError, match=message):
        require(group, name, wanted_by="A test")

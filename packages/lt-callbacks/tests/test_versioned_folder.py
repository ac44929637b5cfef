"""Where loggers write."""

from pathlib import Path
from typing import Any

import pytest

from lt_callbacks.versioned_folder import VersionedFolder, next_version


def test_versions_count_from_zero(tmp_path: Path) -> None:
    paths = [VersionedFolder(tmp_path).claim() for _ in range(3)]

    expected = [tmp_path / "lightning_logs" / f"version_{n}" for n in range(3)]
    assert paths == expected
    assert all(path.is_dir() for path in paths)


def test_the_next_version_is_after_the_greatest(tmp_path: Path) -> None:
    for name in ("version_2", "version_10", "version_x", "version_30_old", "other"):
        (tmp_path / name).mkdir()
    (tmp_path / "version_77").write_text("a file, not a folder")

    assert next_version(tmp_path) == 11


def test_nothing_is_made_by_asking(tmp_path: Path) -> None:
    folder = VersionedFolder(tmp_path / "logs")

    assert folder.version == 0
    assert folder.path == tmp_path / "logs" / "lightning_logs" / "version_0"
    assert list(tmp_path.iterdir()) == []


def test_a_version_stays_once_it_was_asked_for(tmp_path: Path) -> None:
    """Somebody else, a checkpoint say, may already be in the folder that was announced."""
    folder = VersionedFolder(tmp_path)
    announced = folder.path
    (announced / "checkpoints").mkdir(parents=True)

    assert folder.claim() == announced
    assert folder.version == 0


def test_a_version_nobody_asked_for_is_one_that_nobody_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process makes the same folder between our look and our mkdir."""
    (tmp_path / "lightning_logs" / "version_0").mkdir(parents=True)
    monkeypatch.setattr("lt_callbacks.versioned_folder.next_version", lambda root: 0)

    assert VersionedFolder(tmp_path).claim().name == "version_1"


def test_claiming_twice_is_the_same_folder(tmp_path: Path) -> None:
    folder = VersionedFolder(tmp_path)

    assert folder.claim() == folder.claim()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"version": 7}, "lightning_logs/version_7"),
        ({"version": "try-2"}, "lightning_logs/try-2"),
        ({"name": "mnist", "version": 0}, "mnist/version_0"),
        ({"name": "", "version": 0}, "version_0"),
        ({"name": None, "version": 0}, "version_0"),
        ({"version": 0, "sub_dir": "train"}, "lightning_logs/version_0/train"),
    ],
)
def test_the_layout_is_lightnings(tmp_path: Path, arguments: dict[str, Any], expected: str) -> None:
    assert VersionedFolder(tmp_path, **arguments).path == tmp_path / expected


def test_home_and_environment_are_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LOGS", str(tmp_path / "here"))

    assert VersionedFolder("~/logs").save_dir == str(tmp_path / "home" / "logs")
    assert VersionedFolder("$LOGS/a").save_dir == str(tmp_path / "here" / "a")


@pytest.mark.parametrize(
    ("version", "error", "message"),
    [
        (-1, ValueError, r"number from 0, or the name of a folder\. Received version=-1"),
        ("", ValueError, r"Received version=''"),
        (1.5, TypeError, r"an int, a string or None\. Received version=1\.5 of type float"),
        (True, TypeError, r"Received version=True of type bool"),
    ],
)
def test_bad_versions_are_refused(version: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        VersionedFolder("logs", version=version)

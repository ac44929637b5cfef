"""A file is the old one or the new one."""

from pathlib import Path

import pytest

from lt_callbacks.whole_file import write_whole


def test_a_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for text in ("first\n", "zwöfte\r\n"):
        write_whole(path, text)
        assert path.read_bytes() == text.encode()

    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    path = tmp_path / "file"
    write_whole(path, "old")
    monkeypatch.setattr("os.fsync", no_space)

    with pytest.raises(OSError, match="No space left"):
        write_whole(path, "new")

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]

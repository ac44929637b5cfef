"""The CSV file against a list in memory."""

import csv
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lt_callbacks.metrics_file import MetricsFile


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return [{k: v for k, v in row.items() if v != ""} for row in csv.DictReader(file)]


def as_text(row: dict[str, Any]) -> dict[str, str]:
    return {name: str(value) for name, value in row.items()}


rows = st.builds(
    lambda step, values: {"step": step, **values},
    st.integers(0, 9),
    st.dictionaries(st.sampled_from(["a", "loss", 'od"d, name', "zz"]), st.floats(), max_size=3),
)
operations = st.lists(st.one_of(rows, st.sampled_from(["flush", "reopen"])), max_size=15)


@given(operations)
def test_it_holds_all_rows_that_were_flushed_and_no_other(steps: list[Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "metrics.csv")
        file, waiting, written = MetricsFile(path), [], []
        for step in [*steps, "flush"]:
            if isinstance(step, dict):
                file.add(step)
                waiting.append(as_text(step))
            elif step == "flush":
                file.flush()
                written += waiting
                waiting = []
            else:  # as after a crash: what waited is gone
                file, waiting = MetricsFile(path), []
            if written:
                assert read(path) == written
                header = path.read_text().splitlines()[0]
                names = {name for row in written for name in row}
                assert next(csv.reader([header])) == sorted(names)
        assert [p.name for p in Path(folder).iterdir()] == (["metrics.csv"] if written else [])


def test_known_columns_are_appended_and_new_ones_rewrite(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    file = MetricsFile(path)
    inodes = []
    for row in ({"step": 0, "b": 1.0}, {"step": 1, "b": 2.0}, {"step": 2, "a": 3.0}):
        file.add(row)
        file.flush()
        inodes.append(path.stat().st_ino)

    assert path.read_text() == "a,b,step\n,1.0,0\n,2.0,1\n3.0,,2\n"
    assert inodes[0] == inodes[1] != inodes[2]


def test_a_rewrite_that_fails_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metrics.csv"
    file = MetricsFile(path)
    file.add({"step": 0, "a": 1.0})
    file.flush()

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    file.add({"step": 1, "b": 2.0})
    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", no_space)
        with pytest.raises(OSError, match="No space left"):
            file.flush()
    after_failure = read(path)
    left = [p.name for p in tmp_path.iterdir()]
    file.flush()

    assert after_failure == [{"step": "0", "a": "1.0"}]
    assert left == ["metrics.csv"]
    assert read(path) == [{"step": "0", "a": "1.0"}, {"step": "1", "b": "2.0"}]


TEXT = "a,step\n1.25,0\n2.25,1\n"


@pytest.mark.parametrize("cut", range(len(TEXT) + 1))
def test_a_torn_file_is_continued_after_its_last_whole_line(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(TEXT[:cut])

    file = MetricsFile(path)
    file.add({"step": 9, "a": 3.5})
    file.flush()

    before = [{"a": "1.25", "step": "0"}, {"a": "2.25", "step": "1"}]
    whole = before[: max(0, TEXT[:cut].count("\n") - 1)]
    assert read(path) == [*whole, {"a": "3.5", "step": "9"}]


def test_lines_may_end_as_lightning_ends_them(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_bytes(b"a,step\r\n1.0,0\r\n")

    file = MetricsFile(path)
    file.add({"step": 1, "a": 2.0})
    file.flush()

    assert read(path) == [{"a": "1.0", "step": "0"}, {"a": "2.0", "step": "1"}]


def test_another_kind_of_file_is_not_continued(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("name,score\nbob,1\n")

    with pytest.raises(
        ValueError, match=r"has a column 'step'\. Received .*metrics\.csv.* 'name,score'.*Choose"
    ):
        MetricsFile(path)
    assert path.read_text() == "name,score\nbob,1\n"


def test_flushing_nothing_makes_no_file(tmp_path: Path) -> None:
    MetricsFile(tmp_path / "metrics.csv").flush()

    assert list(tmp_path.iterdir()) == []

"""Where in a file something stands."""

from pathlib import Path

import pytest

from lt_cli.places import find_place, syntax_error

TEXT = """
trainer:
  callbacks:
    - class_path: a.First
    - class_path: a.Second
      init_args: {patience: 3, inner: {class_path: a.Third, init_args: {patience: 4}}}
"""


@pytest.mark.parametrize(
    ("owner", "path"),
    [
        ("a.Second", "trainer.callbacks[1].init_args.patience"),
        ("a.Third", "trainer.callbacks[1].init_args.inner.init_args.patience"),
    ],
)
def test_an_argument_is_found_by_its_owner(owner: str, path: str, tmp_path: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(TEXT)
    found = find_place(
        [file], lambda place: place.owner == owner and place.path.endswith(".patience")
    )
    assert found is not None
    assert (found[0], found[1].path) == (file, path)


def test_the_file_that_won_is_named(tmp_path: Path) -> None:
    files = [tmp_path / "one.yaml", tmp_path / "two.yaml"]
    for file in files:
        file.write_text("model: {class_path: a.B}\n")
    found = find_place(files, lambda place: place.value == "a.B")
    assert found is not None
    assert found[0] == files[1]


def test_what_can_t_be_read_holds_nothing(tmp_path: Path) -> None:
    broken, binary = tmp_path / "broken.yaml", tmp_path / "binary.yaml"
    broken.write_text("a: [1,\nb: 2")
    binary.write_bytes(b"\xff\xfe\xfa")
    assert find_place([broken, binary, tmp_path / "none.yaml"], lambda place: True) is None
    assert syntax_error(broken) == "line 2, column 5: expected ',' or ']', but got '<stream end>'"
    assert syntax_error(binary) is not None
    assert syntax_error(tmp_path / "none.yaml") == "No such file or directory"

from pathlib import Path

import pytest

from lt_checkpoint import ModelCheckpoint, names, save


@pytest.mark.parametrize(
    ("template", "values", "expected"),
    [
        ("{epoch}", {"epoch": 0}, "epoch=0"),
        ("{epoch:03d}", {"epoch": 5}, "epoch=005"),
        ("{epoch}-{val_loss:.2f}", {"epoch": 2, "val_loss": 0.123456}, "epoch=2-val_loss=0.12"),
        ("{epoch}-{epoch_test}", {"epoch": 1, "epoch_test": 2}, "epoch=1-epoch_test=2"),
        ("{missing:d}", {}, "missing=0"),
        ("{step:d}", {"step": 3.0}, "step=3"),
        ("{val/loss:.1f}", {"val/loss": 0.25}, "val_loss=0.2"),
        ("{a.b}", {"a.b": 1}, "a.b=1"),
        ("{x}", {"x": float("nan")}, "x=nan"),
        ("{x:03d}", {"x": float("nan")}, "x=nan"),
        ("{x:03d}", {"x": float("-inf")}, "x=-inf"),
        ("{x:.2f}", {"x": float("nan")}, "x=nan"),
        ("{x:03d}", {"x": 7.9}, "x=007"),
        ("{epoch:x}", {"epoch": 26}, "epoch=1a"),
        ("{epoch:_>4}", {"epoch": 7}, "epoch=___7"),
        ("plain", {}, "plain"),
    ],
)
def test_templates(template: str, values: dict[str, float], expected: str) -> None:
    assert names.filled(template, values) == expected


def test_names_can_be_left_out() -> None:
    template = "epoch={epoch}-validation_loss={val_loss:.2f}"
    values = {"epoch": 2, "val_loss": 0.123456}
    assert names.filled(template, values, insert_names=False) == "epoch=2-validation_loss=0.12"


def test_a_format_that_no_number_has_is_said() -> None:
    with pytest.raises(ValueError, match=r"Received \{x:q\} in filename='\{x:q\}' and the value 1"):
        names.filled("{x:q}", {"x": 1})


@pytest.mark.parametrize("template", ["{x:q}", "{val:x}", "{val:s}", "{step:s}", "{epoch:,_}"])
def test_such_a_format_is_said_at_the_start(template: str) -> None:
    """``{val:x}`` is no metric ``val:x``, but ``val`` in a format that floats don't have."""
    with pytest.raises(ValueError, match=r"A template formats numbers.*has a colon in its name"):
        ModelCheckpoint(filename=template)


@pytest.mark.parametrize(
    "template", [names.DEFAULT, "{epoch:03d}", "{step:x}", "{val:.3e}", "{val:+08.2f}", "{val:d}"]
)
def test_formats_of_numbers_pass(template: str) -> None:
    assert ModelCheckpoint(filename=template).filename == template


def test_names_that_no_file_system_takes_are_refused_at_the_start(tmp_path: Path) -> None:
    longest = "x" * (names.LONGEST - len("99999")) + "{step:05d}"
    with pytest.raises(ValueError, match=r"at most 200 bytes long.*one that gives 201"):
        ModelCheckpoint(filename="x" + longest, auto_insert_metric_name=False)
    with pytest.raises(ValueError, match="one that gives 202"):
        ModelCheckpoint(filename="\u00e9" * 101)
    with pytest.raises(ValueError, match="one that gives 225"):
        ModelCheckpoint(filename="{step:0220d}")
    with pytest.raises(ValueError, match="one that gives 205"):  # with "step="
        ModelCheckpoint(filename=longest)
    callback = ModelCheckpoint(filename=longest, auto_insert_metric_name=False, dirpath=tmp_path)
    save({"a": 1}, callback.format_checkpoint_name({"step": 99999}))


@pytest.mark.parametrize(
    "template",
    [
        *("a/b", "{epoch}/x", ".hidden", "a\\b", "{epoch", "epoch}", "{}", "{.m}", "a\0b", "a\nb"),
        *("{epoch:/>5}", "{epoch:\\>5}", "{epoch:.>5}", "{epoch:c}", "{a\\b}"),
    ],
)
def test_what_is_no_name_is_refused(template: str) -> None:
    with pytest.raises(ValueError, match=r"filename (is|holds)"):
        ModelCheckpoint(filename=template)


def test_the_parts_of_a_path() -> None:
    callback = ModelCheckpoint(dirpath="/runs/a", filename="{epoch}")
    assert callback.format_checkpoint_name({"epoch": 1}) == "/runs/a/epoch=1.ckpt"
    assert callback.format_checkpoint_name({"epoch": 1}, ver=2) == "/runs/a/epoch=1-v2.ckpt"
    assert callback.format_checkpoint_name({"epoch": 1}, prefix="x") == "/runs/a/x-epoch=1.ckpt"
    assert callback.format_checkpoint_name({}, filename="{step}") == "/runs/a/step=0.ckpt"
    remote = ModelCheckpoint(dirpath="s3://bucket/run/")
    assert remote.format_checkpoint_name({"epoch": 1, "step": 2}) == (
        "s3://bucket/run/epoch=1-step=2.ckpt"
    )

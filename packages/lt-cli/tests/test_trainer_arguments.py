"""What may be written for each argument of the trainer, and what it becomes."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lt_cli import LTCLI
from lt_cli.trainer_arguments import FORMS, wide_arguments
from lt_loop import Trainer


class Read(LTCLI):
    """Makes everything but the trainer."""

    def instantiate_trainer(self, **words: Any) -> Any:
        return None


def arguments(*words: str) -> Any:
    import toy

    return Read(toy.Line, run=False, args=words).config_init["trainer"]


VALUES: list[tuple[str, str, Any]] = [
    ("strategy", "ddp", "ddp"),
    ("devices", "2", 2),
    ("devices", "auto", "auto"),
    ("devices", "[0, 1]", [0, 1]),
    ("devices", "0,1", "0,1"),
    ("precision", "16-mixed", "16-mixed"),
    ("precision", "32", 32),
    ("gpus", "1", 1),
    ("accelerator", "cpu", "cpu"),
    ("logger", "false", False),
    ("logger", "true", True),
    ("logger", "null", None),
    ("callbacks", "null", None),
    ("callbacks", "[]", []),
    ("profiler", "simple", "simple"),
    ("backend", "torch", "torch"),
    ("max_time", "00:01:00:00", "00:01:00:00"),
    ("limit_val_batches", "0.5", 0.5),
    ("limit_val_batches", "3", 3),
    ("overfit_batches", "2", 2),
    ("accumulate_grad_batches", "4", 4),
    ("accumulate_grad_batches", "{0: 1, 4: 2}", {0: 1, 4: 2}),
    ("fast_dev_run", "true", True),
    ("fast_dev_run", "3", 3),
    ("gradient_clip_val", "1e-2", 0.01),
    ("deterministic", "warn", "warn"),
    ("enable_progress_bar", "null", None),
    ("default_root_dir", "logs", "logs"),
]


def rounds() -> list[dict[str, tuple[str, Any]]]:
    """The values in as few configurations as possible: none holds a name twice."""
    found: list[dict[str, tuple[str, Any]]] = []
    for name, written, value in VALUES:
        free = next((one for one in found if name not in one), None)
        if free is None:
            found.append(free := {})
        free[name] = (written, value)
    return found


@pytest.mark.parametrize("where", ["words", "file"])
@pytest.mark.parametrize("given", rounds())
def test_what_is_written_is_what_it_becomes(
    given: dict[str, tuple[str, Any]], where: str, project: Path
) -> None:
    words = [f"--trainer.{name}={written}" for name, (written, _) in given.items()]
    if where == "file":
        lines = (
            f'  {name}: "{written}"\n'
            if ":" in written and "{" not in written
            else f"  {name}: {written}\n"
            for name, (written, _) in given.items()
        )
        Path("one.yaml").write_text("trainer:\n" + "".join(lines))
        words = ["--config", "one.yaml"]
    got = arguments(*words)
    for name, (_, value) in given.items():
        assert (name, type(got[name]), got[name]) == (name, type(value), value)


@pytest.mark.parametrize("name", ["strategy", "backend", "world", "feed", "store", "profiler"])
def test_an_object_is_written_as_its_class(name: str, project: Path) -> None:
    import toy

    Path("one.yaml").write_text(
        f"trainer:\n  {name}:\n    class_path: toy.Data\n    init_args: {{batch_size: 3}}\n"
    )
    made = arguments("--config", "one.yaml")[name]
    assert (type(made), made.batch_size) == (toy.Data, 3)


def test_lists_of_objects(project: Path) -> None:
    import toy

    one = "{class_path: toy.Patience, init_args: {patience: 1}}"
    Path("one.yaml").write_text(f"trainer:\n  callbacks: [{one}, {one}]\n  plugins: [{one}]\n")
    got = arguments("--config", "one.yaml")
    assert [type(x) for x in got["callbacks"]] == [toy.Patience] * 2
    assert [type(x) for x in got["plugins"]] == [toy.Patience]


def test_a_duration_keeps_its_form(project: Path) -> None:
    for written, value in {
        "{minutes: 5}": {"minutes": 5},
        '"0:05:00"': "0:05:00",
    }.items():
        Path("one.yaml").write_text(f"trainer:\n  max_time: {written}\n")
        got = arguments("--config", "one.yaml")["max_time"]
        assert got in (value, timedelta(minutes=5))


def test_every_argument_that_takes_an_object_has_a_form() -> None:
    assert set(wide_arguments(Trainer)) == set(FORMS)

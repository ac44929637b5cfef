"""LTCLI in a script: Lightning's options, and what may be overridden."""

import sys
from pathlib import Path
from typing import Any

import pytest

from lt_cli import LTCLI, LTArgumentParser, SaveConfigCallback
from lt_loop import Callback, Trainer

PLAIN = ["--config", "plain.yaml", "--data.batch_size", "2"]


@pytest.fixture
def toy(project: Path) -> Any:
    import toy

    return toy


def test_the_arguments_of_the_classes_stand_under_model_and_data(toy: Any) -> None:
    cli = LTCLI(toy.Line, toy.Data, args=["fit", *PLAIN, "--model.weight", "3"])
    assert (cli.model.weight < 3, cli.datamodule.batch_size) == (True, 2)
    assert cli.config["fit"]["model"]["weight"] == 3.0
    assert cli.result.progress.steps == 8


def test_without_run_everything_is_made_and_nothing_runs(toy: Any) -> None:
    words = [*PLAIN, "--model.weight", "3"]
    cli = LTCLI(toy.Line, toy.Data, run=False, args=words)
    assert (cli.model.weight, cli.subcommand, cli.result) == (3.0, None, None)
    assert cli.trainer.fit(cli.model, datamodule=cli.datamodule).progress.steps == 8


def test_the_command_line_of_the_process_is_read(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["main.py", *PLAIN, "--model.weight", "4"])
    assert LTCLI(toy.Line, toy.Data, run=False).model.weight == 4.0


def test_a_configuration_may_be_an_object(toy: Any) -> None:
    given = {
        "model": {"weight": 4.0},
        "data": {"batch_size": 3},
        "trainer": {"logger": False, "enable_progress_bar": False, "max_epochs": 1},
    }
    cli = LTCLI(toy.Line, toy.Data, run=False, args=given, seed_everything_default=False)
    assert (cli.model.weight, cli.datamodule.batch_size) == (4.0, 3)


def test_one_file_may_hold_a_section_for_each_subcommand(toy: Any) -> None:
    plain = Path("plain.yaml").read_text().replace("\n", "\n  ")
    data = "\n  data: {batch_size: 2}\n"
    Path("both.yaml").write_text(f"fit:{plain}{data}test:{plain}{data}")
    LTCLI(toy.Line, toy.Data, args=["--config", "both.yaml", "test"])
    assert "tested" in toy.seen


def test_defaults_of_the_trainer(toy: Any) -> None:
    ours = toy.Patience(3)
    cli = LTCLI(
        toy.Line,
        toy.Data,
        trainer_defaults={"max_epochs": 5, "callbacks": ours, "accumulate_grad_batches": 2},
        run=False,
        args=[
            *["--data.batch_size", "2", "--trainer.callbacks", "toy.Patience"],
            *["--trainer.callbacks.patience", "4", "--trainer.accumulate_grad_batches", "1"],
        ],
    )
    assert (cli.trainer.limits.epochs, cli.trainer.limits.accumulate_grad_batches) == (5, 1)
    patiences = [one for one in cli.trainer.callbacks if isinstance(one, toy.Patience)]
    assert [one.patience for one in patiences] == [4, 3]
    assert patiences[1] is ours


def test_a_trainer_class_of_ones_own(toy: Any) -> None:
    class Mine(Trainer):
        def __init__(self, *, size: int = 1, **words: Any) -> None:
            super().__init__(**words)
            self.size = size

    words = [*PLAIN, "--trainer.size", "7"]
    cli = LTCLI(toy.Line, toy.Data, trainer_class=Mine, run=False, args=words)
    assert isinstance(cli.trainer, Mine)
    assert (cli.trainer.size, cli.trainer.limits.epochs) == (7, 2)


def test_the_configuration_chooses_among_subclasses(toy: Any) -> None:
    words = ["--config", "plain.yaml", "--model", "Failing", "--model.weight", "2"]
    cli = LTCLI(toy.Line, subclass_mode_model=True, run=False, args=words)
    assert type(cli.model) is toy.Failing
    assert (cli.model.weight, cli.datamodule) == (2.0, None)


def test_a_function_may_make_the_model(toy: Any) -> None:
    def heavy(factor: float) -> toy.Line:
        return toy.Line(weight=10 * factor)

    cli = LTCLI(heavy, toy.Data, run=False, args=[*PLAIN, "--model.factor", "2"])
    assert cli.model.weight == 20.0


def test_links_arguments_and_defaults(toy: Any) -> None:
    class Linked(LTCLI):
        def add_arguments_to_parser(self, parser: LTArgumentParser) -> None:
            parser.add_argument("--name", type=str, default="none")
            parser.link_arguments("data.batch_size", "model.batch_size")
            parser.set_defaults({"model.goal": 5.0})
            parser.add_lightning_class_args(toy.Patience, "patience")
            parser.set_defaults({"patience.patience": 8})

    cli = Linked(toy.Line, toy.Data, run=False, args=[*PLAIN, "--name", "x"])
    assert (cli.model.batch_size, cli.model.goal, cli.config["name"]) == (2, 5.0, "x")
    (forced,) = [one for one in cli.trainer.callbacks if isinstance(one, toy.Patience)]
    assert forced.patience == 8


def test_links_between_objects(toy: Any) -> None:
    class Linked(LTCLI):
        def add_arguments_to_parser(self, parser: LTArgumentParser) -> None:
            parser.link_arguments("data.offset", "model.goal", apply_on="instantiate")

    cli = Linked(toy.Line, toy.Data, run=False, args=[*PLAIN, "--data.offset", "6"])
    assert cli.model.goal == 6.0


def test_what_comes_before_and_after(toy: Any) -> None:
    trace: list[str] = []

    class Traced(LTCLI):
        def before_instantiate_classes(self) -> None:
            trace.append(f"made: {hasattr(self, 'model')}")

        def before_fit(self) -> None:
            trace.append(f"steps: {self.trainer.global_step}")

        def after_fit(self) -> None:
            trace.append(f"steps: {self.trainer.global_step}")

    Traced(toy.Line, toy.Data, args=["fit", *PLAIN])
    assert trace == ["made: False", "steps: 0", "steps: 8"]


def test_one_optimizer_class_has_its_arguments_at_once(toy: Any) -> None:
    class Fixed(LTCLI):
        def add_arguments_to_parser(self, parser: LTArgumentParser) -> None:
            parser.add_optimizer_args(toy.Momentum)
            parser.add_lr_scheduler_args(toy.Halving)

        @staticmethod
        def configure_optimizers(
            lightning_module: Any, optimizer: Any, lr_scheduler: Any = None
        ) -> Any:
            return [optimizer], [lr_scheduler]

    words = ["fit", *PLAIN, "--optimizer.momentum", "0.5", "--lr_scheduler.factor", "0.1"]
    cli = Fixed(toy.Undecided, toy.Data, args=words)
    (optimizer,) = cli.trainer.optimizers
    assert (optimizer.momentum, optimizer.lr) == (0.5, pytest.approx(0.1 * 0.1**2))


def test_an_optimizer_linked_to_an_argument(toy: Any) -> None:
    class Choosing(toy.Line):  # type: ignore[misc]
        def __init__(self, optimizer_init: dict[str, Any]) -> None:
            super().__init__()
            self.optimizer_init = optimizer_init

    class Linked(LTCLI):
        def add_arguments_to_parser(self, parser: LTArgumentParser) -> None:
            parser.add_optimizer_args(
                toy.Momentum, nested_key="own", link_to="model.optimizer_init"
            )

    cli = Linked(
        Choosing,
        toy.Data,
        run=False,
        auto_configure_optimizers=False,
        args=[*PLAIN, "--own.lr", "0.5"],
    )
    expected = {"class_path": "toy.Momentum", "init_args": {"lr": 0.5, "momentum": 0.9}}
    assert cli.model.optimizer_init == expected


def test_the_saving_of_the_configuration_is_ones_own(toy: Any) -> None:
    saved: list[Any] = []

    class Mine(SaveConfigCallback):
        def save_config(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
            saved.append((stage, self.config["model"]["weight"]))

    LTCLI(
        toy.Line,
        toy.Data,
        save_config_callback=Mine,
        save_config_kwargs={"save_to_log_dir": False},
        args=["fit", *PLAIN, "--model.weight", "4", "--trainer.default_root_dir", "logs"],
    )
    assert saved == [("fit", 4.0)]
    assert not Path("logs").exists()


def test_overwriting_is_asked_for(toy: Any) -> None:
    words = ["fit", *PLAIN, "--trainer.default_root_dir", "logs"]
    for weight in ("1", "2"):
        LTCLI(
            toy.Line,
            toy.Data,
            save_config_kwargs={"overwrite": True, "config_filename": "all.yaml"},
            args=[*words, "--model.weight", weight],
        )
    assert "weight: 2.0" in Path("logs/all.yaml").read_text()


def test_nothing_is_saved_where_nothing_should_be(toy: Any) -> None:
    words = ["fit", *PLAIN, "--trainer.default_root_dir", "logs"]
    LTCLI(toy.Line, toy.Data, save_config_callback=None, args=words)
    LTCLI(toy.Line, toy.Data, args=[*words, "--trainer.fast_dev_run", "true"])
    assert not Path("logs").exists()


def test_another_rank_saves_nothing(toy: Any, tmp_path: Path) -> None:
    callback = SaveConfigCallback(LTArgumentParser(), {}, overwrite=True)  # type: ignore[arg-type]

    class Second:
        is_global_zero = False

    callback.setup(Second(), None, "fit")  # type: ignore[arg-type]
    assert not callback.already_saved


def test_keyword_arguments_of_each_subcommands_parser(toy: Any) -> None:
    Path("fit_defaults.yaml").write_text("model: {weight: 9.0}\n")
    cli = LTCLI(
        toy.Line,
        toy.Data,
        parser_kwargs={"fit": {"default_config_files": ["fit_defaults.yaml"]}},
        args=["fit", *PLAIN, "--trainer.max_epochs", "0"],
    )
    assert cli.model.weight == 9.0


def test_several_optimizers_need_links(toy: Any) -> None:
    class Two(LTCLI):
        def add_arguments_to_parser(self, parser: LTArgumentParser) -> None:
            parser.add_optimizer_args(toy.Momentum, "first")
            parser.add_optimizer_args(toy.Momentum, "second")

    with pytest.raises(ValueError, match="one optimizer by itself"):
        Two(toy.Undecided, toy.Data, run=False, args=PLAIN)


def test_a_callback_added_by_its_arguments_is_in_every_run(toy: Any) -> None:
    class Forced(LTCLI):
        def add_arguments_to_parser(self, parser: LTArgumentParser) -> None:
            parser.add_lightning_class_args(Callback, "extra", subclass_mode=True, required=False)

    words = [*PLAIN, "--extra", "toy.Patience", "--extra.patience", "2"]
    cli = Forced(toy.Line, toy.Data, run=False, args=words)
    assert [one.patience for one in cli.trainer.callbacks if isinstance(one, toy.Patience)] == [2]
    cli = Forced(toy.Line, toy.Data, run=False, args=PLAIN)
    assert not [one for one in cli.trainer.callbacks if isinstance(one, toy.Patience)]

"""TensorBoardLogger, read back by TensorBoard itself."""

from argparse import Namespace
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest

pytest.importorskip("tensorboard")
pytest.importorskip("torch")

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lt_callbacks import TensorBoardLogger

BATCHES = [0, 1, 2, 3]
Points = list[tuple[int, float]]


def events(folder: str) -> EventAccumulator:
    return EventAccumulator(folder).Reload()


def points(folder: str) -> dict[str, Points]:
    """Every curve, as pairs of step and value."""
    found = events(folder)
    tags = found.Tags()["scalars"]
    return {tag: [(event.step, event.value) for event in found.Scalars(tag)] for tag in tags}


def hyperparameters(folder: str) -> dict[str, Any]:
    """What the tab HPARAMS reads: parameters, and names of metrics under ``metrics``."""
    from tensorboard.plugins.hparams import plugin_data_pb2

    found: dict[str, Any] = {}
    for tag, content in events(folder).summary_metadata.items():
        if not tag.startswith("_hparams_/"):
            continue
        data = plugin_data_pb2.HParamsPluginData.FromString(content.plugin_data.content)
        if tag.endswith("session_start_info"):
            for name, value in data.session_start_info.hparams.items():
                found[name] = getattr(value, value.WhichOneof("kind"))
        if tag.endswith("experiment"):
            found["metrics"] = [info.name.tag for info in data.experiment.metric_infos]
    return found


def test_a_run_leaves_its_curves(scripted: Any, make_trainer: Any, tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, name="mine")
    program = scripted(loss=[4, 2], val_loss=[3, 1])

    make_trainer(logger, max_epochs=2, log_every_n_steps=3).fit(program, BATCHES, BATCHES)

    assert logger.log_dir == str(tmp_path / "mine" / "version_0")
    curves = points(logger.log_dir)
    assert curves.pop("epoch") == [(2, 0), (3, 0), (3, 0), (5, 1), (7, 1), (7, 1)]
    assert curves == {
        "loss_step": [(2, 4.0), (5, 2.0)],
        "loss_epoch": [(3, 4.0), (7, 2.0)],
        "val_loss": [(3, 3.0), (7, 1.0)],
    }


def test_nothing_is_made_before_the_first_point(
    scripted: Any, make_trainer: Any, tmp_path: Path
) -> None:
    trainer = make_trainer(TensorBoardLogger(tmp_path), max_epochs=1)
    _ = trainer.log_dir

    trainer.fit(scripted(), BATCHES)

    assert list(tmp_path.iterdir()) == []


def test_an_exception_loses_no_point(scripted: Any, make_trainer: Any, tmp_path: Path) -> None:
    class Failing(scripted):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if batch_idx == 3:
                raise RuntimeError("out of luck")
            return super().training_step(batch, batch_idx)

    logger = TensorBoardLogger(tmp_path)
    with pytest.raises(RuntimeError, match="out of luck"):
        make_trainer(logger, log_every_n_steps=1).fit(Failing(loss=[7]), BATCHES)

    assert points(logger.log_dir)["loss_step"] == [(0, 7.0), (1, 7.0), (2, 7.0)]


def test_a_test_goes_into_the_same_folder(scripted: Any, make_trainer: Any, tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    program, trainer = scripted(loss=[4], test_acc=[0.5]), make_trainer(logger, max_epochs=1)
    trainer.fit(program, BATCHES)
    trainer.test(program, BATCHES, verbose=False)

    files = sorted(Path(logger.log_dir).iterdir())
    assert len(files) == 2  # one for each time it was opened
    assert {tag for file in files for tag in points(str(file))} == {
        "epoch",
        "loss_epoch",
        "test_acc",
    }


def test_the_experiment_is_torchs_writer(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    logger = TensorBoardLogger(tmp_path, max_queue=3, flush_secs=7, filename_suffix=".mine")
    writer = logger.experiment
    writer.add_text("note", "hello")
    same = logger.experiment
    logger.save()

    assert isinstance(writer, SummaryWriter)
    assert same is writer
    assert (writer.max_queue, writer.flush_secs) == (3, 7)
    (file,) = Path(logger.log_dir).iterdir()
    assert file.name.endswith(".mine")
    assert events(logger.log_dir).Tags()["tensors"] == ["note/text_summary"]
    logger.finalize("finished")


def test_names_get_the_prefix(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, prefix="fold1", sub_dir="train", version="a")
    logger.log_metrics({"loss": 0.5}, 3)
    logger.finalize("finished")

    assert logger.log_dir == str(tmp_path / "lightning_logs" / "a" / "train")
    assert logger.sub_dir == "train"
    assert points(logger.log_dir) == {"fold1-loss": [(3, 0.5)]}


def test_tensors_are_numbers(tmp_path: Path) -> None:
    import torch

    logger = TensorBoardLogger(tmp_path)
    logger.log_metrics({"loss": torch.tensor(0.5), "n": 3})
    logger.finalize("finished")

    assert points(logger.log_dir) == {"loss": [(0, 0.5)], "n": [(0, 3.0)]}


@dataclass
class Optimizer:
    lr: float
    betas: tuple[float, float]


def test_hyperparameters_are_flattened(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    params = Namespace(
        width=32, act="relu", deep=True, optimizer=Optimizer(0.1, (0.9, 0.99)), aux={"k": {"b": 2}}
    )

    logger.log_hyperparams(params, {"acc": 0.5, "loss": 1})
    logger.finalize("finished")

    assert hyperparameters(logger.log_dir) == {
        "width": 32.0,
        "act": "relu",
        "deep": True,
        "optimizer/lr": 0.1,
        "optimizer/betas": "[0.9, 0.99]",
        "aux/k/b": 2.0,
        "metrics": ["acc", "loss"],
    }
    assert points(logger.log_dir) == {"acc": [(0, 0.5)], "loss": [(0, 1.0)]}


@pytest.mark.parametrize(
    ("default", "metrics", "expected"),
    [
        (True, None, {"hp_metric": [(0, -1.0)]}),
        (True, 0.75, {"hp_metric": [(0, 0.75)]}),
        (False, 0.75, {"hp_metric": [(0, 0.75)]}),
    ],
)
def test_hyperparameters_have_a_metric_to_compare_by(
    tmp_path: Path, default: bool, metrics: Any, expected: dict[str, Points]
) -> None:
    logger = TensorBoardLogger(tmp_path, default_hp_metric=default)

    logger.log_hyperparams({"lr": 0.1}, metrics)
    logger.finalize("finished")

    assert points(logger.log_dir) == expected
    assert hyperparameters(logger.log_dir) == {"lr": 0.1, "metrics": ["hp_metric"]}


def test_without_any_metric_hyperparameters_are_written_beside_the_events(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, default_hp_metric=False)

    logger.log_hyperparams({"lr": 0.1})

    (file,) = Path(logger.log_dir).iterdir()
    assert (file.name, file.read_text()) == ("hparams.yaml", "lr: 0.1\n")


def network() -> Any:
    import torch

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Linear(3, 2)
            self.norm = torch.nn.BatchNorm1d(2)
            self.noise = torch.nn.Dropout()
            self.example_input_array = torch.ones(4, 3)

        def forward(self, x: Any) -> Any:
            return self.noise(self.norm(self.first(x)))

    return Network()


def test_the_graph_is_drawn_and_leaves_no_trace(tmp_path: Path) -> None:
    import torch

    logger, model = TensorBoardLogger(tmp_path, log_graph=True), network()
    model.noise.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    generator = torch.get_rng_state()

    logger.log_graph(model)
    logger.finalize("success")

    names = " ".join(node.name for node in events(logger.log_dir).Graph().node)
    assert "Network/Linear[first]/weight" in names
    assert "Network/BatchNorm1d[norm]/running_mean" in names
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)
    assert (model.training, model.norm.training, model.noise.training) == (True, True, False)


@pytest.mark.parametrize("asked", [True, False])
def test_a_fit_draws_the_graph_if_asked(
    scripted: Any, make_trainer: Any, tmp_path: Path, asked: bool
) -> None:
    import torch

    class Program(torch.nn.Module, scripted):  # type: ignore[misc]
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)
            scripted.__init__(self, loss=[1])
            self.layer = torch.nn.Linear(2, 1)
            self.example_input_array = (torch.ones(1, 2),)

        def forward(self, x: Any) -> Any:
            return self.layer(x)

    logger = TensorBoardLogger(tmp_path, log_graph=asked)
    make_trainer(logger, max_epochs=1).fit(Program(), BATCHES)

    assert events(logger.log_dir).Tags()["graph"] is asked


def test_a_graph_that_can_not_be_drawn_is_no_reason_to_stop(
    scripted: Any, make_trainer: Any, tmp_path: Path
) -> None:
    logger = TensorBoardLogger(tmp_path, log_graph=True)
    with pytest.warns(RuntimeWarning, match=r"failed in recording the graph: .*Received NoneType"):
        make_trainer(logger, max_epochs=1).fit(scripted(loss=[1]), BATCHES)
    with pytest.raises(ValueError, match=r"Received NoneType\. Set example_input_array"):
        make_trainer(
            TensorBoardLogger(tmp_path, log_graph=True, on_error="raise"), max_epochs=1
        ).fit(scripted(), BATCHES)

    assert points(logger.log_dir)["loss_epoch"] == [(3, 1.0)]


def test_after_a_resume_each_step_has_one_point(
    scripted: Any, make_trainer: Any, tmp_path: Path
) -> None:
    class Saved(scripted):  # type: ignore[misc]
        logged_hparams: ClassVar[dict[str, Any]] = {"lr": 0.1}

    def run(name: str, **words: Any) -> Any:
        logger = TensorBoardLogger(tmp_path, name=name, version=0)
        program = Saved(loss=[4, 2, 1], val_loss=[3, 2, 1])
        trainer = make_trainer(logger, max_epochs=3, log_every_n_steps=1)
        return trainer, program, logger, [program, BATCHES, BATCHES]

    whole, _, whole_logger, arguments = run("whole")
    whole.fit(*arguments)
    first, _, logger, arguments = run("cut")
    for progress in first.steps(*arguments):
        if progress.steps == 6:
            state = first.capture()
        if progress.steps == 11:  # it went on, and then it was killed
            break
    second, _, logger, arguments = run("cut")
    second.fit(*arguments, ckpt_path=state)

    assert points(logger.log_dir) == points(whole_logger.log_dir)
    assert points(logger.log_dir)["hp_metric"] == [(0, -1.0)]


def test_another_rank_does_nothing(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path, log_graph=True)
    logger.writes = False

    logger.log_metrics({"loss": 1.0}, 0)
    logger.log_hyperparams({"lr": 0.1})
    logger.log_graph(None)
    logger.experiment.add_histogram("weights", [1.0])
    logger.experiment.items["a"] = 1
    logger.save()
    logger.finalize("success")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("word", "hint"), [("max_queu", "'max_queue'"), ("sub_dirs", "'sub_dir'")])
def test_a_misspelt_argument_is_named(tmp_path: Path, word: str, hint: str) -> None:
    with pytest.raises(TypeError, match=rf"Received {word}=1\. Did you mean {hint}\?"):
        TensorBoardLogger(tmp_path, **{word: 1})

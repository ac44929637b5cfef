"""The wide door itself; what is behind it is shown in the tests of the engine."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toys import Calling, Line, Loss, Sgd, Weight, batches, by_hand, make_trainer

from lt_loop import Callback, Trainer
from lt_loop.solo import DuckBackend, OneProcess

DATA = batches(3)

# The arguments of Lightning 2.6; those of the calls in its order.

LIGHTNING = """
accelerator strategy devices num_nodes precision logger callbacks fast_dev_run max_epochs
min_epochs max_steps min_steps max_time limit_train_batches limit_val_batches limit_test_batches
limit_predict_batches overfit_batches val_check_interval check_val_every_n_epoch
num_sanity_val_steps log_every_n_steps enable_checkpointing enable_progress_bar
enable_model_summary accumulate_grad_batches gradient_clip_val gradient_clip_algorithm
deterministic benchmark inference_mode use_distributed_sampler profiler detect_anomaly barebones
plugins sync_batchnorm reload_dataloaders_every_n_epochs default_root_dir enable_autolog_hparams
model_registry
"""

OURS = "gpus backend world feed store compile max_restarts on_mismatch on_nonfinite"

CALLS = {
    "fit": "model train_dataloaders val_dataloaders datamodule ckpt_path weights_only",
    "validate": "model dataloaders ckpt_path verbose datamodule weights_only",
    "test": "model dataloaders ckpt_path verbose datamodule weights_only",
    "predict": "model dataloaders datamodule return_predictions ckpt_path weights_only",
}

FUNCTIONS = list(CALLS)


def test_all_arguments_of_lightning_are_known_and_the_ports_beside_them() -> None:
    known = set(inspect.signature(Trainer).parameters) - {"unknown"}

    assert known == {*LIGHTNING.split(), *OURS.split()}


@pytest.mark.parametrize(("call", "arguments"), CALLS.items(), ids=CALLS)
def test_calls_take_what_they_take_in_lightning_and_in_its_order(call: str, arguments: str) -> None:
    parameters = list(inspect.signature(getattr(Trainer, call)).parameters)

    assert parameters[1:] == arguments.split()


def test_arguments_are_given_by_name() -> None:
    with pytest.raises(TypeError, match="positional argument"):
        Trainer("cpu")  # type: ignore[misc]


def test_the_environment_changes_no_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    for prefix in ("PL_TRAINER", "LT_TRAINER", "LT"):
        monkeypatch.setenv(f"{prefix}_MAX_EPOCHS", "7")

    assert make_trainer().max_epochs == 1000


def test_the_root_is_the_working_directory_unless_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert make_trainer().default_root_dir == str(Path.cwd())
    assert make_trainer(default_root_dir=Path("here")).default_root_dir == "here"
    assert list(tmp_path.iterdir()) == []


def test_callbacks_are_kept_in_their_order() -> None:
    first, second = Callback(), Callback()

    assert make_trainer(callbacks=[first, second]).callbacks == (first, second)


def test_automatic_choices_come_with_their_reasons(install: Callable[..., None]) -> None:
    assert Trainer().reasons == {"backend": "duck-typed: lt-accel is not installed"}
    assert Trainer(backend=DuckBackend()).reasons == {}


# Launching


class Launching(OneProcess):
    """Counts what it launches."""

    def __init__(self) -> None:
        self.launched = 0

    def launch(self, main: Callable[[], Any]) -> Any:
        self.launched += 1
        return main()


@pytest.mark.parametrize("call", FUNCTIONS)
def test_the_world_launches_each_run_once(call: str) -> None:
    world = Launching()
    trainer = make_trainer(max_epochs=1, world=world)

    returned = getattr(trainer, call)(Line(), DATA)

    assert world.launched == 1
    assert returned is not None


def test_a_loop_of_ones_own_is_not_launched_elsewhere() -> None:
    world = Launching()
    for _ in make_trainer(max_epochs=1, world=world).steps(Line(), DATA):
        pass

    assert world.launched == 0


@pytest.mark.parametrize("call", FUNCTIONS)
def test_nothing_is_launched_where_the_plan_fails(call: str) -> None:
    world = Launching()

    with pytest.raises(TypeError):
        getattr(make_trainer(world=world), call)(Line, DATA)

    assert world.launched == 0


# Asking a trainer that does nothing


def test_between_runs_there_is_nothing_to_stop() -> None:
    trainer = make_trainer(max_epochs=1)
    trainer.stop("too early")
    trainer.should_stop = True
    trainer.should_stop = False

    assert not trainer.should_stop
    assert trainer.fit(Line(), DATA).reason == "max_epochs=1 reached"


def test_whoever_asks_to_stop_can_see_that_somebody_did() -> None:
    seen: list[bool] = []

    def ask(trainer: Trainer) -> None:
        seen.append(trainer.should_stop)
        trainer.stop("enough")
        seen.append(trainer.should_stop)

    make_trainer(callbacks=Calling("on_train_batch_end", ask, at=1)).fit(Line(), DATA)

    assert seen == [False, True]


# What a module asks of it


class Marking(DuckBackend):
    """Marks the batches it places, and writes down what it clips."""

    def __init__(self) -> None:
        super().__init__()
        self.syncs: list[bool] = []
        self.clipped: list[Any] = []

    def place(self, batch: Any) -> Any:
        return ("placed", batch)

    def backward(self, loss: Any, *, sync: bool) -> None:
        self.syncs.append(sync)
        super().backward(loss, sync=sync)

    def clip(self, optimizer: Any, value: float | None, algorithm: Any) -> None:
        self.clipped.append((optimizer, value, algorithm))


def test_a_batch_is_placed_by_the_backend_also_outside_of_a_run() -> None:
    assert make_trainer(backend=Marking()).place([1, 2]) == ("placed", [1, 2])


def test_a_loss_is_differentiated_by_the_backend() -> None:
    backend, weight = Marking(), Weight()

    make_trainer(backend=backend).backward(Loss(weight, 1.0, slope=3.0))

    assert (weight.grad, backend.syncs) == (3.0, [True])


OPTIMIZER = Sgd(Weight())


@pytest.mark.parametrize(
    ("words", "call", "clipped"),
    [
        ({}, {}, []),
        ({"gradient_clip_val": 0.5}, {}, [(OPTIMIZER, 0.5, "norm")]),
        (
            {"gradient_clip_val": 0.5, "gradient_clip_algorithm": "value"},
            {},
            [(OPTIMIZER, 0.5, "value")],
        ),
        ({}, {"gradient_clip_val": 0.25}, [(OPTIMIZER, 0.25, "norm")]),
        (
            {"gradient_clip_val": 0.5},
            {"gradient_clip_val": 0.25, "gradient_clip_algorithm": "value"},
            [(OPTIMIZER, 0.25, "value")],
        ),
    ],
)
def test_gradients_are_clipped_as_the_trainer_or_the_call_says(
    words: dict[str, Any], call: dict[str, Any], clipped: list[Any]
) -> None:
    backend = Marking()

    make_trainer(backend=backend, **words).clip_gradients(OPTIMIZER, **call)

    assert backend.clipped == clipped


class Manual(Line):
    """Does by itself what the engine would do."""

    automatic_optimization = False

    def configure_optimizers(self) -> Any:
        self.optimizer = super().configure_optimizers()
        return self.optimizer

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.optimizer.zero_grad()
        self.trainer.manual_backward(self.loss(batch))
        (stepped,) = self.trainer.stepped_optimizers
        stepped.step()


def test_a_backward_by_hand_is_one_with_all_its_hooks() -> None:
    calls: list[str] = []

    class Own(Manual):
        def backward(self, loss: Any) -> None:
            calls.append("own backward")
            self.trainer.backward(loss)

    callbacks = [
        Calling(hook, lambda trainer, hook=hook: calls.append(hook))
        for hook in ("on_before_backward", "on_after_backward")
    ]
    model = Own()
    make_trainer(max_epochs=1, callbacks=callbacks).fit(model, DATA)

    assert model.weight.value == by_hand(DATA)
    assert calls == ["on_before_backward", "own backward", "on_after_backward"] * 3


def test_a_backward_by_hand_needs_a_run() -> None:
    message = r"^Gradients belong to a run\. Received a loss outside of one\."
    with pytest.raises(RuntimeError, match=message):
        make_trainer().manual_backward(Loss(Weight(), 1.0, 1.0))

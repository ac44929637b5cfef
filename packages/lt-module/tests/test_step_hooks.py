import inspect
from typing import Any

import pytest
import torch
from torch import nn

from lt_module import LTDataModule, LTModule

HOOKS = {
    "on_train_batch_start": ["batch", "batch_idx"],
    "on_train_batch_end": ["outputs", "batch", "batch_idx"],
    "on_before_zero_grad": ["optimizer"],
    "on_before_backward": ["loss"],
    "on_after_backward": [],
    "on_before_optimizer_step": ["optimizer"],
    "on_save_checkpoint": ["checkpoint"],
    "on_load_checkpoint": ["checkpoint"],
    "setup": ["stage"],
    "teardown": ["stage"],
    "on_before_batch_transfer": ["batch", "dataloader_idx"],
    "transfer_batch_to_device": ["batch", "device", "dataloader_idx"],
    "on_after_batch_transfer": ["batch", "dataloader_idx"],
    "optimizer_step": ["epoch", "batch_idx", "optimizer", "optimizer_closure"],
    "optimizer_zero_grad": ["epoch", "batch_idx", "optimizer"],
    "lr_scheduler_step": ["scheduler", "metric"],
    "configure_gradient_clipping": [
        "optimizer",
        "gradient_clip_val",
        "gradient_clip_algorithm",
    ],
    **{
        name: []
        for name in (
            "prepare_data",
            "configure_model",
            "configure_callbacks",
            "configure_optimizers",
            "on_validation_model_zero_grad",
            *(f"{word}_dataloader" for word in ("train", "val", "test", "predict")),
        )
    },
    **{
        f"on_{stage}{moment}": []
        for stage in ("fit", "train", "validation", "test", "predict")
        for moment in ("_start", "_end")
    },
    **{
        f"on_{stage}_epoch_{moment}": []
        for stage in ("train", "validation", "test", "predict")
        for moment in ("start", "end")
    },
    **{
        f"on_{stage}_model_{mode}": []
        for stage in ("validation", "test", "predict")
        for mode in ("eval", "train")
    },
    **{
        f"on_{stage}_batch_start": ["batch", "batch_idx", "dataloader_idx"]
        for stage in ("validation", "test", "predict")
    },
    **{
        f"on_{stage}_batch_end": ["outputs", "batch", "batch_idx", "dataloader_idx"]
        for stage in ("validation", "test", "predict")
    },
}
"""Lightning 2.6's hooks and their arguments."""


@pytest.mark.parametrize(("name", "arguments"), HOOKS.items(), ids=HOOKS)
def test_every_hook_is_there_documented_and_marked(name: str, arguments: list[str]) -> None:
    method = getattr(LTModule, name)

    assert list(inspect.signature(method).parameters)[1:] == arguments
    assert method.__lt_default__
    assert inspect.getdoc(method)


@pytest.mark.parametrize(
    "name", ["training_step", "validation_step", "test_step", "predict_step", "backward"]
)
def test_every_step_is_marked(name: str) -> None:
    assert getattr(LTModule, name).__lt_default__


def test_an_override_has_no_mark() -> None:
    class Mine(LTModule):
        def on_train_start(self) -> None:
            super().on_train_start()

    assert not hasattr(Mine.on_train_start, "__lt_default__")


@pytest.mark.parametrize("name", ["prepare_data", "setup", "train_dataloader", "state_dict"])
def test_data_modules_are_marked_too(name: str) -> None:
    assert getattr(LTDataModule, name).__lt_default__


class Doubling(LTModule):
    def forward(self, x: Any) -> Any:
        return x * 2


def test_prediction_calls_the_module() -> None:
    assert Doubling().predict_step(3, 0) == 6


def test_defaults_ask_the_trainer(trainer: Any) -> None:
    module = LTModule()
    module.trainer = trainer
    loss, optimizer = torch.zeros(()), object()

    module.backward(loss)
    module.manual_backward(loss)
    module.transfer_batch_to_device("batch", "cpu", 0)
    module.configure_gradient_clipping(optimizer, 0.5, "norm")

    assert trainer.asked == [
        ("backward", loss),
        ("manual_backward", loss),
        ("place", "batch"),
        ("clip_gradients", optimizer, 0.5, "norm"),
    ]


def test_defaults_without_a_trainer_say_what_they_need() -> None:
    with pytest.raises(RuntimeError, match=r"clip_gradients needs a run.*LTModule"):
        LTModule().clip_gradients(object())


def test_the_optimizer_steps_with_its_closure() -> None:
    parameter = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)

    def closure() -> torch.Tensor:
        loss = parameter.sum()
        loss.backward()
        return loss

    LTModule().optimizer_step(0, 0, optimizer, closure)
    assert parameter.item() == 0.0
    LTModule().optimizer_zero_grad(0, 0, optimizer)
    assert parameter.grad is None


def test_a_scheduler_steps_with_its_metric_if_it_has_one() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.ones(1))], lr=1.0)
    plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, patience=0, factor=0.5)
    for metric in (1.0, 2.0):
        LTModule().lr_scheduler_step(plateau, metric)
    assert optimizer.param_groups[0]["lr"] == 0.5

    steps = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.1)
    optimizer.step()
    LTModule().lr_scheduler_step(steps, None)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.05)

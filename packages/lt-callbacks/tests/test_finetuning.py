"""BaseFinetuning and BackboneFinetuning against plain loops."""

from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from lt_callbacks import BackboneFinetuning, BaseFinetuning
from lt_loop import Trainer
from lt_loop.solo import DuckBackend

EPOCHS = 5


class Network(nn.Module):
    def __init__(self) -> None:
        torch.manual_seed(0)
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
        self.head = nn.Linear(3, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.head(self.backbone(batch).tanh()).square().mean()

    def configure_optimizers(self) -> Any:
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        return torch.optim.Adam(trained, lr=0.01)


def copied(module: nn.Module) -> dict[str, Any]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def equal(one: Any, other: Any) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def batches() -> list[Any]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(5, 4, generator=generator) for _ in range(3)]


def trainer(*callbacks: Any, **words: Any) -> Trainer:
    words = {"max_epochs": EPOCHS, "backend": DuckBackend()} | words
    return Trainer(
        callbacks=list(callbacks),
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        **words,
    )


def by_hand(
    batches: list[Any], *, unfreeze: int, rates: dict[int, float], train_bn: bool
) -> dict[str, Any]:
    """Train the head; from some epoch on the backbone too, at the learning rates given."""
    model = Network()
    linear = [*model.backbone[0].parameters(), *model.backbone[2].parameters()]
    norm = list(model.backbone[1].parameters())
    frozen = linear if train_bn else linear + norm
    for parameter in frozen:
        parameter.requires_grad = False
    if not train_bn:
        model.backbone[1].track_running_stats = False
    optimizer = model.configure_optimizers()
    for epoch in range(EPOCHS):
        if epoch == unfreeze:
            model.backbone[1].track_running_stats = True
            for parameter in frozen:
                parameter.requires_grad = True
            optimizer.add_param_group({"params": linear, "lr": rates[epoch]})
        elif epoch > unfreeze:
            optimizer.param_groups[-1]["lr"] = rates[epoch]
        for batch in batches:
            optimizer.zero_grad()
            model.training_step(batch, 0).backward()
            optimizer.step()
    return copied(model)


CASES = [
    ({}, {2: 0.001, 3: 0.002, 4: 0.004}),
    ({"lambda_func": lambda epoch: epoch}, {2: 0.001, 3: 0.004, 4: 0.01}),  # aligned
    (
        {"lambda_func": lambda epoch: epoch, "should_align": False},
        {2: 0.001, 3: 4 * 0.001, 4: 5 * (4 * 0.001)},
    ),
    (
        {"backbone_initial_lr": 0.005, "lambda_func": lambda epoch: 1.0},
        {2: 0.005, 3: 0.005, 4: 0.005},
    ),
    ({"backbone_initial_ratio_lr": 0.5, "train_bn": False}, {2: 0.005, 3: 0.01, 4: 0.01}),
]


@pytest.mark.parametrize(("words", "rates"), CASES)
def test_the_run_is_a_loop_by_hand(words: Any, rates: Any, batches: list[Any]) -> None:
    callback, model = BackboneFinetuning(2, **words), Network()

    trainer(callback).fit(model, batches)

    train_bn = words.get("train_bn", True)
    assert equal(copied(model), by_hand(batches, unfreeze=2, rates=rates, train_bn=train_bn))
    assert callback.previous_backbone_lr == pytest.approx(rates[4])


@pytest.mark.parametrize("words", [case[0] for case in CASES])
@pytest.mark.parametrize("at", [2, 6, 7, 9, 10])
def test_a_run_that_was_broken_off_goes_on_to_the_same_bits(
    words: Any, at: int, batches: list[Any]
) -> None:
    trainer(BackboneFinetuning(2, **words)).fit(whole := Network(), batches)

    first = trainer(BackboneFinetuning(2, **words))
    for progress in first.steps(Network(), batches):
        if progress.steps == at:
            break
    state = first.capture()
    trainer(BackboneFinetuning(2, **words)).fit(second := Network(), batches, ckpt_path=state)

    assert equal(copied(second), copied(whole))
    assert all(parameter.requires_grad for parameter in second.parameters())


def test_both_rates_are_told(batches: list[Any], caplog: Any) -> None:
    with caplog.at_level("INFO", "lt_callbacks"):
        trainer(BackboneFinetuning(3, verbose=True, rounding=4)).fit(Network(), batches)

    told = [r.getMessage() for r in caplog.records if r.getMessage().startswith("Current")]
    assert told == [
        "Current lr: 0.01, Backbone lr: 0.001",
        "Current lr: 0.01, Backbone lr: 0.002",
    ]


def test_a_module_without_a_backbone_is_refused(batches: list[Any]) -> None:
    class Headless(Network):
        def __init__(self) -> None:
            super().__init__()
            del self.backbone

    with pytest.raises(AttributeError, match=r"self\.backbone\. Received Headless without one"):
        trainer(BackboneFinetuning()).fit(Headless(), batches)
    with pytest.raises(ValueError, match="is the index of an epoch, from 0"):
        BackboneFinetuning(-1)


class LayerByLayer(BaseFinetuning):
    """Freezes everything but the head, and thaws a layer in each epoch."""

    def freeze_before_training(self, pl_module: Any) -> None:
        self.freeze(pl_module.backbone, train_bn=False)

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: Any) -> None:
        if epoch in (1, 2):
            layer = pl_module.backbone[2 if epoch == 1 else 0]
            self.unfreeze_and_add_param_group(layer, optimizer, initial_denom_lr=4.0)


@pytest.mark.parametrize("at", [3, 4, 8])
def test_a_callback_of_ones_own(at: int, batches: list[Any]) -> None:
    run = trainer(LayerByLayer())
    run.fit(whole := Network(), batches)
    rates = [group["lr"] for group in run.optimizers[0].param_groups]
    first = trainer(LayerByLayer())
    for progress in first.steps(Network(), batches):
        if progress.steps == at:
            break
    again = trainer(LayerByLayer())
    again.fit(second := Network(), batches, ckpt_path=first.capture())

    assert rates == [0.01, 0.0025, 0.0025]
    assert equal(copied(second), copied(whole))
    norm = second.backbone[1]
    assert not norm.weight.requires_grad
    assert not norm.track_running_stats
    assert torch.equal(norm.running_mean, torch.zeros(3))


def test_it_is_for_fitting(batches: list[Any]) -> None:
    class Tested(Network):
        def test_step(self, batch: Any, batch_idx: int) -> None: ...

    model = Tested()

    trainer(BackboneFinetuning()).test(model, batches, verbose=False)

    assert all(parameter.requires_grad for parameter in model.parameters())


def test_other_groups_are_not_gone_on_with(batches: list[Any]) -> None:
    class Halved(Network):
        def configure_optimizers(self) -> Any:
            return torch.optim.Adam([self.head.weight], lr=0.01)

    first = trainer(BackboneFinetuning())
    for _ in first.steps(Network(), batches):
        break

    with pytest.raises(ValueError, match=r"Received one with \[\['head.weight'\]\]"):
        trainer(BackboneFinetuning()).fit(Halved(), batches, ckpt_path=first.capture())


def test_modules_are_taken_apart_once() -> None:
    model = Network()
    nested = [model.backbone[0], [model.backbone[1]], nn.ModuleDict({"head": model.head})]

    assert BaseFinetuning.flatten_modules(model) == [
        *(model.backbone[i] for i in (0, 1, 2)),
        model.head,
    ]
    assert BaseFinetuning.flatten_modules(nested) == [*model.backbone[:2], model.head]
    trained = list(BaseFinetuning.filter_params(model, train_bn=False))
    assert len(trained) == 6
    BaseFinetuning.freeze(model)
    assert list(BaseFinetuning.filter_params(model)) == list(model.backbone[1].parameters())
    assert len(list(BaseFinetuning.filter_params(model, requires_grad=False))) == 6
    BaseFinetuning.make_trainable(model)
    assert len(list(BaseFinetuning.filter_params(model))) == 8


def test_equal_parameters_are_not_the_same_parameter() -> None:
    one, other = nn.Parameter(torch.zeros(2)), nn.Parameter(torch.zeros(2))

    assert BaseFinetuning.filter_on_optimizer(torch.optim.SGD([one], 0.1), [one, other]) == [other]


def test_missing_methods_are_named(batches: list[Any]) -> None:
    with pytest.raises(NotImplementedError, match="has a method freeze_before_training"):
        trainer(BaseFinetuning()).fit(Network(), batches)


def test_a_program_without_modules_is_refused(scripted: Any) -> None:
    with pytest.raises(TypeError, match=r"freezes parts of an nn\.Module\. Received Scripted"):
        trainer(LayerByLayer()).fit(scripted(train_x=[1]), [0])

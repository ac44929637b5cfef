import copy
import io
import pickle
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from lt_module import LTModule


class Net(LTModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.norm = nn.BatchNorm1d(2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.layer(x))


class Plain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)
        self.norm = nn.BatchNorm1d(2)


def test_the_state_dict_is_that_of_a_plain_module(trainer: Any) -> None:
    net = Net()
    net.trainer = trainer

    assert list(net.state_dict()) == list(Plain().state_dict())
    assert [name for name, _ in net.named_modules()] == ["", "layer", "norm"]


def test_no_public_name_hides_one_of_a_plain_module() -> None:
    ours = {
        name
        for cls in LTModule.__mro__[: LTModule.__mro__.index(nn.Module)]
        for name in vars(cls)
        if not name.startswith("_")
    }

    assert ours.isdisjoint(dir(nn.Module()))
    assert {"log", "training_step", "device"} <= ours


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_and_pickles_leave_the_trainer_behind(copied: Any, trainer: Any) -> None:
    net = Net()
    net.trainer = trainer

    other = copied(net)

    with pytest.raises(RuntimeError, match="trainer needs a run"):
        _ = other.trainer
    assert net.trainer is trainer
    for name, value in net.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
def test_copies_and_pickles_keep_a_log_of_their_own(copied: Any) -> None:
    net = Net()
    net.log = print  # type: ignore[method-assign]

    assert copied(net).log is print


def test_torch_saves_and_loads_its_weights(trainer: Any) -> None:
    net, file = Net(), io.BytesIO()
    net.trainer = trainer
    torch.save(net.state_dict(), file)
    file.seek(0)

    other = Net()
    other.load_state_dict(torch.load(file, weights_only=True))

    assert torch.equal(other.layer.weight, net.layer.weight)


def test_it_compiles() -> None:
    net = Net().eval()
    x = torch.randn(3, 2)

    compiled = torch.compile(net, backend="eager")

    assert torch.equal(compiled(x), net(x))


def test_a_module_inside_a_module_has_the_same_trainer(trainer: Any) -> None:
    class Outer(LTModule):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Net()

    outer = Outer()
    outer.trainer = trainer

    assert outer.inner.trainer is trainer


def test_device_and_dtype_follow_the_module() -> None:
    net = Net()
    assert net.device == torch.device("cpu")
    assert net.dtype == torch.float32
    assert net.to(torch.float64).dtype == torch.float64
    assert net.to("meta").device == torch.device("meta")
    assert LTModule().device == torch.device("cpu")


def test_without_a_run_logging_does_nothing_and_counts_are_zero() -> None:
    net = Net()
    net.log("loss", torch.ones(2, 2))

    assert (net.current_epoch, net.global_step, net.global_rank, net.local_rank) == (0, 0, 0, 0)
    assert net.logger is None


def test_counts_and_loggers_are_those_of_the_trainer(trainer: Any) -> None:
    net = Net()
    net.trainer = trainer

    assert (net.current_epoch, net.global_step) == (3, 70)
    assert net.logger == "first"
    assert net.loggers == ["first", "second"]


def test_a_value_on_the_cpu_is_logged_as_a_number(trainer: Any) -> None:
    net = Net()
    net.trainer = trainer
    value = torch.tensor([0.5], requires_grad=True) * 1

    net.log("loss", value, prog_bar=True, on_epoch=True, batch_size=7)

    expected = ("loss", 0.5, True, None, None, True, "mean", False, True, 7, False)
    assert trainer.logged == [expected]
    assert type(trainer.logged[0][1]) is float


def test_a_value_on_an_accelerator_stays_there_without_graph_and_storage(trainer: Any) -> None:
    net = Net()
    net.trainer = trainer
    many = torch.ones(8, device="meta", requires_grad=True)

    net.log("loss", many[0])

    (logged,) = trainer.logged
    assert logged[1].device.type == "meta"
    assert logged[1].grad_fn is None
    assert logged[1].untyped_storage().nbytes() == 4


def test_log_dict_logs_each_with_the_same_flags(trainer: Any) -> None:
    net = Net()
    net.trainer = trainer

    net.log_dict({"a": 1, "b": 2.0}, on_epoch=True)

    assert [(one[0], one[1], one[5]) for one in trainer.logged] == [
        ("a", 1, True),
        ("b", 2.0, True),
    ]


@pytest.mark.parametrize(
    ("value", "flags", "error", "message"),
    [
        (torch.ones(2, 3), {}, ValueError, r"one element.*shape \(2, 3\).*mean"),
        (1.0, {"enable_graph": True}, ValueError, "enable_graph"),
        (1.0, {"sync_dist_group": object()}, ValueError, "sync_dist_group"),
    ],
)
def test_what_can_not_be_logged_is_refused(
    trainer: Any, value: Any, flags: dict[str, Any], error: type[Exception], message: str
) -> None:
    net = Net()
    net.trainer = trainer

    with pytest.raises(error, match=message):
        net.log("loss", value, **flags)


def test_print_prints_on_rank_0_alone(trainer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    net = Net()
    net.print("hello")
    net.trainer = trainer
    trainer.global_rank = 1
    net.print("again")

    assert capsys.readouterr().out == "hello\n"


def test_print_prints_above_the_progress_bar(trainer: Any) -> None:
    printed: list[Any] = []
    bar = SimpleNamespace(print=lambda *args, **kwargs: printed.append((args, kwargs)))
    net = Net()
    net.trainer, trainer.progress_bar_callback = trainer, bar

    net.print("a", 1, sep="-")

    assert printed == [(("a", 1), {"sep": "-"})]


def two_optimizers(net: Net) -> list[torch.optim.Optimizer]:
    return [
        torch.optim.SGD(net.layer.parameters(), lr=0.1),
        torch.optim.SGD(net.norm.parameters(), lr=0.1),
    ]


def test_optimizers_and_schedulers_come_alone_or_as_a_list(trainer: Any) -> None:
    net = Net()
    net.trainer = trainer
    trainer.stepped_optimizers, trainer.optimizers = ["stepped"], ["own"]

    assert net.optimizers() == "stepped"
    assert net.optimizers(use_pl_optimizer=False) == "own"
    assert net.lr_schedulers() is None
    trainer.stepped_optimizers = ["a", "b"]
    trainer.lr_scheduler_configs = [SimpleNamespace(scheduler="s")]
    assert net.optimizers() == ["a", "b"]
    assert net.lr_schedulers() == "s"


def test_a_toggled_optimizer_alone_has_parameters_that_require_gradients(trainer: Any) -> None:
    net = Net()
    net.trainer = trainer
    net.norm.bias.requires_grad_(False)
    trainer.optimizers = two_optimizers(net)

    def required() -> list[bool]:
        return [parameter.requires_grad for parameter in net.parameters()]

    with net.toggled_optimizer(trainer.optimizers[1]):
        assert required() == [False, False, True, False]
        with pytest.raises(RuntimeError, match="One optimizer is toggled at a time"):
            net.toggle_optimizer(trainer.optimizers[0])
    assert required() == [True, True, True, False]


def test_a_frozen_module_requires_no_gradient_and_evaluates() -> None:
    net = Net()
    net.freeze()
    assert not net.training
    assert not any(parameter.requires_grad for parameter in net.parameters())
    net.unfreeze()
    assert net.norm.training
    assert all(parameter.requires_grad for parameter in net.parameters())


def test_modules_within_containers_have_the_trainer_too(trainer: Any) -> None:
    outer, inner = Net(), Net()
    outer.parts = nn.ModuleList([nn.Sequential(inner)])
    outer.trainer = trainer

    assert inner.trainer is trainer

"""The rules of recording a step, with a recorder that computes on the CPU what it would replay."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from lt_accel import TorchBackend, select
from lt_accel.compilation import compilation
from lt_accel.precision import Precision
from lt_accel.recording import WARM_UP, Recorded


class Rehearsed:
    """Takes the place of a GPU: between begin and end nothing may have changed; replay computes."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.compute: Any = None
        self.before: list[Tensor] = []
        self.model: Any = None

    def prepare(self) -> None:
        self.calls.append("prepare")

    def begin(self) -> None:
        self.calls.append("begin")
        self.before = [p.detach().clone() for p in self.model.parameters()]

    def end(self) -> None:
        self.calls.append("end")
        with torch.no_grad():  # what was computed while recording is undone: it is only recorded
            for parameter, value in zip(self.model.parameters(), self.before, strict=True):
                parameter.copy_(value)

    def abandon(self) -> None:
        self.calls.append("abandon")

    def replay(self) -> None:
        self.calls.append("replay")
        self.compute()


class Trained:
    """A training of a small model through a backend that records."""

    def __init__(self, *, model: Any = None, **options: Any) -> None:
        self.recorder = Rehearsed()
        self.recorded = Recorded(self.recorder, lambda fn: fn)
        self.backend = TorchBackend("cpu", compilation=self.recorded)
        self.model = self.recorder.model = nn.Linear(3, 1) if model is None else model
        torch.manual_seed(0)
        self.model.reset_parameters()
        self.optimizer = torch.optim.SGD(self.model.parameters(), **{"lr": 0.1, **options})
        self.backend.setup(self.model, [self.optimizer])
        self.evaluations = 0
        self.step = self.backend.wrap_step(self.loss, "train")
        self.recorder.compute = self.recompute

    def loss(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        self.evaluations += 1
        return mse_loss(self.model(batch[0]), batch[1])

    def recompute(self) -> None:
        x, y, _ = self.recorded._inputs
        loss = mse_loss(self.model(x), y)
        for parameter in self.model.parameters():
            parameter.grad = None
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), 0.5)
        self.optimizer.step()
        with torch.no_grad():
            self.recorded._output.copy_(loss)
            if self.recorded.norm is not None:
                self.recorded.norm.copy_(norm)

    def run(self, batches: Any) -> list[tuple[float, float]]:
        seen = []
        for index, batch in enumerate(batches):
            loss = self.step(batch, index)
            self.backend.zero_grad(self.optimizer)
            self.backend.backward(loss)
            norm = self.backend.clip(self.optimizer, 0.5)
            assert self.backend.step(self.optimizer)
            seen.append((float(loss.detach()), float(norm)))  # type: ignore[arg-type]
        return seen


def batches(count: int = 7) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    made = torch.randn(count, 4, 4, generator=generator)
    return [(one[:, :3], one[:, 3:]) for one in made]


def by_hand() -> tuple[list[tuple[float, float]], nn.Module]:
    torch.manual_seed(0)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    seen = []
    for x, y in batches():
        optimizer.zero_grad()
        loss = mse_loss(model(x), y)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        seen.append((float(loss.detach()), float(norm)))
    return seen, model


def test_the_same_steps_are_taken() -> None:
    trained = Trained()
    seen = trained.run(batches())
    expected, model = by_hand()
    assert seen == expected
    assert all(map(torch.equal, trained.model.parameters(), model.parameters()))
    # The user's code ran for the steps that warm up and for the recording.
    assert trained.evaluations == WARM_UP + 1
    replays = len(batches()) - WARM_UP
    assert trained.recorder.calls == ["prepare", "begin", "end", *["replay"] * replays]


class Logging(nn.Linear):
    """A program with a log, which keeps what it is told."""

    def __init__(self) -> None:
        super().__init__(3, 1)
        self.seen: list[tuple[str, float, bool]] = []

    def log(self, name: str, value: Any, on_step: bool = False) -> None:
        self.seen.append((name, float(torch.as_tensor(value).detach()), on_step))


def test_what_a_recorded_step_logs_is_logged_at_each_replay() -> None:
    trained = Trained(model=Logging())

    def loss(batch: Any, index: int) -> Tensor:
        value = Trained.loss(trained, batch, index)
        trained.model.log("loss", value, on_step=True)
        return value

    trained.step = trained.backend.wrap_step(loss, "train")
    seen = trained.run(batches())
    assert trained.model.seen == [("loss", value, True) for value, _ in seen]
    assert "log" not in vars(trained.model)


def test_what_a_part_of_the_program_logs_is_logged_too() -> None:
    class Whole(Logging):
        def __init__(self) -> None:
            super().__init__()
            self.part = Logging()

    trained = Trained(model=Whole())

    def loss(batch: Any, index: int) -> Tensor:
        value = mse_loss(trained.model(batch[0]), batch[1])
        trained.model.part.log("loss", value)
        return value

    trained.optimizer = torch.optim.SGD([trained.model.weight, trained.model.bias], lr=0.1)
    trained.backend.setup(trained.model, [trained.optimizer])
    trained.step = trained.backend.wrap_step(loss, "train")
    seen = trained.run(batches())
    assert trained.model.part.seen == [("loss", value, False) for value, _ in seen]
    assert "log" not in vars(trained.model.part)


def test_a_number_is_not_logged_from_a_recorded_step() -> None:
    trained = Trained(model=Logging())

    def loss(batch: Any, index: int) -> Tensor:
        trained.model.log("index", index)
        return Trained.loss(trained, batch, index)

    trained.step = trained.backend.wrap_step(loss, "train")
    with pytest.raises(TypeError, match=r"logs tensors, .* Received int for 'index'"):
        trained.run(batches())
    assert trained.recorder.calls[-1] == "abandon"


def test_losses_that_are_kept_stay_what_they_were() -> None:
    trained = Trained()
    seen, kept = [], []
    for index, batch in enumerate(batches()):
        kept.append(trained.step(batch, index))
        trained.backend.zero_grad(trained.optimizer)
        trained.backend.backward(kept[-1])
        trained.backend.clip(trained.optimizer, 0.5)
        trained.backend.step(trained.optimizer)
        seen.append(float(kept[-1].detach()))
    assert [float(loss.detach()) for loss in kept] == seen == [loss for loss, _ in by_hand()[0]]


def test_nobody_looks_at_the_gradients_of_a_recorded_step() -> None:
    trained = Trained()
    with pytest.raises(ValueError, match=r"Leave out on_nonfinite or compile="):
        trained.backend.first_non_finite(trained.optimizer)


def test_a_step_that_steps_itself_is_refused() -> None:
    trained = Trained()

    def manual(batch: Any, index: int) -> None:
        trained.backend.zero_grad(trained.optimizer)
        trained.backend.backward(trained.loss(batch, index))
        trained.backend.step(trained.optimizer)

    step = trained.backend.wrap_step(manual, "train")
    with pytest.raises(RuntimeError, match="steps an optimizer itself, as in manual"):
        step(batches(1)[0], 0)


def test_several_optimizers_are_refused() -> None:
    trained = Trained()
    again = torch.optim.SGD(trained.model.parameters(), lr=0.1)
    with pytest.raises(ValueError, match="Received 2 optimizers"):
        trained.backend.setup(trained.model, [trained.optimizer, again])


def test_a_restored_state_is_recorded_anew() -> None:
    trained = Trained()
    first = batches()
    trained.run(first[:5])
    state = trained.backend.capture()
    trained.run(first[5:])
    trained.backend.restore(state)
    trained.evaluations = 0
    trained.run(first[5:])
    assert trained.evaluations == 2  # warming up again
    assert all(map(torch.equal, trained.model.parameters(), by_hand()[1].parameters()))


def test_shapes_stay() -> None:
    trained = Trained()
    trained.run(batches(5))
    x, y = batches()[0]
    with pytest.raises(ValueError, match=r"\(2, 3\) after a tensor of shape \(4, 3\).*drop_last"):
        trained.step((x[:2], y[:2]), 5)
    with pytest.raises(ValueError, match="Received 2 after 3 parts"):
        trained.step(x, 5)
    with pytest.raises(ValueError, match="of a CUDA graph have one shape and structure"):
        trained.step({"x": x, "y": y}, 5)


def test_a_learning_rate_that_is_a_number_stays() -> None:
    trained = Trained()
    trained.run(batches(5))
    trained.optimizer.param_groups[0]["lr"] = 0.2
    with pytest.raises(ValueError, match=r"rates of \[0.2\] after \[0.1\].*lr=torch.tensor"):
        trained.run(batches(1))


def test_a_learning_rate_that_is_a_tensor_may_change() -> None:
    trained = Trained(lr=torch.tensor(0.1))
    trained.run(batches(5))
    trained.optimizer.param_groups[0]["lr"].fill_(0.2)
    trained.run(batches(1))


def test_what_cannot_be_recorded() -> None:
    trained = Trained()
    with pytest.raises(ValueError, match="accumulate_grad_batches above 1"):
        trained.backend.wrap_step(trained.loss, "accumulate")
    with pytest.raises(ValueError, match="Received a closure for SGD"):
        trained.backend.step(trained.optimizer, lambda: None)
    adam = torch.optim.AdamW(trained.model.parameters())
    with pytest.raises(ValueError, match=r"AdamW with capturable=False. Make it with AdamW\("):
        trained.backend.setup(trained.model, [adam])


def test_a_step_that_waits_for_the_gpu_says_so() -> None:
    trained = Trained()

    def loss(batch: Any, index: int) -> Tensor:
        if index == WARM_UP:
            raise RuntimeError("operation not permitted when stream is capturing")
        return trained.loss(batch, index)

    trained.step = trained.backend.wrap_step(loss, "train")
    with pytest.raises(
        RuntimeError, match=r"can't wait for the GPU.*not permitted when.*Take item"
    ):
        trained.run(batches())
    assert trained.recorder.calls[-1] == "abandon"  # so that the GPU can be used again


class Waiting(torch.autograd.Function):
    """Fails in the backward pass, as what waits for the GPU does in a recording."""

    @staticmethod
    def forward(ctx: Any, loss: Tensor) -> Tensor:
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing")


@pytest.mark.parametrize("where", ["backward", "optimizer"])
def test_what_waits_for_the_gpu_after_the_step_function_says_so(where: str) -> None:
    trained = Trained()

    def loss(batch: Any, index: int) -> Tensor:
        found = trained.loss(batch, index)
        if index == WARM_UP and where == "optimizer":
            trained.optimizer.register_step_pre_hook(lambda *_: Waiting.backward(None))
        waits = index == WARM_UP and where == "backward"
        return Waiting.apply(found) if waits else found  # type: ignore[no-untyped-call]

    trained.step = trained.backend.wrap_step(loss, "train")
    with pytest.raises(
        RuntimeError, match=r"can't wait for the GPU.*not permitted when.*Take item"
    ):
        trained.run(batches())
    assert trained.recorder.calls[-1] == "abandon"


def test_an_error_before_the_recording_is_left_as_it_is() -> None:
    trained = Trained()
    trained.optimizer.register_step_pre_hook(lambda *_: Waiting.backward(None))
    with pytest.raises(RuntimeError, match=r"^operation not permitted when stream is capturing$"):
        trained.run(batches())
    assert trained.recorder.calls == ["prepare"]


def test_arguments_by_name_are_recorded_too() -> None:
    trained = Trained()
    loss = trained.step
    trained.step = lambda batch, index: loss(batch=batch, index=index)
    assert trained.run(batches()) == by_hand()[0]
    assert trained.evaluations == WARM_UP + 1
    with pytest.raises(ValueError, match="of a CUDA graph have one shape and structure"):
        loss(batches()[0], index=0)


@pytest.mark.parametrize(
    ("device", "precision", "ranks", "message"),
    [
        ("cpu", "32-true", 1, "a device cpu. Use accelerator='cuda'"),
        ("cuda", "16-mixed", 1, "precision='16-mixed', which skips steps. Use 'bf16-mixed'"),
        ("cuda", "32-true", 2, "2 processes, which exchange gradients in it. Use devices=1"),
    ],
)
def test_where_it_is_not_possible(device: str, precision: str, ranks: int, message: str) -> None:
    word = {"cuda_graph": True}
    with pytest.raises(ValueError, match=message):
        compilation(word, torch.device(device), Precision.named(precision), ranks=ranks)


def test_the_word() -> None:
    found = compilation(
        {"cuda_graph": True}, torch.device("cuda"), Precision.named("bf16-mixed"), ranks=1
    )
    assert found.records
    off = compilation({"cuda_graph": False}, torch.device("cpu"), Precision.named(32), ranks=1)
    assert not off.records
    with pytest.raises(ValueError, match="a device cpu"):
        select(accelerator="cpu", compile={"cuda_graph": True})

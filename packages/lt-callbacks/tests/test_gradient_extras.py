"""What GradientCheck looks at on request: updates, ReLUs, histograms."""

import logging
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from lt_callbacks import GradientCheck
from lt_loop import Callback, Trainer
from lt_loop.solo import DuckBackend


class Network(nn.Sequential):
    trainer: Any = None

    def __init__(self, make_optimizer: Any = None) -> None:
        torch.manual_seed(0)
        super().__init__(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))
        self.make_optimizer = make_optimizer or (lambda ps: torch.optim.SGD(ps, lr=0.05))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self(batch).square().mean()

    def configure_optimizers(self) -> Any:
        return self.make_optimizer(self.parameters())


class Listener(Callback):
    def __init__(self) -> None:
        self.heard: list[tuple[int, dict[str, float]]] = []

    def on_log(self, metrics: dict[str, float], step: int) -> None:
        self.heard.append((step, {k: v for k, v in metrics.items() if k != "epoch"}))

    def of(self, prefix: str) -> list[tuple[int, dict[str, float]]]:
        found = [
            (step, {k: v for k, v in heard.items() if k.startswith(prefix)})
            for step, heard in self.heard
        ]
        return [(step, heard) for step, heard in found if heard]


class Board(Listener):
    """A logger that draws, as TensorBoard's."""

    def __init__(self) -> None:
        super().__init__()
        self.drawn: list[tuple[str, int, Any]] = []
        self.experiment = SimpleNamespace(
            add_histogram=lambda name, values, step: self.drawn.append((name, step, values))
        )


@pytest.fixture
def batches() -> list[Any]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(3, 4, generator=generator) for _ in range(6)]


def fit(program: Any, batches: list[Any], *callbacks: Any, **words: Any) -> Any:
    words = {"max_epochs": 1, "log_every_n_steps": 1, "backend": DuckBackend()} | words
    trainer = Trainer(callbacks=list(callbacks), logger=False, enable_progress_bar=False, **words)
    return trainer.fit(program, batches)


def by_hand(model: Network, batches: list[Any]) -> list[dict[str, float]]:
    """How much each step changes each parameter, in a plain loop."""
    optimizer, found = model.configure_optimizers(), []
    for batch in batches:
        before = {name: p.detach().clone() for name, p in model.named_parameters()}

        def closure(batch: Any = batch) -> Any:
            optimizer.zero_grad()
            loss = model.training_step(batch, 0)
            loss.backward()
            return loss

        optimizer.step(closure)
        found.append(
            {
                f"update_ratio/{name}": float(
                    (p.detach() - before[name]).norm() / before[name].norm()
                )
                for name, p in model.named_parameters()
            }
        )
    return found


OPTIMIZERS = {
    "sgd": lambda ps: torch.optim.SGD(ps, lr=0.05, momentum=0.9),
    "adamw": lambda ps: torch.optim.AdamW(ps, lr=0.01),
    "lbfgs": lambda ps: torch.optim.LBFGS(ps, max_iter=3),
}


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_updates_are_those_of_a_plain_loop(make: Any, batches: list[Any]) -> None:
    listener = Listener()

    fit(Network(make), batches, GradientCheck(1, log_update_ratios=True), listener)

    for (_, heard), expected in zip(
        listener.of("update_ratio"), by_hand(Network(make), batches), strict=True
    ):
        assert heard == pytest.approx(expected, rel=1e-4)


def test_a_parameter_that_was_zero_has_no_ratio(batches: list[Any]) -> None:
    program, listener = Network(), Listener()
    nn.init.zeros_(program[2].bias)

    fit(program, batches[:2], GradientCheck(1, log_update_ratios=True), listener)

    ratios = [set(heard) for _, heard in listener.of("update_ratio")]
    assert ["update_ratio/2.bias" in names for names in ratios] == [False, True]


def test_dead_relus_are_logged_and_warned_of_once(
    batches: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    program, listener = Network(), Listener()
    with torch.no_grad():
        program[0].bias[:6] = -100

    fit(program, batches, GradientCheck(2, dead_above=0.5), listener)

    shares = listener.of("dead_relu")
    assert [step for step, _ in shares] == [1, 3, 5]
    assert all(heard["dead_relu/1"] >= 0.75 for _, heard in shares)
    (record,) = [r for r in caplog.records if r.name == "lt_callbacks"]
    assert record.levelno == logging.WARNING
    assert "of the units of 1 are dead" in record.getMessage()
    assert record.getMessage().endswith("in 1 of 1 ReLU, at step 1")
    assert not any(child._forward_hooks for child in program.modules())


def test_dead_relus_may_stop_the_run(batches: list[Any]) -> None:
    program = Network()
    with torch.no_grad():
        program[0].bias[:6] = -100

    result = fit(program, batches, GradientCheck(1, dead_above=0.5, if_dead="stop"))

    assert result.progress.steps == 1
    assert "of the units of 1 are dead" in result.reason


def test_the_relus_are_let_go_of_also_after_an_exception(batches: list[Any]) -> None:
    class Failing(Network):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise RuntimeError("out of luck")

    program = Failing()
    with pytest.raises(RuntimeError, match="out of luck"):
        fit(program, batches, GradientCheck(1, dead_above=0.5))

    assert not any(child._forward_hooks for child in program.modules())


class Clipping(DuckBackend):
    def clip(self, optimizer: Any, value: float | None, algorithm: Any) -> None:
        if value is not None:
            torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], value)


def test_histograms_are_of_the_gradients_that_were_stepped_with(batches: list[Any]) -> None:
    board = Board()

    fit(
        Network(),
        batches,
        GradientCheck(100, histograms_every_n_steps=3, log_norms="nothing"),
        board,
        gradient_clip_val=1e-3,
        backend=Clipping(),
    )

    model = Network()
    optimizer, expected = model.configure_optimizers(), []
    for step, batch in enumerate(batches):
        optimizer.zero_grad()
        model.training_step(batch, 0).backward()
        if step in (2, 5):
            expected += [
                (f"gradients/{name}", step, p.grad.clone()) for name, p in model.named_parameters()
            ]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1e-3)
        optimizer.step()
    assert [drawn[:2] for drawn in board.drawn] == [one[:2] for one in expected]
    for (_, _, drawn), (_, _, gradient) in zip(board.drawn, expected, strict=True):
        torch.testing.assert_close(drawn, gradient, rtol=1e-4, atol=1e-7)


def test_layers_that_are_not_finite_are_not_drawn(batches: list[Any]) -> None:
    class Spoilt(Network):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            hidden = self[1](self[0](batch))
            return self[2](hidden + (hidden - hidden).abs().sqrt()).square().mean()

    board = Board()
    check = GradientCheck(1, histograms_every_n_steps=1, if_non_finite="log")

    fit(Spoilt(), batches[:1], check, board)

    assert [name for name, _, _ in board.drawn] == ["gradients/2.weight", "gradients/2.bias"]


def test_without_a_logger_that_draws_it_says_so_once(
    batches: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    fit(Network(), batches, GradientCheck(1, histograms_every_n_steps=1), Listener())

    told = [r.getMessage() for r in caplog.records if r.name == "lt_callbacks"]
    assert len(told) == 1
    assert "is for loggers that draw, such as TensorBoardLogger" in told[0]


def test_tensorboard_draws_them(batches: list[Any], tmp_path: Any) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from lt_callbacks import TensorBoardLogger

    logger = TensorBoardLogger(tmp_path)
    fit(Network(), batches, GradientCheck(1, histograms_every_n_steps=2), logger)

    events = EventAccumulator(logger.log_dir, size_guidance={"histograms": 0})
    events.Reload()
    drawn = events.Histograms("gradients/0.weight")
    assert [event.step for event in drawn] == [1, 3, 5]
    assert {event.histogram_value.num for event in drawn} == {32}


def test_the_run_is_the_same_to_the_last_bit(batches: list[Any]) -> None:
    plain, checked = Network(), Network()
    check = GradientCheck(
        1, dead_above=0.5, log_update_ratios=True, histograms_every_n_steps=1, if_dead="log"
    )

    fit(plain, batches, max_epochs=3)
    fit(checked, batches, check, Board(), max_epochs=3)

    assert all(map(torch.equal, plain.parameters(), checked.parameters()))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"histograms_every_n_steps": 0}, r"Received histograms_every_n_steps=0"),
        ({"if_dead": "stopp"}, r"if_dead is one of .* Did you mean 'stop'\?"),
        ({"dead_above": 1.5}, r"Received dead_above=1\.5"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GradientCheck(**arguments)

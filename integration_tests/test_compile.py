"""Compiled steps through the Trainer: the same numbers, one graph, and keys that stay clean."""

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import lt

# torch's own tracer looks at the loss that crosses from one graph to the next.
CROSSING = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")

DATA = [(torch.randn(8, 4), torch.randn(8, 1)) for _ in range(6)]


class Model(lt.LTModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        loss = (self.layer(x) - y).pow(2).mean()
        self.log("loss", loss, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        self.log("val_loss", (self.layer(x) - y).pow(2).mean())

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.slow
@CROSSING
def test_a_compiled_run_learns_the_same_and_logs_from_between_its_graphs() -> None:
    found = []
    for word in (False, {"backend": "aot_eager"}):
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()  # of other tests in this process
        lt.seed_everything(0)
        model = Model()
        trainer = lt.Trainer(
            accelerator="cpu",
            max_epochs=2,
            accumulate_grad_batches=2,
            logger=False,
            enable_progress_bar=False,
            compile=word,
        )
        trainer.fit(model, DATA, DATA[:2])
        found.append((dict(trainer.callback_metrics), model.state_dict()))

    (numbers, weights), (compiled_numbers, compiled_weights) = found
    assert compiled_numbers == pytest.approx(numbers, rel=1e-6)
    assert list(compiled_weights) == ["layer.weight", "layer.bias"]
    torch.testing.assert_close(compiled_weights, weights)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 2  # accumulating, and closing


class Counter:
    """A backend of torch.compile that runs graphs as they are, and counts them."""

    def __init__(self) -> None:
        self.graphs = 0

    def __call__(self, graph: Any, inputs: Any) -> Any:
        self.graphs += 1
        return graph.forward


class Reading(Model):
    """Weighs its loss by something that it reads in its step."""

    def __init__(self, read: Callable[..., float]) -> None:
        super().__init__()
        self.read, self.losses = read, list[float]()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        return (self.layer(x) - y).pow(2).mean() * self.read(self, batch_idx)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.losses.append(outputs["loss"].item())

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.01)
        schedule = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.9)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def fit(model: lt.LTModule, word: Any, *, epochs: int = 3, **words: Any) -> None:
    lt.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        compile=word,
        **words,
    ).fit(model, DATA)


def compiled_and_not(make: Callable[[], Any], **words: Any) -> tuple[int, list[float], list[float]]:
    """Return the number of graphs, and the losses of a compiled and of an ordinary run."""
    found: list[Any] = []
    counter = Counter()
    for word in ({"backend": counter}, False):
        torch._dynamo.reset()
        torch.manual_seed(0)
        model = make()
        fit(model, word, **words)
        found.append(model.losses)
    return counter.graphs, found[0], found[1]


# More steps and epochs than torch compiles one function for, which is eight times.
READS: dict[str, tuple[Callable[..., float], int]] = {
    "global_step": (lambda m, i: m.global_step, 2),
    "current_epoch": (lambda m, i: 1 + m.current_epoch, 2),
    "trainer.global_step": (lambda m, i: m.trainer.global_step, 2),
    "trainer.current_epoch": (lambda m, i: 1 + m.trainer.current_epoch, 2),
    "batch_idx": (lambda m, i: i, 2),
    # One number after the other is found to change.
    "all counts": (lambda m, i: i * 0.1 + m.global_step + m.current_epoch, 3),
    "annealing": (lambda m, i: min(1.0, m.global_step / 20), 3),
    "a branch of many": (lambda m, i: 2.0 if m.global_step % 3 == 0 else 1.0, 3),
    "is_last_batch": (lambda m, i: 2.0 if m.trainer.is_last_batch else 1.0, 3),
    "optimizers": (lambda m, i: m.optimizers().param_groups[0]["lr"], 2),
    # torch keeps get_last_lr out of graphs, so there are two of them.
    "lr_schedulers": (lambda m, i: m.lr_schedulers().get_last_lr()[0], 4),
    "what does not change": (
        lambda m, i: (m.logger is None) + (m.device.type == "cpu") + m.global_rank,
        1,
    ),
}


@CROSSING
@pytest.mark.parametrize("name", READS)
def test_what_a_compiled_step_reads_is_current_and_compiles_it_a_few_times(name: str) -> None:
    read, most = READS[name]
    graphs, compiled, expected = compiled_and_not(lambda: Reading(read), epochs=10)
    assert len(expected) == 60
    assert compiled == expected
    assert 1 <= graphs <= most


def test_one_whole_graph_may_read_the_counts() -> None:
    torch.manual_seed(0)
    model = Reading(lambda m, i: m.global_step + m.current_epoch)
    torch._dynamo.reset()
    counter = Counter()
    fit(model, {"backend": counter, "fullgraph": True})
    torch.manual_seed(0)
    other = Reading(model.read)
    fit(other, False)
    assert model.losses == other.losses
    assert counter.graphs <= 3


class Inner(lt.LTModule):
    """A part that is a module of its own, which logs too."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def forward(self, x: Any) -> Any:
        result = self.layer(x) * (1 + self.global_step)
        self.log("inner", result.mean())
        return result


class Outer(Reading):
    def __init__(self) -> None:
        super().__init__(lambda m, i: m.global_step)
        self.layer: Any = Inner()
        self.metrics: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.log_dict({"outer": loss, "step": float(self.global_step)})
        return loss

    def on_train_epoch_end(self) -> None:
        self.metrics.append(dict(self.trainer.callback_metrics))


@CROSSING
@pytest.mark.parametrize("window", [1, 2])
def test_parts_that_log_and_count_do_not_compile_anew(window: int) -> None:
    made: list[Outer] = []

    def make() -> Outer:
        made.append(Outer())
        return made[-1]

    graphs, compiled, expected = compiled_and_not(make, accumulate_grad_batches=window)
    assert compiled == expected
    assert made[0].metrics == made[1].metrics
    assert len(made[0].metrics) == 3
    assert graphs <= 6


@CROSSING
def test_a_module_is_no_other_for_having_been_compiled() -> None:
    copies: list[Any] = []

    class Copying(lt.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, *rest: Any) -> None:
            copies.append((vars(module).get("log"), vars(copy.deepcopy(module)).get("log")))

    torch._dynamo.reset()
    counter, module = Counter(), Model()
    before = set(vars(module))
    fit(module, {"backend": counter}, callbacks=[Copying()])
    assert copies == [(None, None)] * 18
    assert set(vars(module)) - before <= {"_trainer"}
    assert pickle.loads(pickle.dumps(module)).state_dict().keys() == module.state_dict().keys()

    once = counter.graphs
    fit(module, {"backend": counter})
    assert counter.graphs == once  # the same step again
    fit(module, False)
    assert counter.graphs == once

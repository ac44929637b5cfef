"""Compiled steps through the Trainer: the same numbers, one graph, and keys that stay clean."""

from typing import Any

import pytest
import torch
from torch import nn

import lt

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
# torch's own tracer looks at the loss that crosses from one graph to the next.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
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

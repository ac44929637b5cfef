"""Keep the ``for`` statement: the engine takes one step each time the loop asks for it.

Whatever happens in the body happens at a safe point: no gradient is pending, nothing is half done.
Here the loop is left in mid-epoch, and a second one goes on from there to the same weights that an
uninterrupted run reaches.
"""

import torch
from torch import nn

import lt


class Line(lt.LTModule):
    """Fits y = 3x + 1."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return nn.functional.mse_loss(self.layer(x), y)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.05)


def quiet_trainer() -> lt.Trainer:
    """Return a trainer for twenty epochs that writes nothing."""
    return lt.Trainer(accelerator="cpu", max_epochs=20, logger=False, enable_progress_bar=False)


def main() -> None:
    """Train in a loop of our own, leave it, go on, and compare."""
    lt.seed_everything(1)
    x = torch.randn(96, 1)
    batches = [(part, 3 * part + 1) for part in x.split(16)]
    model = Line()
    start = {name: value.clone() for name, value in model.state_dict().items()}

    trainer = quiet_trainer()
    for progress in trainer.steps(model, batches):
        if progress.steps == 50:  # somebody else wants the machine
            break
    state = trainer.capture()
    print(f"left in epoch {progress.epoch} after {progress.batch} of its {len(batches)} batches")

    resumed = Line()
    result = quiet_trainer().fit(resumed, batches, ckpt_path=state)
    print(f"went on to step {result.progress.steps}: {result.reason}")

    uninterrupted = Line()
    uninterrupted.load_state_dict(start)
    quiet_trainer().fit(uninterrupted, batches)
    same = all(
        torch.equal(a, b)
        for a, b in zip(resumed.parameters(), uninterrupted.parameters(), strict=True)
    )
    print(f"the same bits as a run that never stopped: {same}")
    assert same


if __name__ == "__main__":
    main()

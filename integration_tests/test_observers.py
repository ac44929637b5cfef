"""Callbacks that only observe change nothing, all of them at once, on real data."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import lt
from lt.callbacks import (
    Callback,
    DeviceStatsMonitor,
    EarlyStopping,
    GradCheckOnce,
    GradientCheck,
    LearningRateMonitor,
    ModelSummary,
    RichModelSummary,
    ThroughputMonitor,
)
from lt.loggers import TensorBoardLogger


class Digits(lt.LTModule):
    """With all that an observer could disturb: dropout, batch norm, shuffling, a schedule."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Flatten(),
            nn.Dropout(0.3),
            nn.Linear(8 * 64, 10),
        )
        self.example_input_array = torch.zeros(2, 1, 8, 8)
        self.flops_per_batch = 1000
        images, labels = load_digits(return_X_y=True)
        x = torch.from_numpy((images / 16.0).astype(np.float32)).reshape(-1, 1, 8, 8)
        self.data = TensorDataset(x[:320], torch.from_numpy(labels)[:320])
        self.order: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        images, labels = batch
        self.order += labels.tolist()
        loss = nn.functional.cross_entropy(self(images), labels)
        self.log("train_loss", loss, on_step=True, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        images, labels = batch
        self.log("val_loss", nn.functional.cross_entropy(self(images), labels))

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.AdamW(self.parameters(), lr=1e-2)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=20)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def train_dataloader(self) -> Any:
        return DataLoader(self.data, batch_size=32, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(self.data, batch_size=160)


def observers(summary: Callback) -> list[Callback]:
    return [
        DeviceStatsMonitor(),
        EarlyStopping("val_loss", patience=100),
        GradCheckOnce(leaks=True),
        GradientCheck(
            1, dead_above=0.9, log_update_ratios=True, histograms_every_n_steps=5, if_dead="log"
        ),
        LearningRateMonitor(log_momentum=True, log_weight_decay=True),
        summary,
        ThroughputMonitor(lambda batch: len(batch[0]), window_size=4, available_flops=1e12),
    ]


def run(folder: Path, callbacks: list[Callback], **words: Any) -> dict[str, Any]:
    lt.seed_everything(7)
    program = Digits()
    trainer = lt.Trainer(
        accelerator="cpu",
        max_epochs=2,
        callbacks=callbacks,
        logger=TensorBoardLogger(folder),
        enable_progress_bar=False,
        log_every_n_steps=2,
        **words,
    )
    result = trainer.fit(program)
    return {
        "weights": program.state_dict(),
        "optimizer": trainer.optimizers[0].state_dict()["state"],
        "order": program.order,
        "random": torch.get_rng_state(),
        "reason": result.reason,
        "metrics": dict(result.metrics),
    }


@pytest.mark.parametrize(
    ("words", "summary"),
    [
        ({}, ModelSummary(max_depth=-1)),
        ({"accumulate_grad_batches": 2, "gradient_clip_val": 0.1}, RichModelSummary(max_depth=2)),
    ],
)
def test_all_observers_at_once_leave_the_same_bits(
    tmp_path: Path, words: dict[str, Any], summary: Callback
) -> None:
    plain = run(tmp_path / "plain", [], **words)
    watched = run(tmp_path / "watched", observers(summary), **words)

    assert watched["reason"] == plain["reason"]
    assert watched["order"] == plain["order"]
    assert torch.equal(watched["random"], plain["random"])
    for name, value in plain["weights"].items():
        assert torch.equal(watched["weights"][name], value), name
    for key, state in plain["optimizer"].items():
        for name, value in state.items():
            assert torch.equal(watched["optimizer"][key][name], value), (key, name)
    assert {name: watched["metrics"][name] for name in plain["metrics"]} == plain["metrics"]
    # and they did observe
    seen = set(watched["metrics"]) - set(plain["metrics"])
    for name in (
        "lr-AdamW",
        "lr-AdamW-momentum",
        "grad_norm_total",
        "grad_norm/network.0.weight",
        "update_ratio/network.0.weight",
        "dead_relu/network.2",
        "train/device/samples_per_sec",
        "train/device/mfu",
        "DeviceStatsMonitor.on_train_batch_end/cpu_percent",
    ):
        assert name in seen

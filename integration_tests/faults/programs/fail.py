"""A fit in which one component fails at the third step, or a worker is killed.

Given are the ``root`` and ``where``.
"""

import os
import signal
from typing import Any

import experiment
import torch
from torch.utils.data import DataLoader, get_worker_info

import lt
from lt_loop import Callback

given: dict[str, Any] = globals()["given"]
where = given["where"]


class BrokenError(Exception):
    """What nobody foresaw."""


def fail(component: str) -> None:
    if component == where:
        raise BrokenError(f"in the {where}")


class BrokenModule(experiment.Regression):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if self.trainer.global_step == 3:
            fail("step")
        return super().training_step(batch, batch_idx)

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        if self.trainer.global_step == 3:
            fail("hook")

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        fail("validation")
        super().validation_step(batch, batch_idx)


class BrokenCallback(Callback):
    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 3:
            fail("callback")


class BrokenLogger(Callback):
    def on_log(self, metrics: dict[str, float], step: int) -> None:
        if step == 3:
            fail("logger")


class BrokenSamples(experiment.Samples):
    reads = 0

    def __getitem__(self, index: int) -> Any:
        self.reads += 1
        if self.reads == 14:
            fail("loader")
            if where == "killed worker" and get_worker_info() is not None:
                os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(index)


lt.seed_everything(7)
workers = 2 if where in ("loader", "killed worker") else 0
words = {"max_epochs": 3, "accumulate_grad_batches": 1, "num_sanity_val_steps": 0}
run = experiment.trainer({**given, "trainer": words}, BrokenCallback(), BrokenLogger())
training = DataLoader(BrokenSamples(40), batch_size=4, num_workers=workers)
run.fit(BrokenModule(), training, DataLoader(torch.utils.data.ConcatDataset([training.dataset])))

"""Fit the experiment, and go on with it where it has begun, as a script does that is restarted.

Given are the ``root``, and what :mod:`experiment` reads.
"""

import os
import signal
from typing import Any

import experiment
import torch

import lt
from lt.callbacks import Preemption

given: dict[str, Any] = globals()["given"]
lt.seed_everything(given.get("seed", 7))
model = experiment.Regression(given.get("total_steps", 100))
preemption = [Preemption(**given["preemption"])] if "preemption" in given else []
run = experiment.trainer(given, *preemption)
folder = os.path.join(given["root"], "checkpoints")
begun = os.path.isdir(folder) and os.listdir(folder)
before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
try:
    result = run.fit(model, *experiment.loaders(given), ckpt_path="last" if begun else None)
finally:
    after = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)]
    experiment.note(f"handlers {'as before' if after == before else after}")
experiment.note(f"ended {result.progress.steps} {result.reason}")
torch.save(model.state_dict(), "weights.pt")

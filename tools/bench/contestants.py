"""The contestants: a training function each, from batches to the trained network.

Libraries that are not installed are left out. Each is used as its documentation shows, with
everything off that can be off; rows named "defaults" leave everything on.
"""

import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from io import StringIO
from typing import Any

import torch
from torch import Tensor, nn
from workload import Batch, TimedBatches, loss_of, network, optimizer_for

import lt

Contestant = Callable[[TimedBatches], nn.Module]


class Terminal(StringIO):
    """A terminal nobody looks at, so that progress bars draw themselves."""

    def isatty(self) -> bool:
        return True


@contextmanager
def terminal() -> Iterator[str]:
    """Give the defaults what they expect: a terminal, and a folder of their own."""
    before = sys.stdout, sys.stderr
    with tempfile.TemporaryDirectory() as folder:
        sys.stdout, sys.stderr = Terminal(), Terminal()
        try:
            yield folder
        finally:
            sys.stdout, sys.stderr = before


def placed(batches: TimedBatches) -> Iterator[Batch]:
    """Bring the batches to the device as loops by hand do."""
    if batches.device == "cpu":
        yield from batches
        return
    for x, y in batches:
        yield x.to(batches.device, non_blocking=True), y.to(batches.device, non_blocking=True)


def alone(batches: TimedBatches) -> dict[str, Any]:
    """Return the words that all trainers understand: one epoch on the one device."""
    return {"accelerator": batches.device, "devices": 1, "max_epochs": 1}


def raw(batches: TimedBatches) -> nn.Module:
    """The ordinary loop, which all others are compared with."""
    model = network().to(batches.device)
    optimizer = optimizer_for(model)
    for batch in placed(batches):
        optimizer.zero_grad()
        loss = loss_of(model, batch)
        loss.backward()
        optimizer.step()
    return model


class Ours(lt.LTModule):
    """The workload as a module."""

    def __init__(self) -> None:
        super().__init__()
        self.network = network()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return loss_of(self.network, batch)

    def configure_optimizers(self) -> object:
        return optimizer_for(self.network)


class OursLogging(Ours):
    """With one logged value."""

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = loss_of(self.network, batch)
        self.log("loss", loss, on_step=True, on_epoch=True, prog_bar=True)
        return loss


class OursLoggingTen(Ours):
    """With ten logged values."""

    NAMES = tuple(f"value_{n}" for n in range(10))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        loss = loss_of(self.network, batch)
        for name in self.NAMES:
            self.log(name, loss, on_step=True, on_epoch=True)
        return loss


class OursCapturable(OursLogging):
    """With one logged value, and an optimizer that counts its steps on the GPU."""

    def configure_optimizers(self) -> object:
        return torch.optim.Adam(self.parameters(), lr=1e-3, capturable=True)


class Idle(lt.Callback):
    """A callback that overrides nothing."""


def _ours(module: type[Ours], callbacks: int = 0, **words: Any) -> Contestant:
    def train(batches: TimedBatches) -> nn.Module:
        model = module()
        lt.Trainer(
            **alone(batches),
            **words,
            logger=False,
            enable_progress_bar=False,
            callbacks=[Idle() for _ in range(callbacks)],
        ).fit(model, batches)
        return model.network

    return train


def ours_defaults(batches: TimedBatches) -> nn.Module:
    """A logged value, the default logger, and the progress bar on a terminal."""
    model = OursLogging()
    with terminal() as folder:
        lt.Trainer(**alone(batches), default_root_dir=folder).fit(model, batches)
    return model.network


def _lightning() -> dict[str, Contestant]:
    import lightning.pytorch as pl

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    off = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }

    class Theirs(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = network()

        def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
            return loss_of(self.network, batch)

        def configure_optimizers(self) -> object:
            return optimizer_for(self.network)

    class TheirsLogging(Theirs):
        def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
            loss = loss_of(self.network, batch)
            self.log("loss", loss, on_step=True, on_epoch=True, prog_bar=True)
            return loss

    def contestant(module: type[Theirs]) -> Contestant:
        def train(batches: TimedBatches) -> nn.Module:
            model = module()
            pl.Trainer(**alone(batches), **off).fit(model, batches)
            return model.network

        return train

    def defaults(batches: TimedBatches) -> nn.Module:
        model = TheirsLogging()
        with terminal() as folder:
            pl.Trainer(**alone(batches), default_root_dir=folder).fit(model, batches)
        return model.network

    return {
        "Lightning": contestant(Theirs),
        "Lightning, one logged value": contestant(TheirsLogging),
        "Lightning, all defaults": defaults,
    }


def _fabric() -> dict[str, Contestant]:
    from lightning.fabric import Fabric

    def train(batches: TimedBatches) -> nn.Module:
        fabric = Fabric(accelerator=batches.device, devices=1)
        model = network().to(batches.device)
        wrapped, optimizer = fabric.setup(model, optimizer_for(model))
        for batch in placed(batches):
            optimizer.zero_grad()
            loss = loss_of(wrapped, batch)
            fabric.backward(loss)
            optimizer.step()
        return model

    return {"Fabric": train}


def _accelerate() -> dict[str, Contestant]:
    from accelerate import Accelerator

    def train(batches: TimedBatches) -> nn.Module:
        accelerator = Accelerator(cpu=batches.device == "cpu")
        model = network().to(batches.device)
        wrapped, optimizer = accelerator.prepare(model, optimizer_for(model))
        for batch in placed(batches):
            optimizer.zero_grad()
            loss = loss_of(wrapped, batch)
            accelerator.backward(loss)
            optimizer.step()
        return model

    return {"Accelerate": train}


def _ignite() -> dict[str, Contestant]:
    from ignite.engine import Engine

    def train(batches: TimedBatches) -> nn.Module:
        model = network().to(batches.device)
        optimizer = optimizer_for(model)

        def step(engine: Engine, batch: Batch) -> float:
            optimizer.zero_grad()
            loss = loss_of(model, batch)
            loss.backward()
            optimizer.step()
            return loss.item()

        Engine(step).run(placed(batches), max_epochs=1, epoch_length=len(batches))
        return model

    return {"Ignite": train}


def contestants(device: str) -> dict[str, Contestant]:
    """All that can run here, raw first. "raw again" shows what noise alone makes of a ratio."""
    warnings.filterwarnings("ignore")  # others' advice, drawn into the timing
    found: dict[str, Contestant] = {
        "raw": raw,
        "raw again": raw,
        "lt": _ours(Ours),
        "lt, one logged value": _ours(OursLogging),
        "lt, ten logged values": _ours(OursLoggingTen),
        "lt, five idle callbacks": _ours(Ours, callbacks=5),
        "lt, all defaults": ours_defaults,
    }
    if device == "cuda":
        recorded = _ours(OursCapturable, compile={"cuda_graph": True})
        found["lt, one logged value, recorded"] = recorded
    libraries = {
        "lightning": (_lightning, _fabric),
        "accelerate": (_accelerate,),
        "ignite": (_ignite,),
    }
    for library, makers in libraries.items():
        if find_spec(library):
            for make in makers:
                found |= make()
    return found

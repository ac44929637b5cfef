"""What callbacks and modules may read of a run, under Lightning's names."""

import math
import signal
from pathlib import Path
from typing import Any

from lt_loop.callback import Callback
from lt_loop.entries import Scalar
from lt_loop.hooks import overridden
from lt_loop.limits import Limits
from lt_loop.one_limit import OneLimit
from lt_loop.optimizers import Schedule
from lt_loop.ports import Backend
from lt_loop.progress import Progress
from lt_loop.run import Ports, Run
from lt_loop.sources import LoaderStage
from lt_loop.stepping import SteppedOptimizer
from lt_loop.trainer_state import TrainerState


class RunView:
    """The readable side of a Trainer: the run under way, or the last one.

    Abstract: :class:`lt_loop.trainer.Trainer` is the one that runs.
    """

    callbacks: tuple[Callback, ...]
    default_root_dir: str
    _limits: Limits
    _ports: Ports
    _run: Run | None = None

    @property
    def limits(self) -> Limits:
        """The checked numbers among the arguments, as the run under way was planned with them."""
        return self._run.limits if self._run and self.under_way else self._limits

    @property
    def ports(self) -> Ports:
        """The four ports, and why they were chosen."""
        return self._ports

    @property
    def precision(self) -> str | None:
        """The precision's name (``"bf16-mixed"``), None where the backend has none."""
        return getattr(getattr(self._ports.backend, "precision", None), "name", None)

    @property
    def under_way(self) -> bool:
        """Whether a run has been set up and not torn down yet."""
        return self._run is not None and self._run.under_way

    @property
    def _backend(self) -> Backend:
        """The backend as the run under way sees it, else the trainer's own."""
        return self._run.ports.backend if self._run and self.under_way else self._ports.backend

    @property
    def progress(self) -> Progress:
        """How far the run has come. Read it; only the engine writes it."""
        return self._run.progress if self._run else Progress()

    @property
    def current_epoch(self) -> int:
        """The index of the epoch under way: the number of epochs done."""
        return self.progress.epoch

    @property
    def global_step(self) -> int:
        """Optimizer steps taken."""
        return self.progress.steps

    @property
    def max_epochs(self) -> int:
        """The number of epochs that ends a fit, -1 where another limit does."""
        return -1 if self.limits.epochs is None else self.limits.epochs

    @property
    def min_epochs(self) -> int:
        """The number of epochs before which nobody may stop a fit."""
        return self.limits.min_epochs or 0

    max_steps = OneLimit()
    min_steps = OneLimit()
    limit_train_batches = OneLimit()
    limit_val_batches = OneLimit()
    limit_test_batches = OneLimit()
    limit_predict_batches = OneLimit()
    overfit_batches = OneLimit()
    val_check_interval = OneLimit()
    check_val_every_n_epoch = OneLimit()
    reload_dataloaders_every_n_epochs = OneLimit()
    num_sanity_val_steps = OneLimit()
    log_every_n_steps = OneLimit()
    gradient_clip_val = OneLimit()
    gradient_clip_algorithm = OneLimit()

    @property
    def accumulate_grad_batches(self) -> int:
        """Batches whose gradients make one optimizer step, in the epoch under way."""
        return self.limits.accumulation(self.current_epoch)

    @property
    def lightning_module(self) -> Any:
        """The program of the run, or None before the first."""
        return self._run.program if self._run else None

    @property
    def model(self) -> Any:
        """The program of the run, or None before the first."""
        return self.lightning_module

    @property
    def fitting(self) -> Any:
        """The program that is being fitted now, or None."""
        return self.lightning_module if self.under_way and self.state.fn == "fit" else None

    @property
    def datamodule(self) -> Any:
        """The datamodule of the run, or None."""
        return self._run.sources.datamodule if self._run else None

    @property
    def optimizers(self) -> list[Any]:
        """The optimizers, as the backend returned them."""
        return self._run.optimizers if self._run else []

    @property
    def device_mesh(self) -> Any:
        """The devices that the program is spread over, as torch's DeviceMesh, or None."""
        return getattr(self._backend, "device_mesh", None)

    @property
    def stepped_optimizers(self) -> list[SteppedOptimizer]:
        """The optimizers as a module steps them itself: what ``self.optimizers()`` returns."""
        return self._run.stepped_optimizers if self._run else []

    @property
    def lr_scheduler_configs(self) -> list[Schedule]:
        """The learning-rate schedules of the run."""
        return self._run.schedules if self._run else []

    @property
    def verbose(self) -> bool:
        """Whether the caller of validate or test wants to see the result."""
        return self._run is not None and self._run.verbose

    @property
    def callback_metrics(self) -> dict[str, Scalar]:
        """Everything that was logged, the newest value of each. Reading waits for the device."""
        return self._run.logbook.callback_metrics if self._run else {}

    @property
    def logged_metrics(self) -> dict[str, Scalar]:
        """The newest values meant for loggers."""
        return self._run.logbook.logged_metrics if self._run else {}

    @property
    def progress_bar_metrics(self) -> dict[str, Scalar]:
        """The newest values logged with ``prog_bar=True``."""
        return self._run.logbook.progress_bar_metrics if self._run else {}

    @property
    def loggers(self) -> list[Any]:
        """The callbacks that receive logged numbers."""
        callbacks = self._run.callbacks if self._run else self.callbacks
        return [callback for callback in callbacks if overridden(callback, "on_log")]

    @property
    def logger(self) -> Any:
        """The first logger, or None."""
        return next(iter(self.loggers), None)

    @property
    def log_dir(self) -> str | None:
        """The folder of the first logger, or the root folder where it has none."""
        folder = getattr(self.logger, "log_dir", None) or self.default_root_dir
        return str(Path(folder))

    @property
    def progress_bar_callback(self) -> Callback | None:
        """The progress bar, or None."""
        return self._by_role("progress_bar")

    @property
    def early_stopping_callback(self) -> Callback | None:
        """The first early stopping callback, or None."""
        return self._by_role("early_stopping")

    def _by_role(self, role: str) -> Callback | None:
        return next(iter(self._all_by_role(role)), None)

    def _all_by_role(self, role: str) -> list[Callback]:
        callbacks = self._run.callbacks if self._run else self.callbacks
        return [callback for callback in callbacks if callback.role == role]

    @property
    def early_stopping_callbacks(self) -> list[Callback]:
        """All early stopping callbacks."""
        return self._all_by_role("early_stopping")

    @property
    def checkpoint_callback(self) -> Callback | None:
        """The first callback that saves checkpoints, or None."""
        return self._by_role("checkpoint")

    @property
    def checkpoint_callbacks(self) -> list[Callback]:
        """All callbacks that save checkpoints."""
        return self._all_by_role("checkpoint")

    @property
    def state(self) -> TrainerState:
        """What the trainer does, or did last."""
        run = self._run
        if run is None or not (run.under_way or run.result):
            return TrainerState()
        if run.under_way:
            return TrainerState(fn=run.fn, stage=run.stage, status="running")
        return TrainerState(fn=run.fn, status="interrupted" if run.failed else "finished")

    @property
    def interrupted(self) -> bool:
        """Whether the last run ended by an exception."""
        return self.state.status == "interrupted"

    @property
    def received_sigterm(self) -> bool:
        """Whether the run, or the last one, was told to end by SIGTERM."""
        return self._run is not None and self._run.signal == signal.SIGTERM

    @property
    def ends_at_once(self) -> bool:
        """Whether a second signal ended the run, or the last one: nobody wants to wait or save."""
        return self._run is not None and self._run.at_once

    @property
    def ckpt_path(self) -> Any:
        """What ``ckpt_path`` of the run said, None where it said nothing."""
        return self._run.asked_for if self._run else None

    @property
    def enable_validation(self) -> bool:
        """Whether the run validates."""
        return self._run is not None and (self._run.fn == "validate" or self._run.validates)

    @property
    def sanity_checking(self) -> bool:
        """Whether the validation code is being tried out before training."""
        return self._stage() == "sanity_check"

    @property
    def training(self) -> bool:
        """Whether training batches are being read."""
        return self._stage() == "train"

    @property
    def validating(self) -> bool:
        """Whether a validation loop runs, in a fit too."""
        return self._stage() == "validate"

    @property
    def testing(self) -> bool:
        """Whether a test loop runs."""
        return self._stage() == "test"

    @property
    def predicting(self) -> bool:
        """Whether a predict loop runs."""
        return self._stage() == "predict"

    @property
    def evaluating(self) -> bool:
        """Whether a validation or test loop runs."""
        return self._stage() in ("validate", "test", "sanity_check")

    def _stage(self) -> str | None:
        return self._run.stage if self._run and self._run.under_way else None

    @property
    def train_dataloader(self) -> Any:
        """The training loader, None before it is opened."""
        return self._loaders("train")

    @property
    def val_dataloaders(self) -> Any:
        """The validation loader or a list of several, None before they are opened."""
        return self._loaders("validate")

    @property
    def test_dataloaders(self) -> Any:
        """The test loader or a list of several, None before they are opened."""
        return self._loaders("test")

    @property
    def predict_dataloaders(self) -> Any:
        """The predict loader or a list of several, None before they are opened."""
        return self._loaders("predict")

    def _loaders(self, stage: LoaderStage) -> Any:
        sources = self._run.sources.opened(stage) if self._run else []
        if len(sources) > 1:
            return [source.loader for source in sources]
        return sources[0].loader if sources else None

    @property
    def is_last_batch(self) -> bool:
        """Whether the training batch under way is the last of its epoch.

        Where the loader has no length, the feed says so, which reads one batch ahead for it.
        """
        run = self._run
        if run is None or run.batch_idx + 1 == self.num_training_batches:
            return run is not None
        ahead = [s.stream.is_last for s in run.sources.opened("train") if s.length is None]
        return any(ahead) and run.window.closes

    @property
    def is_repeated_batch(self) -> bool:
        """Whether the step of an evaluation runs for the sake of other ranks alone.

        Under FSDP every forward is one of all ranks, so a rank whose batches are over runs one
        again. What that leaves in the module is put back, metric objects included. A step that
        writes a file, or keeps what it computes in an object elsewhere, looks here first.
        """
        return self._run is not None and self._run.repeats

    @property
    def estimated_stepping_batches(self) -> float:
        """Optimizer steps that the fit will take if only epochs and steps limit it; may be inf.

        In ``configure_optimizers`` it asks for the training loader, which is opened for it.

        Raises:
            RuntimeError: no fit is under way.
        """
        run = self._run
        if run is None or run.fn != "fit" or not run.under_way:
            raise RuntimeError(
                "Steps are estimated in a fit. Received a request outside of one. Ask for "
                "estimated_stepping_batches in configure_optimizers or later."
            )
        run.open_for_training()
        limits, steps, batches = self.limits, float("inf"), self.num_training_batches
        if limits.epochs is not None and batches != steps:
            epochs = range(max(limits.epochs, 1))
            steps = sum(math.ceil(batches / limits.accumulation(epoch)) for epoch in epochs)
        return steps if limits.steps is None else min(steps, limits.steps)

    @property
    def num_training_batches(self) -> float:
        """Batches of a training epoch; inf where that is not known, or not yet."""
        return next(iter(self._batches("train")), float("inf"))

    @property
    def num_val_batches(self) -> list[float]:
        """Batches of each validation loader."""
        return self._batches("validate")

    @property
    def num_sanity_val_batches(self) -> list[float]:
        """Batches of each validation loader that are tried out before training."""
        most = self.limits.num_sanity_val_steps
        return [n if most < 0 else min(n, most) for n in self._batches("validate")]

    @property
    def num_test_batches(self) -> list[float]:
        """Batches of each test loader."""
        return self._batches("test")

    @property
    def num_predict_batches(self) -> list[float]:
        """Batches of each predict loader."""
        return self._batches("predict")

    def _batches(self, stage: LoaderStage) -> list[float]:
        sources = self._run.sources.opened(stage) if self._run else []
        return [float("inf") if s.batches is None else s.batches for s in sources]

    @property
    def global_rank(self) -> int:
        """This process among all, from 0."""
        return self._ports.world.rank

    @property
    def local_rank(self) -> int:
        """This process among those of its machine, from 0."""
        return self._ports.world.local_rank

    @property
    def world_size(self) -> int:
        """How many processes there are."""
        return self._ports.world.world_size

    @property
    def is_global_zero(self) -> bool:
        """Whether this is the process that writes logs and files."""
        return self.global_rank == 0

    @property
    def node_rank(self) -> int:
        """This machine among all, from 0."""
        return int(getattr(self._ports.world, "node_rank", 0))

    @property
    def num_nodes(self) -> int:
        """How many machines there are."""
        return int(getattr(self._ports.world, "num_nodes", 1))

    @property
    def num_devices(self) -> int:
        """How many processes there are on each machine."""
        return self.world_size // self.num_nodes

    def print(self, *args: Any, **kwargs: Any) -> None:
        """Print on rank 0 alone, above the progress bar where there is one."""
        if self.is_global_zero:
            write = getattr(self.progress_bar_callback, "print", print)
            write(*args, **kwargs)

"""ModelCheckpoint: saves while training, and keeps the best."""

import logging
import os
import warnings
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, ClassVar, Literal, final

from lt_checkpoint import names
from lt_checkpoint.checkpoint_arguments import (
    check_choice,
    check_timeout,
    check_top_k,
    default_folder,
    folder_before_a_run,
    normal_folder,
    not_logged,
    saves_on_train_epoch_end,
)
from lt_checkpoint.errors import SaveError
from lt_checkpoint.folder import Note
from lt_checkpoint.folder_store import FolderStore
from lt_checkpoint.free_path import free_path
from lt_checkpoint.ledger import Decision, Ledger
from lt_checkpoint.moments import Moments, can_save_after
from lt_checkpoint.places import EXTENSION, inside
from lt_checkpoint.saver import Saver
from lt_checkpoint.top_k import Kept, Score
from lt_loop import Callback, Trainer

log = logging.getLogger("lt_checkpoint")


@final
class ModelCheckpoint(Callback):
    """Saves checkpoints of a fit, and keeps the best of them.

    It decides in the hooks of Lightning's callback, and saves at the next safe point, where a run
    that goes on from it does the same as one that never stopped. What a new checkpoint replaces is
    deleted after the new one was written and read back whole. ``ckpt_path="last"`` and ``"best"``
    find what was saved; neither is a file of its own.

    Args:
        dirpath: the folder, or a URL. None for ``checkpoints`` in the folder of the first logger,
            else in the trainer's ``default_root_dir``. One run at a time writes into it.
        filename: the name, with metrics in braces: ``"{epoch}-{val_loss:.2f}"``. None for
            ``"{epoch}-{step}"``.
        monitor: the logged value that decides which are the best; None for the newest.
        verbose: log what is decided, at level INFO.
        save_last: keep the newest beside the best. ``"link"`` means the same: the last one is
            found by its step, and there is no link.
        save_top_k: how many of the best are kept: -1 for all, 0 for none. Without ``monitor``, -1,
            0 or 1.
        save_on_exception: also save when the run ends by an exception, if it stands at a safe
            point then, as it does after Ctrl-C and SIGTERM.
        save_weights_only: save weights, hyper-parameters and counts only. A fit can't go on from
            it.
        mode: whether the least (``"min"``) or the greatest value (``"max"``) is the best.
        auto_insert_metric_name: write ``epoch=3`` for ``{epoch}``, rather than ``3``.
        every_n_train_steps: save after every so many optimizer steps.
        train_time_interval: save when so much time has passed.
        every_n_epochs: save after every so many epochs; 1 where none of the three is given.
        save_on_train_epoch_end: count epochs at their end, rather than at the end of validation
            loops. None: so it is where validation runs once at the end of every epoch, or never.
        enable_version_counter: write ``-v1``, ``-v2`` where the name is taken, rather than replace
            what is there.
        asynchronous: copy the state, and write it beside the training. A failure is told at the
            next safe point, with several ranks at the next save; the end of the fit waits.
        on_save_error: what a failed save does: ``"raise"`` ends the run, ``"warn"`` lets it go on
            with the checkpoints there are.
        save_timeout: seconds that a save may take before it counts as hung. Then the process ends
            with exit code 74 and the stacks of its threads; with ``asynchronous``, the save has
            failed. None for any time.
        store: where to save, if not into a :class:`FolderStore` of ``dirpath``.

    Attributes:
        dirpath: the folder, None until it is settled at the start of a run.

    Raises:
        TypeError: an argument is of the wrong type.
        ValueError: one is out of range, or contradicts another.
    """

    CHECKPOINT_JOIN_CHAR: ClassVar[str] = "-"
    CHECKPOINT_EQUALS_CHAR: ClassVar[str] = "="
    CHECKPOINT_NAME_LAST: ClassVar[str] = "last"
    FILE_EXTENSION: ClassVar[str] = EXTENSION
    STARTING_VERSION: ClassVar[int] = 1

    role: ClassVar[str] = "checkpoint"
    monitors: ClassVar[bool] = True

    def __init__(  # noqa: PLR0913 - Lightning's arguments
        self,
        dirpath: str | os.PathLike[str] | None = None,
        filename: str | None = None,
        monitor: str | None = None,
        verbose: bool = False,
        save_last: bool | Literal["link"] | None = None,
        save_top_k: int = 1,
        save_on_exception: bool = False,
        save_weights_only: bool = False,
        mode: Literal["min", "max"] = "min",
        auto_insert_metric_name: bool = True,
        every_n_train_steps: int | None = None,
        train_time_interval: timedelta | None = None,
        every_n_epochs: int | None = None,
        save_on_train_epoch_end: bool | None = None,
        enable_version_counter: bool = True,
        *,
        asynchronous: bool = False,
        on_save_error: Literal["raise", "warn"] = "raise",
        save_timeout: float | None = 1800.0,
        store: FolderStore | None = None,
    ) -> None:
        check_choice("mode", mode, ("min", "max"))
        check_choice("on_save_error", on_save_error, ("raise", "warn"))
        check_top_k(save_top_k, monitor)
        check_timeout(save_timeout)
        names.check(filename or names.DEFAULT, insert_names=auto_insert_metric_name)
        self.moments = Moments(every_n_train_steps, every_n_epochs, train_time_interval)
        self.dirpath = normal_folder(dirpath)
        self.filename, self.monitor, self.verbose = filename, monitor, verbose
        self.save_last, self.save_top_k = save_last, save_top_k
        self.save_on_exception, self.save_weights_only = save_on_exception, save_weights_only
        self.auto_insert_metric_name = auto_insert_metric_name
        self.asynchronous, self.on_save_error = asynchronous, on_save_error
        self._mode: Literal["min", "max"] = mode
        self._on_train_epoch_end = save_on_train_epoch_end
        self._counts_versions = enable_version_counter
        self._given_store, self.save_timeout = store, save_timeout
        self._saver: Saver | None = None
        self._evaluates = False
        self._forget()

    def _forget(self) -> None:
        self._ledger = Ledger(
            Kept(
                mode=self._mode,
                k=self.save_top_k,
                monitored=self.monitor is not None,
                last=bool(self.save_last),
            )
        )
        self._saved_step = 0  # there is nothing to save before the first step
        self._due: int | None = None  # the epoch in which it was decided to save
        self._waits_for_validation = self._has_validated = False

    @property
    def mode(self) -> Literal["min", "max"]:
        """Which way is better."""
        return self._mode

    @property
    def every_n_epochs(self) -> int | None:
        """Epochs from one checkpoint to the next, 0 for not by epochs."""
        return self.moments.every_n_epochs

    @property
    def best_model_path(self) -> str:
        """The path of the best checkpoint, the newest without a monitor; empty before the first."""
        return self._ledger.best_path

    @property
    def best_model_score(self) -> Score | None:
        """The score of the best checkpoint, None where there is none."""
        return self._ledger.best_score

    @property
    def best_k_models(self) -> dict[str, Score]:
        """The best checkpoints, by their paths, with their scores; empty without a monitor."""
        return self._ledger.best_k

    @property
    def kth_best_model_path(self) -> str:
        """The worst of the best ``save_top_k``; empty while there are fewer."""
        return self._ledger.kth_path

    @property
    def kth_value(self) -> Score:
        """The score of that one; infinitely bad while there are fewer."""
        return self._ledger.kth_value

    @property
    def last_model_path(self) -> str:
        """The path of the newest checkpoint, with ``save_last``; else empty."""
        return self._ledger.last_path

    @property
    def current_score(self) -> Score | None:
        """The score of the checkpoint that was saved last, None where it has none."""
        return self._ledger.current_score

    @property
    def state_key(self) -> str:
        """The name of the state: two callbacks that watch different things have two states."""
        identity = {
            "monitor": self.monitor,
            "mode": self._mode,
            "every_n_train_steps": self.moments.every_n_train_steps,
            "every_n_epochs": self.moments.every_n_epochs,
            "train_time_interval": self.moments.train_time_interval,
        }
        return f"{type(self).__qualname__}{identity}"

    def state_dict(self) -> dict[str, Any]:
        """Return what was kept, under Lightning's names and some of our own."""
        return {"monitor": self.monitor, "dirpath": self.dirpath, **self._ledger.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what was kept; in another folder, only remember the best.

        A test of a checkpoint does not change what this callback knows.
        """
        if self._evaluates:
            return
        if self.dirpath is None:  # outside of a run: one in other processes has settled it
            self.dirpath = state_dict["dirpath"]
        if state_dict["dirpath"] == self.dirpath:
            self._ledger.load_state_dict(state_dict)
            return
        warnings.warn(
            "ModelCheckpoint goes on counting the checkpoints of its folder. Received a state of "
            f"{state_dict['dirpath']!r} for dirpath={self.dirpath!r}: of those, only "
            "best_model_path is kept.",
            stacklevel=2,
        )
        self._ledger.remember_best(state_dict["best_model_path"])

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Settle where to save, and look whether that can be done."""
        self._evaluates = stage != "fit"
        if self._evaluates:
            return
        self._forget()
        world = trainer.ports.world
        if self.dirpath is None:
            self.dirpath = world.broadcast(default_folder(trainer))
        if trainer.fast_dev_run:
            return
        store = self._given_store or FolderStore(self.dirpath)
        self._saver = Saver(store, world, asynchronous=self.asynchronous, timeout=self.save_timeout)
        self._saver.claim()

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Begin to count; delete what a run that this one continues had yet to delete."""
        self.moments.start(trainer.global_step)
        newest, obsolete = self._ledger.kept.newest, self._ledger.obsolete
        if self._saver is not None and newest and obsolete:
            self._saver.prune(newest, obsolete)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Decide to save, after so many steps or so much time."""
        due = self.moments.after_step(trainer.global_step)
        if self.moments.by_time:  # the clocks of ranks differ
            due = trainer.ports.world.broadcast(self.moments.after_time())
        if due:
            self._due = trainer.current_epoch

    def on_validation_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Decide to save, if epochs are counted here, or a save has waited for the value."""
        if trainer.sanity_checking or self._saver is None:
            return
        self._has_validated = True
        by_epoch = not saves_on_train_epoch_end(trainer, self._on_train_epoch_end)
        if (by_epoch and self.moments.after_epoch(trainer.current_epoch)) or (
            self._waits_for_validation
        ):
            self._due = trainer.current_epoch

    def on_train_epoch_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Decide to save, if epochs are counted here."""
        here = saves_on_train_epoch_end(trainer, self._on_train_epoch_end)
        if here and self.moments.after_epoch(trainer.current_epoch):
            self._due = trainer.current_epoch

    def on_safe_point(self, trainer: Trainer, pl_module: Any) -> None:
        """Save, if it was decided to; tell of a failure since the last time."""
        if self._due is not None:
            self._act(trainer)
        elif self._saver is not None and self._saver.failed and trainer.world_size == 1:
            self._settle(self._saver)

    def on_train_end(self, trainer: Trainer, pl_module: Any) -> None:
        """Save what is left to save, and wait for it."""
        if self._due is None and self.save_last and not self._ledger.kept.newest:
            self._due = trainer.current_epoch
        if self._due is not None:
            self._act(trainer)
        if self._saver is not None:
            self._settle(self._saver)

    def on_exception(self, trainer: Trainer, pl_module: Any, exception: BaseException) -> None:
        """Save, if that was asked for and is possible now."""
        if not self.save_on_exception or self._saver is None or trainer.ends_at_once:
            return
        if can_save_after(exception, trainer):
            self._due = trainer.current_epoch
            self._act(trainer, ranked=False)

    def teardown(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Wait for what is on its way, and let other runs have the folder.

        After a second signal nobody waits: what is on its way may be what hangs.
        """
        self._evaluates = False
        saver, self._saver = self._saver, None
        failure = None if saver is None else saver.close(wait=not trainer.ends_at_once)
        if failure is not None:
            self._ledger.undo()
            log.error("a checkpoint was not saved: %s", failure)

    def resolve(self, which: str) -> str | None:
        """Return what to load as the ``"last"`` or the ``"best"`` one; None where there is none.

        The newest one is looked for in the folder, so that one that is damaged can be passed over.
        """
        if which == "best" and self.best_model_path:
            return self.best_model_path
        if self._saver is not None:  # within a run, which goes back to what is being saved
            self._settle(self._saver)
        folder = folder_before_a_run(self.dirpath, self._logs_to)
        if folder is None:
            return None
        store = self._given_store or FolderStore(folder)
        if which == "best":
            return store.find("best")
        return store.place("last") if store.has_any() else None

    def format_checkpoint_name(
        self,
        metrics: Mapping[str, Any],
        filename: str | None = None,
        ver: int | None = None,
        prefix: str | None = None,
    ) -> str:
        """Return the path of a checkpoint.

        >>> callback = ModelCheckpoint(filename="{epoch:02d}-{val_loss:.1f}")
        >>> callback.format_checkpoint_name({"epoch": 3, "val_loss": 0.25}, ver=1)
        'epoch=03-val_loss=0.2-v1.ckpt'

        Args:
            metrics: the values for the template; those it lacks count as 0.
            filename: the template; None for the callback's own.
            ver: a version, to be appended.
            prefix: what stands before it.
        """
        numbers = {k: getattr(v, "item", lambda v=v: v)() for k, v in metrics.items()}
        template = filename or self.filename or names.DEFAULT
        name = names.filled(template, numbers, insert_names=self.auto_insert_metric_name)
        parts = [name] if prefix is None else [prefix, name]
        parts += [] if ver is None else [f"v{ver}"]
        name = f"{self.CHECKPOINT_JOIN_CHAR.join(parts)}{self.FILE_EXTENSION}"
        return name if self.dirpath is None else inside(self.dirpath, name)

    def _act(self, trainer: Trainer, *, ranked: bool = True) -> None:
        """Save what was decided, if it is among the best and not saved yet."""
        saver, epoch, self._due = self._saver, self._due, None
        if saver is None or epoch is None or trainer.global_step == self._saved_step:
            return
        self._settle(saver)
        try:
            decision = saver.on_first(lambda: self._decide(trainer, epoch, ranked=ranked))
        except SaveError as error:
            self._fail(error)
            return
        self._waits_for_validation = decision == "wait"
        if isinstance(decision, Decision):
            self._save(trainer, saver, decision)

    def _decide(self, trainer: Trainer, epoch: int, *, ranked: bool) -> "Decision | str | None":
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        score = metrics.get(self.monitor) if self.monitor is not None else None
        if self.monitor is not None and score is None and ranked:
            if sum(trainer.num_val_batches) and not self._has_validated:
                return "wait"  # validation may log it
            raise not_logged(self.monitor, metrics)
        if ranked and not self._ledger.kept.wants(score):
            if self.verbose:
                log.info("step %d: %s=%s is not kept", trainer.global_step, self.monitor, score)
            return None
        values = {**metrics, "epoch": epoch, "step": trainer.global_step}
        others = [c for c in trainer.callbacks if isinstance(c, ModelCheckpoint) and c is not self]
        path = free_path(
            self._given_store or FolderStore(self.dirpath or "."),
            lambda version: self.format_checkpoint_name(values, ver=version),
            first=self.STARTING_VERSION if self._counts_versions else None,
            under_way={one._ledger.kept.newest for one in others},  # noqa: SLF001 - of its kind
            replaced=self._ledger.replaced_by(score),
        )
        return Decision(path, score, metrics)

    def _save(self, trainer: Trainer, saver: Saver, decision: Decision) -> None:
        path, score, metrics = decision
        obsolete = self._ledger.enter(path, score)
        named = (self.CHECKPOINT_NAME_LAST,) if self.save_last else ()
        note = Note(metrics=metrics, monitor=self.monitor, mode=self._mode, names=named)
        try:
            state = trainer.capture(weights_only=self.save_weights_only, copy=False)
            saver.save(state, path, note, obsolete=obsolete)
        except BaseException as error:
            self._ledger.undo()
            if not isinstance(error, SaveError):
                raise
            self._fail(error)
            return
        self._ledger.obsolete = []
        self._saved_step = trainer.global_step
        if self.verbose and trainer.is_global_zero:
            log.info("step %d: saved %s", trainer.global_step, path)
        for logger in trainer.loggers if trainer.is_global_zero else ():
            if hasattr(logger, "after_save_checkpoint"):
                logger.after_save_checkpoint(self)

    def _settle(self, saver: Saver) -> None:
        """Wait for what is on its way, and tell of its failure."""
        try:
            saver.settle()
        except SaveError as error:
            self._ledger.undo()
            self._fail(error)

    def _fail(self, error: SaveError) -> None:
        if self.on_save_error == "raise":
            raise error
        warnings.warn(f"{error} The run goes on: on_save_error='warn'.", stacklevel=3)

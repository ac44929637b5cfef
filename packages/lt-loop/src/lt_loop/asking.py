"""What callbacks and modules may ask of a run, under Lightning's names."""

from pathlib import Path
from typing import Any, Literal

from lt_loop.barebones import Silence
from lt_loop.hooks import overridden
from lt_loop.logbook import out_of_place
from lt_loop.state import capture
from lt_loop.view import RunView


class RunAsking(RunView):
    """The side of a Trainer that is asked: to stop, to log, to compute gradients, for its state.

    Abstract: :class:`lt_loop.trainer.Trainer` is the one that runs.
    """

    barebones: bool
    _silence: Silence
    _planning: bool = False

    def stop(self, reason: str) -> None:
        """Ask the run to stop at the next safe point that ``min_epochs`` and ``min_steps`` allow.

        Args:
            reason: a sentence, which becomes the reason of the result.

        Raises:
            ValueError: the sentence is empty.
        """
        if not reason:
            raise ValueError(
                f"A request to stop says why. Received reason={reason!r}. Give a sentence."
            )
        if self._run is not None:
            self._run.stop_request = reason

    @property
    def should_stop(self) -> bool:
        """Whether somebody asked the run to stop. Setting it to True asks."""
        return self._run is not None and self._run.stop_request is not None

    @should_stop.setter
    def should_stop(self, value: bool) -> None:
        if value:
            self.stop("trainer.should_stop was set")
        elif self._run is not None:
            self._run.stop_request = None

    def capture(self, *, weights_only: bool = False, copy: bool = True) -> dict[str, Any]:
        """Return everything that must survive, as of the run's last safe point.

        Args:
            weights_only: leave out all but weights, hyper-parameters, epoch and step.
            copy: whether later steps must leave it unchanged. Without it, whoever asked is done
                with it before the next step, and nothing is copied on the device.

        Raises:
            RuntimeError: there is no run, or it is between two safe points.
        """
        if self._run is None or self._run.fn != "fit":
            what = "none" if self._run is None else f"one of {self._run.fn}"
            raise RuntimeError(
                f"A state belongs to a fit. Received the last run: {what}. Capture it between a "
                "fit and the next run, or in the loop over trainer.steps(...)."
            )
        return capture(self._run, weights_only=weights_only, copy=copy)

    @property
    def at_safe_point(self) -> bool:
        """Whether :meth:`capture` and :meth:`save_checkpoint` would do now."""
        return self._run is not None and self._run.fn == "fit" and self._run.at_safe_point

    def save_checkpoint(
        self, filepath: str | Path, weights_only: bool = False, storage_options: None = None
    ) -> None:
        """Save the run's state as of its last safe point, through the store. Every rank calls it.

        Args:
            filepath: where: a path, or what else the store takes as a name.
            weights_only: leave out all but weights, hyper-parameters, epoch and step.
            storage_options: not served: a store of one's own has its options.

        Raises:
            RuntimeError: there is no run, or it is between two safe points.
            LookupError: there is no store.
            ValueError: storage options were passed.
        """
        if storage_options is not None:
            raise ValueError(
                "save_checkpoint takes no storage_options. Received "
                f"{storage_options!r}. Pass Trainer(store=...) with a store that has them."
            )
        state = self.capture(weights_only=weights_only, copy=False)
        metrics = {name: float(value) for name, value in self.callback_metrics.items()}
        ports = self._ports
        ports.store.save(state, str(filepath), metrics=metrics, world=ports.world)

    def log(  # noqa: PLR0913 - the flags of Lightning's log
        self,
        name: str,
        value: Any,
        prog_bar: bool = False,
        logger: bool | None = None,
        on_step: bool | None = None,
        on_epoch: bool | None = None,
        reduce_fx: Any = "mean",
        sync_dist: bool = False,
        add_dataloader_idx: bool = True,
        batch_size: int | None = None,
        rank_zero_only: bool = False,
    ) -> None:
        """Log a value; between runs, do nothing. It never waits for the device.

        Args:
            name: what it is called; with both moments, ``name_step`` and ``name_epoch``.
            value: a number, a scalar of the backend's, or a metric object with ``compute()`` and
                ``reset()``.
            prog_bar: whether the progress bar shows it.
            logger: whether the loggers get it; None for yes.
            on_step: whether steps show it; None for yes in training steps.
            on_epoch: whether it is reduced over the epoch; None for yes elsewhere.
            reduce_fx: how: mean, sum, min, max, or a function of a list of floats. A mean is
                weighted by the batch size.
            sync_dist: whether the epoch's value is reduced over ranks too.
            add_dataloader_idx: whether several loaders get ``/dataloader_idx_<n>`` appended.
            batch_size: samples the value stands for; None to look at the batch.
            rank_zero_only: whether other ranks log nothing.

        Raises:
            TypeError: the name is no string or the value no number.
            ValueError: the flags contradict each other or an earlier call.
            RuntimeError: neither a batch nor an epoch is under way, as in ``setup``.
        """
        run = self._run
        if run is None or not run.under_way or (rank_zero_only and self.global_rank != 0):
            if self._planning:  # in configure_callbacks
                raise out_of_place(name)
            return
        flags = (prog_bar, logger, on_step, on_epoch, reduce_fx, sync_dist, add_dataloader_idx)
        book = self._silence if self.barebones else run.logbook
        book.log(name, value, batch_size, flags)

    def place(self, batch: Any) -> Any:
        """Return a batch where the program computes, as the backend moves it."""
        return self._backend.place(batch)

    def backward(self, loss: Any, **options: Any) -> None:
        """Let the backend add the gradients of a loss: what an override of ``backward`` calls.

        Args:
            loss: a scalar.
            **options: what else its ``backward`` takes, as ``retain_graph``.
        """
        backend: Any = self._backend  # whose port names no options
        backend.backward(loss, sync=True, **options)

    def manual_backward(self, loss: Any, **options: Any) -> None:
        """Add the gradients of a loss as an automatic step does, hooks included.

        Raises:
            RuntimeError: no run is under way, or one that does it itself.
        """
        if self._run is None or not self._run.under_way:
            raise RuntimeError(
                "Gradients belong to a run. Received a loss outside of one. Call loss.backward()."
            )
        if self._run.automatic and self._run.fn == "fit":
            raise RuntimeError(
                "In automatic optimization the loop computes the gradients. Received a call of "
                "manual_backward. Return the loss, or set automatic_optimization=False."
            )
        self._run.window.pending = True
        self._run.call("on_before_backward", loss)
        backward = overridden(self._run.program, "backward") or self.backward
        backward(loss, **options)
        self._run.call("on_after_backward")

    def clip_gradients(
        self,
        optimizer: Any,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: Literal["norm", "value"] | None = None,
    ) -> None:
        """Clip gradients as this trainer's arguments say, or as the call does."""
        ours = self.limits.gradient_clip_val
        value = ours if gradient_clip_val is None else gradient_clip_val
        algorithm = gradient_clip_algorithm or self.limits.gradient_clip_algorithm
        if value:
            self._backend.clip(optimizer, value, algorithm)

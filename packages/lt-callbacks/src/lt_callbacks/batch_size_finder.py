"""BatchSizeFinder: try batch sizes on a copy of the module, and take the largest that fits."""

import gc
import logging
import sys
from typing import Any, ClassVar, Literal, final

from lt_callbacks.batch_size_search import BatchSizeSearch, Trial
from lt_callbacks.named_value import has_value, set_value, value_kept_on_failure
from lt_callbacks.trial import Borrowed, beside, copied, untraced
from lt_loop import Callback, Trainer

log = logging.getLogger("lt_callbacks")

WORDS = {"fit": "train", "validate": "val", "test": "test", "predict": "predict"}
"""How the loaders of a run are called."""


class BatchSizeFinder(Callback):
    """Finds the largest batch size that fits into memory, and sets it before the loaders are made.

    The steps are taken by a copy of the module, whose ``train_dataloader`` (or that of the
    datamodule) reads the size from the attribute ``batch_size``. The module and the random
    generators are left as they were; only the attribute is set. As there is a second copy of the
    weights meanwhile, the size found is rather too small than too large. A run that goes on from a
    state is left alone.

    In a fit it searches in ``on_fit_start``, in other runs in ``setup``, where their loaders are
    not opened yet.

    Args:
        mode: ``"power"`` doubles the size until memory is too small; ``"binsearch"`` then narrows
            down between the last that fitted and the first that did not.
        steps_per_trial: steps taken with each size.
        init_val: the first size tried.
        max_trials: how many sizes are tried at most.
        batch_arg_name: the attribute of the module, its ``hparams`` or the datamodule that the
            loaders are made with.
        margin: the share by which ``"binsearch"`` lowers what it found, if memory was the limit.
        max_val: the largest size to try; None for no limit.

    Attributes:
        optimal_batch_size: the size found; ``init_val`` before the search, None in a
            ``fast_dev_run``, which searches nothing.

    Raises:
        ValueError: an argument is out of its range.
    """

    SUPPORTED_MODES: ClassVar[tuple[str, ...]] = ("power", "binsearch")

    def __init__(  # noqa: PLR0913 - Lightning's arguments
        self,
        mode: Literal["power", "binsearch"] = "power",
        steps_per_trial: int = 3,
        init_val: int = 2,
        max_trials: int = 25,
        batch_arg_name: str = "batch_size",
        margin: float = 0.05,
        max_val: int | None = 8192,
    ) -> None:
        lowered: Any = mode.lower()
        self.search = BatchSizeSearch(
            mode=lowered, init_val=init_val, max_trials=max_trials, margin=margin, max_val=max_val
        )
        if type(steps_per_trial) is not int or steps_per_trial < 1:
            raise ValueError(
                f"steps_per_trial is an int of at least 1. Received {steps_per_trial!r}."
            )
        self.optimal_batch_size: int | None = init_val
        self._steps, self._name = steps_per_trial, batch_arg_name
        self._goes_on = False

    def state_dict(self) -> dict[str, Any]:
        """Return the size found."""
        return {"optimal_batch_size": self.optimal_batch_size}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the size of the run that is continued."""
        self.optimal_batch_size = state_dict["optimal_batch_size"]

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Check that there is something to search for; in all runs but a fit, search.

        Raises:
            AttributeError: neither module nor datamodule has the attribute.
            ValueError: there are several ranks, or no hook that makes the loader.
        """
        self._goes_on = False
        if trainer.world_size > 1:
            raise ValueError(
                "A batch size is searched by one process. Received a run of "
                f"{trainer.world_size}. Search in one, and pass the size found."
            )
        if not has_value(self._name, (pl_module, trainer.datamodule)):
            raise AttributeError(
                "The batch size is set where module, hparams or datamodule keep it. Received "
                f"{type(pl_module).__name__} without {self._name!r}. Keep it there and make the "
                "loader with it, or name it with batch_arg_name='...'."
            )
        hook = f"{WORDS[stage]}_dataloader"
        if not any(_has_hook(owner, hook) for owner in (trainer.datamodule, pl_module)):
            raise ValueError(
                "A batch size is set before a hook makes the loader with it. Received a run of "
                f"{stage} whose loader came with the call. Write {hook}() on the module or on a "
                "datamodule."
            )
        if stage != "fit":
            self.scale_batch_size(trainer, pl_module)

    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Note that the run goes on."""
        self._goes_on = True

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Search, unless the run goes on from a state."""
        if not self._goes_on:
            self.scale_batch_size(trainer, pl_module)

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Tell where a loader that came with the call has another size than the one found."""
        size = getattr(trainer.train_dataloader, "batch_size", None)
        if size is not None and size != self.optimal_batch_size and not trainer.fast_dev_run:
            log.warning(
                "BatchSizeFinder found %s, and the run has batches of %d: was the loader passed "
                "to fit, or is it not made with %r?",
                self.optimal_batch_size,
                size,
                self._name,
            )

    def scale_batch_size(self, trainer: Trainer, pl_module: Any) -> None:
        """Search now, and set the size.

        Raises:
            RuntimeError: the loader has been made already.
        """
        if trainer.fast_dev_run:
            log.warning("BatchSizeFinder does nothing in a fast_dev_run")
            self.optimal_batch_size = None
            return
        fn = trainer.state.fn or "fit"
        if _loaders(trainer, fn) is not None:
            raise RuntimeError(
                "A batch size is set before the loader is made with it. Received a search in a "
                f"run of {fn} whose loader was made already, perhaps by "
                "estimated_stepping_batches in configure_optimizers. Search with "
                "Tuner(trainer).scale_batch_size(model) before the run."
            )
        with value_kept_on_failure(self._name, (trainer.datamodule,)):  # which is no copy
            size = untraced(
                trainer, lambda: self.search.run(lambda n: self._attempt(trainer, pl_module, n))
            )
        set_value(self._name, size, (pl_module, trainer.datamodule))
        self.optimal_batch_size = size
        log.info("BatchSizeFinder: %s=%d", self._name, size)

    def _attempt(self, trainer: Trainer, module: Any, size: int) -> Trial:
        fn = trainer.state.fn or "fit"
        counts = _Samples(fn)
        limit: dict[str, Any] = {"max_steps": self._steps, "max_epochs": -1, "overfit_batches": 0}
        if fn != "fit":
            limit = {f"limit_{WORDS[fn]}_batches": self._steps}
        other = beside(trainer, counts, **limit)
        tried, datamodule = copied(module, trainer), trainer.datamodule
        set_value(self._name, size, (tried, datamodule))
        words: dict[str, Any] = {"fit": {}, "predict": {"return_predictions": False}}.get(
            fn, {"verbose": False}
        )
        if datamodule is not None:
            words["datamodule"] = Borrowed(datamodule)
        failed: BaseException | None = None
        try:
            getattr(other, fn)(tried, **words)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            log.info("BatchSizeFinder: %d is too large", size)
            failed = error.with_traceback(None)  # its frames hold on to what filled the memory
        del other, tried
        _free_memory(thoroughly=failed is not None)
        return Trial(failed, counts.samples)


@final
class _Samples(Callback):
    """Looks how many samples the loader of a run has."""

    def __init__(self, fn: str) -> None:
        self._fn = fn
        self.samples: int | None = None

    def _look(self, trainer: Trainer) -> None:
        data = getattr(_loaders(trainer, self._fn), "dataset", None)
        try:
            self.samples = None if data is None else len(data)
        except TypeError:  # how an iterable data set says that it does not know
            self.samples = None

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._look(trainer)

    def on_validation_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._look(trainer)

    def on_test_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._look(trainer)

    def on_predict_start(self, trainer: Trainer, pl_module: Any) -> None:
        self._look(trainer)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error says that memory was too small: torch's, of any device, or Python's.

    >>> is_out_of_memory(RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    True
    """
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    said = str(error)
    return any(
        phrase in said
        for phrase in (
            "out of memory",
            "CUBLAS_STATUS_ALLOC_FAILED",
            "cuDNN error: CUDNN_STATUS_NOT_SUPPORTED",
            "can't allocate memory",
        )
    )


def _loaders(trainer: Trainer, fn: str) -> Any:
    if fn == "fit":
        return trainer.train_dataloader
    return getattr(trainer, f"{WORDS[fn]}_dataloaders")


def _has_hook(owner: Any, name: str) -> bool:
    """Return whether an owner makes a loader itself, and does not only inherit a no-op."""
    method = getattr(owner, name, None)
    return callable(method) and not getattr(method, "__lt_default__", False)


def _free_memory(*, thoroughly: bool) -> None:
    """Let go of what a trial has left behind, on the device too; a run holds on to itself."""
    torch: Any = sys.modules.get("torch")
    on_device = torch is not None and torch.cuda.is_initialized()
    if thoroughly or on_device:
        gc.collect()
    if on_device:
        torch.cuda.empty_cache()

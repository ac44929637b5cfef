"""Tuner: search for a learning rate or a batch size before a run."""

import logging
from collections.abc import Callable
from typing import Any, Literal, final

from lt_callbacks.batch_size_finder import WORDS, BatchSizeFinder
from lt_callbacks.learning_rate_finder import LearningRateFinder
from lt_callbacks.range_test import LRFinder
from lt_callbacks.spelling import suggestion
from lt_callbacks.trial import beside, check_readable_again, untraced
from lt_loop import Callback, Trainer

log = logging.getLogger("lt_callbacks")

METHODS = ("fit", "validate", "test", "predict")
Method = Literal["fit", "validate", "test", "predict"]


@final
class Tuner:
    """Searches with a trainer's device, precision and limits, and trains nothing.

    The trainer itself runs nothing, so its next ``fit`` is the first one; its callbacks and loggers
    take no part. Of the module, only the attribute that is searched for is changed, and where it
    is, as the search begins like a fit.

    Args:
        trainer: the trainer to search for.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer

    def lr_find(  # noqa: PLR0913 - Lightning's arguments
        self,
        model: Any,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        dataloaders: Any = None,
        datamodule: Any = None,
        method: Method = "fit",
        min_lr: float = 1e-8,
        max_lr: float = 1,
        num_training: int = 100,
        mode: Literal["exponential", "linear"] = "exponential",
        early_stop_threshold: float | None = 4.0,
        update_attr: bool = True,
        attr_name: str = "",
    ) -> LRFinder | None:
        """Try rising learning rates on a copy of the module.

        The arguments are those of a fit and of :class:`lt_callbacks.LearningRateFinder`.

        Returns:
            The curve, with ``suggestion()``, ``plot()`` and ``results``; None in a fast_dev_run.

        Raises:
            AttributeError: the module keeps no learning rate, and ``update_attr`` is set.
            ValueError: an argument is out of its range, or the trainer has a LearningRateFinder.
        """
        if method in METHODS and method != "fit":
            raise ValueError(
                f"A learning rate is searched for a fit. Received method={method!r}. Drop it."
            )
        _check_method(method, train_dataloaders, val_dataloaders, dataloaders)
        self._check_alone(LearningRateFinder)
        finder = LearningRateFinder(
            min_lr, max_lr, num_training, mode, early_stop_threshold, update_attr, attr_name
        )
        self._search(
            finder,
            lambda other: other.fit(model, train_dataloaders, val_dataloaders, datamodule),
            train_dataloaders,
            val_dataloaders,
        )
        return finder.optimal_lr

    def scale_batch_size(  # noqa: PLR0913 - Lightning's arguments
        self,
        model: Any,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        dataloaders: Any = None,
        datamodule: Any = None,
        method: Method = "fit",
        mode: Literal["power", "binsearch"] = "power",
        steps_per_trial: int = 3,
        init_val: int = 2,
        max_trials: int = 25,
        batch_arg_name: str = "batch_size",
        margin: float = 0.05,
        max_val: int | None = 8192,
    ) -> int | None:
        """Find the largest batch size that fits into memory, and set it.

        The arguments are those of a run and of :class:`lt_callbacks.BatchSizeFinder`.

        Returns:
            The size; None in a fast_dev_run.

        Raises:
            AttributeError: neither module nor datamodule keeps a batch size.
            ValueError: an argument is out of its range, the loader has no hook that makes it, or
                the trainer has a BatchSizeFinder.
        """
        _check_method(method, train_dataloaders, val_dataloaders, dataloaders)
        self._check_alone(BatchSizeFinder)
        finder = BatchSizeFinder(
            mode, steps_per_trial, init_val, max_trials, batch_arg_name, margin, max_val
        )
        first = train_dataloaders if method == "fit" else dataloaders
        if first is not None and not hasattr(first, f"{WORDS[method]}_dataloader"):
            raise ValueError(
                "A batch size is set before a hook makes the loader with it. Received a "
                f"{type(first).__name__}. Write {WORDS[method]}_dataloader() on the module or on a "
                "datamodule."
            )
        self._search(
            finder,
            lambda other: getattr(other, method)(model, first, datamodule=datamodule),
            overfit_batches=0,
            **{f"limit_{WORDS[method]}_batches": 0 if method != "fit" else 1.0},
        )
        return None if self._trainer.fast_dev_run else finder.optimal_batch_size

    def _search(
        self, finder: Callback, run: Callable[[Trainer], Any], *loaders: Any, **limits: Any
    ) -> None:
        if self._trainer.fast_dev_run:
            log.warning("Tuner does nothing with a fast_dev_run")
            return
        for loader in loaders:
            check_readable_again(loader)
        other = beside(self._trainer, finder, _NoTraining(), **limits)
        untraced(self._trainer, lambda: run(other), *loaders)

    def _check_alone(self, kind: type[Callback]) -> None:
        if any(isinstance(callback, kind) for callback in self._trainer.callbacks):
            raise ValueError(
                f"A Tuner searches in place of a {kind.__name__}. Received a trainer with one "
                "among its callbacks. Drop it, or the call of the Tuner."
            )


@final
class _NoTraining(Callback):
    """Ends a fit before its first step."""

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        trainer.stop("only a search")


def _check_method(method: Any, train: Any, val: Any, evaluated: Any) -> None:
    if method not in METHODS:
        raise ValueError(
            f"method is one of {', '.join(map(repr, METHODS))}. Received method={method!r}."
            f"{suggestion(str(method), METHODS)}"
        )
    if method == "fit" and evaluated is not None:
        raise ValueError(
            "A fit has train_dataloaders and val_dataloaders. Received dataloaders for "
            "method='fit'. Pass them by these names."
        )
    if method != "fit" and (train is not None or val is not None):
        raise ValueError(
            f"A run of {method} has dataloaders. Received train_dataloaders or val_dataloaders. "
            "Pass them by that name."
        )

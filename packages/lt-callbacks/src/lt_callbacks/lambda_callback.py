"""LambdaCallback: a callback made of functions."""

from collections.abc import Callable
from typing import Any, final

from lt_loop import Callback

Function = Callable[..., Any]


@final
class LambdaCallback(Callback):
    """Calls a function in a hook, without a class for it.

    Each argument is a hook of :class:`lt_loop.Callback` and takes a function of that hook's
    arguments, which are checked as a method's are. A hook without a function costs nothing.

    Raises:
        TypeError: something given is no function, or the name of an argument is no hook.
    """

    def __init__(  # noqa: PLR0913 - Lightning's arguments: the hooks
        self,
        setup: Function | None = None,
        teardown: Function | None = None,
        on_fit_start: Function | None = None,
        on_fit_end: Function | None = None,
        on_sanity_check_start: Function | None = None,
        on_sanity_check_end: Function | None = None,
        on_train_batch_start: Function | None = None,
        on_train_batch_end: Function | None = None,
        on_train_epoch_start: Function | None = None,
        on_train_epoch_end: Function | None = None,
        on_validation_epoch_start: Function | None = None,
        on_validation_epoch_end: Function | None = None,
        on_test_epoch_start: Function | None = None,
        on_test_epoch_end: Function | None = None,
        on_validation_batch_start: Function | None = None,
        on_validation_batch_end: Function | None = None,
        on_test_batch_start: Function | None = None,
        on_test_batch_end: Function | None = None,
        on_train_start: Function | None = None,
        on_train_end: Function | None = None,
        on_validation_start: Function | None = None,
        on_validation_end: Function | None = None,
        on_test_start: Function | None = None,
        on_test_end: Function | None = None,
        on_exception: Function | None = None,
        on_save_checkpoint: Function | None = None,
        on_load_checkpoint: Function | None = None,
        on_before_backward: Function | None = None,
        on_after_backward: Function | None = None,
        on_before_optimizer_step: Function | None = None,
        on_before_zero_grad: Function | None = None,
        on_predict_start: Function | None = None,
        on_predict_end: Function | None = None,
        on_predict_batch_start: Function | None = None,
        on_predict_batch_end: Function | None = None,
        on_predict_epoch_start: Function | None = None,
        on_predict_epoch_end: Function | None = None,
        on_safe_point: Function | None = None,
        on_log: Function | None = None,
    ) -> None:
        given = {name: value for name, value in locals().items() if name != "self"}
        for name, function in given.items():
            if function is None:
                continue
            if not callable(function):
                raise TypeError(
                    f"LambdaCallback takes a function for {name}. Received {function!r}."
                )
            setattr(self, name, function)

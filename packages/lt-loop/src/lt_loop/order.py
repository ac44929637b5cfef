"""The order of a run: its chapters, and the hooks of each in the order in which they are called."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Chapter:
    """A part of a run.

    Attributes:
        title: what it is called.
        hooks: the hooks in it, in their order.
    """

    title: str
    hooks: tuple[str, ...]


TRANSFER = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


def _evaluation(word: str) -> tuple[str, ...]:
    has_ends = word != "predict"  # Lightning 1.0 had none for it
    return (
        f"on_{word}_model_eval",
        f"on_{word}_start",
        f"on_{word}_epoch_start",
        *TRANSFER,
        f"on_{word}_batch_start",
        f"{word}_step",
        *((f"{word}_step_end",) if has_ends else ()),
        f"on_{word}_batch_end",
        *((f"{word}_epoch_end",) if has_ends else ()),
        f"on_{word}_epoch_end",
        f"on_{word}_end",
        f"on_{word}_model_train",
    )


_SET_UP = ("configure_callbacks", "prepare_data", "setup", "configure_model")
_TRAINING_BATCH = (
    *TRANSFER,
    "on_train_batch_start",
    "optimizer_step",
    "training_step",
    "training_step_end",
    "on_before_zero_grad",
    "optimizer_zero_grad",
    "on_before_backward",
    "backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "configure_gradient_clipping",
    "lr_scheduler_step",
    "on_train_batch_end",
)


def _lone(loader: str, word: str) -> tuple[Chapter, ...]:
    return (
        Chapter("set up", (*_SET_UP, loader)),
        Chapter(word, _evaluation(word)),
        Chapter("tear down", ("teardown",)),
    )


SANITY_CHECK, VALIDATION = "sanity check", "validation"

ORDER: dict[str, tuple[Chapter, ...]] = {
    "fit": (
        Chapter("set up", (*_SET_UP, "configure_optimizers", "on_fit_start")),
        Chapter(
            SANITY_CHECK,
            (
                "on_sanity_check_start",
                "val_dataloader",
                *_evaluation("validation"),
                "on_sanity_check_end",
            ),
        ),
        Chapter("start", ("train_dataloader", "on_train_start")),
        Chapter("each epoch", ("on_train_epoch_start",)),
        Chapter("each batch", _TRAINING_BATCH),
        Chapter(VALIDATION, ("on_validation_model_zero_grad", *_evaluation("validation"))),
        Chapter("end of the epoch", ("training_epoch_end", "on_train_epoch_end", "on_safe_point")),
        Chapter("end", ("on_train_end", "on_fit_end")),
        Chapter("tear down", ("teardown",)),
    ),
    "validate": _lone("val_dataloader", "validation"),
    "test": _lone("test_dataloader", "test"),
    "predict": _lone("predict_dataloader", "predict"),
}
"""The chapters of each kind of run."""

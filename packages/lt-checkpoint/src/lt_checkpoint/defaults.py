"""The default of ``Trainer(enable_checkpointing=...)``."""

from lt_checkpoint.model_checkpoint import ModelCheckpoint


def checkpoint() -> ModelCheckpoint:
    """Return a callback that keeps the newest checkpoint, as Lightning's trainer does.

    Nobody asked for it, so a save that fails is a warning and not the end of the run.
    """
    return ModelCheckpoint(on_save_error="warn")

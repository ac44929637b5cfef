"""The default of ``Trainer(enable_checkpointing=...)``."""

from lt_checkpoint.model_checkpoint import ModelCheckpoint


def checkpoint() -> ModelCheckpoint:
    """Return a callback that keeps the newest checkpoint, as Lightning's trainer does."""
    return ModelCheckpoint()

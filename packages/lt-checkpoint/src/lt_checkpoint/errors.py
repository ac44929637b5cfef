"""What can go wrong with a checkpoint, each under its own name."""


class UnsavableStateError(TypeError):
    """A state holds something that is neither a tensor nor data. Raised when it is saved."""


class DamagedCheckpointError(LookupError):
    """A checkpoint is not whole: something in it is missing, altered or not what it must be."""


class CheckpointNotFoundError(LookupError):
    """There is no checkpoint of that name."""


class SaveError(OSError):
    """A checkpoint was not saved. What was there before is still there."""


class StoreUnavailableError(OSError):
    """A remote store did not answer, or refused. What is in it is not known, and not damaged."""


class FolderInUseError(RuntimeError):
    """Another run, which is alive, writes into the folder."""

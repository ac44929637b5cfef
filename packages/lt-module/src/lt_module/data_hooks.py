"""Hooks about data, which modules and data modules have in common."""

from typing import Any

from lt_module.hyperparameters import HasHyperparameters
from lt_module.marking import library_default


class DataHooks(HasHyperparameters):
    """Where data come from and how they reach the device. Abstract: every hook is optional."""

    @library_default
    def prepare_data(self) -> None:
        """Download and prepare, on one process of each machine: keep no state on ``self`` here."""

    @library_default
    def setup(self, stage: str) -> None:
        """Set up on every process; ``stage``: ``fit``, ``validate``, ``test`` or ``predict``."""

    @library_default
    def teardown(self, stage: str) -> None:
        """Undo :meth:`setup`. Called once, also after an exception."""

    @library_default
    def train_dataloader(self) -> Any:
        """Return an iterable of training batches, or a dict or list of several."""

    @library_default
    def val_dataloader(self) -> Any:
        """Return an iterable of validation batches, or a list of them."""

    @library_default
    def test_dataloader(self) -> Any:
        """Return an iterable of test batches, or a list of them."""

    @library_default
    def predict_dataloader(self) -> Any:
        """Return an iterable of predict batches, or a list of them."""

    @library_default
    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Change a batch before it moves to the device; return it."""
        return batch

    @library_default
    def transfer_batch_to_device(self, batch: Any, device: Any, dataloader_idx: int) -> Any:
        """Move a batch of a type of your own; call this one for the rest.

        Args:
            batch: as the loader yielded it.
            device: where the module computes.
            dataloader_idx: the index of the loader among several.

        Raises:
            RuntimeError: no trainer runs this module.
        """
        return self._running_trainer("transfer_batch_to_device").place(batch)

    @library_default
    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        """Change a batch on the device, for example to augment it; return it."""
        return batch

    def _running_trainer(self, wanted_by: str) -> Any:
        """Return the trainer that runs this object.

        Raises:
            RuntimeError: there is none.
        """
        trainer = getattr(self, "_trainer", None)
        if trainer is None:
            raise RuntimeError(
                f"{wanted_by} needs a run. Received a call on a {type(self).__name__} that no "
                "trainer runs. Call it from a step or a hook, or attach one with .trainer = ..."
            )
        return trainer

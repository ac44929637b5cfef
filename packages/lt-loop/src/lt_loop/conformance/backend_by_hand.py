"""Promises of a backend about numbers: they are those of a loop written by hand."""

from lt_loop.conformance.backend_parts import BackendParts, Training
from lt_loop.conformance.sameness import close

INDICES = (0, 1, 2)


class ByHandPromises(BackendParts):
    """What :meth:`~BackendParts.by_hand` computes, computed by the backend.

    Two computations by the backend agree where both are wrong alike: weights lost in ``setup``, a
    batch lost in ``place``, gradients of another size, steps of another length.
    """

    def test_losses_are_those_of_a_loop_by_hand(self) -> None:
        """What ``setup`` and ``place`` leave is the program and the batch that they were given."""
        training = Training(self)
        for index in INDICES:
            ((expected, _),) = self.by_hand(index)
            (found,) = training.backend.read([self.number(training.loss_of(index))])
            assert close([found], [expected], tolerance=self.tolerance), (
                f"Batch {index} has the loss that it has without a backend. Received {found}, "
                f"expected {expected}."
            )

    def test_gradients_are_those_of_a_loop_by_hand(self) -> None:
        """``backward`` adds the gradients of the loss as they are."""
        for index in INDICES:
            ((_, expected),) = self.by_hand(index)
            found = self.gradients_of(index)
            assert close(found, expected, tolerance=self.tolerance), (
                f"Batch {index} has the gradients that it has without a backend. Received {found}, "
                f"expected {expected}."
            )

    def test_steps_are_those_of_a_loop_by_hand(self) -> None:
        """``step`` lets the optimizer step once, with the gradients of its window alone."""
        training = Training(self)
        # Digits that are lost in one step tell in the next.
        tolerance = max(10 * self.tolerance, 1e-4)
        for count, (loss, gradients) in enumerate(self.by_hand(*INDICES)):
            value = training.loss_of(INDICES[count])
            training.differentiate(value)
            found, (told,) = training.gradients(), training.backend.read([self.number(value)])
            assert close([told], [loss], tolerance=tolerance), (
                f"After {count} steps the loss is that of a loop without a backend. Received "
                f"{told}, expected {loss}."
            )
            assert close(found, gradients, tolerance=tolerance), (
                f"After {count} steps the gradients are those of a loop without a backend. "
                f"Received {found}, expected {gradients}."
            )
            training.backend.step(training.optimizer, None)

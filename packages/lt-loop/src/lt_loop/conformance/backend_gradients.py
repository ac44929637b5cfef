"""Promises of a backend about gradients."""

from lt_loop.conformance.backend_parts import BackendParts, Training
from lt_loop.conformance.raising import raised_by
from lt_loop.conformance.sameness import close


class GradientPromises(BackendParts):
    """``zero_grad``, ``backward`` and ``clip``."""

    def test_gradients_add_up_over_a_window(self) -> None:
        """``backward`` adds to what is there, whether ranks agree yet or not."""
        first, second = self.gradients_of(0), self.gradients_of(1)
        expected = [(a + b) / 2 for a, b in zip(first, second, strict=True)]
        training = Training(self)
        losses = [training.loss_of(0, phase="accumulate"), training.loss_of(1)]
        training.differentiate(*losses)
        found = training.gradients()
        assert close(found, expected, tolerance=self.tolerance), (
            "backward adds the gradients of each loss, with sync=False and then True. Received "
            f"{found}, expected {expected}."
        )

    def test_zero_grad_drops_what_is_there(self) -> None:
        """``zero_grad`` drops the gradients of the optimizer's parameters."""
        training = Training(self)
        training.differentiate(training.loss_of(0))
        training.backend.zero_grad(training.optimizer)
        found = self.gradients(training.program)
        assert not any(found), f"zero_grad leaves no gradient. Received {found}."

    def test_backward_refuses_what_is_no_loss(self) -> None:
        """``backward`` says so where there is nothing to differentiate."""
        training = Training(self)
        raised_by(
            (TypeError, ValueError),
            lambda: training.backend.backward(1.0, sync=True),
            "A loss without a gradient, such as the number 1.0, is refused by backward",
        )

    def test_clipping_by_norm_keeps_the_direction(self) -> None:
        """``clip`` by norm scales all gradients alike, and returns the norm there was."""
        before, training = self.gradients_of(0), Training(self)
        norm = sum(gradient**2 for gradient in before) ** 0.5
        training.differentiate(training.loss_of(0))
        returned = training.backend.clip(training.optimizer, norm / 2, "norm")
        found = self.gradients(training.program)
        expected = [gradient / 2 for gradient in before]
        assert close(found, expected, tolerance=max(self.tolerance, 1e-4)), (
            f"Clipping to half the norm halves the gradients. Received {found}, not {expected}."
        )
        (told,) = training.backend.read([returned])
        assert close([told], [norm], tolerance=max(self.tolerance, 1e-4)), (
            f"clip returns the total norm before. Received {told}, expected {norm}."
        )

    def test_clipping_by_norm_leaves_small_gradients_alone(self) -> None:
        """``clip`` by norm changes nothing within the norm."""
        before, training = self.gradients_of(0), Training(self)
        norm = sum(gradient**2 for gradient in before) ** 0.5
        training.differentiate(training.loss_of(0))
        training.backend.clip(training.optimizer, 2 * norm, "norm")
        found = self.gradients(training.program)
        assert close(found, before, tolerance=self.tolerance), (
            f"A norm within the limit changes nothing. Received {found}, expected {before}."
        )

    def test_clipping_by_value_cuts_each_number(self) -> None:
        """``clip`` by value brings each number between ``-value`` and ``value``."""
        before, training = self.gradients_of(0), Training(self)
        value = max(map(abs, before)) / 2
        training.differentiate(training.loss_of(0))
        training.backend.clip(training.optimizer, value, "value")
        found = self.gradients(training.program)
        expected = [max(-value, min(value, gradient)) for gradient in before]
        assert close(found, expected, tolerance=max(self.tolerance, 1e-4)), (
            f"Clipping by value cuts each gradient at {value}. Received {found}, not {expected}."
        )

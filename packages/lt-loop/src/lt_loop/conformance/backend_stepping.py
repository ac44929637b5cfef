"""Promises of a backend about steps, and the numbers it reads."""

from typing import Any

from lt_loop.conformance.backend_parts import BackendParts, Training
from lt_loop.conformance.sameness import same


class SteppingPromises(BackendParts):
    """``step`` and ``read``, and ``first_non_finite`` where there is one."""

    def test_a_step_changes_the_program_and_says_so(self) -> None:
        """``step`` returns True where it stepped."""
        training = Training(self)
        before = training.weights()
        training.differentiate(training.loss_of(0))
        stepped = training.backend.step(training.optimizer, None)
        assert stepped is True, f"step returns True where it stepped. Received {stepped!r}."
        assert not same(training.weights(), before), (
            "A step changes what capture returns of the program. Received the same as before."
        )

    def test_a_step_calls_the_closure(self) -> None:
        """``step`` with a closure is one whose gradients the closure computes."""
        expected, training = Training(self), Training(self)
        expected.step(1)
        training.differentiate(training.loss_of(0))
        called: list[int] = []

        def closure() -> Any:
            called.append(1)
            loss = training.loss_of(1)
            training.differentiate(loss)
            return loss

        stepped = training.backend.step(training.optimizer, closure)
        assert called, "step calls the closure it is given. Received no call."
        assert stepped is True, f"step returns True where it stepped. Received {stepped!r}."
        assert same(training.weights(), expected.weights()), (
            "A step with a closure takes the gradients that the closure computes. Received others."
        )

    def test_a_step_that_is_skipped_changes_nothing(self) -> None:
        """``step`` returns False where a loss scaler found an overflow, and changes nothing."""
        training = Training(self)
        before = training.weights()
        training.differentiate(training.loss_of(0) / float("nan"))
        stepped = training.backend.step(training.optimizer, None)
        assert isinstance(stepped, bool), f"step returns True or False. Received {stepped!r}."
        assert stepped or same(training.weights(), before), (
            "A step that was skipped changes nothing. Received False, and other weights."
        )

    def test_a_gradient_that_is_not_finite_is_named(self) -> None:
        """``first_non_finite`` names a parameter, where there is such a method."""
        training = Training(self)
        find = getattr(training.backend, "first_non_finite", None)
        if find is None:
            return
        training.differentiate(training.loss_of(0))
        found = find(training.optimizer)
        assert found is None, f"Finite gradients have nothing to be named. Received {found!r}."
        training.differentiate(training.loss_of(0) / float("nan"))
        found = find(training.optimizer)
        assert isinstance(found, str), (
            "first_non_finite returns the name of a parameter whose gradient is not finite. "
            f"Received {found!r}."
        )

    def test_what_was_logged_is_read_in_order(self) -> None:
        """``read`` returns a float for each value, whatever is logged."""
        training = Training(self)
        backend = training.backend
        assert backend.read([]) == [], "read of nothing is nothing. Received something."
        losses = [self.number(training.loss_of(index)) for index in (0, 1)]
        read = backend.read([1, losses[0], 2.5, losses[1]])
        assert isinstance(read, list), f"read returns a list. Received {type(read).__name__}."
        assert all(type(number) is float for number in read), (
            f"read returns floats. Received {[type(number).__name__ for number in read]}."
        )
        assert backend.read([3.5, 1.5, 2.5, 3.5]) == [3.5, 1.5, 2.5, 3.5], (
            "read keeps the order of numbers. Received others for [3.5, 1.5, 2.5, 3.5]."
        )
        expected = [1.0, *backend.read(losses[:1]), 2.5, *backend.read(losses[1:])]
        assert read == expected, f"read keeps the order. Received {read}, expected {expected}."

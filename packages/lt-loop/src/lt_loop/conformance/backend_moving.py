"""Promises of a backend about what it brings to where the program computes, and back."""

from typing import Any

from lt_loop.conformance.backend_parts import BackendParts, Training
from lt_loop.conformance.sameness import same
from lt_loop.host import on_host


class MovingPromises(BackendParts):
    """``place``, and ``prefetch`` and ``adopt`` where there are such methods."""

    def test_a_batch_that_was_placed_can_be_placed_again(self) -> None:
        """``place`` leaves a batch alone that is where it belongs."""
        training = Training(self)
        once = training.backend.place(self.batch(0))
        twice = training.backend.place(training.backend.place(self.batch(0)))
        losses = [self.number(training.loss(batch)) for batch in (once, twice)]
        one, other = training.backend.read(losses)
        assert one == other, f"Placing twice is placing once. Received losses {one} and {other}."

    def test_what_is_prefetched_is_every_batch_in_order(self) -> None:
        """``prefetch``, where there is one, places each batch once, and leaves the order."""
        training = Training(self)
        prefetch = getattr(training.backend, "prefetch", None)
        if prefetch is None:
            return
        assert list(prefetch(iter([]))) == [], "Of no batches none are prefetched. Received some."
        indices = (2, 0, 1, 0)
        expected = self._losses(training, [training.backend.place(self.batch(i)) for i in indices])
        assert len(set(expected)) == 3, f"The kit's batches have other losses. Received {expected}."
        found = self._losses(training, prefetch(self.batch(i) for i in indices))
        assert found == expected, (
            "prefetch yields every batch once, in order, as place would put it. Received the "
            f"losses {found}, expected {expected}."
        )

    def _losses(self, training: Training, batches: Any) -> list[float]:
        return training.backend.read([self.number(training.loss(batch)) for batch in batches])

    def test_weights_of_another_process_are_adopted(self) -> None:
        """``adopt``, where there is one, gives a program that was not set up other weights."""
        training = Training(self)
        training.step(0, 1)
        weights = training.weights()
        backend, program = self.make(), self.program()
        if not hasattr(backend, "adopt"):
            return
        backend.adopt(program, on_host(weights))
        backend.setup(program, [])
        assert same(on_host(backend.capture()["program"]), on_host(weights)), (
            "A program that adopted weights has them. Received others."
        )

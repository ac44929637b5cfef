"""Promises of a backend about what survives."""

import copy

from lt_loop.conformance.backend_parts import BackendParts, Training
from lt_loop.conformance.sameness import same


class StatePromises(BackendParts):
    """``capture`` and ``restore``."""

    def test_a_snapshot_has_the_parts_the_engine_looks_for(self) -> None:
        """``capture`` returns program and optimizers, and ``rng`` where there is any."""
        captured = Training(self).backend.capture()
        expected = {"program", "optimizers"} | ({"rng"} if self.draws else set())
        assert isinstance(captured, dict), f"capture returns a dict. Received {type(captured)}."
        assert expected <= captured.keys(), (
            f"capture returns {', '.join(sorted(expected))}. Received {', '.join(captured)}."
        )
        optimizers = captured["optimizers"]
        assert isinstance(optimizers, list), (
            f"capture returns a list of the optimizers' states. Received {type(optimizers)}."
        )
        assert len(optimizers) == 1, f"There is one for each. Received {len(optimizers)} of one."

    def test_a_snapshot_is_not_changed_by_later_steps(self) -> None:
        """``capture`` returns a copy, unless it is told not to."""
        training = Training(self)
        training.step(0, 1)
        snapshot = training.backend.capture()
        as_it_was = copy.deepcopy(snapshot)
        training.step(2, 0)
        for part in ("program", "optimizers"):
            assert same(snapshot[part], as_it_was[part]), (
                f"Later steps leave a snapshot as it was. Received another {part!r}."
            )

    def test_a_snapshot_without_a_copy_says_the_same(self) -> None:
        """``capture(copy=False)`` returns what ``capture()`` does, as it is now."""
        training = Training(self)
        training.step(0, 1)
        shared, copied = training.backend.capture(copy=False), training.backend.capture()
        for part in ("program", "optimizers"):
            assert same(shared[part], copied[part]), (
                f"capture(copy=False) returns the same numbers. Received another {part!r}."
            )

    def test_another_process_goes_on_to_the_same_bits(self) -> None:
        """A run that is restored by a new backend, and goes on, is one that never stopped."""
        whole, first = Training(self), Training(self)
        whole.step(0, 1, 2, 0, 1, 2)
        first.step(0, 1, 2)
        second = Training(self, first.backend.capture())
        second.step(0, 1, 2)
        expected, found = whole.backend.capture(), second.backend.capture()
        for part in ("program", "optimizers"):
            assert same(found[part], expected[part]), (
                "A restored run goes on to the same bits as one that never stopped. Received "
                f"another {part!r}: {found[part]!r}, expected {expected[part]!r}."
            )

    def test_the_same_backend_goes_back_as_often_as_it_is_told(self) -> None:
        """``restore`` leaves the snapshot good for another time."""
        training = Training(self)
        training.step(0)
        snapshot = training.backend.capture()
        training.step(1, 2)
        expected = training.backend.capture()
        for time in ("first", "second"):
            training.backend.restore(snapshot)
            training.step(1, 2)
            found = training.backend.capture()
            for part in ("program", "optimizers"):
                assert same(found[part], expected[part]), (
                    f"Restored for the {time} time, the same steps lead to the same bits. Received "
                    f"another {part!r}."
                )

    def test_the_program_can_be_restored_before_there_are_optimizers(self) -> None:
        """``restore`` is called with a whole snapshot before optimizers are set up, too."""
        training = Training(self)
        training.step(0, 1)
        snapshot = training.backend.capture()
        backend, program = self.make(), self.program()
        backend.setup(program, [])
        backend.restore(snapshot)
        assert same(backend.capture()["program"], snapshot["program"]), (
            "Without optimizers restore puts the program back. Received another one."
        )

    def test_weights_can_be_restored_alone(self) -> None:
        """``restore`` takes a state of the program and nothing else: no optimizers, no ``rng``."""
        training = Training(self)
        training.step(0, 1)
        weights = training.weights()
        backend = self.make()
        backend.setup(self.program(), [])
        backend.restore({"program": weights, "optimizers": []})
        assert same(backend.capture()["program"], weights), (
            "Weights alone are restored as they are. Received others."
        )

    def test_weights_alone_leave_the_optimizers_as_they_are(self) -> None:
        """``restore`` of weights touches no optimizer: a run before may have others than theirs."""
        training = Training(self)
        weights = training.weights()
        training.step(0, 1)
        optimizers = training.backend.capture()["optimizers"]
        training.backend.restore({"program": weights, "optimizers": []})
        after = training.backend.capture()
        assert same(after["program"], weights), (
            "Weights alone are restored where there are optimizers, too. Received others."
        )
        assert same(after["optimizers"], optimizers), (
            "Restoring weights alone leaves the optimizers as they are. Received others."
        )

    def test_random_generators_go_on_where_they_stood(self) -> None:
        """``restore`` puts back the random generators."""
        backend = Training(self).backend
        snapshot = backend.capture()
        expected = self.drawn()
        for _ in range(3):
            self.drawn()
        backend.restore(snapshot)
        found = self.drawn()
        assert same(found, expected), (
            f"After restore the generators stand where they stood. Received {found}, "
            f"expected {expected}."
        )

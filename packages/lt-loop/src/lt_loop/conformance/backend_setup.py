"""Promises of a backend about being set up."""

from lt_loop.conformance.backend_parts import BackendParts, Training
from lt_loop.conformance.raising import raised_by
from lt_loop.conformance.sameness import same
from lt_loop.ports import Backend


class SetupPromises(BackendParts):
    """``setup``: the program first, then its optimizers."""

    def test_it_has_what_the_port_has(self) -> None:
        """A backend has all methods of the port."""
        assert isinstance(self.make(), Backend), (
            f"A backend has the methods of lt_loop.ports.Backend. Received {type(self.make())}."
        )

    def test_setup_takes_the_program_alone_first(self) -> None:
        """``setup`` is called without optimizers first, and returns none then."""
        returned = self.make().setup(self.program(), [])
        assert len(returned) == 0, f"setup returns what it is given. Received [], not {returned!r}."

    def test_setup_returns_every_optimizer(self) -> None:
        """``setup`` returns as many optimizers to step as it was given."""
        backend, program = self.make(), self.program()
        backend.setup(program, [])
        given = [self.optimizer(program), self.optimizer(program)]
        returned = backend.setup(program, given)
        assert len(returned) == 2, (
            f"setup returns the optimizers in the same order. Received 2, returned {len(returned)}."
        )

    def test_setup_leaves_the_order_of_optimizers(self) -> None:
        """What ``setup`` and ``capture`` return is ordered as what ``setup`` was given."""
        training = Training(self)
        training.step(0, 1)
        before = training.backend.capture()["optimizers"]
        given = [training.optimizer, self.optimizer(training.program)]
        returned = training.backend.setup(training.program, given)
        captured = training.backend.capture()["optimizers"]
        assert len(returned) == len(captured) == 2, (
            "There are two optimizers after a setup with two. Received "
            f"{len(returned)} that setup returned, and {len(captured)} in capture."
        )
        assert same(captured[0], before[0]), (
            "The first optimizer's state comes first in capture. Received that of another."
        )
        training.differentiate(training.loss_of(0))
        training.backend.step(returned[1], None)
        after = training.backend.capture()["optimizers"]
        assert same(after[0], captured[0]), (
            "The second optimizer that setup returns is the second it was given. Received the "
            "first: its state changed."
        )

    def test_setup_refuses_an_optimizer_of_another_program(self) -> None:
        """``setup`` raises a ValueError for an optimizer that holds none of the parameters."""
        backend, program = self.make(), self.program()
        backend.setup(program, [])
        raised_by(
            ValueError,
            lambda: backend.setup(program, [self.optimizer(self.program())]),
            "An optimizer that holds none of the program's parameters is refused by setup",
        )

    def test_setup_of_another_program_lets_go_of_the_first(self) -> None:
        """A backend serves one run after another, each with a program of its own."""
        training = Training(self)
        before = training.weights()
        training.step()
        training.backend.setup(self.program(), [])
        captured = training.backend.capture()
        assert captured["optimizers"] == [], (
            "After setup of another program without optimizers, capture has none. Received "
            f"{len(captured['optimizers'])}."
        )
        assert same(captured["program"], before), (
            "After setup of another program, capture is of that one. Received the first one's."
        )

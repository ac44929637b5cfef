"""Promises of a backend about the functions it wraps."""

import copy
from collections.abc import Callable, Generator
from functools import partial
from typing import Any, NoReturn

from lt_loop.conformance.backend_parts import BackendParts, Training, loss_in
from lt_loop.conformance.raising import raised_by
from lt_loop.conformance.sameness import close, same
from lt_loop.ports import Phase

EVALUATIONS: tuple[Phase, ...] = ("evaluate", "evaluate_in_fit")
STEPS: tuple[Phase, ...] = ("validate", "test", "predict")


class WrappingPromises(BackendParts):
    """``wrap_step``: something added to a function, and nothing else changed."""

    def test_a_batch_within_a_window_has_the_same_loss(self) -> None:
        """A step wrapped for ``"accumulate"`` computes what one wrapped for ``"train"`` does."""
        training = Training(self)
        phases: tuple[Phase, ...] = ("train", "accumulate")
        losses = [self.number(training.loss_of(0, phase=phase)) for phase in phases]
        one, other = training.backend.read(losses)
        assert close([one], [other], tolerance=self.tolerance), (
            f"Both training phases compute the same loss. Received {one} and {other}."
        )

    def test_a_wrapped_step_gets_its_arguments_and_hands_on_what_it_returns(self) -> None:
        """Steps of evaluation are called as they were, and their outputs are not touched."""
        for phase in STEPS:
            training = Training(self)
            seen: list[Any] = []

            def step(*arguments: Any, seen: list[Any] = seen, **words: Any) -> Any:
                seen.append((*arguments, words))
                return {"index": arguments[1]}

            batch = training.backend.place(self.batch(0))
            wrapped = training.backend.wrap_step(step, phase)
            returned = wrapped(batch, 3, dataloader_idx=1)
            assert len(seen) == 1, f"A {phase} step runs once a call. Received {len(seen)}."
            assert seen[0][0] is batch, f"A {phase} step gets the batch itself. It got another."
            assert seen[0][1:] == (3, {"dataloader_idx": 1}), (
                f"A {phase} step gets (batch, 3, dataloader_idx=1). It got {seen[0]}."
            )
            assert returned == {"index": 3}, (
                f"What a {phase} step returns is handed on. Received {returned!r}."
            )

    def test_what_a_training_step_returns_beside_the_loss_is_handed_on(self) -> None:
        """What is in the dict that a training step returns comes back, and can be read."""
        phases: tuple[Phase, ...] = ("train", "accumulate")
        for phase in phases:
            training = Training(self)
            step = partial(_telling, training.program.training_step)
            batch = training.backend.place(self.batch(0))
            returned = training.backend.wrap_step(step, phase)(batch, 3)
            assert isinstance(returned, dict), (
                f"A dict that a step returns for {phase!r} comes back. Received {returned!r}."
            )
            assert returned.keys() == {"loss", "told"}, (
                f"All of a dict comes back from {phase!r}. Received {', '.join(returned)}."
            )
            found = training.backend.read([returned["told"]])
            assert found == [3.0], (
                f"What stands beside the loss comes back from {phase!r}. Received {found}, "
                "expected [3.0]."
            )

    def test_what_is_undone_leaves_the_program_as_it_was(self) -> None:
        """``undone``, where there is one, turns back what a step kept in the program."""
        training = Training(self)
        if not hasattr(training.backend, "undone"):
            return
        program, kept = training.program, [1]
        program.kept, program.counted = kept, 0
        with training.backend.undone([program]):
            kept.append(2)
            program.kept, program.counted = [3], 1
        found = program.kept, program.counted
        assert found == ([1], 0), (
            f"After undone a program holds what it held before: [1] and 0. Received {found}."
        )

    def test_a_rank_alone_skips_when_it_likes(self) -> None:
        """``all_skip``, where there is one, knows that nobody else has a loss."""
        training = Training(self)
        if not hasattr(training.backend, "all_skip"):
            return
        training.differentiate(training.loss_of(0))
        before = training.gradients()
        found = [training.backend.all_skip(pending=pending) for pending in (False, True)]
        assert found == [True, True], (
            f"One process skips a batch without asking anybody. all_skip returned {found}."
        )
        assert training.gradients() == before, "all_skip leaves gradients. Received others."

    def test_an_exception_in_a_wrapped_function_comes_out_as_it_is(self) -> None:
        """What user code raises is not turned into something else."""
        phases: tuple[Phase, ...] = ("train", "accumulate", *STEPS, "sanity_check")
        for phase in phases:
            backend = Training(self).backend
            error = KeyError("of the user")
            wrapped = backend.wrap_step(_raising(error), phase)
            raised = raised_by(
                KeyError,
                partial(wrapped, backend.place(self.batch(0)), 0),
                f"An exception in a function wrapped for {phase!r} comes out",
            )
            assert raised is error, f"It is the same exception. Received {raised!r}, not {error!r}."

    def test_an_evaluation_stays_a_generator(self) -> None:
        """A wrapped evaluation loop yields, returns and is left early as the loop itself."""
        for phase in EVALUATIONS:
            backend = Training(self).backend
            said: list[str] = []

            def loop(count: int, said: list[str] = said) -> Generator[int, None, str]:
                try:
                    for index in range(count):
                        said.append(f"yields {index}")
                        yield index
                    return "all of them"
                finally:
                    said.append("is left")

            wrapped: Any = backend.wrap_step(loop, phase)
            whole, returned = _exhausted(wrapped(2))
            assert whole == [0, 1], f"An evaluation yields what its loop does. Received {whole}."
            assert returned == "all of them", (
                f"An evaluation returns what its loop does. Received {returned!r}."
            )
            said.clear()
            left = wrapped(count=2)
            assert said == [], "An evaluation runs when it is asked. It ran before."
            next(left)
            assert said == ["yields 0"], f"It runs as far as it is asked. Received {said}."
            left.close()
            assert said[-1] == "is left", "An evaluation that is left early is closed. It was not."

    def test_an_evaluation_tracks_no_gradients(self) -> None:
        """Nothing within a wrapped evaluation loop tracks gradients."""
        for phase in EVALUATIONS:
            training = Training(self)
            trial = partial(training.loss_of, 0, phase="validate")
            loss = next(training.backend.wrap_step(_yielding(trial), phase)())
            assert not self.tracks_gradients(loss), (
                f"What is computed within {phase!r} tracks no gradients. Received one that does."
            )

    def test_training_goes_on_between_two_batches_of_an_evaluation(self) -> None:
        """A wrapped evaluation loop changes nothing outside itself while it is paused."""
        for phase in EVALUATIONS:
            expected, training = self.gradients_of(0), Training(self)
            trial = partial(training.loss_of, 0, phase="validate")
            paused = training.backend.wrap_step(_yielding(trial), phase)()
            next(paused)
            training.differentiate(training.loss_of(0))
            found = training.gradients()
            paused.close()
            assert close(found, expected, tolerance=self.tolerance), (
                f"While a loop wrapped for {phase!r} is paused, a step has its gradients. "
                f"Received {found}, expected {expected}."
            )

    def test_what_an_evaluation_within_a_fit_makes_can_be_trained_with(self) -> None:
        """``"evaluate_in_fit"`` makes no values that training can't use."""
        expected, training = self.gradients_of(0), Training(self)
        place = training.backend.place

        def make() -> Any:
            return copy.deepcopy(place(self.batch(0)))

        batch = next(training.backend.wrap_step(_yielding(make), "evaluate_in_fit")())
        training.differentiate(training.loss(batch))
        found = training.gradients()
        assert close(found, expected, tolerance=self.tolerance), (
            "A batch made within 'evaluate_in_fit' trains as any other. Received the gradients "
            f"{found}, expected {expected}."
        )

    def test_a_sanity_check_leaves_the_random_generators_as_they_were(self) -> None:
        """After a function wrapped for ``"sanity_check"`` the generators stand where they stood."""
        backend = Training(self).backend
        before = backend.capture()
        expected = self.drawn()

        def trial(word: str, *, times: int) -> str:
            for _ in range(times):
                self.drawn()
            if word == "fail":
                raise KeyError(word)
            return word

        wrapped = backend.wrap_step(trial, "sanity_check")
        for word in ("pass", "fail"):
            backend.restore(before)
            try:
                returned = wrapped(word, times=2)
            except KeyError:
                returned = "fail"
            drawn = self.drawn()
            assert returned == word, f"A trial returns what it does. Received {returned!r}."
            assert same(drawn, expected), (
                f"After a sanity check the generators stand where they stood, if it should {word}. "
                f"Received {drawn}, expected {expected}."
            )


def _telling(step: Callable[..., Any], batch: Any, batch_idx: int) -> dict[str, Any]:
    """Return the loss of a training step, and its index beside."""
    return {"loss": loss_in(step(batch, batch_idx)), "told": batch_idx}


def _raising(error: Exception) -> Callable[..., NoReturn]:
    def fail(*_arguments: Any) -> NoReturn:
        raise error

    return fail


def _yielding(compute: Callable[[], Any]) -> Callable[[], Generator[Any, None, None]]:
    """Return a generator function that computes something twice."""

    def loop() -> Generator[Any, None, None]:
        yield compute()
        yield compute()

    return loop


def _exhausted(loop: Generator[Any, None, Any]) -> tuple[list[Any], Any]:
    """Return what a generator yields, and what it returns in the end."""
    yielded = []
    while True:
        try:
            yielded.append(next(loop))
        except StopIteration as end:
            return yielded, end.value

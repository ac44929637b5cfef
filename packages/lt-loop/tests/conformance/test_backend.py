"""The kit of the port Backend passes what keeps every promise, and fails what breaks one."""

import copy
import random
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import pytest
from broken import Broken, Shelf, failing
from plain_backend import Line, Loss, Momentum, PlainBackend, PlainKit

from lt_loop.conformance import BackendConformance, promises
from lt_loop.solo import DuckBackend


class TestPlain(PlainKit):
    """All of it."""


class DuckLoss(Loss):
    def __init__(self, line: Line, loss: Loss) -> None:
        super().__init__(loss.value, loss.slopes)
        self.line = line

    def __truediv__(self, size: float) -> "DuckLoss":
        return DuckLoss(self.line, super().__truediv__(size))

    def backward(self) -> None:
        backend = PlainBackend()
        backend.setup(self.line, [])
        backend.backward(self, sync=True)


class DuckLine(Line):
    def training_step(self, batch: Any, batch_idx: int) -> Loss:
        return DuckLoss(self, super().training_step(batch, batch_idx))

    def configure_optimizers(self) -> "DuckMomentum":
        return DuckMomentum(self)

    def state_dict(self) -> Any:
        return self.values

    def load_state_dict(self, state: Any) -> None:
        self.values.update(state)


class DuckMomentum(Momentum):
    def zero_grad(self) -> None:
        self.line.slopes = {}

    def step(self, closure: Any = None) -> None:
        if closure:
            closure()
        super().step()

    def state_dict(self) -> Any:
        return self.speed

    def load_state_dict(self, state: Any) -> None:
        self.speed.update(state)


class TestDuck(PlainKit):
    """The default, which knows of its numbers that they can be differentiated, and no more."""

    draws = ()
    make = staticmethod(DuckBackend)
    by_hand = BackendConformance.by_hand
    # It can't look into an optimizer, tracks nothing, and refuses to clip.
    test_setup_refuses_an_optimizer_of_another_program = None
    test_an_evaluation_tracks_no_gradients = None
    test_clipping_by_norm_keeps_the_direction = None
    test_clipping_by_norm_leaves_small_gradients_alone = None
    test_clipping_by_value_cuts_each_number = None

    def program(self) -> Any:
        return DuckLine()


shelf = Shelf()

BY_HAND = (
    "losses_are_those_of_a_loop_by_hand",
    "gradients_are_those_of_a_loop_by_hand",
    "steps_are_those_of_a_loop_by_hand",
)


@shelf.breaks(*BY_HAND, "weights_of_another_process_are_adopted")
class StartsFromOtherWeights(PlainBackend):
    def setup(self, program: Any, optimizers: Any) -> Any:
        if not optimizers:
            program.values = {"w": 0.2, "b": 0.0}
        return super().setup(program, optimizers)


@shelf.breaks("setup_leaves_the_order_of_optimizers")
class StepsTheLastFirst(PlainBackend):
    def setup(self, program: Any, optimizers: Any) -> Any:
        return super().setup(program, optimizers)[::-1]


@shelf.breaks("setup_leaves_the_order_of_optimizers")
class CapturesTheLastFirst(PlainBackend):
    def capture(self, *, copy: bool = True) -> Any:
        state = super().capture(copy=copy)
        return {**state, "optimizers": state["optimizers"][::-1]}

    def restore(self, state: Any) -> None:
        super().restore({**state, "optimizers": state["optimizers"][::-1]})


@shelf.breaks(*BY_HAND)
class AddsToTheLabels(PlainBackend):
    def place(self, batch: Any) -> Any:
        return batch if hasattr(batch, "placed") else Placed((x, y + 1) for x, y in batch)


class Placed(list[Any]):
    placed = True


@shelf.breaks("what_is_prefetched_is_every_batch_in_order")
class LosesTheLastBatch(PlainBackend):
    def prefetch(self, batches: Any) -> Any:
        yield from list(super().prefetch(batches))[:-1]


@shelf.breaks("what_is_prefetched_is_every_batch_in_order")
class HandsOutTheNewestFirst(PlainBackend):
    def prefetch(self, batches: Any) -> Any:
        yield from list(super().prefetch(batches))[::-1]


@shelf.breaks("what_is_prefetched_is_every_batch_in_order")
class RepeatsTheFirstBatch(PlainBackend):
    def prefetch(self, batches: Any) -> Any:
        for batch in super().prefetch(batches):
            first = vars(self).setdefault("first", batch)
            yield first


@shelf.breaks("weights_of_another_process_are_adopted")
class AdoptsNothing(PlainBackend):
    def adopt(self, program: Any, weights: Any) -> None:
        pass


@shelf.breaks("what_a_training_step_returns_beside_the_loss_is_handed_on")
class KeepsTheLossAlone(PlainBackend):
    def wrap_step(self, fn: Any, phase: str) -> Any:
        if phase != "train":
            return super().wrap_step(fn, phase)
        return lambda *arguments: (
            {"loss": output["loss"]} if isinstance(output := fn(*arguments), dict) else output
        )


@shelf.breaks("a_wrapped_step_gets_its_arguments_and_hands_on_what_it_returns")
class TakesNoArgumentsByName(PlainBackend):
    def wrap_step(self, fn: Any, phase: str) -> Any:
        if phase == "validate":
            return lambda *arguments: fn(*arguments)
        return super().wrap_step(fn, phase)


@shelf.breaks(
    "gradients_are_those_of_a_loop_by_hand",
    "steps_are_those_of_a_loop_by_hand",
)
class HalvesTheGradients(PlainBackend):
    def backward(self, loss: Any, *, sync: bool) -> None:
        super().backward(loss / 2 if isinstance(loss, Loss) else loss, sync=sync)


@shelf.breaks("steps_are_those_of_a_loop_by_hand")
class StepsTwice(PlainBackend):
    def step(self, optimizer: Any, closure: Any) -> Any:
        stepped = super().step(optimizer, closure)
        if stepped:
            optimizer.step()
        return stepped


@shelf.breaks("what_was_logged_is_read_in_order")
class SortsWhatItReads(PlainBackend):
    def read(self, values: Any) -> Any:
        return sorted(super().read(values)) if len(values) > 3 else super().read(values)


@shelf.breaks("setup_takes_the_program_alone_first")
class ReturnsTheProgram(PlainBackend):
    def setup(self, program: Any, optimizers: Any) -> Any:
        return super().setup(program, optimizers) or [program]


@shelf.breaks("setup_returns_every_optimizer", "setup_leaves_the_order_of_optimizers")
class StepsTheFirstAlone(PlainBackend):
    def setup(self, program: Any, optimizers: Any) -> Any:
        return super().setup(program, optimizers)[:1]


@shelf.breaks("setup_refuses_an_optimizer_of_another_program")
class TakesAnyOptimizer(PlainBackend):
    def setup(self, program: Any, optimizers: Any) -> Any:
        self.program, self.optimizers = program, list(optimizers)
        return optimizers


@shelf.breaks("setup_of_another_program_lets_go_of_the_first")
class KeepsTheOptimizers(PlainBackend):
    def setup(self, program: Any, optimizers: Any) -> Any:
        kept = getattr(self, "optimizers", [])
        super().setup(program, optimizers)
        self.optimizers = self.optimizers or kept
        return optimizers


@shelf.breaks("a_batch_within_a_window_has_the_same_loss")
class ShiftsTheLossWithinAWindow(PlainBackend):
    def wrap_step(self, fn: Any, phase: str) -> Any:
        if phase != "accumulate":
            return super().wrap_step(fn, phase)
        return lambda *arguments: self._shifted(fn(*arguments))

    def _shifted(self, output: Any) -> Any:
        if isinstance(output, dict):
            return {**output, "loss": self._shifted(output["loss"])}
        return Loss(output.value + 1, output.slopes)


@shelf.breaks("a_wrapped_step_gets_its_arguments_and_hands_on_what_it_returns")
class KeepsPredictions(PlainBackend):
    def wrap_step(self, fn: Any, phase: str) -> Any:
        if phase == "predict":
            return lambda *arguments: fn(*arguments) and None
        return super().wrap_step(fn, phase)


@shelf.breaks("a_wrapped_step_gets_its_arguments_and_hands_on_what_it_returns")
class ForgetsTheLoader(PlainBackend):
    def wrap_step(self, fn: Any, phase: str) -> Any:
        if phase == "test":
            return lambda *arguments: fn(*arguments[:2])
        return super().wrap_step(fn, phase)


@shelf.breaks("an_exception_in_a_wrapped_function_comes_out_as_it_is")
class HidesExceptions(PlainBackend):
    def wrap_step(self, fn: Any, phase: str) -> Any:
        def hiding(*arguments: Any) -> Any:
            try:
                return fn(*arguments)
            except KeyError as error:
                raise KeyError("of the backend") from error

        return hiding if phase == "accumulate" else super().wrap_step(fn, phase)


@shelf.breaks("an_evaluation_stays_a_generator")
class LosesWhatAnEvaluationReturns(PlainBackend):
    def _untracked(self, loop: Any) -> Any:
        yield from super()._untracked(loop)


@shelf.breaks("an_evaluation_tracks_no_gradients")
class TracksInEvaluation(PlainBackend):
    def wrap_step(self, fn: Any, phase: str) -> Any:
        return fn if phase == "evaluate" else super().wrap_step(fn, phase)


@shelf.breaks("training_goes_on_between_two_batches_of_an_evaluation")
class TracksNothingWhileAnEvaluationIsOpen(PlainBackend):
    def wrap_step(self, fn: Any, phase: str) -> Any:
        return self._switched_off(fn) if phase == "evaluate" else super().wrap_step(fn, phase)

    def _switched_off(self, fn: Any) -> Any:
        def loop(*arguments: Any, **words: Any) -> Any:
            self.program.tracks = False
            try:
                return (yield from fn(*arguments, **words))
            finally:
                self.program.tracks = True

        return loop


class Tainted(list[Any]):
    tainted = True


@shelf.breaks("what_an_evaluation_within_a_fit_makes_can_be_trained_with")
class TaintsWhatAnEvaluationMakes(PlainBackend):
    def place(self, batch: Any) -> Any:
        return batch if self.program.tracks else Tainted(batch)


@shelf.breaks("a_sanity_check_leaves_the_random_generators_as_they_were")
class LeavesTheGeneratorsWhereATrialFailed(PlainBackend):
    def _undrawn(self, fn: Any) -> Any:
        state = random.getstate()
        returned = fn()
        random.setstate(state)
        return returned


@shelf.breaks("a_batch_that_was_placed_can_be_placed_again", *BY_HAND)
class ScalesWhatItPlaces(PlainBackend):
    def place(self, batch: Any) -> Any:
        return [(x / 2, y / 2) for x, y in batch]


@shelf.breaks("zero_grad_drops_what_is_there")
class DropsGradientsLater(PlainBackend):
    dropped = False

    def zero_grad(self, optimizer: Any) -> None:
        self.dropped = True

    def backward(self, loss: Any, *, sync: bool) -> None:
        if self.dropped:
            self.program.slopes, self.dropped = {}, False
        super().backward(loss, sync=sync)


@shelf.breaks("gradients_add_up_over_a_window")
class Overwrites(PlainBackend):
    def backward(self, loss: Any, *, sync: bool) -> None:
        self.program.slopes = {}
        super().backward(loss, sync=sync)


@shelf.breaks("gradients_add_up_over_a_window")
class DropsWhatIsNotAgreedOn(PlainBackend):
    def backward(self, loss: Any, *, sync: bool) -> None:
        if sync:
            super().backward(loss, sync=sync)


@shelf.breaks("backward_refuses_what_is_no_loss")
class DifferentiatesAnything(PlainBackend):
    def backward(self, loss: Any, *, sync: bool) -> None:
        if isinstance(loss, Loss):
            super().backward(loss, sync=sync)


@shelf.breaks("clipping_by_norm_keeps_the_direction")
class ClipsEachNumberByTheNorm(PlainBackend):
    def clip(self, optimizer: Any, value: Any, algorithm: str) -> Any:
        norm = super().clip(optimizer, 1e9, "norm")
        super().clip(optimizer, value, "value")
        return norm


@shelf.breaks("clipping_by_norm_keeps_the_direction")
class TellsTheNormAfterwards(PlainBackend):
    def clip(self, optimizer: Any, value: Any, algorithm: str) -> Any:
        norm = super().clip(optimizer, value, algorithm)
        return min(norm, value) if norm else norm


@shelf.breaks("clipping_by_norm_leaves_small_gradients_alone")
class StretchesSmallGradients(PlainBackend):
    def clip(self, optimizer: Any, value: Any, algorithm: str) -> Any:
        norm = super().clip(optimizer, value, algorithm)
        if norm and norm < value:
            for name in optimizer.line.slopes:
                optimizer.line.slopes[name] *= value / norm
        return norm


@shelf.breaks("clipping_by_value_cuts_each_number")
class CutsNumbersAboveAlone(PlainBackend):
    def clip(self, optimizer: Any, value: Any, algorithm: str) -> Any:
        if algorithm != "value" or value is None:
            return super().clip(optimizer, value, algorithm)
        slopes = optimizer.line.slopes
        slopes.update({name: min(value, slope) for name, slope in slopes.items()})
        return None


@shelf.breaks("a_step_changes_the_program_and_says_so")
class DeniesThatItStepped(PlainBackend):
    def step(self, optimizer: Any, closure: Any) -> Any:
        return super().step(optimizer, closure) if closure else not super().step(optimizer, None)


@shelf.breaks("a_step_calls_the_closure")
class StepsWithoutTheClosure(PlainBackend):
    def step(self, optimizer: Any, closure: Any) -> Any:
        return super().step(optimizer, None)


@shelf.breaks("a_step_that_is_skipped_changes_nothing")
class StepsThoughItSaysOtherwise(PlainBackend):
    def step(self, optimizer: Any, closure: Any) -> Any:
        stepped = super().step(optimizer, closure)
        if not stepped:
            optimizer.step()
        return stepped


@shelf.breaks("a_gradient_that_is_not_finite_is_named")
class NamesNothing(PlainBackend):
    def first_non_finite(self, optimizer: Any) -> Any:
        return super().first_non_finite(optimizer) is not None or None


@shelf.breaks("what_was_logged_is_read_in_order")
class ReadsInAnotherOrder(PlainBackend):
    def read(self, values: Any) -> Any:
        return super().read(values) if len(values) < 3 else super().read(values)[::-1]


@shelf.breaks("what_was_logged_is_read_in_order")
class ReadsIntegersAsTheyAre(PlainBackend):
    def read(self, values: Any) -> Any:
        return [value if isinstance(value, int) else float(value) for value in values]


@shelf.breaks("a_snapshot_has_the_parts_the_engine_looks_for")
class CapturesNumbersUnderAnotherName(PlainBackend):
    def capture(self, *, copy: bool = True) -> Any:
        state = super().capture(copy=copy)
        return {"generators": state.pop("rng"), **state}

    def restore(self, state: Any) -> None:
        super().restore({**state, **({"rng": g} if (g := state.get("generators")) else {})})


@shelf.breaks(
    "a_snapshot_is_not_changed_by_later_steps",
    "the_same_backend_goes_back_as_often_as_it_is_told",
)
class SharesTheOptimizersWithItsSnapshots(PlainBackend):
    def capture(self, *, copy: bool = True) -> Any:
        shared = super().capture(copy=False)
        return {**super().capture(copy=copy), "optimizers": shared["optimizers"]}


@shelf.breaks("a_snapshot_without_a_copy_says_the_same")
class CopiesOnlyWhatIsCopied(PlainBackend):
    def capture(self, *, copy: bool = True) -> Any:
        state = super().capture(copy=copy)
        return state if copy else {**state, "optimizers": []}


@shelf.breaks(
    "another_process_goes_on_to_the_same_bits",
    "the_same_backend_goes_back_as_often_as_it_is_told",
)
class ForgetsTheOptimizers(PlainBackend):
    def restore(self, state: Any) -> None:
        super().restore({**state, "optimizers": []})


@shelf.breaks("the_same_backend_goes_back_as_often_as_it_is_told")
class SharesTheProgramItRestores(PlainBackend):
    def restore(self, state: Any) -> None:
        super().restore(state)
        self.program.values = state["program"]


@shelf.breaks(
    "the_program_can_be_restored_before_there_are_optimizers",
    "another_process_goes_on_to_the_same_bits",  # where it is done so, too
    "weights_alone_leave_the_optimizers_as_they_are",
)
class RestoresOnlyWithOptimizers(PlainBackend):
    def restore(self, state: Any) -> None:
        if len(self.optimizers) != len(state["optimizers"]):
            raise ValueError("The state of another number of optimizers.")
        super().restore(state)


@shelf.breaks("weights_alone_leave_the_optimizers_as_they_are")
class ForgetsWhatASnapshotLacks(PlainBackend):
    def restore(self, state: Any) -> None:
        super().restore(state)
        if not state["optimizers"]:
            for optimizer in self.optimizers:
                optimizer.speed.update(dict.fromkeys(optimizer.speed, 0.0))


@shelf.breaks(
    "weights_can_be_restored_alone",
    "weights_alone_leave_the_optimizers_as_they_are",
)
class RestoresOnlyAll(PlainBackend):
    def restore(self, state: Any) -> None:
        super().restore({**state, "rng": state["rng"]})


@shelf.breaks(
    "random_generators_go_on_where_they_stood",
    "a_sanity_check_leaves_the_random_generators_as_they_were",  # goes back by restore
)
class LeavesTheGenerators(PlainBackend):
    def restore(self, state: Any) -> None:
        super().restore({name: part for name, part in state.items() if name != "rng"})


@shelf.breaks("a_rank_alone_skips_when_it_likes")
class WaitsForNobody(PlainBackend):
    def all_skip(self, *, pending: bool) -> bool:
        return pending


class Undoes(PlainBackend):
    """One of several ranks whose every forward is one of all."""

    deep = True

    def all_skip(self, *, pending: bool) -> bool:
        del pending
        return True

    @contextmanager
    def undone(self, parts: Any) -> Iterator[None]:
        before = [(part, vars(part).copy(), copy.deepcopy(vars(part))) for part in parts]
        yield
        for part, own, copied in before:
            vars(part).update(own)
            if self.deep:
                part.kept[:] = copied["kept"]


class TestUndoes(PlainKit):
    make = Undoes


@shelf.breaks("what_is_undone_leaves_the_program_as_it_was")
class UndoesTheSurface(Undoes):
    deep = False


@shelf.breaks("what_is_undone_leaves_the_program_as_it_was")
class UndoesNothing(PlainBackend):
    def undone(self, parts: Any) -> Any:
        del parts
        return nullcontext()


@pytest.mark.parametrize("broken", shelf.all, ids=lambda broken: broken.make.__name__)
def test_what_breaks_a_promise_fails_its_test(broken: Broken) -> None:
    found = failing(PlainKit, broken.make)
    assert set(found) == broken.fails, found


def test_what_lacks_a_method_is_no_backend() -> None:
    assert "test_it_has_what_the_port_has" in failing(PlainKit, object)


def test_every_other_promise_can_be_broken() -> None:
    assert set(promises(BackendConformance)) == {
        "test_it_has_what_the_port_has",
        *shelf.broken_promises,
    }

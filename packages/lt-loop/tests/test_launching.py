"""Runs in several processes: planned here and there, agreed on, and brought home."""

import os
import pickle
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from forked import Forked
from guarded import BAD, Looking
from toys import Line, batches, by_hand, make_trainer

from lt_loop import Callback, NothingLeftError, Trainer
from lt_loop.ports import Stream
from lt_loop.solo import DuckBackend, IterableFeed, NoStore

DATA = batches(6)

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    pytest.mark.timeout(60),
]


class Shared(IterableFeed):
    """Gives rank r every n-th batch of an evaluation, and everybody all of training's."""

    def open(self, loader: Any, *, phase: Any, world: Any) -> Stream:
        from lt_loop.solo import OneProcess

        if phase != "train":
            loader = loader[world.rank :: world.world_size]
        return super().open(loader, phase=phase, world=OneProcess())


def trainer(**words: Any) -> Trainer:
    return make_trainer(world=Forked(), feed=Shared(), **words)


class Seen(Callback):
    """Keeps something that it learns in the run, and lets it survive."""

    steps = 0
    pids: tuple[int, ...] = ()

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        self.steps += 1

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self.steps, "pid": os.getpid()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.steps, self.pid = state_dict["steps"], state_dict["pid"]


def test_a_fit_elsewhere_brings_home_what_a_caller_looks_at() -> None:
    seen, program = Seen(), Line()
    mine = trainer(max_epochs=2, callbacks=seen)

    result = mine.fit(program, DATA)

    assert program.weight.value == by_hand(DATA * 2)
    assert (result.reason, result.progress.steps) == ("max_epochs=2 reached", 12)
    assert mine.result == result
    assert (mine.progress.steps, seen.steps) == (12, 12)
    assert seen.pid != os.getpid()
    assert not mine.under_way


class Logging(Line):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.trainer.log("first", float(batch[0][0]), on_step=False, on_epoch=True, sync_dist=True)
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.trainer.log("val", float(batch[0][0]), sync_dist=True)
        self.trainer.log("most", float(batch[0][0]), reduce_fx="max", sync_dist=True)

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return batch[0][0]


@pytest.mark.parametrize("count", [4, 5, 1])
def test_an_evaluation_counts_each_batch_once(count: int) -> None:
    alone = make_trainer().validate(Logging(), DATA[:count])

    (table,) = trainer().validate(Logging(), DATA[:count])

    assert table == pytest.approx(alone[0])


def test_a_rank_without_a_batch_learns_what_the_others_saw() -> None:
    class Looks(Callback):
        def on_validation_end(self, trainer: Any, module: Any) -> None:
            told = trainer.ports.world.gather(dict(trainer.callback_metrics))
            assert told[1] == told[0] == {"val": DATA[0][0][0], "most": DATA[0][0][0]}

    trainer(callbacks=Looks()).validate(Logging(), DATA[:1])


def test_a_function_of_ones_own_stays_with_the_ranks_that_logged_it() -> None:
    class Own(Line):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.trainer.log("own", float(batch[0][0]), reduce_fx=lambda xs: xs[0], sync_dist=True)

    assert trainer().validate(Own(), DATA[:1]) == [{"own": DATA[0][0][0]}]


def test_a_state_is_not_to_be_had_after_a_run_elsewhere() -> None:
    mine = trainer(max_epochs=1)
    mine.fit(Line(), DATA)

    with pytest.raises(RuntimeError, match="processes that the trainer had started have ended"):
        mine.capture()


def test_predictions_of_all_ranks_come_home_in_turn() -> None:
    assert trainer().predict(Logging(), DATA[:5]) == [batch[0][0] for batch in DATA[:5]]


def test_what_ends_one_rank_is_raised_here() -> None:
    class Failing(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if batch_idx == 2:
                raise ArithmeticError("of my own")
            return super().training_step(batch, batch_idx)

    with pytest.raises(ArithmeticError, match="of my own"):
        trainer(max_epochs=1).fit(Failing(), DATA)


def test_a_run_that_failed_elsewhere_is_the_last_one() -> None:
    class Failing(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise ArithmeticError("of my own")

    mine = trainer(max_epochs=1)
    mine.fit(Line(), DATA)
    with pytest.raises(ArithmeticError):
        mine.fit(failing := Failing(), DATA)

    assert mine.result is not None
    assert mine.result.reason == "ArithmeticError: of my own"
    assert mine.lightning_module is failing
    assert not mine.under_way


class StopsOnRank1(Callback):
    def __init__(self, at: int) -> None:
        self.at = at

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_rank == 1 and trainer.progress.batches == self.at:
            trainer.stop("rank 1 has seen enough")


@pytest.mark.parametrize(("at", "steps"), [(2, 3), (3, 4), (6, 6), (8, 9)])
def test_what_one_rank_asks_for_all_do_at_the_same_step(at: int, steps: int) -> None:
    """One step later, because nobody waits for the answer; at once at the end of an epoch."""
    result = trainer(max_epochs=3, callbacks=StopsOnRank1(at)).fit(Line(), DATA)

    assert (result.reason, result.progress.steps) == ("rank 1 has seen enough", steps)


@pytest.mark.parametrize("words", [{}, {"val_check_interval": 4}])
def test_all_validate_where_one_rank_asks_for_the_end(words: dict[str, Any]) -> None:
    """An early stop validates once more: all of them do, or those that do wait for the others."""
    seen: list[list[int]] = []

    class Validating(Logging):
        def on_validation_end(self) -> None:
            seen.append(self.trainer.ports.world.gather(self.trainer.progress.batches))
            assert seen == [[3, 3]]

        def on_train_end(self) -> None:
            assert len(seen) == 1

    mine = trainer(max_epochs=3, callbacks=StopsOnRank1(2), num_sanity_val_steps=0, **words)
    result = mine.fit(Validating(), DATA, DATA)

    assert (result.reason, result.progress.steps) == ("rank 1 has seen enough", 3)


def test_a_rank_that_is_told_to_end_ends_all() -> None:
    import signal

    from lt_loop import Preempted

    class Told(Line):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if self.trainer.global_rank == 1 and self.trainer.progress.batches == 3:
                signal.raise_signal(signal.SIGTERM)
            return super().training_step(batch, batch_idx)

    with pytest.raises(Preempted) as caught:
        trainer(max_epochs=3).fit(Told(), DATA)

    assert caught.value.code == 143


class Together(DuckBackend):
    """Counts forward passes, of which all ranks must make the same number."""

    collective_forward = True
    count = 0

    def wrap_step(self, fn: Any, phase: Any) -> Any:
        if phase != "validate":
            return fn

        def counted(*arguments: Any) -> Any:
            self.count += 1
            return fn(*arguments)

        return counted


def test_ranks_without_a_batch_run_forward_for_the_others_and_count_nothing() -> None:
    counts: list[list[int]] = []

    class Told(Callback):
        def on_validation_end(self, trainer: Any, module: Any) -> None:
            counts.append(trainer.ports.world.gather(trainer.ports.backend.count))
            assert counts[-1] == [3, 3]

    alone = make_trainer().validate(Logging(), DATA[:5])
    mine = make_trainer(world=Forked(), feed=Shared(), backend=Together(), callbacks=Told())

    (table,) = mine.validate(Logging(), DATA[:5])

    assert table == pytest.approx(alone[0])


class Noting(Together):
    """Says what it is asked to put back, and puts nothing back."""

    def __init__(self) -> None:
        self.asked: list[Any] = []

    @contextmanager
    def undone(self, parts: Any) -> Iterator[None]:
        self.asked += parts
        yield
        self.asked.append("put back")


@pytest.mark.parametrize("count", [1, 5])
def test_what_a_repeated_step_leaves_behind_is_put_back_by_the_backend(count: int) -> None:
    told: list[Any] = []

    class Scored(Logging):
        def __init__(self) -> None:
            super().__init__()
            self.metric = Seen()
            self.steps: list[Any] = []

        def on_validation_batch_start(self, batch: Any, batch_idx: int) -> None:
            self.steps.append("hook")

        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            self.trainer.log("metric", self.metric)
            self.steps.append((batch_idx, self.trainer.is_repeated_batch))
            return super().validation_step(batch, batch_idx)

        def on_validation_end(self) -> None:
            mine = self.steps, [repr(part) for part in self.trainer.ports.backend.asked]
            told.extend(self.trainer.ports.world.gather(mine))
            own = [(index, False) for index in range((count + 1) // 2)]
            assert told[0] == ([part for one in own for part in ("hook", one)], [])
            assert told[1][0][-1] == (max(count // 2 - 1, 0), True)
            assert told[1][0].count("hook") == count // 2
            metric = [] if count == 1 else ["metric"]
            assert told[1][1] == ["program", *metric, "'put back'"]
            assert self.trainer.is_repeated_batch is False

        def __repr__(self) -> str:
            return "program"

    class Seen:
        def compute(self) -> float:
            return 1.0

        def reset(self) -> None:
            pass

        def __repr__(self) -> str:
            return "metric"

    alone = make_trainer().validate(Logging(), DATA[:count])
    (table,) = make_trainer(world=Forked(), feed=Shared(), backend=Noting()).validate(
        Scored(), DATA[:count]
    )
    assert table == pytest.approx(alone[0] | {"metric": 1.0})


class Unsized:
    """An iterable without a length."""

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def __getitem__(self, index: slice) -> "Unsized":
        return self


@pytest.mark.parametrize("backend", [DuckBackend, Together])
@pytest.mark.parametrize("loader", [[], Unsized()], ids=["sized", "unsized"])
def test_an_evaluation_of_nothing_is_refused_by_all(backend: Any, loader: Any) -> None:
    with pytest.raises(ValueError, match="A validate loader must yield batches") as alone:
        make_trainer(backend=backend()).validate(Logging(), loader)
    with pytest.raises(ValueError, match="A validate loader must yield batches") as several:
        make_trainer(world=Forked(), feed=Shared(), backend=backend()).validate(Logging(), loader)
    assert str(several.value) == str(alone.value)


def test_a_loop_of_ones_own_is_refused_where_it_would_run_elsewhere() -> None:
    with pytest.raises(RuntimeError, match="A loop of your own runs in the processes it is in"):
        trainer().steps(Line(), DATA)


def test_whatever_is_wrong_is_said_before_a_process_starts() -> None:
    class Unstarted(Forked):
        def launch(self, main: Any) -> Any:
            sys.exit("started")

    with pytest.raises(ValueError, match="needs a train loader"):
        make_trainer(world=Unstarted()).fit(Line())


class Meeting:
    """A metric object that reduces over ranks itself, as torchmetrics' do."""

    sync_on_compute = True

    def compute(self) -> float:
        raise AssertionError("it would wait for a rank that does not come")

    def reset(self) -> None: ...


def test_a_metric_that_a_rank_without_a_batch_does_not_log_is_refused() -> None:
    metric = Meeting()

    class Measuring(Line):
        def validation_step(self, batch: Any, batch_idx: int) -> None:
            self.trainer.log("accuracy", metric)

    with pytest.raises(RuntimeError, match="accuracy from rank 0 alone and not from rank 1"):
        trainer().validate(Measuring(), DATA[:1])


class Ranked(NoStore):
    """Keeps for each rank what is its own, and the rest of rank 0."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, state: Any, name: str, *, metrics: Any = None, world: Any = None) -> None:
        (self.folder / f"{name}-{world.rank}").write_bytes(pickle.dumps(state))
        world.barrier()

    def load(self, name: str, *, world: Any = None) -> Any:
        state, mine = (
            pickle.loads((self.folder / f"{name}-{rank}").read_bytes()) for rank in (0, world.rank)
        )
        for *path, last in state["per_rank"]:
            there, here = state, mine
            for key in path:
                there, here = there[key], here[key]
            if last in here:
                there[last] = here[last]
        return state


class Patient(Callback):
    """Rank 1 wants to stop from the first epoch on; the end is saved."""

    def __init__(self, *, asks: bool) -> None:
        self.asks = asks

    def on_train_batch_end(
        self, trainer: Any, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if self.asks and trainer.global_rank == 1 and trainer.current_epoch == 0:
            trainer.stop("rank 1 has seen enough")

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        if self.asks:
            trainer.save_checkpoint("end")


def test_a_stop_that_rank_1_waits_for_survives(tmp_path: Path) -> None:
    """Of two ranks, one has asked to stop, and min_epochs holds it back beyond a checkpoint."""
    words: dict[str, Any] = {"min_epochs": 4, "store": Ranked(tmp_path)}
    first = trainer(max_epochs=9, max_steps=12, callbacks=Patient(asks=True), **words)
    first.fit(Line(), DATA)
    assert first.progress.epoch == 2

    second = trainer(max_epochs=9, callbacks=Patient(asks=False), **words)
    result = second.fit(Line(), DATA, ckpt_path="end")
    assert (result.reason, result.progress.epoch) == ("rank 1 has seen enough", 4)

    words["min_epochs"] = 1
    with pytest.raises(NothingLeftError, match="Received rank 1 has seen enough and a state"):
        trainer(max_epochs=9, **words).fit(Line(), DATA, ckpt_path="end")


class Worse(Line):
    """Has a loss that is no number in batch 3, on one rank or on both."""

    def __init__(self, bad: tuple[int, ...]) -> None:
        super().__init__()
        self.bad = bad

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        is_bad = batch_idx == 3 and self.trainer.global_rank in self.bad
        return self.loss(BAD if is_bad else batch)


@pytest.mark.parametrize(
    ("bad", "who"), [((1,), "The loss of rank 1 and"), ((0, 1), "The losses of ranks 0 and 1 and")]
)
def test_a_loss_that_is_not_finite_is_told_with_its_ranks(bad: tuple[int, ...], who: str) -> None:
    looking = make_trainer(
        world=Forked(), feed=Shared(), backend=Looking(), on_nonfinite="raise", max_epochs=1
    )
    with pytest.raises(FloatingPointError, match=f"{who} the gradient of weight are not finite"):
        looking.fit(Worse(bad), DATA)


class Logs(Line):
    """Logs for the loggers, for the bar, and for neither."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.trainer.log("both", float(batch_idx), on_step=True, on_epoch=True)
        self.trainer.log("bar", 2.0, logger=False, prog_bar=True)
        self.trainer.log("neither", 3.0, logger=False)
        return loss


@pytest.mark.parametrize("table", ["callback_metrics", "logged_metrics", "progress_bar_metrics"])
def test_each_table_of_what_was_logged_comes_home_as_it_is_in_one_process(table: str) -> None:
    here, there = make_trainer(max_epochs=1), trainer(max_epochs=1)
    here.fit(Logs(), DATA)
    there.fit(Logs(), DATA)

    expected = getattr(here, table)
    assert expected
    assert getattr(there, table) == expected

"""Which state ``ckpt_path`` means, when it is saved, and what a run that goes on finds."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from toys import Calling, Halving, Line, Sgd, Stream, batches, by_hand, make_trainer

from lt_loop import Callback
from lt_loop.checkpoints import Restarted, find_state
from lt_loop.solo import DuckBackend, NoStore, OneProcess

DATA = batches(6)


class Shelf(NoStore):
    """Keeps states in memory."""

    def __init__(self) -> None:
        self.states: dict[str, Any] = {}
        self.metrics: dict[str, Any] = {}

    def save(self, state: Mapping[str, Any], name: str, *, metrics: Any, world: Any) -> None:
        self.states[name], self.metrics[name] = state, metrics

    def load(self, name: str, *, world: Any = None) -> Mapping[str, Any]:
        if name not in self.states:
            raise LookupError(f"no {name}")
        return self.states[name]


class Keeper(Callback):
    """Knows the newest and the best."""

    role = "checkpoint"

    def __init__(self, **known: str) -> None:
        self.known = known

    def resolve(self, which: str) -> str | None:
        return self.known.get(which)


def found(asked: Any, *callbacks: Callback, store: Any = None, new: bool = True) -> Any:
    return find_state(
        asked,
        callbacks=callbacks,
        store=store or Shelf(),
        world=OneProcess(),
        may_be_missing=new,
    )


def test_a_run_that_was_started_again_goes_on_from_its_newest_or_from_where_it_began() -> None:
    shelf = Shelf()
    shelf.states = {name: {"is": name} for name in ("given", "new", "last")}

    assert found(Restarted("given"), Keeper(last="new"), store=shelf) == {"is": "new"}
    assert found(Restarted("given"), Keeper(), store=shelf) == {"is": "given"}
    assert found(Restarted("given"), store=shelf) == {"is": "given"}
    assert found(Restarted(None), Keeper(), store=shelf) is None


def test_names_are_the_stores_and_last_and_best_the_callbacks() -> None:
    shelf = Shelf()
    shelf.states = {name: {"is": name} for name in ("a", "b/c", "new", "last")}

    assert found(None) is None
    assert found("a", store=shelf) == {"is": "a"}
    assert found(Path("b/c"), store=shelf) == {"is": "b/c"}
    assert found("last", Callback(), Keeper(), Keeper(last="new"), store=shelf) == {"is": "new"}
    assert found("last", store=shelf) == {"is": "last"}  # without a callback: the store's own


def test_the_first_run_of_many_starts_without_the_last_one_and_says_so() -> None:
    with pytest.warns(UserWarning, match="it starts from the beginning"):
        assert found("last", Keeper()) is None
    with pytest.raises(LookupError, match="'last' means the newest checkpoint"):
        found("last", Keeper(), new=False)
    with pytest.raises(LookupError, match="'best' means the best checkpoint"):
        found("best", Keeper())


def test_hooks_may_change_the_state_they_are_handed_and_not_the_one_that_was_passed() -> None:
    class Renaming(Line):
        def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
            checkpoint["state_dict"]["value"] = checkpoint["state_dict"].pop("old")

        def load_state_dict(self, state: Any) -> None:
            self.weight.value = state["value"]

        def state_dict(self) -> Any:
            return {"old": self.weight.value}

    first = make_trainer(max_epochs=1)
    first.fit(Renaming(), DATA)
    state = first.capture()

    for _ in range(2):
        program = Renaming()
        make_trainer(max_epochs=2).fit(program, DATA, ckpt_path=state)
        assert program.weight.value == by_hand(DATA, epochs=2)
    assert list(state["state_dict"]) == ["old"]


# --- when it is saved


def test_safe_points_come_after_each_step_and_the_end_of_its_epoch() -> None:
    calls: list[str] = []
    hooks = ("on_safe_point", "on_train_batch_end", "on_train_epoch_end", "on_train_end")
    told = [Calling(hook, lambda _, hook=hook: calls.append(hook)) for hook in hooks]
    make_trainer(max_epochs=1, accumulate_grad_batches=2, callbacks=told).fit(Line(), DATA[:4])

    assert calls == [
        *("on_train_batch_end", "on_train_batch_end", "on_safe_point"),
        *("on_train_batch_end", "on_train_batch_end", "on_train_epoch_end", "on_safe_point"),
        "on_train_end",
    ]


@pytest.mark.parametrize("stop", range(1, 12))
def test_what_is_saved_there_goes_on_to_the_same_weight(stop: int) -> None:
    shelf, expected = Shelf(), by_hand(DATA, epochs=2)

    def save(trainer: Any) -> None:
        assert trainer.at_safe_point
        trainer.save_checkpoint(f"step={trainer.global_step}")

    saving = Calling("on_safe_point", save)
    make_trainer(max_epochs=2, callbacks=saving, store=shelf).fit(Line(), Stream(DATA))
    program = Line()
    again = make_trainer(max_epochs=2, store=shelf)
    again.fit(program, Stream(DATA), ckpt_path=f"step={stop}")

    assert program.weight.value == expected


def test_weights_alone_can_be_evaluated_and_not_gone_on_from() -> None:
    shelf, program = Shelf(), Line()
    first = make_trainer(max_epochs=1, store=shelf)
    first.fit(program, DATA)
    first.save_checkpoint(Path("w"), weights_only=True)

    assert set(shelf.states["w"]) == {
        *("format", "epoch", "global_step", "state_dict", "hyper_parameters")
    }
    second, expected = make_trainer(store=shelf), first.validate(program, DATA)
    assert second.validate(Line(), DATA, ckpt_path="w") == expected
    assert (second.current_epoch, second.global_step) == (1, 6)
    with pytest.raises(ValueError, match="Received one that holds weights only"):
        make_trainer(store=shelf).fit(Line(), DATA, ckpt_path="w")


def test_an_evaluation_restores_weights_and_nothing_else() -> None:
    restored: list[Any] = []

    class Telling(DuckBackend):
        def restore(self, state: Mapping[str, Any]) -> None:
            restored.append(dict(state))
            super().restore(state)

    trainer, program = make_trainer(max_epochs=1, backend=Telling()), Line()
    trainer.fit(program, DATA)
    best = {**trainer.capture(), "state_dict": Line(3.0).state_dict()}

    expected = make_trainer().validate(Line(3.0), DATA)
    assert trainer.validate(program, DATA, ckpt_path=best) == expected
    assert restored == [{"program": {"slope": 3.0}, "optimizers": []}]


def test_what_a_store_can_not_be_told_is_refused() -> None:
    trainer = make_trainer(max_epochs=1, store=Shelf())
    trainer.fit(Line(), DATA)
    with pytest.raises(ValueError, match="takes no storage_options"):
        trainer.save_checkpoint("x", storage_options={"key": 1})  # type: ignore[arg-type]


# --- what a run that goes on finds


def test_optimizers_are_made_for_the_weights_and_counts_of_the_state() -> None:
    seen: list[Any] = []

    class Looking(Line):
        def configure_optimizers(self) -> Any:
            seen.append((self.weight.value, self.trainer.global_step, self.trainer.current_epoch))
            return super().configure_optimizers()

        def on_fit_start(self) -> None:
            seen.append((self.weight.value, self.trainer.global_step, self.trainer.current_epoch))

    first = make_trainer(max_epochs=1)
    first.fit(Line(), DATA)
    make_trainer(max_epochs=2).fit(Looking(), DATA, ckpt_path=first.capture())

    assert seen == [(by_hand(DATA), 6, 1)] * 2


def test_the_backend_is_set_up_for_the_program_and_then_for_its_optimizers() -> None:
    calls: list[str] = []

    class Told(DuckBackend):
        def setup(self, program: Any, optimizers: Any) -> Any:
            calls.append(f"setup {len(optimizers)}")
            return super().setup(program, optimizers)

    class Program(Line):
        def configure_optimizers(self) -> Any:
            calls.append("configure_optimizers")
            return super().configure_optimizers()

    make_trainer(backend=Told(), max_epochs=1).fit(Program(), DATA)

    assert calls == ["setup 0", "configure_optimizers", "setup 1"]


def test_only_batches_that_close_their_window_are_wrapped_to_agree() -> None:
    phases: list[str] = []

    class Told(DuckBackend):
        def wrap_step(self, fn: Any, phase: Any) -> Any:
            if phase not in ("train", "accumulate"):
                return fn
            return lambda batch, index: phases.append(phase) or fn(batch, index)

    make_trainer(backend=Told(), max_epochs=1, accumulate_grad_batches=3).fit(Line(), DATA[:5])

    assert phases == ["accumulate", "accumulate", "train", "accumulate", "train"]


class Counting:
    """A metric object, as torchmetrics has them."""

    def __init__(self) -> None:
        self.total, self._update_count, self._computed = 0.0, 0, None

    @property
    def metric_state(self) -> dict[str, Any]:
        return {"total": self.total}

    def update(self, value: float) -> None:
        self.total += value
        self._update_count += 1

    def compute(self) -> float:
        assert self._update_count
        return self.total

    def reset(self) -> None:
        self.__init__()  # type: ignore[misc]


class Measuring(Line):
    """Has a metric among its modules, and keeps what its steps returned."""

    def __init__(self) -> None:
        super().__init__()
        self.metric = Counting()
        self.epochs: list[Any] = []

    def named_modules(self) -> Any:
        yield "", self
        yield "metric", self.metric

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.metric.update(batch[0][0])
        self.trainer.log("total", self.metric, on_step=False, on_epoch=True)
        return super().training_step(batch, batch_idx)

    def training_epoch_end(self, outputs: Any) -> None:
        self.epochs.append([float(output["loss"]) for output in outputs])


@pytest.mark.parametrize("stop", [1, 4, 6, 8])
def test_what_an_epoch_has_seen_survives_in_the_midst_of_it(stop: int) -> None:
    whole, expected = make_trainer(max_epochs=2), Measuring()
    whole.fit(expected, DATA)

    first = make_trainer(max_epochs=2)
    for progress in first.steps(Measuring(), DATA):
        if progress.steps == stop:
            break
    rest, program = make_trainer(max_epochs=2), Measuring()
    rest.fit(program, DATA, ckpt_path=first.capture())

    assert rest.callback_metrics == whole.callback_metrics
    assert program.epochs == expected.epochs[-len(program.epochs) :]


def test_a_callback_may_change_the_limits_of_its_run() -> None:
    class Pairs(Callback):
        def plan_limits(self, limits: Any) -> Any:
            import dataclasses

            return dataclasses.replace(limits, accumulate_grad_batches=2)

    seen: list[int] = []
    look = Calling("on_train_start", lambda t: seen.append(t.accumulate_grad_batches))
    program, trainer = Line(), make_trainer(max_epochs=1, callbacks=[Pairs(), look])
    trainer.fit(program, DATA)

    assert program.weight.value == by_hand(DATA, accumulate=2)
    assert (seen, trainer.accumulate_grad_batches) == ([2], 1)


def test_schedules_go_on_where_they_were() -> None:
    class Scheduled(Line):
        def configure_optimizers(self) -> Any:
            optimizer = Sgd(self.weight)
            return [optimizer], [{"scheduler": Halving(optimizer), "interval": "step"}]

    first = make_trainer(max_epochs=1)
    for progress in first.steps(Scheduled(), DATA):
        if progress.steps == 3:
            break
    state = first.capture()
    program = Scheduled()
    make_trainer(max_epochs=1).fit(program, DATA, ckpt_path=state)

    assert state["lr_schedulers"] == [{"steps": 3}]
    assert program.weight.value == by_hand(DATA, halve_each_step=True)


class Prefetching(DuckBackend):
    """Reads one batch ahead, as a GPU's backend does."""

    prefetches = True
    pulled = 0

    def prefetch(self, batches: Any) -> Any:
        before: list[Any] = []
        for batch in batches:
            self.pulled += 1
            if before:
                yield before.pop()
            before.append(batch)
        yield from before


@pytest.mark.parametrize("limit", [1.0, 4])
@pytest.mark.parametrize("stop", [1, 3, 4, 5, 9])
def test_a_position_is_the_programs_where_batches_are_read_ahead(stop: int, limit: Any) -> None:
    words = {"max_epochs": 3, "limit_train_batches": limit}
    whole, backend = Line(), Prefetching()
    make_trainer(backend=backend, **words).fit(whole, DATA)
    assert whole.weight.value == by_hand(DATA[: 4 if limit == 4 else 6], epochs=3)
    assert backend.pulled == 3 * (4 if limit == 4 else 6)

    first, program = make_trainer(backend=Prefetching(), **words), Line()
    for progress in first.steps(Line(), DATA):
        if progress.steps == stop:
            break
    state = first.capture()
    make_trainer(backend=Prefetching(), **words).fit(program, DATA, ckpt_path=state)

    assert state["loops"]["feed"]["train"][0]["batch"] == (state["loops"]["progress"]["batch"] or 4)
    assert program.weight.value == whole.weight.value

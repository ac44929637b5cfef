"""The logbook: what ``log`` was told, kept where it was computed until somebody wants numbers.

A value logged in a step costs one dictionary look-up. Values that are no floats yet (tensors on a
GPU, say) stay on their device and become numbers together, by ``Backend.read``: every
``log_every_n_steps`` optimizer steps, at the end of an epoch, or when a progress bar draws itself.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from lt_loop.batches import batch_size_of
from lt_loop.entries import (
    Entry,
    Flags,
    MetricEntry,
    Scalar,
    ScalarEntry,
    check_number,
    definite,
    is_metric,
)
from lt_loop.hooks import Bound
from lt_loop.ports import Backend, World

Place = Literal["training_step", "evaluation_step", "epoch"]
"""Where ``log`` is called: in a step or the hooks around it, or in a hook around the epoch."""

Name = tuple[Place, str]


class Page:
    """The entries of one loop: training, or one evaluation.

    The engine says where the program is (:meth:`enter`) and which batch it has (``batch``).
    """

    def __init__(self) -> None:
        """Open an empty page."""
        self.entries: dict[Name, Entry] = {}
        self.batch: Any = None
        self.batch_size: float | None = None
        self.restored: dict[Name, Any] = {}
        self._known: dict[tuple[Place, int | None], dict[Any, Entry]] = {}
        self.enter("epoch")

    def enter(self, place: Place, dataloader_idx: int | None = None) -> None:
        """Say where ``log`` is called from next; its defaults depend on it."""
        self._place, self._dataloader_idx = place, dataloader_idx
        self.known = self._known.setdefault((place, dataloader_idx), {})
        self.batch = self.batch_size = None

    def beside(self) -> "Page":
        """Return an empty page for the same place."""
        page = Page()
        page.enter(self._place, self._dataloader_idx)
        return page

    def entry(self, key: Any, value: Any) -> Entry:
        """Return the entry for a call of ``log`` not seen before in this place.

        Raises:
            TypeError: the name is no string or the value no number.
            ValueError: the flags contradict each other or an earlier call.
        """
        flags = definite(
            key,
            training_step=self._place == "training_step",
            in_step=self._place != "epoch",
            dataloader_idx=self._dataloader_idx,
        )
        name = (self._place, flags.full)
        entry = self.entries.get(name)
        if entry is None:
            entry = self.entries[name] = self._new(flags, value)
        elif not entry.flags.agrees(flags):
            raise ValueError(_contradiction(entry.flags, flags))
        if entry.flags == flags:
            self.known[key] = entry
        return entry

    def _new(self, flags: Flags, value: Any) -> Entry:
        if is_metric(value):
            return MetricEntry(flags, self._dataloader_idx, value)
        check_number(flags.name, value)
        entry = ScalarEntry(flags, self._dataloader_idx)
        if partial := self.restored.pop((self._place, flags.full), None):
            entry.load_state_dict(partial)
        return entry

    def revive(self) -> None:
        """Take up restored sums of names that were not logged again: their epoch ends too."""
        for name, partial in self.restored.items():
            if partial["flags"]:
                entry = self.entries[name] = ScalarEntry(
                    Flags(**partial["flags"]), partial["loader"]
                )
                entry.load_state_dict(partial)
        self.restored.clear()

    def weight(self) -> float:
        """Return the size of the batch under way, 1 where there is none."""
        if self.batch_size is None:
            self.batch_size = 1 if self.batch is None else batch_size_of(self.batch)
        return self.batch_size

    def reset(self) -> None:
        """Begin a new epoch."""
        for entry in self.entries.values():
            entry.reset()
        self.restored.clear()

    def forget(self) -> None:
        """Be as before the first call of ``log``, so that restored sums are taken up again."""
        self.reset()
        self.entries.clear()
        self._known.clear()
        self.enter("epoch")


def out_of_place(name: str) -> RuntimeError:
    """Return the error of a value that is logged where there is nothing it could belong to."""
    return RuntimeError(
        "A value is logged in a step, or in a hook around a batch or an epoch. Received "
        f"log({name!r}) in a hook where neither is under way, or in one of predict. Log it "
        "elsewhere, or write to the logger itself: trainer.logger."
    )


class Logbook:
    """All that was logged in one run, and the tables others read.

    Attributes:
        page: where ``log`` writes now, or None where a value has no place.
        training: the page of the training loop.
    """

    def __init__(self, backend: Backend, world: World, on_log: Bound) -> None:
        """Make an empty logbook that hands numbers to the loggers' ``on_log``."""
        self.page: Page | None = None
        self.training = Page()
        self._backend, self._world, self._on_log = backend, world, on_log
        self._callback: dict[str, Scalar] = {}
        self._logged: dict[str, Scalar] = {}
        self._bar: dict[str, Scalar] = {}

    def log(self, name: str, value: Any, batch_size: int | None, flags: tuple[Any, ...]) -> None:
        """Take in one value; ``flags`` are those of ``log`` in the order of its arguments."""
        page = self.page
        if page is None:
            raise out_of_place(name)
        key = (name, *flags)
        try:
            entry = page.known.get(key) or page.entry(key, value)
        except TypeError:  # a name that can't be looked up is none
            entry = page.entry(key, value)
        if type(value) is int:
            value = float(value)
        elif type(value) is not float:
            if detach := getattr(value, "detach", None):
                value = detach()  # the graph behind it would live as long as the value
            elif not is_metric(value):
                check_number(name, value)
        weight = 1.0
        if entry.weighted:
            weight = page.weight() if batch_size is None else batch_size
        entry.add(value, weight, self._backend)

    def end_step(self, page: Page, *, epoch: int, step: int) -> None:
        """Hand the values logged since the last time to the loggers, as those of this step."""
        if not self._on_log:
            return
        fresh = [e for e in page.entries.values() if e.fresh and e.flags.on_step]
        self._send(self._publish(fresh, self._last(fresh), on_step=True), epoch, step)
        for entry in fresh:
            entry.fresh = False

    def settle(self, page: Page) -> tuple[list[Entry], list[Scalar]]:
        """Reduce a page's epoch values and write them into the tables, over those of its steps."""
        page.revive()
        self._catch_up(page)
        for entry in page.entries.values():
            entry.last = None
        self._exchange(page)
        results = [
            (entry, result)
            for entry in page.entries.values()
            if entry.flags.on_epoch and (result := entry.result(self._backend)) is not None
        ]
        entries = [entry for entry, _ in results]
        values = [Scalar(result) for _, result in results]
        self._publish(entries, values, on_step=False)
        return entries, values

    def end_epoch(
        self, page: Page, *, epoch: int, step: int, loaders: int = 1
    ) -> list[dict[str, float]]:
        """Reduce a page's epoch values and hand them to the loggers.

        Returns:
            What the loggers got: one table for each loader; values logged outside any of them stand
            in every table.
        """
        entries, values = self.settle(page)
        self._send(self._publish(entries, values, on_step=False), epoch, step)
        tables: list[dict[str, float]] = [{} for _ in range(loaders)]
        for entry, value in zip(entries, values, strict=True):
            for index, table in enumerate(tables):
                if entry.flags.logger and entry.loader in (index, None):
                    table[entry.flags.spelled(on_step=False)] = float(value)
        return tables

    def _exchange(self, page: Page) -> None:
        """Tell every rank what the others summed up under each name, all names at once.

        A rank that logged a name nobody else did waits for nobody, and one that did not, as it had
        no batch, learns the value too: what looks at it does the same on all.
        """
        if self._world.world_size == 1:
            return
        own = {
            name: (_sendable(entry.flags), entry.loader, entry.partial(self._backend))
            for name, entry in page.entries.items()
            if isinstance(entry, ScalarEntry) and entry.flags.sync_dist and entry.flags.on_epoch
        }
        metrics = [name for name, entry in page.entries.items() if entry.meets_ranks]
        gathered = self._world.gather((own, sorted(metrics)))
        for rank, (_, theirs) in enumerate(gathered):
            if theirs != gathered[0][1]:
                raise _not_everywhere(rank, theirs, gathered[0][1])
        ranks = [rank for rank, _ in gathered]
        told = {name: words for rank in ranks for name, words in rank.items()}
        for name, (flags, loader, _) in told.items():
            if name not in page.entries and flags is not None:
                page.entries[name] = ScalarEntry(flags, loader)
            elif name not in own:
                continue
            entry = page.entries[name]
            assert isinstance(entry, ScalarEntry)
            entry.combine([rank[name][2] for rank in ranks if name in rank])

    @contextmanager
    def closed(self) -> Iterator[None]:
        """Let nobody log inside."""
        page, self.page = self.page, None
        try:
            yield
        finally:
            self.page = page

    @contextmanager
    def on_trial(self) -> Iterator[None]:
        """Keep what is logged inside from the loggers and the tables."""
        on_log, self._on_log = self._on_log, ()
        tables = self._callback, self._logged, self._bar
        self._callback, self._logged, self._bar = {}, {}, {}
        try:
            yield
        finally:
            self._on_log = on_log
            self._callback, self._logged, self._bar = tables

    def _last(self, entries: Iterable[Entry]) -> list[Scalar]:
        return [Scalar(number) for number in self._backend.read([e.last for e in entries])]

    def _publish(
        self, entries: Iterable[Entry], values: Iterable[Scalar], *, on_step: bool
    ) -> dict[str, float]:
        """Write values into the tables; return those meant for the loggers."""
        logged: dict[str, float] = {}
        for entry, value in zip(entries, values, strict=True):
            flags, name = entry.flags, entry.flags.spelled(on_step=on_step)
            self._callback[flags.full] = self._callback[name] = value
            if flags.prog_bar:
                self._bar[name] = value
            if flags.logger:
                self._logged[name] = value
                logged[name] = float(value)
        return logged

    def _send(self, metrics: dict[str, float], epoch: int, step: int) -> None:
        if "step" in metrics:  # logged under this name, it is where the others stand
            metrics = dict(metrics)
            step = int(metrics.pop("step"))
        if metrics:
            for on_log in self._on_log:
                on_log({**metrics, "epoch": epoch}, step)

    def _catch_up(self, page: Page) -> None:
        """Write the newest value of each name logged in steps into the tables."""
        entries = [
            entry
            for entry in page.entries.values()
            if entry.flags.on_step and entry.last is not None
        ]
        self._publish(entries, self._last(entries), on_step=True)

    @property
    def published(self) -> dict[str, float]:
        """All values by name that are numbers already. Reading waits for nothing."""
        return {name: float(value) for name, value in self._callback.items()}

    @property
    def callback_metrics(self) -> dict[str, Scalar]:
        """All values by name, the newest of each. Reading waits for the device."""
        self._catch_up(self.training)
        return dict(self._callback)

    @property
    def logged_metrics(self) -> dict[str, Scalar]:
        """The values that went, or would go, to loggers."""
        self._catch_up(self.training)
        return dict(self._logged)

    @property
    def progress_bar_metrics(self) -> dict[str, Scalar]:
        """The values logged with ``prog_bar=True``. Reading waits for the device."""
        self._catch_up(self.training)
        return dict(self._bar)

    def shown(self) -> list[dict[str, float]]:
        """Return the tables that callers look at, as numbers: for :meth:`take_in` elsewhere."""
        self._catch_up(self.training)
        tables = (self._callback, self._logged, self._bar)
        return [{name: float(value) for name, value in table.items()} for table in tables]

    def take_in(self, shown: Sequence[Mapping[str, float]]) -> None:
        """Show what the logbook of a run in another process showed at its end."""
        tables = [{name: Scalar(value) for name, value in table.items()} for table in shown]
        self._callback, self._logged, self._bar = tables

    def state_dict(self) -> dict[str, Any]:
        """Return the partial sums of the training epoch under way, and the newest values."""
        sums = {
            name: entry.state_dict(self._backend)
            for name, entry in self.training.entries.items()
            if isinstance(entry, ScalarEntry) and entry.flags.on_epoch
            if name[0] != "epoch"  # the hook that logs it is called again
        }
        return {
            "epoch_sums": [
                {"place": place, "name": name, **partial}
                for (place, name), partial in (self.training.restored | sums).items()
            ],
            "callback_metrics": {name: float(v) for name, v in self.callback_metrics.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put them back; a partial sum waits for its name to be logged again."""
        self.training.restored = {(p["place"], p["name"]): p for p in state["epoch_sums"]}
        self._callback = {name: Scalar(v) for name, v in state["callback_metrics"].items()}


def _sendable(flags: Flags) -> Flags | None:
    """Return flags that another rank can have; None for those with a function, which is no data."""
    return None if callable(flags.reduce_fx) else flags


def _not_everywhere(rank: int, mine: list[Name], of_first: list[Name]) -> RuntimeError:
    only = ", ".join(sorted({name for _, name in {*mine} ^ {*of_first}}))
    return RuntimeError(
        "A metric object computes over all ranks together, so each of them logs it in each epoch. "
        f"Received {only} from rank {0 if len(of_first) > len(mine) else rank} alone and not from "
        f"rank {rank if len(of_first) > len(mine) else 0}, which had no batch, say. Use fewer "
        "processes or more batches, or log numbers with sync_dist=True."
    )


def _contradiction(first: Flags, second: Flags) -> str:
    fields = [f for f in Flags._fields if getattr(first, f) != getattr(second, f)]
    before = ", ".join(f"{f}={getattr(first, f)!r}" for f in fields)
    after = ", ".join(f"{f}={getattr(second, f)!r}" for f in fields)
    return (
        "Around a step, and around an epoch, a name is logged with the same flags. Received "
        f"log({first.name!r}) with {before}, then with {after}. Use two names."
    )

"""What loggers that send share, by one whose server is in this process."""

import copy
import pickle
import threading
from typing import Any, final

import pytest

from lt_callbacks import outbox
from lt_callbacks.remote_logger import Record, RemoteLogger, Sending

BATCHES = [0, 1, 2, 3]
SECONDS = 30.0


@final
class Sent(RemoteLogger):
    """Remembers what it is told to send, unless its server fails or hangs."""

    name, version = "mine", 7  # type: ignore[assignment]

    def __init__(self, **words: Any) -> None:
        sending = Sending(words.pop("queue_size", 100), words.pop("flush_timeout", SECONDS))
        super().__init__(**{"prefix": "", "on_error": "warn", "sending": sending} | words)
        self.fails = 0
        self.opened = threading.Event()
        self.opened.set()
        self.arrived: list[Any] = []

    def __getstate__(self) -> dict[str, Any]:
        return {name: v for name, v in super().__getstate__().items() if name != "opened"}

    def connect(self) -> Any:
        return object()

    def send(self, records: list[Record]) -> None:
        assert self.opened.wait(SECONDS)
        if self.fails:
            self.fails -= 1
            raise ConnectionError("no route to host")
        _ = self.experiment
        self.arrived += [(r.kind, dict(r.content), r.step) for r in records]


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "FIRST_PAUSE", 0.001)
    monkeypatch.setattr(outbox, "LONGEST_PAUSE", 0.001)


def fit(scripted: Any, make_trainer: Any, logger: Sent) -> None:
    trainer = make_trainer(logger, max_epochs=1, log_every_n_steps=2)
    trainer.fit(scripted(loss=[0.5]), BATCHES)


EXPECTED = [
    ("metrics", {"loss_step": 0.5, "epoch": 0}, 1),
    ("metrics", {"loss_step": 0.5, "epoch": 0}, 3),
    ("metrics", {"loss_epoch": 0.5, "epoch": 0}, 3),
    ("end", {"status": "success"}, None),
]


def test_everything_has_arrived_when_the_run_is_over(scripted: Any, make_trainer: Any) -> None:
    logger = Sent()

    fit(scripted, make_trainer, logger)

    assert logger.arrived == EXPECTED


def test_a_run_that_logs_nothing_connects_to_nobody(scripted: Any, make_trainer: Any) -> None:
    logger = Sent()

    make_trainer(logger, max_epochs=1).fit(scripted(), BATCHES)

    assert logger.arrived == []
    assert logger._experiment is None


def test_a_server_that_fails_for_a_while_costs_nothing(scripted: Any, make_trainer: Any) -> None:
    class Waiting(scripted):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if batch_idx == 3:  # the failure of step 1 is known by then
                while logger._outbox.failure is None:
                    threading.Event().wait(0.001)
            return super().training_step(batch, batch_idx)

    logger = Sent()
    logger.fails = 4
    with pytest.warns(RuntimeWarning, match=r"Sent could not send .*no route to host") as seen:
        make_trainer(logger, max_epochs=1, log_every_n_steps=2).fit(Waiting(loss=[0.5]), BATCHES)

    assert sorted(logger.arrived, key=EXPECTED.index) == EXPECTED
    assert len(seen) == 1


def test_or_it_ends_the_run_if_asked(scripted: Any, make_trainer: Any) -> None:
    logger = Sent(on_error="raise")
    logger.fails = 1
    logger.log_metrics({"a": 1.0}, 0)
    assert logger._outbox.flush(SECONDS)

    with pytest.raises(RuntimeError, match="Sent could not send") as caught:
        make_trainer(logger, max_epochs=1, log_every_n_steps=1).fit(scripted(loss=[1]), BATCHES)

    assert isinstance(caught.value.__cause__, ConnectionError)
    assert logger.arrived[-1] == ("end", {"status": "failed"}, None)


def test_a_server_that_hangs_holds_nobody_up(scripted: Any, make_trainer: Any) -> None:
    logger = Sent(queue_size=2, flush_timeout=0.001)
    logger.opened.clear()

    with pytest.warns(RuntimeWarning) as seen:
        fit(scripted, make_trainer, logger)
    logger.opened.set()
    assert logger._outbox.flush(SECONDS)

    assert [str(one.message).partition(". ")[0] for one in seen] == [
        "Sent has 2 records waiting and no place for another: it is lost",
        "Sent failed in writing the rest of its records: RuntimeError: Records arrive within "
        "flush_timeout=0.001 seconds",
    ]
    assert "2 were lost, and 2 did not arrive in time." in str(seen[1].message)
    assert logger.arrived == EXPECTED[:2]


def test_by_hand_a_failure_is_raised(scripted: Any) -> None:
    logger = Sent(flush_timeout=0.02)
    logger.fails = 10**9
    logger.log_metrics({"loss": 1.0}, 0)

    with pytest.raises(RuntimeError, match=r"0 were lost, and 1 did not arrive") as caught:
        logger.save()
    logger.fails = 0
    logger.save()

    assert isinstance(caught.value.__cause__, ConnectionError)
    assert logger.arrived == [("metrics", {"loss": 1.0}, 0)]


@pytest.mark.parametrize(
    ("error", "status"), [(RuntimeError, "failed"), (KeyboardInterrupt, "interrupted")]
)
def test_it_says_how_the_run_ended(
    scripted: Any, make_trainer: Any, error: type[BaseException], status: str
) -> None:
    class Failing(scripted):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if batch_idx == 2:
                raise error
            return super().training_step(batch, batch_idx)

    logger = Sent()
    with pytest.raises(error):
        make_trainer(logger, log_every_n_steps=1).fit(Failing(loss=[1]), BATCHES)

    assert [entry[2] for entry in logger.arrived[:-1]] == [0, 1]
    assert logger.arrived[-1] == ("end", {"status": status}, None)


def test_what_follows_an_end_begins_anew() -> None:
    logger = Sent()
    for value in (1.0, 2.0):
        logger.log_metrics({"a": value}, 0)
        logger.log_metrics({"b": value}, 0)
        logger.finalize("success")

    kinds = [kind for kind, _, _ in logger.arrived]
    assert kinds == ["metrics", "metrics", "end", "begin", "metrics", "metrics", "end"]


def test_hyperparameters_are_sent_as_data() -> None:
    logger = Sent()
    logger.log_hyperparams({"lr": 0.1, "act": complex})
    logger.save()

    assert logger.arrived == [("hyperparameters", {"lr": 0.1, "act": "<class 'complex'>"}, None)]


def test_other_ranks_send_nothing() -> None:
    logger = Sent()
    logger.writes = False
    logger.log_metrics({"a": 1.0})
    logger.log_hyperparams({"a": 1.0})
    logger.experiment.log_anything(["a"])
    logger.finalize("success")

    assert logger.arrived == []
    assert logger._experiment is None


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))])
def test_a_copy_has_nothing_on_its_way(copied: Any) -> None:
    logger = Sent()
    logger.opened.clear()
    logger.log_metrics({"a": 1.0}, 0)
    other = copied(logger)
    other.opened = logger.opened
    logger.opened.set()
    other.log_metrics({"b": 2.0}, 0)
    logger.save()
    other.save()

    assert logger.arrived == [("metrics", {"a": 1.0}, 0)]
    assert other.arrived == [("metrics", {"b": 2.0}, 0)]


@pytest.mark.parametrize("words", [{"queue_size": 0}, {"flush_timeout": 0}])
def test_bad_numbers_are_refused(words: Any) -> None:
    with pytest.raises(ValueError, match=r"at least one record .* Received queue_size=\d+"):
        Sent(**words)

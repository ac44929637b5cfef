"""MLFlowLogger on a real SQLite store, read back by MLflow."""

import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

pytest.importorskip("mlflow")
pytest.importorskip("sqlalchemy")
pytest.importorskip("alembic")

from mlflow.tracking import MlflowClient

from lt_callbacks import MLFlowLogger

BATCHES = [0, 1, 2, 3]
pytestmark = pytest.mark.filterwarnings(  # MLflow's own, in its thread
    "default::DeprecationWarning", "default::FutureWarning", "default::UserWarning"
)
Points = dict[str, list[tuple[int, float]]]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database with MLflow's tables, which takes seconds to make."""
    return f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"


@pytest.fixture
def make(store: str, tmp_path: Path) -> Any:
    """Loggers of one experiment each."""

    def make(**words: Any) -> MLFlowLogger:
        given = {"experiment_name": tmp_path.name, "artifact_location": str(tmp_path)}
        return MLFlowLogger(**given | {"tracking_uri": store, "on_error": "raise"} | words)

    return make


def run_of(logger: MLFlowLogger) -> Any:
    return MlflowClient(logger._tracking_uri).get_run(logger.version)


def points(logger: MLFlowLogger) -> Points:
    client, run = MlflowClient(logger._tracking_uri), run_of(logger)
    return {
        name: [(p.step, p.value) for p in client.get_metric_history(run.info.run_id, name)]
        for name in run.data.metrics
    }


def test_a_run_leaves_its_curves(scripted: Any, make_trainer: Any, make: Any) -> None:
    logger = make(run_name="first", tags={"who": "me"})
    program = scripted(loss=[4, 2], val_loss=[3, 1])

    make_trainer(logger, max_epochs=2, log_every_n_steps=3).fit(program, BATCHES, BATCHES)

    curves = points(logger)
    assert set(curves.pop("epoch")) == {(2, 0), (3, 0), (5, 1), (7, 1)}  # it keeps one of equals
    assert curves == {
        "loss_step": [(2, 4.0), (5, 2.0)],
        "loss_epoch": [(3, 4.0), (7, 2.0)],
        "val_loss": [(3, 3.0), (7, 1.0)],
    }
    run = run_of(logger)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "first")
    assert run.data.tags["who"] == "me"
    assert (logger.name, logger.version) == (run.info.experiment_id, run.info.run_id)


def test_hyperparameters_are_flattened(scripted: Any, make_trainer: Any, make: Any) -> None:
    class Saved(scripted):  # type: ignore[misc]
        logged_hparams: ClassVar[dict[str, Any]] = {
            "lr": 0.1,
            "optimizer": {"betas": (0.9, 0.99)},
            "note": "x" * 10_000,
            **{f"p{n}": n for n in range(150)},
        }

    logger = make()
    make_trainer(logger, max_epochs=1).fit(Saved(), BATCHES)

    params = run_of(logger).data.params
    assert (params["lr"], params["optimizer/betas"]) == ("0.1", "[0.9, 0.99]")
    assert set(params["note"]) == {"x"}
    assert len(params) == 3 + 150


def test_a_test_goes_into_the_same_run(scripted: Any, make_trainer: Any, make: Any) -> None:
    logger = make()
    program, trainer = scripted(loss=[4], test_acc=[0.5]), make_trainer(logger, max_epochs=1)
    trainer.fit(program, BATCHES)
    logger.log_metrics({"by_hand": 1.0}, 4)
    logger.save()
    under_way = run_of(logger).info.status
    trainer.test(program, BATCHES, verbose=False)

    assert under_way == "RUNNING"
    assert set(points(logger)) == {"by_hand", "epoch", "loss_epoch", "test_acc"}
    assert run_of(logger).info.status == "FINISHED"
    assert len(logger.experiment.search_runs([logger.experiment_id])) == 1


@pytest.mark.parametrize(
    ("error", "status"), [(RuntimeError, "FAILED"), (KeyboardInterrupt, "KILLED")]
)
def test_it_says_how_the_run_ended(
    scripted: Any, make_trainer: Any, make: Any, error: type[BaseException], status: str
) -> None:
    class Failing(scripted):  # type: ignore[misc]
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            if batch_idx == 2:
                raise error
            return super().training_step(batch, batch_idx)

    logger = make()
    with pytest.raises(error):
        make_trainer(logger, log_every_n_steps=1).fit(Failing(loss=[1]), BATCHES)

    assert points(logger)["loss_step"] == [(0, 1.0), (1, 1.0)]
    assert run_of(logger).info.status == status


def test_after_a_resume_each_step_has_one_point(
    scripted: Any, make_trainer: Any, make: Any
) -> None:
    def run(**words: Any) -> tuple[Any, list[Any], MLFlowLogger]:
        logger = make(**words)
        program = scripted(loss=[4, 2, 1], val_loss=[3, 2, 1])
        trainer = make_trainer(logger, max_epochs=3, log_every_n_steps=1)
        return trainer, [program, BATCHES, BATCHES], logger

    trainer, arguments, whole = run()
    trainer.fit(*arguments)
    trainer, arguments, first = run()
    for progress in trainer.steps(*arguments):
        if progress.steps == 6:
            state = trainer.capture()
        if progress.steps == 11:
            break
    trainer, arguments, second = run(run_id=first.run_id)
    trainer.fit(*arguments, ckpt_path=state)

    # More than one value of the epoch stands at a step, and of the last one before the crash it
    # can't be known whether all did.
    resumed, expected = points(second), points(whole)
    assert {step for step, _ in resumed.pop("epoch")} == {s for s, _ in expected.pop("epoch")}
    assert resumed == expected
    assert second.version == first.version


def test_names_are_cleaned_and_prefixed(make: Any) -> None:
    logger = make(prefix="fold1")
    with pytest.warns(RuntimeWarning, match=r"MLflow accepts .* Received 'acc@5', 'a=b'|'a=b', "):
        logger.log_metrics({"acc@5": 0.5, "a=b": 1.0, "val/loss": 2.0}, 3)
    logger.finalize("success")

    assert points(logger) == {
        "fold1-acc5": [(3, 0.5)],
        "fold1-ab": [(3, 1.0)],
        "fold1-val/loss": [(3, 2.0)],
    }


def test_the_experiment_is_mlflows_client(make: Any, tmp_path: Path) -> None:
    logger = make(artifact_location=str(tmp_path / "artifacts"))
    note = tmp_path / "note.txt"
    note.write_text("hello")

    logger.experiment.log_artifact(logger.run_id, str(note))

    assert isinstance(logger.experiment, MlflowClient)
    assert [item.path for item in logger.experiment.list_artifacts(logger.run_id)] == ["note.txt"]


def test_without_an_address_there_is_a_store_in_the_folder(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lt_callbacks.mlflow_runs.is_set_up", lambda: False)
    made = []

    def client(uri: str) -> MlflowClient:
        made.append(uri)
        return MlflowClient(store)  # whose tables are there already

    monkeypatch.setattr("lt_callbacks.mlflow_runs.MlflowClient", client)
    logger = MLFlowLogger(tmp_path.name, save_dir=tmp_path / "runs")
    logger.log_metrics({"a": 1.0}, 0)
    logger.save()
    artifacts = logger.experiment.get_run(logger.run_id).info.artifact_uri

    assert made == [f"sqlite:///{tmp_path}/runs/mlflow.db"]
    assert artifacts.startswith(f"{tmp_path}/runs/artifacts/")
    assert logger.save_dir == str(tmp_path / "runs")


def test_a_store_that_is_not_there_ends_no_run(
    scripted: Any, make_trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    logger = MLFlowLogger(tracking_uri="http://127.0.0.1:9", flush_timeout=0.5)
    trainer = make_trainer(logger, max_epochs=1)
    with pytest.warns(RuntimeWarning, match="1 were lost|2 did not arrive"):
        trainer.fit(scripted(loss=[1]), BATCHES)

    assert trainer.progress.steps == 4


def test_checkpoints_are_not_recorded() -> None:
    with pytest.raises(ValueError, match=r"Received log_model=True\. Call .*log_artifacts"):
        MLFlowLogger(log_model=True)  # type: ignore[arg-type]


def test_a_server_needs_no_database_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "alembic", None)

    MLFlowLogger(tracking_uri="http://127.0.0.1:9")
    with pytest.raises(ModuleNotFoundError, match=r"without alembic\. .*lt-callbacks\[mlflow-sq"):
        MLFlowLogger(tracking_uri="sqlite:///a.db")

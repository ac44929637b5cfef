"""MLFlowLogger: logged numbers in an MLflow run."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, final

from lt_callbacks import extras
from lt_callbacks.hyperparameters import flattened
from lt_callbacks.logger import OnError, on_rank_zero
from lt_callbacks.remote_logger import Record, RemoteLogger, Sending
from lt_loop import Trainer

NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_/. -]+")
"""What MLflow does not accept in the name of a metric."""

STATUS = {"success": "FINISHED", "finished": "FINISHED", "interrupted": "KILLED"}
"""MLflow's words for how a run ended; any other is FAILED."""


@final
class MLFlowLogger(RemoteLogger):
    """Records metrics and hyper-parameters in a run of MLflow, through its ``MlflowClient``.

    A training does not wait for MLflow: records are sent by a thread. mlflow is imported, and the
    run made, when something is logged. Each fit of a new logger is a new run; to go on in one, give
    its ``run_id``. In a fit that goes on from a state, points that the run has already are not
    recorded twice.

    Args:
        experiment_name: the experiment; it is made if there is none.
        run_name: what the run is called; None for a name of MLflow's choice.
        tracking_uri: the server or the database. None for what MLflow is set up for, and where it
            is not, the SQLite file ``save_dir/mlflow.db``.
        tags: tags of the run.
        save_dir: the folder of the SQLite file and of its artifacts.
        log_model: not served; False. Log artifacts through :attr:`experiment`.
        checkpoint_path_prefix: not used, as ``log_model``.
        prefix: what stands before each name of a metric, with a dash.
        artifact_location: where artifacts of a new experiment go; None for the server's choice.
        run_id: the run to go on in.
        synchronous: whether MLflow's client waits for its server; it is asked in a thread anyway.
        queue_size: how many records may wait for a server that is slow or down.
        flush_timeout: how long the end of a run waits for the records on their way, in seconds.
        on_error: what a run does when records don't arrive: ``"warn"`` or ``"raise"``.

    Raises:
        ModuleNotFoundError: mlflow, or for a database what it needs, is not installed.
        ValueError: ``log_model``, or a number out of its range.
    """

    def __init__(  # noqa: PLR0913 - Lightning's arguments
        self,
        experiment_name: str = "lightning_logs",
        run_name: str | None = None,
        tracking_uri: str | None = None,
        tags: Mapping[str, Any] | None = None,
        save_dir: str | Path | None = "./mlruns",
        log_model: Literal[False] = False,
        checkpoint_path_prefix: str = "",
        prefix: str = "",
        artifact_location: str | None = None,
        run_id: str | None = None,
        synchronous: bool | None = None,
        *,
        queue_size: int = 10_000,
        flush_timeout: float = 30.0,
        on_error: OnError = "warn",
    ) -> None:
        at_a_server = str(tracking_uri or "").startswith(("http", "databricks"))
        extra = "mlflow" if at_a_server else "mlflow-sqlite"
        extras.check(extra, wanted_by="MLFlowLogger")
        if log_model:
            raise ValueError(
                f"MLFlowLogger does not record checkpoints. Received log_model={log_model!r}. Call "
                "logger.experiment.log_artifacts(logger.run_id, folder)."
            )
        super().__init__(
            prefix=prefix, on_error=on_error, sending=Sending(queue_size, flush_timeout)
        )
        self._experiment_name, self._experiment_id = experiment_name, ""
        self._run_name, self._run_id = run_name, run_id
        self._tags = dict(tags or {})
        self._tracking_uri = tracking_uri
        self._save_dir = None if save_dir is None else str(save_dir)
        self._artifact_location = artifact_location
        self._waits = {} if synchronous is None else {"synchronous": synchronous}
        self._goes_on = False
        self._had: dict[str, int] = {}

    @property
    def save_dir(self) -> str | None:
        """The folder of a store of its own; None where MLflow's is elsewhere."""
        return None if self._tracking_uri else self._save_dir

    @property
    def name(self) -> str:
        """The id of the experiment. Asking for it makes the run."""
        _ = self.experiment
        return self._experiment_id

    @property
    def version(self) -> str | None:
        """The id of the run. Asking for it makes the run."""
        return self.run_id

    @property
    def run_id(self) -> str | None:
        """The id of the run. Asking for it makes the run."""
        _ = self.experiment
        return self._run_id

    @property
    def experiment_id(self) -> str:
        """The id of the experiment. Asking for it makes the run."""
        return self.name

    @on_rank_zero
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        """Send numbers, or tensors with one element.

        Args:
            metrics: name to number. What MLflow does not accept in a name is left out of it.
            step: the index of the optimizer step; None for 0.

        Raises:
            RuntimeError: what was sent before did not arrive, and ``on_error="raise"``.
        """
        cleaned = {NOT_IN_NAMES.sub("", name): value for name, value in metrics.items()}
        if odd := sorted(set(metrics) - set(cleaned)):
            self.warn(
                "MLflow accepts letters, digits, spaces and _ / . - in a name. Received "
                f"{', '.join(map(repr, odd))}: the other characters are left out.",
                about="names",
            )
        super().log_metrics(cleaned, step)

    @property
    def state_key(self) -> str:
        """The name of its state in a checkpoint."""
        return f"MLFlowLogger{ {'experiment_name': self._experiment_name} }"

    def state_dict(self) -> dict[str, Any]:
        """Return the ids of experiment and run, where there is one."""
        made = {"experiment_id": self._experiment_id, "run_id": self._run_id}
        return made if self.writes and self._run_id else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the run of other processes; one that goes on does so in the run it is given."""
        if not self._in_run:
            self._experiment_id = state_dict["experiment_id"]
            self._run_id = state_dict["run_id"]

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Forget the run before."""
        super().setup(trainer, pl_module, stage)
        self._goes_on, self._had = False, {}

    def on_train_start(self, trainer: Trainer, pl_module: Any) -> None:
        """See whether the fit goes on from a state."""
        self._goes_on = trainer.progress.batches > 0

    def connect(self) -> Any:
        """Find or make experiment and run; return the client."""
        runs = _mlflow_runs()
        uri, location = self._tracking_uri, self._artifact_location
        if uri is None and not runs.is_set_up():
            folder = Path(self._save_dir or "mlruns").absolute()
            folder.mkdir(parents=True, exist_ok=True)
            uri, location = f"sqlite:///{folder}/mlflow.db", location or f"{folder}/artifacts"
        client = runs.MlflowClient(uri)
        if self._run_id is None:
            self._experiment_id = runs.experiment(client, self._experiment_name, location)
            self._run_id = runs.new_run(client, self._experiment_id, self._run_name, self._tags)
        else:
            self._experiment_id = client.get_run(self._run_id).info.experiment_id
        return client

    def send(self, records: list[Record]) -> None:
        """Send records: metrics of many steps together."""
        runs, client, run_id = _mlflow_runs(), self.experiment, self._run_id
        points = [
            (name, value, int(record.seconds * 1000), record.step or 0)
            for record in records
            if record.kind == "metrics"
            for name, value in record.content.items()
        ]
        if self._goes_on:
            points = [p for p in points if p[3] > self._last_step(client, p[0])]
        params = {
            name: str(value)
            for record in records
            if record.kind == "hyperparameters"
            for name, value in flattened(record.content)
        }
        runs.send(client, run_id, params=params, points=points, words=self._waits)
        for record in records:
            if record.kind == "begin":
                client.update_run(run_id, status="RUNNING")
            elif record.kind == "end":
                client.set_terminated(run_id, STATUS.get(record.content["status"], "FAILED"))

    def _last_step(self, client: Any, name: str) -> int:
        """The last step of a metric when this fit began, -1 where it had none."""
        if name not in self._had:
            history = client.get_metric_history(self._run_id, name)
            self._had[name] = max((point.step for point in history), default=-1)
        return self._had[name]


def _mlflow_runs() -> Any:
    return extras.load("lt_callbacks.mlflow_runs", extra="mlflow", wanted_by="MLFlowLogger")

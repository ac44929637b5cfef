"""WandbLogger: logged numbers in a run of Weights & Biases."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, final

from lt_callbacks import extras
from lt_callbacks.logger import OnError, on_rank_zero
from lt_callbacks.remote_logger import Record, RemoteLogger, Sending
from lt_loop import Trainer

STEP = "trainer/global_step"
"""The metric that is the x axis of all others."""


@final
class WandbLogger(RemoteLogger):
    """Records metrics and hyper-parameters in a run of Weights & Biases.

    A training does not wait for W&B: records are handed to it by a thread. wandb is imported, and
    the run begun, when something is logged. A run that you began yourself, by ``wandb.init()`` or
    in a sweep, is used. It stays open after a fit, for a test to go into the same one; it ends with
    ``wandb.finish()`` or with the process. Loggers after the first have runs of their own.

    In a fit that goes on from a state, give the ``version`` to go on in the same run; points that
    it had recorded after the state stay.

    Args:
        name: what the run is called; None for a name of W&B's choice.
        save_dir: where ``wandb/`` with the run's files is made.
        version: the id of the run, to go on in one.
        offline: whether to write to ``save_dir`` alone; ``wandb sync`` uploads it.
        dir: as ``save_dir``, which comes first.
        id: as ``version``, which comes first.
        anonymous: not served any more by W&B; None.
        project: the project; None for the one that wandb is set up for, else ``lightning_logs``.
        log_model: not served; False. Log artifacts through :attr:`experiment`.
        experiment: a run to use.
        prefix: what stands before each name of a metric, with a dash.
        checkpoint_name: not used, as ``log_model``.
        **kwargs: arguments of ``wandb.init``: ``entity``, ``group``, ``tags``, ``notes``, ...; and
            ``queue_size`` (records, 10000), ``flush_timeout`` (seconds, 30) and ``on_error``
            (``"warn"``), as of :class:`~lt_callbacks.MLFlowLogger`.

    Raises:
        ModuleNotFoundError: wandb is not installed.
        ValueError: ``log_model`` or ``anonymous``, or a number out of its range.
    """

    def __init__(  # noqa: PLR0913 - Lightning's arguments
        self,
        name: str | None = None,
        save_dir: str | Path | None = ".",
        version: str | None = None,
        offline: bool = False,
        dir: str | Path | None = None,
        id: str | None = None,
        anonymous: Literal[False] | None = None,
        project: str | None = None,
        log_model: Literal[False] = False,
        experiment: Any = None,
        prefix: str = "",
        checkpoint_name: str | None = None,
        **kwargs: Any,
    ) -> None:
        extras.check("wandb", wanted_by="WandbLogger")
        for word, value in (("log_model", log_model), ("anonymous", anonymous)):
            if value:
                raise ValueError(
                    f"WandbLogger takes {word}=False only. Received {word}={value!r}. Artifacts "
                    "are logged by logger.experiment.log_artifact; W&B has no anonymous runs."
                )
        on_error: OnError = kwargs.pop("on_error", "warn")
        sending = Sending(kwargs.pop("queue_size", 10_000), kwargs.pop("flush_timeout", 30.0))
        super().__init__(prefix=prefix, on_error=on_error, sending=sending)
        folder = save_dir or dir
        self._given = experiment
        self._project = project
        self._arguments: dict[str, Any] = {
            "name": name,
            "dir": None if folder is None else str(folder),
            "id": version or id,
            "resume": "allow",
            **({"mode": "offline"} if offline else {}),
            **kwargs,
        }

    def __getstate__(self) -> dict[str, Any]:
        """Return what can be copied and pickled: the arguments, and which run it is."""
        state = super().__getstate__()
        arguments = self._arguments | {"id": self.version}
        return state | {"_given": None, "_arguments": arguments}

    @property
    def save_dir(self) -> str | None:
        """The folder with ``wandb/`` in it."""
        folder: str | None = self._arguments["dir"]
        return folder

    @property
    def name(self) -> str | None:
        """The project; known from the beginning of the run on where it was left open."""
        return self._project

    @property
    def version(self) -> str | None:
        """The id of the run; None where it was left open and the run has not begun."""
        made: str | None = (
            self._arguments["id"] if self._experiment is None else self._experiment.id
        )
        return made

    def watch(
        self, model: Any, log: str | None = "gradients", log_freq: int = 100, log_graph: bool = True
    ) -> None:
        """Let W&B record a model's gradients or parameters, as ``wandb.watch`` does."""
        self.experiment.watch(model, log=log, log_freq=log_freq, log_graph=log_graph)

    @on_rank_zero
    def log_table(
        self,
        key: str,
        columns: Sequence[str] | None = None,
        data: Sequence[Sequence[Any]] | None = None,
        dataframe: Any = None,
        step: int | None = None,
    ) -> None:
        """Record a table, from columns and rows or from a pandas data frame."""
        table = _wandb_runs().table(columns=columns, data=data, dataframe=dataframe)
        self.enqueue("metrics", {self._named(key): table}, step)

    def log_text(
        self,
        key: str,
        columns: Sequence[str] | None = None,
        data: Sequence[Sequence[str]] | None = None,
        dataframe: Any = None,
        step: int | None = None,
    ) -> None:
        """Record texts, as a table."""
        self.log_table(key, columns, data, dataframe, step)

    def log_image(
        self, key: str, images: list[Any], step: int | None = None, **kwargs: Any
    ) -> None:
        """Record images: tensors, arrays, PIL images or files.

        Args:
            key: the name.
            images: one or several.
            step: the index of the optimizer step.
            **kwargs: lists with a value for each image: ``caption``, ``masks``, ``boxes``.
        """
        self._log_media("Image", key, images, step, kwargs)

    def log_audio(
        self, key: str, audios: list[Any], step: int | None = None, **kwargs: Any
    ) -> None:
        """Record sounds, arrays or files, as :meth:`log_image` does images."""
        self._log_media("Audio", key, audios, step, kwargs)

    def log_video(
        self, key: str, videos: list[Any], step: int | None = None, **kwargs: Any
    ) -> None:
        """Record films, arrays or files, as :meth:`log_image` does images."""
        self._log_media("Video", key, videos, step, kwargs)

    def use_artifact(self, artifact: str, artifact_type: str | None = None) -> Any:
        """Say that the run uses an artifact, and return it."""
        return self.experiment.use_artifact(artifact, type=artifact_type)

    @property
    def state_key(self) -> str:
        """The name of its state in a checkpoint."""
        return f"WandbLogger{ {'name': self._arguments['name']} }"

    def state_dict(self) -> dict[str, Any]:
        """Return the id of the run, where there is one."""
        return {"version": self.version} if self.writes and self.version else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the run of other processes; one that goes on does so in the run it is given."""
        if not self._in_run:
            self._arguments["id"] = state_dict["version"]

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """See, before anything is trained, whether W&B knows who you are."""
        super().setup(trainer, pl_module, stage)
        online = "mode" not in self._arguments and self._given is None
        if self.writes and online and self._experiment is None:
            _wandb_runs().log_in()

    def connect(self) -> Any:
        """Begin a run, or take one that was begun."""
        runs = _wandb_runs()
        run = runs.begun_elsewhere() if self._given is None else self._given
        if run is None:
            project = self._project or runs.project_set_up() or "lightning_logs"
            run = runs.begin(STEP, project=project, **self._arguments)
        self._project = run.project
        return run

    def send(self, records: list[Record]) -> None:
        """Hand records to W&B, one by one."""
        run = self.experiment
        for record in records:
            if record.kind == "metrics":
                at = {} if record.step is None else {STEP: record.step}
                run.log({**record.content, **at})
            elif record.kind == "hyperparameters":
                run.config.update(dict(record.content), allow_val_change=True)

    @on_rank_zero
    def _log_media(
        self,
        kind: str,
        key: str,
        items: Any,
        step: int | None,
        words: Mapping[str, list[Any]],
    ) -> None:
        if not isinstance(items, list) or any(len(v) != len(items) for v in words.values()):
            raise ValueError(
                "Media are logged as a list, with a list of as many values for each further "
                f"argument. Received {type(items).__name__} and "
                f"{ {word: len(values) for word, values in words.items()} }."
            )
        made = [
            _wandb_runs().media(kind, item, {word: v[at] for word, v in words.items()})
            for at, item in enumerate(items)
        ]
        self.enqueue("metrics", {self._named(key): made}, step)

    def _named(self, key: str) -> str:
        return f"{self._prefix}-{key}" if self._prefix else key


def _wandb_runs() -> Any:
    return extras.load("lt_callbacks.wandb_runs", extra="wandb", wanted_by="WandbLogger")

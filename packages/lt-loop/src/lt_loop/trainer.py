"""Trainer: the one wide door. Its arguments are Lightning's; behind it stands the engine."""

from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

from lt_loop import arguments
from lt_loop.asking import RunAsking
from lt_loop.barebones import Silence
from lt_loop.checkpoints import Checkpoint, Restarted
from lt_loop.evaluate import Tables, evaluate, of_all_ranks, predictions
from lt_loop.fit import fit
from lt_loop.host import on_host
from lt_loop.interrupt import stopping_at_safe_point
from lt_loop.launching import launch
from lt_loop.lifecycle import Lifecycle
from lt_loop.limits import Duration
from lt_loop.nonfinite import ACTIONS, OnNonfinite
from lt_loop.planning import check_free, plan_preview, plan_run
from lt_loop.ports import Backend, Feed, Store, T, World
from lt_loop.preview import Preview
from lt_loop.profiling import Profiler, choose_profiler
from lt_loop.progress import Progress
from lt_loop.run import Function, Run, RunResult
from lt_loop.sources import LoaderStage


class Trainer(RunAsking):
    """Runs a module: ``fit``, ``validate``, ``test``, ``predict``, and ``steps`` for your own loop.

    Names and meanings are Lightning's; docs/migrating-from-lightning.md lists what differs.
    Whatever can be known to be wrong is refused here or when a run is planned, before it starts.

    Args:
        accelerator: ``"cpu"``, ``"gpu"``, ``"mps"``, any torch device type, or ``"auto"``. This and
            the other words that speak of hardware (strategy, devices, num_nodes, precision,
            deterministic, benchmark, detect_anomaly, inference_mode, sync_batchnorm) are read by
            the backend.
        strategy: how the model is spread over devices.
        devices: how many devices, or which.
        num_nodes: how many machines.
        precision: ``32``, ``"bf16-mixed"``, ``"16-mixed"``, ``64``, ...
        logger: a logger, a list of them, True for the default one, False for none.
        callbacks: a callback or a list of them.
        fast_dev_run: try the code out on this many batches (True: one) of everything.
        max_epochs: see :class:`lt_loop.Limits`, like all limits that follow.
        enable_progress_bar: True insists on one, False forbids it, None takes what is installed.
        use_distributed_sampler: whether the feed shares the data among several processes.
        profiler: ``"simple"``, ``"advanced"``, ``"pytorch"``, or a ready-made Profiler.
        barebones: train and do nothing beside it, to see what the loop itself costs: no logger,
            progress bar, checkpoint, model summary, sanity check or profiler; ``log`` does nothing.
        deterministic: whether only deterministic algorithms may be used.
        default_root_dir: where logs go by default, the working directory.
        gpus: Lightning 1.0's spelling of ``accelerator="gpu", devices=...``.
        backend: a ready-made Backend, or the name of an installed one.
        world: a ready-made World.
        feed: a ready-made Feed, or the name of an installed one.
        store: a ready-made Store.
        compile: whether ``torch.compile`` compiles the step; a dict of its options.
        max_restarts: how often processes that died are started again, to go on from the newest
            checkpoint.
        on_nonfinite: what to do about a step whose gradients are not finite: ``"raise"`` an error,
            ``"skip"`` it, or ``"rollback"`` to the newest checkpoint; None not to look. In 16-mixed
            the scaler's own tries, of a finite loss, are skipped and no more.
        on_mismatch: ``"refuse"`` to go on from a state of a run with another batch size,
            accumulation, world size, data set or seed, or ``"accept"`` it.

    Raises:
        TypeError: an unknown argument (the closest is named), or a value of the wrong type.
        ValueError: a value out of range, or two that contradict each other.
        LookupError: an argument needs a package that is not installed; it is named.
    """

    def __init__(  # noqa: PLR0913 - the one wide signature of the house
        self,
        *,
        accelerator: str = "auto",
        strategy: Any = "auto",
        devices: Any = "auto",
        num_nodes: int = 1,
        precision: Any = None,
        logger: Any = None,
        callbacks: Any = None,
        fast_dev_run: bool | int = False,
        max_epochs: int | None = None,
        min_epochs: int | None = None,
        max_steps: int = -1,
        min_steps: int | None = None,
        max_time: Duration | None = None,
        limit_train_batches: int | float | None = None,
        limit_val_batches: int | float | None = None,
        limit_test_batches: int | float | None = None,
        limit_predict_batches: int | float | None = None,
        overfit_batches: int | float = 0.0,
        val_check_interval: int | float | Duration | None = None,
        check_val_every_n_epoch: int | None = 1,
        num_sanity_val_steps: int | None = None,
        log_every_n_steps: int | None = None,
        enable_checkpointing: bool | None = None,
        enable_progress_bar: bool | None = None,
        enable_model_summary: bool | None = None,
        accumulate_grad_batches: int | Mapping[int, int] = 1,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
        deterministic: bool | str | None = None,
        benchmark: bool | None = None,
        inference_mode: bool = True,
        profiler: Profiler | str | None = None,
        detect_anomaly: bool = False,
        barebones: bool = False,
        plugins: Any = None,
        sync_batchnorm: bool = False,
        reload_dataloaders_every_n_epochs: int = 0,
        use_distributed_sampler: bool = True,
        enable_autolog_hparams: bool = True,
        default_root_dir: str | Path | None = None,
        model_registry: str | None = None,
        gpus: Any = None,
        compile: bool | Mapping[str, Any] = False,
        max_restarts: int = 0,
        on_nonfinite: OnNonfinite | None = None,
        on_mismatch: Literal["refuse", "accept"] = "refuse",
        backend: Backend | str | None = None,
        world: World | None = None,
        feed: Feed | str | None = None,
        store: Store | None = None,
        **unknown: Any,
    ) -> None:
        """Turn the arguments into limits, ports and callbacks; keep nothing else."""
        given = {k: v for k, v in locals().items() if k not in ("self", "unknown", "__class__")}
        given = arguments.settled(given, unknown)
        words = arguments.hardware_words(given)
        self._limits = arguments.limits_from(given)
        self.default_root_dir = str(default_root_dir or Path.cwd())
        self.enable_autolog_hparams = enable_autolog_hparams
        self.use_distributed_sampler = use_distributed_sampler
        self.fast_dev_run = fast_dev_run
        self._ports = arguments.choose_ports(
            backend=backend,
            world=world,
            feed=feed,
            store=store,
            words=words,
            root=self.default_root_dir,
        )
        self.callbacks = arguments.choose_callbacks(given, root=Path(self.default_root_dir))
        self.on_mismatch = arguments.one_of("on_mismatch", on_mismatch, ("refuse", "accept"))
        self.on_nonfinite = on_nonfinite and arguments.one_of("on_nonfinite", on_nonfinite, ACTIONS)
        self.profiler = choose_profiler(profiler)
        self.barebones, self._silence = barebones, Silence()

    @property
    def reasons(self) -> Mapping[str, str]:
        """Each automatic choice with its reason: ``{"device": "cpu: no GPU visible"}``."""
        return self._ports.reasons

    @property
    def result(self) -> RunResult | None:
        """How the last run ended; None while one is under way and before the first."""
        return self._run.result if self._run else None

    def fit(
        self,
        model: Any,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: Any = None,
        ckpt_path: Checkpoint | None = None,
        weights_only: bool | None = None,
    ) -> RunResult:
        """Train a module until a limit is reached or somebody asks to stop.

        Each call is a fresh run; ``ckpt_path`` continues one.

        Args:
            model: an LTModule, or any object with ``training_step`` and ``configure_optimizers``.
            train_dataloaders: an iterable of batches; a dict, list or tuple of several, nested at
                will, which are read as one (see :mod:`lt_loop.several`); or a datamodule.
            val_dataloaders: one or several iterables of batches, read one after another.
            datamodule: where loaders come from instead.
            ckpt_path: the name of a saved state, or a state that :meth:`capture` returned.
            weights_only: Lightning's word for not unpickling. A state is data here: nothing to say.

        Returns:
            Why the run ended, how far it came, and the last metrics.

        Raises:
            TypeError: the module or a loader is not what it must be, or a hook is misspelt.
            ValueError: loaders, limits or optimizers can't work together.
            KeyboardInterrupt: Ctrl-C was pressed; the run stopped at a safe point first, or between
                two batches of a validation.
        """
        loaders: dict[LoaderStage, Any] = {"train": train_dataloaders, "validate": val_dataloaders}
        return self._launch(self._fit, "fit", model, loaders, datamodule, ckpt_path)

    def _fit(self, run: Run) -> RunResult:
        with stopping_at_safe_point(run):
            for _ in self._steps(run):
                pass
        assert run.result is not None
        return run.result

    def steps(
        self,
        model: Any,
        train_dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: Any = None,
        ckpt_path: Checkpoint | None = None,
        weights_only: bool | None = None,
    ) -> Generator[Progress, None, None]:
        """Fit step by step, in a loop of your own: the arguments are those of :meth:`fit`.

        Nothing runs until the next step is asked for, and each step ends at a safe point. Leaving
        the loop tears the run down; :meth:`capture` then still returns the state of its last safe
        point, from which ``ckpt_path=`` goes on. Signals are left to the caller.

        Yields:
            The progress, one object that is updated in place.
        """
        if getattr(self._ports.world, "starts_processes", False):
            raise RuntimeError(
                "A loop of your own runs in the processes it is in. Received a trainer that starts "
                f"{self.world_size} others. Start them yourself (torchrun), or call fit."
            )
        loaders: dict[LoaderStage, Any] = {"train": train_dataloaders, "validate": val_dataloaders}
        return self._steps(self._plan("fit", model, loaders, datamodule, ckpt_path))

    def _steps(self, run: Run) -> Generator[Progress, None, None]:
        with self._running(run):
            yield from fit(run)
            run.call("on_fit_end")

    def plan(
        self,
        model: Any = None,
        dataloaders: Any = None,
        val_dataloaders: Any = None,
        datamodule: Any = None,
        *,
        fn: Function = "fit",
    ) -> Preview:
        """Print what a run will do, in order, and who does it; nothing happens by it.

        No hook is called, no loader is made or read, nobody gets a trainer.

        Args:
            model: as for the call itself.
            dataloaders: the first loaders of the call: those of training for a fit.
            val_dataloaders: those of a fit.
            datamodule: where loaders come from instead.
            fn: ``fit``, ``validate``, ``test`` or ``predict``.

        Returns:
            What was printed, to look things up in.

        Raises:
            TypeError: as the call itself.
            ValueError: as the call itself.
        """
        loaders: dict[LoaderStage, Any] = {"train" if fn == "fit" else fn: dataloaders}
        if fn == "fit":
            loaders["validate"] = val_dataloaders
        found = plan_preview(
            fn,
            trainer=self,
            last=self._run,
            model=model,
            loaders=loaders,
            datamodule=datamodule,
            ports=self._ports,
        )
        print(found)  # noqa: T201 - what it is for
        return found

    def validate(
        self,
        model: Any = None,
        dataloaders: Any = None,
        ckpt_path: Checkpoint | None = None,
        verbose: bool = True,
        datamodule: Any = None,
        weights_only: bool | None = None,
    ) -> Tables:
        """Run the validation loop once; without a model, that of the last run.

        With ``ckpt_path``, the model as it was in that state; its weights stay.

        Returns:
            For each loader, the values logged for the epoch, by name.
        """
        begin = partial(self._evaluate, fn="validate", verbose=verbose)
        loaders: dict[LoaderStage, Any] = {"validate": dataloaders}
        return self._launch(begin, "validate", model, loaders, datamodule, ckpt_path)

    def test(
        self,
        model: Any = None,
        dataloaders: Any = None,
        ckpt_path: Checkpoint | None = None,
        verbose: bool = True,
        datamodule: Any = None,
        weights_only: bool | None = None,
    ) -> Tables:
        """Run the test loop once; without a model, that of the last run.

        With ``ckpt_path``, the model as it was in that state; its weights stay.

        Returns:
            For each loader, the values logged for the epoch, by name.
        """
        begin = partial(self._evaluate, fn="test", verbose=verbose)
        return self._launch(begin, "test", model, {"test": dataloaders}, datamodule, ckpt_path)

    def predict(
        self,
        model: Any = None,
        dataloaders: Any = None,
        datamodule: Any = None,
        return_predictions: bool | None = None,
        ckpt_path: Checkpoint | None = None,
        weights_only: bool | None = None,
    ) -> list[Any] | None:
        """Predict every batch; without a model, with that of the last run.

        With ``ckpt_path``, with the model as it was in that state; its weights stay.

        Returns:
            What ``predict_step`` returned for each batch, of several ranks in turn; for several
            loaders, a list of such lists. None with ``return_predictions=False``.
        """
        begin = partial(self._predict, keep=return_predictions is not False)
        return self._launch(
            begin, "predict", model, {"predict": dataloaders}, datamodule, ckpt_path
        )

    def _predict(self, run: Run, *, keep: bool) -> list[Any] | None:
        with self._running(run), stopping_at_safe_point(run):
            sources = run.open("predict")
            kept: list[list[Any]] = [[] for _ in sources]
            for index, output in predictions(run, sources):
                if keep:
                    kept[index].append(on_host(output))
            run.finish("every batch predicted")
        if not keep:
            return None
        kept = [of_all_ranks(run.ports.world, outputs) for outputs in kept]
        return kept[0] if len(kept) == 1 else kept

    def _evaluate(self, run: Run, *, fn: Literal["validate", "test"], verbose: bool) -> Tables:
        run.verbose = verbose
        with self._running(run), stopping_at_safe_point(run):
            tables = evaluate(run, run.open(fn))
            run.finish("every batch evaluated")
        return tables

    def _plan(
        self,
        fn: Function,
        model: Any,
        loaders: dict[LoaderStage, Any],
        datamodule: Any,
        ckpt_path: Checkpoint | Restarted | None,
    ) -> Run:
        self._planning = True
        try:
            return plan_run(
                fn,
                trainer=self,
                last=self._run,
                model=model,
                loaders=loaders,
                datamodule=datamodule,
                ports=self._ports,
                resume=ckpt_path,
            )
        finally:
            self._planning = False

    @contextmanager
    def _running(self, run: Run) -> Iterator[None]:
        check_free(self._run, run.fn)
        self._run = run
        with Lifecycle(run):
            yield

    def _launch(
        self,
        begin: Callable[[Run], T],
        fn: Function,
        model: Any,
        loaders: dict[LoaderStage, Any],
        datamodule: Any,
        ckpt_path: Checkpoint | None,
    ) -> T:
        world = self._ports.world
        run = self._plan_launched(fn, model, loaders, datamodule, ckpt_path)
        if getattr(world, "starts_processes", False):
            self._run = run  # it is the last run, however it ends
        # What the last run had, in a process that does not know of it.
        owners = run.program, loaders, run.sources.datamodule
        again = partial(self._plan_launched, fn, *owners, ckpt_path)
        self._run, answer = launch(run, again=again, begin=begin, world=world)
        return answer

    def _plan_launched(
        self,
        fn: Function,
        model: Any,
        loaders: dict[LoaderStage, Any],
        datamodule: Any,
        ckpt_path: Checkpoint | None,
    ) -> Run:
        restarted = fn == "fit" and getattr(self._ports.world, "restarts", 0) > 0
        resume = Restarted(ckpt_path) if restarted else ckpt_path
        return self._plan(fn, model, loaders, datamodule, resume)

    def __getstate__(self) -> dict[str, Any]:
        """Travel to a process of its own without the last run."""
        return {**self.__dict__, "_run": None}

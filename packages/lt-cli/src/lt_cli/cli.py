"""LTCLI: a training script's command line, from the signatures of its classes."""

import importlib
import importlib.util
import inspect
import logging
import sys
from collections.abc import Callable, Iterable, Mapping
from types import MethodType
from typing import Any

from jsonargparse import Namespace

from lt_cli.chosen_optimizer import ScheduleConfig, choose_optimizer
from lt_cli.kinds import AnyDataModule, AnyLRScheduler, AnyModule, AnyOptimizer
from lt_cli.making import instantiated
from lt_cli.named import ArgsType, import_named, words_written
from lt_cli.parser import AUTOMATIC, OPTIMIZERS, LTArgumentParser, class_spec
from lt_cli.save_config import SaveConfigCallback
from lt_cli.seeding import choose_seed, seed_everything
from lt_loop import Callback, Trainer

log = logging.getLogger("lt_cli")

Made = Callable[..., Any] | None


class LTCLI:
    """Reads a command line, makes trainer, module and datamodule of it, and runs what it asks for.

    Names, arguments and order are those of Lightning's ``LightningCLI``. Made for overriding:
    :meth:`add_arguments_to_parser`, the methods before and after each subcommand,
    :meth:`configure_optimizers`, :meth:`instantiate_classes`.

    Args:
        model_class: the module, or a function that returns one. None: the configuration names it.
        datamodule_class: the datamodule, likewise. None: the configuration may name one.
        save_config_callback: what saves the configuration of a run; None for nothing.
        save_config_kwargs: its arguments, such as ``{"overwrite": True}``.
        trainer_class: what runs it.
        trainer_defaults: arguments of the trainer that differ from its own defaults. Callbacks
            among them enter every run.
        seed_everything_default: the seed where none is given. True: one is chosen, and stands in
            the saved configuration. False: nothing is seeded.
        parser_kwargs: arguments of the parser, or one such table for each subcommand.
        parser_class: the parser.
        subclass_mode_model: whether the configuration chooses among subclasses of the module.
        subclass_mode_data: whether it chooses among those of the datamodule.
        args: what to read instead of the command line: a list of words or a configuration.
        run: whether there are subcommands and the chosen one runs. False: everything is made, and
            ``cli.trainer``, ``cli.model`` and ``cli.datamodule`` are yours.
        auto_configure_optimizers: whether there are ``--optimizer`` and ``--lr_scheduler``.
    """

    def __init__(  # noqa: PLR0913 - Lightning's signature
        self,
        model_class: Made = None,
        datamodule_class: Made = None,
        save_config_callback: type[SaveConfigCallback] | None = SaveConfigCallback,
        save_config_kwargs: Mapping[str, Any] | None = None,
        trainer_class: Callable[..., Trainer] = Trainer,
        trainer_defaults: Mapping[str, Any] | None = None,
        seed_everything_default: bool | int = True,
        parser_kwargs: Mapping[str, Any] | None = None,
        parser_class: type[LTArgumentParser] = LTArgumentParser,
        subclass_mode_model: bool = False,
        subclass_mode_data: bool = False,
        args: ArgsType = None,
        run: bool = True,
        auto_configure_optimizers: bool = True,
    ) -> None:
        self.model_class, self.datamodule_class = model_class, datamodule_class
        self.subclass_mode_model = subclass_mode_model or model_class is None
        self.subclass_mode_data = subclass_mode_data or datamodule_class is None
        self.save_config_callback = save_config_callback
        self.save_config_kwargs = dict(save_config_kwargs or {})
        self.trainer_class, self.trainer_defaults = trainer_class, dict(trainer_defaults or {})
        self.seed_everything_default = seed_everything_default
        self.parser_class, self.parser_kwargs = parser_class, dict(parser_kwargs or {})
        self.auto_configure_optimizers = auto_configure_optimizers
        self.result: Any = None
        self.subcommand: str | None = None
        self._subparsers: dict[str, LTArgumentParser] = {}

        args = sys.argv[1:] if args is None else args
        self._read_ahead(args)
        self.setup_parser(run)
        self.parse_arguments(self.parser, args)
        self.subcommand = self.config["subcommand"] if run else None
        self._set_seed()
        self.before_instantiate_classes()
        self.instantiate_classes()
        if self.subcommand:
            self.run_subcommand(self.subcommand)

    def _read_ahead(self, args: ArgsType) -> None:
        """Import what is named without a path, and torch where an optimizer is asked for."""
        words = words_written(args)
        import_named(words)
        wanted = self.auto_configure_optimizers and words & {"optimizer", "lr_scheduler"}
        if wanted and importlib.util.find_spec("torch") is not None:
            importlib.import_module(OPTIMIZERS)
        self._with_torch = "torch" in sys.modules

    # The parser.

    def setup_parser(self, run: bool) -> None:
        """Make the parser, with a parser of its own for each subcommand."""
        kwargs = self.parser_kwargs
        names = list(self.subcommands())
        own = {name: kwargs[name] for name in names if isinstance(kwargs.get(name), Mapping)}
        shared = {name: value for name, value in kwargs.items() if name not in own}
        self.parser = self.init_parser(**shared)
        if not run:
            self._add_arguments(self.parser)
            return
        chosen = self.parser.add_subcommands(required=True)
        for name, skip in self.subcommands().items():
            subparser = self.init_parser(**{**shared, **own.get(name, {})})
            self._add_arguments(subparser)
            self._add_method(subparser, name, skip)
            summary = _first_line(getattr(self._trainer_type(), name))
            chosen.add_subcommand(name, subparser, help=summary)
            self._subparsers[name] = subparser

    def init_parser(self, **kwargs: Any) -> LTArgumentParser:
        """Return a parser with nothing but ``--config``."""
        parser = self.parser_class(**kwargs)
        parser.add_config_argument()
        return parser

    def _add_arguments(self, parser: LTArgumentParser) -> None:
        self.add_default_arguments_to_parser(parser)
        self.add_core_arguments_to_parser(parser)
        self.add_arguments_to_parser(parser)
        if self.auto_configure_optimizers:
            self._add_optimizer(parser)
        self._link_optimizers(parser)

    def add_default_arguments_to_parser(self, parser: LTArgumentParser) -> None:
        """Add ``--seed_everything``."""
        parser.add_argument(
            "--seed_everything",
            type=bool | int,
            default=self.seed_everything_default,
            help="The seed of all random numbers; true: choose one; false: seed nothing.",
        )

    def add_core_arguments_to_parser(self, parser: LTArgumentParser) -> None:
        """Add the arguments of trainer, module and datamodule."""
        parser.add_lightning_class_args(self.trainer_class, "trainer")
        defaults = {k: v for k, v in self.trainer_defaults.items() if k != "callbacks"}
        parser.set_defaults({f"trainer.{name}": value for name, value in defaults.items()})
        parser.add_lightning_class_args(
            self.model_class or AnyModule, "model", subclass_mode=self.subclass_mode_model
        )
        parser.add_lightning_class_args(
            self.datamodule_class or AnyDataModule,
            "data",
            subclass_mode=self.subclass_mode_data,
            required=self.datamodule_class is not None,
        )

    def add_arguments_to_parser(self, parser: LTArgumentParser) -> None:
        """Do nothing: for overriding, to add arguments, defaults and links.

        Args:
            parser: each subcommand's in turn; ``add_argument``, ``set_defaults``,
                ``link_arguments``, ``add_lightning_class_args``, ``add_optimizer_args``,
                ``add_lr_scheduler_args``.
        """

    def _add_optimizer(self, parser: LTArgumentParser) -> None:
        """Add the optimizer's and the schedule's arguments where nobody did."""
        schedules = set(parser.schedule_keys)
        optimizers = set(parser.optimizers_and_lr_schedulers) - schedules
        optimizer = None if self._with_torch else (AnyOptimizer,)
        schedule = None if self._with_torch else (AnyLRScheduler,)
        if not optimizers:
            parser.add_optimizer_args(optimizer)
        if not schedules:
            parser.add_lr_scheduler_args(schedule)
        parser.add_class_arguments(ScheduleConfig, "lr_scheduler_config")

    def _link_optimizers(self, parser: LTArgumentParser) -> None:
        for key, (chosen, link_to) in parser.optimizers_and_lr_schedulers.items():
            if link_to != AUTOMATIC:
                parser.link_arguments(key, link_to, compute_fn=class_spec(chosen))

    def subcommands(self) -> dict[str, set[str]]:
        """Return the methods of the trainer that are subcommands, and what they get from here."""
        return {
            "fit": {"model", "train_dataloaders", "val_dataloaders", "datamodule"},
            "validate": {"model", "dataloaders", "datamodule"},
            "test": {"model", "dataloaders", "datamodule"},
            "predict": {"model", "dataloaders", "datamodule"},
            "plan": {"model", "dataloaders", "val_dataloaders", "datamodule"},
        }

    def _add_method(self, parser: LTArgumentParser, name: str, skip: Iterable[str]) -> None:
        """Add the arguments of the trainer's method that a subcommand calls."""
        parser.add_method_arguments(
            self._trainer_type(), name, skip={*skip}, as_group=True, fail_untyped=False
        )
        if name == "plan":
            # A configuration of a fit can be planned as it is: what a plan does not need is read.
            parser.add_argument("--ckpt_path", type=str | None, default=None, help="Not looked at.")

    def _trainer_type(self) -> type[Trainer]:
        """Return the class whose methods are run: a function that makes trainers has none."""
        return self.trainer_class if isinstance(self.trainer_class, type) else Trainer

    def parse_arguments(self, parser: LTArgumentParser, args: ArgsType) -> None:
        """Read the command line, or what is given instead."""
        if isinstance(args, Mapping | Namespace):
            self.config = parser.parse_object(args)
        else:
            self.config = parser.parse_args(args)

    # What is made of it.

    def _part(self, config: Namespace, key: str, default: Any = None) -> Any:
        return (config.get(self.subcommand) if self.subcommand else config).get(key, default)

    def _parser(self) -> LTArgumentParser:
        return self._subparsers[self.subcommand] if self.subcommand else self.parser

    def _set_seed(self) -> None:
        """Seed before anything is made; a seed that was chosen is written down."""
        asked = self._part(self.config, "seed_everything")
        if asked is False or asked is None:
            return
        seed = choose_seed() if asked is True else int(asked)
        (self.config[self.subcommand] if self.subcommand else self.config)["seed_everything"] = seed
        seed_everything(seed)

    def before_instantiate_classes(self) -> None:
        """Do nothing: for overriding. The configuration is read, nothing is made."""

    def instantiate_classes(self) -> None:
        """Make module, datamodule and trainer."""
        self.config_init = instantiated(self.parser, self.config)
        self.datamodule = self._part(self.config_init, "data")
        self.model = self._part(self.config_init, "model")
        self._configure_optimizers_of(self.model)
        self.trainer = self.instantiate_trainer()

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Make the trainer.

        Args:
            **kwargs: arguments that win over those of the configuration.
        """
        forced = [self._part(self.config_init, key) for key in self._parser().callback_keys]
        words = {**self._part(self.config_init, "trainer", {}), **kwargs}
        callbacks = [
            *_listed(words.get("callbacks")),
            *(callback for callback in forced if isinstance(callback, Callback)),
            *_listed(self.trainer_defaults.get("callbacks")),
        ]
        if (
            self.save_config_callback
            and not words.get("fast_dev_run")
            and self.subcommand != "plan"
        ):
            config = self.config.get(self.subcommand) if self.subcommand else self.config
            callbacks.append(
                self.save_config_callback(self._parser(), config, **self.save_config_kwargs)
            )
        return self.trainer_class(**{**words, "callbacks": callbacks})

    # The optimizer.

    def _configure_optimizers_of(self, model: Any) -> None:
        """Give the module the optimizer of the configuration, if there is one."""
        config = self.config_init[self.subcommand] if self.subcommand else self.config_init
        chosen = choose_optimizer(self._parser(), config)
        if chosen is None:
            return
        if _defines_optimizers(model):
            log.warning(
                "%s.configure_optimizers is replaced by the optimizer of the configuration",
                type(model).__name__,
            )

        def configured(module: Any) -> Any:
            optimizer, schedule = chosen.made_for(module)
            if schedule is None:
                return self.configure_optimizers(module, optimizer)
            return self.configure_optimizers(module, optimizer, lr_scheduler=schedule)

        model.configure_optimizers = MethodType(configured, model)

    @staticmethod
    def configure_optimizers(
        lightning_module: Any, optimizer: Any, lr_scheduler: Any | None = None
    ) -> Any:
        """Return what the module's ``configure_optimizers`` returns: for overriding.

        Args:
            lightning_module: the module.
            optimizer: made of the configuration, on the module's parameters.
            lr_scheduler: the schedule, None where there is none. With an ``lr_scheduler_config``, a
                dict that holds it under ``"scheduler"``.
        """
        if lr_scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": lr_scheduler}

    # The run.

    def run_subcommand(self, name: str) -> None:
        """Call the trainer's method, and what this class has to do before and after it.

        Args:
            name: ``fit`` calls ``before_fit``, ``fit`` (of this class where it has one, else of
                the trainer) and ``after_fit``.
        """
        before: Callable[[], None] | None = getattr(self, f"before_{name}", None)
        if before is not None:
            before()
        run = getattr(self, name, None) or getattr(self.trainer, name)
        self.result = run(**self._words_of(name))
        after: Callable[[], None] | None = getattr(self, f"after_{name}", None)
        if after is not None:
            after()

    def _words_of(self, name: str) -> dict[str, Any]:
        """Return the arguments of the trainer's method: what was configured and what was made."""
        config = self.config_init[name]
        taken = _parameters(getattr(self.trainer, name))
        skip = self.subcommands()[name]
        words = {word: config[word] for word in taken if word in config and word not in skip}
        return {"model": self.model, "datamodule": self.datamodule, **words}


def _parameters(method: Callable[..., Any]) -> list[str]:
    return list(inspect.signature(method).parameters)


def _first_line(method: Callable[..., Any]) -> str:
    return (method.__doc__ or "").strip().partition("\n")[0]


def _listed(given: Any) -> list[Any]:
    if given is None:
        return []
    return list(given) if isinstance(given, list | tuple) else [given]


def _defines_optimizers(model: Any) -> bool:
    method = getattr(type(model), "configure_optimizers", None)
    return method is not None and not getattr(method, "__lt_default__", False)

"""The parser behind the command line: jsonargparse's, with what a training script adds to it."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any, NoReturn

import jsonargparse
from jsonargparse.typing import class_from_function

from lt_cli.diagnosis import Diagnosis
from lt_cli.exits import Exit
from lt_cli.kinds import AnyLRScheduler, AnyOptimizer
from lt_cli.trainer_arguments import wide_arguments
from lt_loop import Callback, Trainer

AUTOMATIC = "AUTOMATIC"
"""Where an optimizer goes that is linked to nothing: into the module's configure_optimizers."""

# Names, not imports: torch comes in where an optimizer is asked for.
OPTIMIZERS, SCHEDULES = "torch.optim", "torch.optim.lr_scheduler"

Classes = type | tuple[type, ...]


class LTArgumentParser(jsonargparse.ArgumentParser):
    """Reads arguments, configuration files and, only where asked to, environment variables.

    Args:
        *args: as for ``jsonargparse.ArgumentParser``.
        description: what ``-h`` says.
        env_prefix: how the names of environment variables begin, with ``default_env=True``.
        default_env: whether environment variables are read. No variable can switch this on.
        **kwargs: as for ``jsonargparse.ArgumentParser``.
    """

    def __init__(
        self,
        *args: Any,
        description: str = "Train, validate, test and predict.",
        env_prefix: str = "LT",
        default_env: bool = False,
        **kwargs: Any,
    ) -> None:
        # Before its own __init__, which looks at them.
        self.callback_keys: list[str] = []
        self.optimizers_and_lr_schedulers: dict[str, tuple[Classes, str]] = {}
        self.schedule_keys: list[str] = []
        super().__init__(
            *args,
            description=description,
            env_prefix=env_prefix,
            default_env=default_env,
            **{"allow_abbrev": False} | kwargs,
        )

    @property
    def default_env(self) -> bool:
        """Whether environment variables are read. JSONARGPARSE_DEFAULT_ENV has no say in it."""
        return self._default_env

    @default_env.setter
    def default_env(self, value: bool) -> None:
        self._default_env = value

    def add_config_argument(self) -> None:
        """Add ``--config`` and ``--print_config``; several files are merged in their order."""
        self.add_argument(
            "-c",
            "--config",
            action="config",
            help="A configuration file, or a text in its form. Later ones win.",
        )

    def add_lightning_class_args(
        self,
        lightning_class: Callable[..., Any],
        nested_key: str,
        subclass_mode: bool = False,
        required: bool = True,
    ) -> list[str]:
        """Add the arguments of a class under a key.

        Args:
            lightning_class: a trainer, a module, a datamodule or a callback, or a function that
                returns one and says so. A callback that is added this way enters every run.
            nested_key: ``model`` gives ``--model.width``.
            subclass_mode: whether the configuration chooses among the subclasses.
            required: with ``subclass_mode``, whether it must.

        Returns:
            The keys that were added.
        """
        made = lightning_class
        if not isinstance(made, type):
            made = class_from_function(made)
        if issubclass(made, Callback):
            self.callback_keys.append(nested_key)
        if subclass_mode:
            self.add_subclass_arguments(made, nested_key, fail_untyped=False, required=required)
            return [nested_key]
        if issubclass(made, Trainer):
            return self._add_trainer(made, nested_key)
        keys: list[str] = self.add_class_arguments(
            made, nested_key, fail_untyped=False, sub_configs=True
        )
        return keys

    def _add_trainer(self, made: type[Trainer], nested_key: str) -> list[str]:
        wide = wide_arguments(made)
        keys: list[str] = self.add_class_arguments(
            made,
            nested_key,
            fail_untyped=False,
            instantiate=False,
            sub_configs=True,
            skip={*wide},
        )
        assert self.groups is not None
        for name, (form, default) in wide.items():
            key = f"{nested_key}.{name}"
            self.groups[nested_key].add_argument(f"--{key}", type=form, default=default)
            keys.append(key)
        return keys

    def add_optimizer_args(
        self,
        optimizer_class: Classes | None = None,
        nested_key: str = "optimizer",
        link_to: str = AUTOMATIC,
    ) -> None:
        """Add the arguments of an optimizer under a key.

        Args:
            optimizer_class: one class, or several of which the configuration chooses a subclass;
                by default any of torch's, which is imported.
            nested_key: ``optimizer`` gives ``--optimizer.lr``.
            link_to: an argument that receives it, such as ``model.optimizer_init``, as
                ``class_path`` and ``init_args``; by default the module's ``configure_optimizers``.
        """
        torch: Any = importlib.import_module(OPTIMIZERS) if optimizer_class is None else None
        chosen = optimizer_class or (torch.Optimizer, AnyOptimizer)
        self._add_maker(chosen, nested_key, link_to, first={"params", "parameters"})

    def add_lr_scheduler_args(
        self,
        lr_scheduler_class: Classes | None = None,
        nested_key: str = "lr_scheduler",
        link_to: str = AUTOMATIC,
    ) -> None:
        """Add the arguments of a learning-rate schedule under a key; see add_optimizer_args."""
        torch: Any = importlib.import_module(SCHEDULES) if lr_scheduler_class is None else None
        chosen = lr_scheduler_class or (torch.LRScheduler, AnyLRScheduler)
        self._add_maker(chosen, nested_key, link_to, first={"optimizer"})
        self.schedule_keys.append(nested_key)

    def _add_maker(self, chosen: Classes, key: str, link_to: str, *, first: set[str]) -> None:
        """Add a class without its first argument, which is there only when it is made."""
        if isinstance(chosen, tuple):
            self.add_subclass_arguments(
                chosen, key, fail_untyped=False, instantiate=False, skip=first
            )
        else:
            first = {next(iter(inspect.signature(chosen).parameters))}
            self.add_class_arguments(
                chosen, key, fail_untyped=False, instantiate=False, sub_configs=True, skip={*first}
            )
        self.optimizers_and_lr_schedulers[key] = (chosen, link_to)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """End with one line on stderr that says what is wrong, where, and what was meant.

        Raises:
            jsonargparse.ArgumentError: with ``exit_on_error=False``, as jsonargparse does.
        """
        if not self.exit_on_error:
            super().error(message, ex)
        asked: LTArgumentParser = getattr(ex, "subcommand_parser", None) or self._asked_for()
        name = asked.prog.replace(" [options]", "")
        self.exit(Exit.USAGE, f"{name}: {asked.explained(message)}\n")

    def explained(self, message: str) -> str:
        """Return a message of this parser as one line."""
        words = list(getattr(self, "args", []))
        return Diagnosis(
            words=words,
            keys=[action.dest for action in self._actions if action.dest != "help"],
            options=self.options(),
            subcommand=str(getattr(self, "subcommand", "")),
        ).explain(message)

    def options(self, subcommand: str | None = None) -> list[str]:
        """Return the options of this parser, or of one of its subcommands."""
        if subcommand is not None and self._subcommands_action is not None:
            inner: LTArgumentParser = self._subcommands_action.choices[subcommand]
            return inner.options()
        return [option for action in self._actions for option in action.option_strings]

    def _asked_for(self) -> "LTArgumentParser":
        """Return the parser of the subcommand that was asked for, or this one."""
        choices = self._subcommands_action.choices if self._subcommands_action else {}
        words = list(getattr(self, "args", []))
        return next((choices[word] for word in words if word in choices), self)


def class_spec(chosen: Classes) -> Callable[[Any], dict[str, Any]]:
    """Return the function that writes what was parsed for a class as class_path and init_args."""

    def spec(value: Any) -> dict[str, Any]:
        plain: dict[str, Any] = value.as_dict() if hasattr(value, "as_dict") else dict(value)
        if isinstance(chosen, tuple):
            return plain
        return {"class_path": f"{chosen.__module__}.{chosen.__qualname__}", "init_args": plain}

    return spec

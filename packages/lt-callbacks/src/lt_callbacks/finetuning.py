"""BaseFinetuning: the frame of a callback that freezes a part of the module, and thaws it later."""

from collections.abc import Iterator
from typing import Any

from lt_callbacks import extras
from lt_loop import Callback, Trainer


class BaseFinetuning(Callback):
    """Freezes what you say before training, and lets you add it to the optimizer epoch by epoch.

    Abstract: subclass it and write :meth:`freeze_before_training`, which is called before
    ``configure_optimizers``, and :meth:`finetune_function`, which is called once at the start of
    every epoch for each optimizer. Make the optimizer of the parameters that require gradients.

    What is frozen and which parameters are in which group survives a resume, within an epoch too.

    Raises:
        ModuleNotFoundError: torch is not installed.
    """

    def __init__(self) -> None:
        extras.check("finetuning", wanted_by=type(self).__name__)
        self._saved: dict[str, Any] | None = None
        self._latest_epoch = -1
        self._frozen: dict[str, list[str]] = {}
        self._groups: list[list[list[str]]] = []

    def freeze_before_training(self, pl_module: Any) -> None:
        """Freeze what is not to be trained at first. Write this."""
        raise NotImplementedError(_missing(self, "freeze_before_training(self, pl_module)"))

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: Any) -> None:
        """Thaw what is to be trained from this epoch on, or change learning rates. Write this."""
        name = "finetune_function(self, pl_module, epoch, optimizer)"
        raise NotImplementedError(_missing(self, name))

    @staticmethod
    def flatten_modules(modules: Any) -> list[Any]:
        """Return the modules that have parameters of their own, and those without children.

        Args:
            modules: a module, or an iterable of modules and of such iterables.
        """
        return list(_freezing().flattened(modules))

    @staticmethod
    def filter_params(
        modules: Any, train_bn: bool = True, requires_grad: bool = True
    ) -> Iterator[Any]:
        """Yield the parameters that are trained, or with ``requires_grad=False`` those that aren't.

        Args:
            modules: of which modules.
            train_bn: whether those of batch normalization count.
            requires_grad: which of the two.
        """
        yield from _freezing().parameters(modules, train_bn=train_bn, requires_grad=requires_grad)

    @staticmethod
    def make_trainable(modules: Any) -> None:
        """Thaw modules: their parameters require gradients, batch statistics are kept again."""
        for module in _freezing().flattened(modules):
            _freezing().set_trainable(module, True)

    @staticmethod
    def freeze_module(module: Any) -> None:
        """Freeze one module's own parameters, without those of its children."""
        _freezing().set_trainable(module, False)

    @staticmethod
    def freeze(modules: Any, train_bn: bool = True) -> None:
        """Freeze modules.

        Args:
            modules: a module, or an iterable of modules and of such iterables.
            train_bn: whether batch normalization goes on being trained.
        """
        freezing = _freezing()
        for module in freezing.flattened(modules):
            freezing.set_trainable(module, train_bn and freezing.is_batch_norm(module))

    @staticmethod
    def filter_on_optimizer(optimizer: Any, params: Any) -> list[Any]:
        """Return the parameters that an optimizer does not hold yet; warn about the others."""
        return list(_freezing().not_in(optimizer, params))

    @staticmethod
    def unfreeze_and_add_param_group(
        modules: Any,
        optimizer: Any,
        lr: float | None = None,
        initial_denom_lr: float = 10.0,
        train_bn: bool = True,
    ) -> None:
        """Thaw modules and add their parameters to an optimizer, as a group of their own.

        Args:
            modules: a module, or an iterable of modules and of such iterables.
            optimizer: gets those of their parameters that it does not hold yet.
            lr: the group's learning rate; None for that of the first group, divided.
            initial_denom_lr: by what it is divided.
            train_bn: whether the parameters of batch normalization are added too.
        """
        BaseFinetuning.make_trainable(modules)
        rate = optimizer.param_groups[0]["lr"] / initial_denom_lr if lr is None else float(lr)
        parameters = BaseFinetuning.filter_on_optimizer(
            optimizer, BaseFinetuning.filter_params(modules, train_bn=train_bn)
        )
        if parameters:
            optimizer.add_param_group({"params": parameters, "lr": rate})

    def state_dict(self) -> dict[str, Any]:
        """Return what is frozen, and the groups of each optimizer, by name."""
        return {
            "latest_epoch": self._latest_epoch,
            "frozen": self._frozen,
            "groups": self._groups,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from a saved state, once there are optimizers."""
        self._saved = state_dict
        self._latest_epoch = int(state_dict["latest_epoch"])

    def setup(self, trainer: Trainer, pl_module: Any, stage: str) -> None:
        """Begin anew: freeze, if it is a fit.

        Raises:
            TypeError: the program is no ``nn.Module``.
        """
        self._saved, self._latest_epoch = None, -1
        self._frozen, self._groups = {}, []
        if stage != "fit":
            return
        if not isinstance(pl_module, _freezing().nn.Module):
            raise TypeError(
                f"{type(self).__name__} freezes parts of an nn.Module. "
                f"Received {type(pl_module).__name__}."
            )
        self.freeze_before_training(pl_module)

    def on_fit_start(self, trainer: Trainer, pl_module: Any) -> None:
        """In a run that goes on, thaw what was, and give the optimizers the groups they had."""
        freezing = _freezing()
        if self._saved is not None and self._saved["groups"]:
            freezing.freeze_again(pl_module, self._saved["frozen"])
            for optimizer, groups in zip(trainer.optimizers, self._saved["groups"], strict=True):
                freezing.regroup(pl_module, optimizer, groups)
        self._saved = None
        self._note(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: Any) -> None:
        """Call :meth:`finetune_function`, unless a run goes on within this epoch."""
        epoch = trainer.current_epoch
        if epoch <= self._latest_epoch:
            return
        for optimizer in trainer.optimizers:
            self.finetune_function(pl_module, epoch, optimizer)
        self._latest_epoch = epoch
        self._note(trainer, pl_module)

    def _note(self, trainer: Trainer, pl_module: Any) -> None:
        freezing = _freezing()
        self._frozen = freezing.frozen(pl_module)
        self._groups = [freezing.groups_by_name(pl_module, one) for one in trainer.optimizers]


def _freezing() -> Any:
    return extras.load("lt_callbacks.freezing", extra="finetuning", wanted_by="BaseFinetuning")


def _missing(callback: BaseFinetuning, method: str) -> str:
    return (
        f"A finetuning callback has a method {method}. Received {type(callback).__name__} without. "
        "Write it."
    )

"""Training and evaluation mode of a program, restored submodule by submodule."""

from collections.abc import Callable
from typing import Any

from lt_loop.hooks import overridden


def enter_evaluation_mode(program: Any, word: str) -> Callable[[], None]:
    """Put a program into evaluation mode; return the function that undoes it.

    A program has modes if it has ``modules()`` and ``eval()``, as an ``nn.Module`` has; each
    submodule gets back the mode it had. ``on_<word>_model_eval`` and ``on_<word>_model_train``
    take the place of either half where the program overrides them.
    """
    own_eval = overridden(program, f"on_{word}_model_eval")
    own_train = overridden(program, f"on_{word}_model_train")
    modes = _modes(program)
    if own_eval:
        own_eval()
    elif modes:
        program.eval()

    def leave() -> None:
        if own_train:
            own_train()
            return
        for module, training in modes:
            module.training = training

    return leave


def _modes(program: Any) -> list[tuple[Any, bool]]:
    if not callable(getattr(program, "modules", None)) or not hasattr(program, "eval"):
        return []
    return [(module, module.training) for module in program.modules()]

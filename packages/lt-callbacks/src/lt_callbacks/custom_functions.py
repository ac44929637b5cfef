"""Custom autograd functions in a graph, and the modules in whose forward they are. Needs torch."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Self, final

from torch import nn
from torch.autograd.function import BackwardCFunction

from lt_callbacks.tensors_in import tensors_in

Node = Any


@final
@dataclass(frozen=True, slots=True)
class Call:
    """One call of a submodule.

    Attributes:
        name: that of the submodule.
        module: the submodule.
        args: what it was called with.
        words: what it was called with by name.
        output: what it returned.
    """

    name: str
    module: nn.Module
    args: tuple[Any, ...]
    words: dict[str, Any]
    output: Any


@final
class Calls:
    """Notes the first call of each submodule until it is closed. It changes nothing about them."""

    def __init__(self, module: nn.Module) -> None:
        """Listen."""
        self.noted: dict[str, Call] = {}
        self._stack = ExitStack()
        for name, child in module.named_modules():
            handle = child.register_forward_hook(self._listener(name), with_kwargs=True)
            self._stack.callback(handle.remove)

    def _listener(self, name: str) -> Any:
        def note(
            module: nn.Module, args: tuple[Any, ...], words: dict[str, Any], output: Any
        ) -> None:
            self.noted.setdefault(name, Call(name, module, args, words, output))

        return note

    def close(self) -> Self:
        """Stop listening."""
        self._stack.close()
        return self


def custom_nodes(outputs: Any, inputs: Any = ()) -> list[Node]:
    """Return the nodes of custom autograd functions between inputs and outputs.

    Those of torch itself, such as the one behind checkpointing, are not the user's to check.
    """
    ends = {id(tensor.grad_fn) for tensor in tensors_in(inputs)}
    start = [tensor.grad_fn for tensor in tensors_in(outputs) if tensor.grad_fn is not None]
    return [node for node in _walked(start, ends) if _is_custom(node)]


def _walked(start: list[Node], ends: set[int]) -> Iterator[Node]:
    waiting, seen = list(start), set(ends)
    kept: list[Node] = []  # an id belongs to one node only as long as that is alive
    while waiting:
        node = waiting.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        kept.append(node)
        yield node
        waiting += [following for following, _ in node.next_functions]


def _is_custom(node: Node) -> bool:
    module = function_of(node).__module__
    return isinstance(node, BackwardCFunction) and module.partition(".")[0] != "torch"


def function_of(node: Node) -> type:
    """Return the class that a user wrote, of a node in the graph."""
    return getattr(type(node), "_forward_cls", type(node))


def innermost(calls: dict[str, Call], wanted: list[Node]) -> tuple[list[Call], list[Node]]:
    """Return the calls in which the wanted nodes were made, and the nodes that were not found so.

    Of nested modules it is the innermost: a module counts only for functions that none of its own
    submodules calls.
    """
    found: list[Call] = []
    left = {id(node): node for node in wanted}
    for call in sorted(calls.values(), key=lambda call: -call.name.count(".") - bool(call.name)):
        nodes = custom_nodes(call.output, (call.args, call.words))
        new = [id(node) for node in nodes if id(node) in left]
        if new:
            found.append(call)
        for key in new:
            del left[key]
    return found[::-1], list(left.values())

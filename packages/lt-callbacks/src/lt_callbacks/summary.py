"""Summaries of modules: layers, parameters, sizes, shapes and FLOPs, as a value that prints."""

from dataclasses import dataclass
from typing import Any, final

from lt_callbacks import extras
from lt_callbacks.number_words import short_count

OTHER_PARAMETERS = "other params"


@final
@dataclass(frozen=True, slots=True)
class LayerSummary:
    """One submodule.

    Attributes:
        name: its name in the module.
        type: the name of its class.
        parameters: how many numbers its parameters hold, those of its own submodules included.
        training: whether it is in training mode.
        flops: operations of one forward pass on the example input; None without one, or where
            the layer took no part.
        in_size: the shape of its first input, nested like the input where there are several;
            None where it is not known.
        out_size: the same of its output.
    """

    name: str
    type: str
    parameters: int
    training: bool
    flops: int | None = None
    in_size: Any = None
    out_size: Any = None


@final
@dataclass(frozen=True, slots=True)
class Summary:
    """A module in numbers; ``print`` shows it as a table.

    Parameters that share their storage by being one object are counted once; parameters that are
    lazy and have no shape yet count as nothing.

    Attributes:
        layers: the submodules down to the depth asked for, in their order.
        total_parameters: how many numbers all parameters hold.
        trainable_parameters: those among them that require a gradient.
        model_size: the size of all parameters in MB (10**6 bytes), in the dtypes they have.
        modes: how many submodules are in mode ``"train"`` and ``"eval"``.
        total_flops: operations of one forward pass on the example input; None without one. A
            multiplication with an addition counts as two. Counted are matrix products,
            convolutions and attention, by torch.utils.flop_counter; nothing else weighs.
        other_parameters: those that belong to no submodule.
        note: why there are no shapes although there is an example input; empty otherwise.
    """

    layers: tuple[LayerSummary, ...]
    total_parameters: int
    trainable_parameters: int
    model_size: float
    modes: dict[str, int]
    total_flops: int | None = None
    other_parameters: int = 0
    note: str = ""

    @property
    def columns(self) -> dict[str, list[str]]:
        """The table by heading: what each column holds in words."""
        layers, other = self.layers, bool(self.other_parameters)
        missing = ["n/a"] * other
        columns = {
            "": [str(index) for index in range(len(layers))] + [""] * other,
            "Name": [layer.name for layer in layers] + [OTHER_PARAMETERS] * other,
            "Type": [layer.type for layer in layers] + missing,
            "Params": [short_count(layer.parameters) for layer in layers]
            + [short_count(self.other_parameters)] * other,
            "Mode": ["train" if layer.training else "eval" for layer in layers] + missing,
        }
        if self.total_flops is not None:
            flops = ["?" if one.flops is None else short_count(one.flops) for one in layers]
            columns["FLOPs"] = flops + missing
            columns["In sizes"] = [_shape(layer.in_size) for layer in layers] + missing
            columns["Out sizes"] = [_shape(layer.out_size) for layer in layers] + missing
        return columns

    @property
    def totals(self) -> list[tuple[str, str]]:
        """What stands below the table: a number and what it counts."""
        frozen = self.total_parameters - self.trainable_parameters
        lines = [
            (short_count(self.trainable_parameters), "Trainable params"),
            (short_count(frozen), "Non-trainable params"),
            (short_count(self.total_parameters), "Total params"),
            (f"{self.model_size:,.3f}", "Total estimated model params size (MB)"),
            (str(self.modes["train"]), "Modules in train mode"),
            (str(self.modes["eval"]), "Modules in eval mode"),
        ]
        if self.total_flops is not None:
            lines.append((short_count(self.total_flops), "Total FLOPs of a forward pass"))
        return lines

    def __str__(self) -> str:
        """Return the table."""
        columns, right = self.columns, {"Params", "FLOPs"}
        widths = {name: max(map(len, [name, *cells])) for name, cells in columns.items()}

        def line(cells: dict[str, str]) -> str:
            return " | ".join(
                cell.rjust(widths[name]) if name in right else cell.ljust(widths[name])
                for name, cell in cells.items()
            ).rstrip()

        rows = [
            dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)
        ]
        table = [line({name: name for name in columns}), *map(line, rows)] if rows else []
        totals = [f"{number:<9} {words}" for number, words in self.totals]
        rule = "-" * max(map(len, [*table, *totals]))
        parts = [*table[:1], rule, *table[1:], rule] if rows else []
        return "\n".join([*parts, *totals, *([self.note] if self.note else [])])


def summarize(module: Any, max_depth: int = 1) -> Summary:
    """Summarize a module.

    With an attribute ``example_input_array`` (a tensor; a tuple or list of arguments; a dict of
    keyword arguments) the module is called with it, in evaluation mode and without gradients, to
    see shapes and count FLOPs. It is left as it was: modes, buffers and random generators. Where
    that call fails, the summary says so in its ``note``.

    Args:
        module: an ``nn.Module``.
        max_depth: how deep nested submodules are shown; -1 for all, 0 for none.

    Raises:
        ModuleNotFoundError: torch is not installed.
        TypeError: it is no module.
        ValueError: the depth is less than -1.
    """
    check_depth(max_depth)
    if not callable(getattr(module, "named_modules", None)):
        raise TypeError(f"A summary is of an nn.Module. Received a {type(module).__name__}.")
    measuring = extras.load(
        "lt_callbacks.summary_measuring", extra="summary", wanted_by="summarize"
    )
    return measuring.measured(module, max_depth)  # type: ignore[no-any-return]


def check_depth(max_depth: Any) -> None:
    """Check the depth of a summary.

    Raises:
        ValueError: it is no int of at least -1.
    """
    if isinstance(max_depth, bool) or not isinstance(max_depth, int) or max_depth < -1:
        raise ValueError(
            "max_depth is how deep submodules are shown: -1 for all, 0 for none, or more. "
            f"Received max_depth={max_depth!r}."
        )


def _shape(size: Any) -> str:
    return "?" if size is None else str(size)

"""Summaries against counts by hand, a formula, and hooks of the tests' own."""

import random
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import nn

from lt_callbacks import summarize
from lt_callbacks.summary import LayerSummary, Summary


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.Sequential(nn.ReLU(), nn.Flatten()),
        nn.Linear(8 * 6 * 5, 10, bias=False),
    )


def by_name(summary: Summary) -> dict[str, LayerSummary]:
    return {layer.name: layer for layer in summary.layers}


def with_example(module: nn.Module, example: Any) -> nn.Module:
    module.example_input_array = example
    return module


def test_parameters_are_counted() -> None:
    model = network()
    model[0].bias.requires_grad_(False)

    summary = summarize(model)

    conv, norm, linear = 3 * 8 * 9 + 8, 8 + 8, 8 * 6 * 5 * 10
    assert [layer.parameters for layer in summary.layers] == [conv, norm, 0, linear]
    assert [layer.type for layer in summary.layers] == [
        "Conv2d",
        "BatchNorm2d",
        "Sequential",
        "Linear",
    ]
    assert summary.total_parameters == conv + norm + linear
    assert summary.trainable_parameters == conv + norm + linear - 8
    assert summary.model_size == pytest.approx(4 * (conv + norm + linear) / 1e6)


def test_the_size_is_that_of_the_dtypes() -> None:
    model = nn.Sequential(nn.Linear(10, 10, bias=False).half(), nn.Linear(10, 10, bias=False))

    assert summarize(model).model_size == pytest.approx((200 + 400) / 1e6)


def test_shared_parameters_are_counted_once() -> None:
    first = nn.Linear(4, 4)
    model = nn.Sequential(first, nn.Linear(4, 4))
    model[1].weight = first.weight

    assert summarize(model).total_parameters == 16 + 4 + 4


@pytest.mark.parametrize(
    ("depth", "names"),
    [
        (0, []),
        (1, ["0", "1", "2", "3"]),
        (2, ["0", "1", "2", "2.0", "2.1", "3"]),
        (-1, ["0", "1", "2", "2.0", "2.1", "3"]),
    ],
)
def test_the_depth_says_what_is_shown(depth: int, names: list[str]) -> None:
    assert [layer.name for layer in summarize(network(), depth).layers] == names


def test_shapes_are_those_that_a_hook_sees() -> None:
    model = with_example(network(), torch.zeros(2, 3, 6, 5))
    seen: dict[str, tuple[list[int], list[int]]] = {}
    for name, child in model.named_modules():
        child.register_forward_hook(
            lambda _, args, out, name=name: seen.update(
                {name: (list(args[0].shape), list(out.shape))}
            )
        )
    model(model.example_input_array)

    summary = summarize(model, -1)

    assert {layer.name: (layer.in_size, layer.out_size) for layer in summary.layers} == {
        name: sizes for name, sizes in seen.items() if name
    }


def test_flops_are_those_of_the_formula() -> None:
    """Two for each multiplication and its addition; convolutions per output element."""
    model = with_example(network(), torch.zeros(2, 3, 6, 5))

    layers = by_name(summary := summarize(model, -1))

    convolution = 2 * (2 * 8 * 6 * 5) * (3 * 3 * 3)
    linear = 2 * 2 * (8 * 6 * 5) * 10
    assert layers["0"].flops == convolution
    assert layers["3"].flops == linear
    assert layers["1"].flops == layers["2"].flops == 0
    assert summary.total_flops == convolution + linear


def test_attention_counts_too() -> None:
    attention = nn.MultiheadAttention(8, 2, batch_first=True)
    x = torch.zeros(3, 5, 8)

    flops = summarize(with_example(attention, (x, x, x)), 1).total_flops

    projections = 2 * 3 * 5 * 8 * 8 * 4
    scores = 2 * 2 * 3 * 5 * 5 * 8  # queries by keys, and weights by values
    assert flops == projections + scores


def test_a_compiled_module_is_looked_into() -> None:
    plain = with_example(network(), torch.zeros(2, 3, 6, 5))
    compiled = with_example(network(), torch.zeros(2, 3, 6, 5))
    compiled.compile(backend="eager")

    assert summarize(compiled, -1) == summarize(plain, -1)


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = nn.Linear(2, 3), nn.Linear(4, 3)
        self.scale = nn.Parameter(torch.ones(7))
        self.unused = nn.Linear(1, 1)

    def forward(self, a: Any, b: Any) -> Any:
        return self.left(a) + self.right(b), {"sum": a.sum()}


@pytest.mark.parametrize(
    "example",
    [
        (torch.zeros(5, 2), torch.zeros(5, 4)),
        {"b": torch.zeros(5, 4), "a": torch.zeros(5, 2)},
    ],
)
def test_examples_may_be_several_arguments(example: Any) -> None:
    layers = by_name(summary := summarize(with_example(TwoInputs(), example)))

    assert layers["left"].in_size == [5, 2]
    assert layers["right"].in_size == [5, 4]
    assert layers["unused"].in_size is layers["unused"].flops is None
    assert summary.other_parameters == 7


def test_nested_inputs_and_outputs_are_shown_nested() -> None:
    class Outer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = TwoInputs()

        def forward(self, x: Any) -> Any:
            return self.inner(x[:, :2], x[:, 2:])[0]

    layers = by_name(summarize(with_example(Outer(), torch.zeros(5, 6))))

    assert layers["inner"].in_size == [[5, 2], [5, 4]]
    assert layers["inner"].out_size == [[5, 3], {"sum": []}]


def test_an_example_goes_where_the_parameters_are_and_into_their_dtype() -> None:
    model = with_example(nn.Sequential(nn.Linear(3, 2)).double(), torch.zeros(4, 3))

    assert by_name(summarize(model))["0"].out_size == [4, 2]


class Drawing(nn.Module):
    """Draws from every generator, has a buffer that it changes and one that it replaces."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Dropout(0.5))
        self.register_buffer("count", torch.zeros(1))
        self.register_buffer("last", torch.zeros(3))
        self.layer[2].eval()

    def forward(self, x: Any) -> Any:
        self.count += 1
        self.last = x[0]
        random.random()
        return self.layer(x) + torch.rand(3)


def test_nothing_is_left_behind() -> None:
    model = with_example(Drawing(), torch.ones(4, 3))
    model.layer[0].weight.grad = gradient = torch.ones(3, 3)
    torch.manual_seed(0)
    random.seed(0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    buffers = dict(model.named_buffers())
    modes = [child.training for child in model.modules()]
    states = torch.get_rng_state(), random.getstate()

    summary = summarize(model)

    assert not summary.note
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(value is buffers[name] for name, value in model.named_buffers())
    assert [child.training for child in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), states[0])
    assert random.getstate() == states[1]
    assert model.layer[0].weight.grad is gradient
    assert not any(child._forward_hooks for child in model.modules())


def test_a_call_that_fails_is_told_of_and_leaves_nothing_behind() -> None:
    model = with_example(network(), torch.zeros(2, 4, 6, 5))
    states = torch.get_rng_state()

    summary = summarize(model)

    assert summary.note.startswith("No shapes: calling it with example_input_array failed, Runtime")
    assert summary.total_flops is None
    assert "In sizes" not in summary.columns
    assert str(summary).endswith(summary.note)
    assert model.training
    assert torch.equal(torch.get_rng_state(), states)
    assert not any(child._forward_hooks for child in model.modules())


def test_lazy_parameters_count_as_nothing_and_stay_lazy() -> None:
    model = with_example(nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 1)), torch.zeros(2, 5))

    summary = summarize(model)

    assert [layer.parameters for layer in summary.layers] == [0, 4]
    assert "lazy" in summary.note
    assert isinstance(model[0].weight, nn.UninitializedParameter)


def test_modes_are_counted() -> None:
    model = network()
    model[1].eval()

    summary = summarize(model)

    assert summary.modes == {"train": 5, "eval": 1}
    assert summary.columns["Mode"] == ["train", "eval", "train", "train"]


def test_it_prints_as_a_table() -> None:
    """Worked out by hand."""
    summary = Summary(
        layers=(
            LayerSummary("net", "Sequential", 132_096, True, 2_621_440, [10, 256], [10, 512]),
            LayerSummary("idle", "Linear", 2, False),
        ),
        total_parameters=132_105,
        trainable_parameters=132_098,
        model_size=0.52842,
        modes={"train": 3, "eval": 1},
        total_flops=2_621_440,
        other_parameters=7,
    )

    assert str(summary) == "\n".join(
        [
            "  | Name         | Type       | Params | Mode  | FLOPs | In sizes  | Out sizes",
            "------------------------------------------------------------------------------",
            "0 | net          | Sequential |  132 K | train | 2.6 M | [10, 256] | [10, 512]",
            "1 | idle         | Linear     |      2 | eval  |     ? | ?         | ?",
            "  | other params | n/a        |      7 | n/a   |   n/a | n/a       | n/a",
            "------------------------------------------------------------------------------",
            "132 K     Trainable params",
            "7         Non-trainable params",
            "132 K     Total params",
            "0.528     Total estimated model params size (MB)",
            "3         Modules in train mode",
            "1         Modules in eval mode",
            "2.6 M     Total FLOPs of a forward pass",
        ]
    )


def test_without_layers_only_totals_are_printed() -> None:
    assert str(summarize(network(), 0)).startswith("2.6 K     Trainable params\n")


@pytest.mark.parametrize("depth", [-2, 1.0, True, "1"])
def test_a_depth_out_of_range_is_refused(depth: Any) -> None:
    with pytest.raises(ValueError, match=r"max_depth is how deep .* Received max_depth="):
        summarize(network(), depth)


def test_what_is_no_module_is_refused() -> None:
    with pytest.raises(TypeError, match=r"of an nn\.Module\. Received a dict"):
        summarize({})

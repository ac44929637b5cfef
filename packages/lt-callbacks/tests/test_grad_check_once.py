"""GradCheckOnce: gradients that are wrong on purpose, and runs that must not notice it."""

import copy
import logging
import random
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from torch import nn
from torch.autograd import Function
from torch.utils.checkpoint import checkpoint

from lt_callbacks import GradCheckOnce
from lt_loop import Callback, Trainer
from lt_loop.solo import DuckBackend


class Square(Function):
    """Right."""

    factor = 2.0

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return 2 * ctx.saved_tensors[0] * grad


class Wrong(Function):
    """Its backward forgets the factor of two."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return ctx.saved_tensors[0] * grad


class Narrow(Function):
    """Computes in float32 whatever it gets."""

    @staticmethod
    def forward(ctx: Any, x: Any) -> Any:
        return x.float() * 2

    @staticmethod
    def backward(ctx: Any, grad: Any) -> Any:
        return grad * 2


class Calling(nn.Module):
    """A layer around a custom function, with a parameter and, to be hard, a dropout."""

    def __init__(self, function: Any) -> None:
        super().__init__()
        self.function = function
        self.scale = nn.Parameter(torch.full((3,), 0.5))
        self.drop = nn.Dropout(0.25)

    def forward(self, x: Any) -> Any:
        return self.drop(self.function.apply(x * self.scale))


class Network(nn.Module):
    trainer: Any = None

    def __init__(self, middle: nn.Module | None = None) -> None:
        torch.manual_seed(0)
        super().__init__()
        self.first = nn.Linear(4, 3)
        self.block = nn.Sequential(nn.BatchNorm1d(3), middle or nn.Tanh())
        self.last = nn.Linear(3, 1)

    def forward(self, x: Any) -> Any:
        return self.last(self.block(self.first(x)))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self(batch).square().mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.05)


@pytest.fixture
def batches() -> list[Any]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(6, 4, generator=generator) for _ in range(3)]


def fit(program: Any, batches: Any, *callbacks: Any, **words: Any) -> Any:
    words = {"max_epochs": 1, "backend": DuckBackend()} | words
    trainer = Trainer(callbacks=list(callbacks), logger=False, enable_progress_bar=False, **words)
    return trainer.fit(program, batches)


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "lt_callbacks"]


# Missing gradients


class Forgetful(Network):
    """Makes two layers that it does not use, one of them frozen."""

    def __init__(self) -> None:
        super().__init__()
        self.spare = nn.Linear(2, 2)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)


def test_parameters_without_a_gradient_are_named_before_the_first_step(batches: list[Any]) -> None:
    program = Forgetful()
    before = copy.deepcopy(program.state_dict())

    with pytest.raises(
        ValueError,
        match=r"parameters that require a gradient received none: spare\.weight, spare\.bias\. Use",
    ):
        fit(program, batches, GradCheckOnce())

    parameters = dict(program.named_parameters())
    assert all(torch.equal(before[name], p) for name, p in parameters.items())


def test_a_detached_part_is_found(batches: list[Any]) -> None:
    class Detached(Network):
        def forward(self, x: Any) -> Any:
            return self.last(self.block(self.first(x).detach()))

    with pytest.raises(ValueError, match=r"received none: first\.weight, first\.bias\."):
        fit(Detached(), batches, GradCheckOnce())


@pytest.mark.parametrize("ignore", [["spare.*"], ["spare.weight", "*.bias"]])
def test_what_is_ignored_is_not_named(batches: list[Any], ignore: list[str]) -> None:
    assert fit(Forgetful(), batches, GradCheckOnce(ignore=ignore)).progress.steps == 3


def test_a_gradient_of_zero_is_one(batches: list[Any]) -> None:
    class Zero(Network):
        def forward(self, x: Any) -> Any:
            return super().forward(x) * 0

    assert fit(Zero(), batches, GradCheckOnce()).progress.steps == 3


def test_a_whole_accumulation_window_is_waited_for(batches: list[Any]) -> None:
    class InTurns(Network):
        def __init__(self) -> None:
            super().__init__()
            self.other = nn.Linear(3, 1)

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            head = self.other if batch_idx % 2 else self.last
            return head(self.block(self.first(batch))).square().mean()

    fit(InTurns(), batches, GradCheckOnce(), accumulate_grad_batches=2)
    with pytest.raises(ValueError, match=r"received none: other\.weight, other\.bias\."):
        fit(InTurns(), batches, GradCheckOnce())


def test_only_the_first_step_is_looked_at(batches: list[Any]) -> None:
    class Later(Network):
        def forward(self, x: Any) -> Any:
            if self.trainer.global_step:
                return self.last(self.block(self.first(x).detach()))
            return super().forward(x)

    assert fit(Later(), batches, GradCheckOnce()).progress.steps == 3


def test_of_several_optimizers_each_is_asked_about_its_own(batches: list[Any]) -> None:
    class InTurn(Network):
        automatic_optimization = False

        def training_step(self, batch: Any, batch_idx: int) -> None:
            for optimizer, graph in zip(self.trainer.stepped_optimizers, (1, 2), strict=True):
                optimizer.zero_grad()
                hidden = self.block(self.first(batch))
                output = self.last(hidden.detach() if graph == 2 else hidden)
                self.trainer.manual_backward(output.sum() if graph == 2 else hidden.sum())
                optimizer.step()

        def configure_optimizers(self) -> Any:
            return [
                torch.optim.SGD([*self.first.parameters(), *self.block.parameters()], lr=0.1),
                torch.optim.SGD(self.last.parameters(), lr=0.1),
            ]

    assert fit(InTurn(), batches, GradCheckOnce()).progress.steps == 3


def test_a_warning_or_a_stop_may_be_asked_for(
    batches: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    stopped = fit(Forgetful(), batches, GradCheckOnce(if_found="stop"))
    assert stopped.progress.steps == 1
    assert stopped.reason.startswith("GradCheckOnce: parameters that require a gradient received")
    assert told(caplog) == []

    assert fit(Forgetful(), batches, GradCheckOnce(if_found="warn")).progress.steps == 3
    assert len(told(caplog)) == 1
    assert "spare.weight, spare.bias" in told(caplog)[0]


def test_missing_gradients_need_not_be_looked_for(batches: list[Any]) -> None:
    assert fit(Forgetful(), batches, GradCheckOnce(missing=False)).progress.steps == 3


# Wrong gradients


def test_a_wrong_backward_is_found_with_its_module(batches: list[Any]) -> None:
    with pytest.raises(
        ValueError,
        match=r"the backward does not fit the forward in block\.1 \(Calling\): GradcheckError: "
        r"Jacobian mismatch for output 0 with respect to input 0\.$",
    ):
        fit(Network(Calling(Wrong)), batches, GradCheckOnce())


def test_a_parameter_whose_gradient_is_wrong_is_named(batches: list[Any]) -> None:
    class Halved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))

        def forward(self, x: Any) -> Any:
            return x * Wrong.apply(self.scale)

    with pytest.raises(ValueError, match=r"block\.1 \(Halved\): .* with respect to scale\.$"):
        fit(Network(Halved()), batches, GradCheckOnce(missing=False))


def test_a_right_backward_passes(batches: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    fit(Network(Calling(Square)), batches, GradCheckOnce())

    assert told(caplog) == []


def test_the_innermost_of_nested_modules_is_checked(batches: list[Any]) -> None:
    nested = nn.Sequential(nn.Sequential(Calling(Wrong)), nn.Tanh())

    with pytest.raises(ValueError, match=r"in block\.1\.0\.0 \(Calling\)"):
        fit(Network(nested), batches, GradCheckOnce())


def test_a_large_module_is_checked_in_random_directions(batches: list[Any]) -> None:
    class Wide(nn.Module):
        def __init__(self, function: Any) -> None:
            super().__init__()
            self.up, self.down, self.function = nn.Linear(3, 300), nn.Linear(300, 3), function

        def forward(self, x: Any) -> Any:
            return self.down(self.function.apply(self.up(x)))

    fit(Network(Wide(Square)), batches, GradCheckOnce())
    with pytest.raises(
        ValueError,
        match=r"in block\.1 \(Wide\): by input 0, a difference tells .* and the backward",
    ):
        fit(Network(Wide(Wrong)), batches, GradCheckOnce())


def test_what_can_not_be_checked_is_warned_of(
    batches: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    fit(Network(Calling(Narrow)), batches, GradCheckOnce())

    assert told(caplog) == [
        "GradCheckOnce: not checked: block.1 (Calling) computes in torch.float32, given "
        "torch.float64."
    ]


def test_a_module_that_refuses_float64_is_warned_of(
    batches: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    class Picky(Calling):
        def forward(self, x: Any) -> Any:
            if x.dtype == torch.float64:
                raise TypeError("no doubles here")
            return super().forward(x)

    fit(Network(Picky(Square)), batches, GradCheckOnce())

    (message,) = told(caplog)
    assert "block.1 (Picky) can't be called in float64: TypeError: no doubles here" in message


def test_where_the_first_batch_is_skipped_the_next_one_is_looked_at(batches: list[Any]) -> None:
    class Skipping(Network):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return super().training_step(batch, batch_idx) if batch_idx else None

    with pytest.raises(ValueError, match=r"in block\.1 \(Calling\)"):
        fit(Skipping(Calling(Wrong)), batches, GradCheckOnce())


@pytest.mark.parametrize("ignore", ["Wrong", "block.1", "block.*"])
def test_what_is_wrong_on_purpose_can_be_left_alone(batches: list[Any], ignore: str) -> None:
    assert fit(Network(Calling(Wrong)), batches, GradCheckOnce(ignore=[ignore]))


def test_a_function_outside_of_modules_is_named_in_a_warning(
    batches: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    class InStep(Network):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return Wrong.apply(self(batch)).mean()

    fit(InStep(), batches, GradCheckOnce())

    assert told(caplog) == [
        "GradCheckOnce: Wrong is called outside of every module's forward, so what it is called "
        "with is not known. Name it: functions={Wrong: inputs}."
    ]


@pytest.mark.parametrize("name", [lambda f: f, lambda f: f.apply])
def test_functions_may_be_named(batches: list[Any], name: Any) -> None:
    inputs = (torch.linspace(-1, 1, 5),)

    fit(Network(), batches, GradCheckOnce(functions={name(Square): inputs}))
    with pytest.raises(ValueError, match=r"does not fit the forward in Wrong"):
        fit(Network(), batches, GradCheckOnce(functions={name(Wrong): inputs}))


def test_modules_may_be_named(batches: list[Any]) -> None:
    network = Network(nn.Sequential(Calling(Wrong), Calling(Square)))

    fit(network, batches, GradCheckOnce(modules=["block.1.1", "first"]))
    with pytest.raises(ValueError, match=r"in block\.1\.0 \(Calling\)"):
        fit(network, batches, GradCheckOnce(modules=["block.1.0"]))


def test_a_misspelt_module_is_refused(batches: list[Any]) -> None:
    with pytest.raises(ValueError, match=r"Received 'blok\.1'\. Did you mean 'block\.1'\?"):
        fit(Network(), batches, GradCheckOnce(modules=["blok.1"]))


def test_torchs_own_functions_are_left_alone(
    batches: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    class Checkpointed(Network):
        def forward(self, x: Any) -> Any:
            hidden = checkpoint(self.first, x.requires_grad_(), use_reentrant=True)
            return self.last(self.block(hidden))

    fit(Checkpointed(), batches, GradCheckOnce())

    assert told(caplog) == []


# Leaks


class Leaking(Network):
    def forward(self, x: Any) -> Any:
        hidden = self.first(x)
        return self.last(hidden + hidden.roll(1, 0))


def test_a_leak_is_found_and_names_two_samples(batches: list[Any]) -> None:
    with pytest.raises(
        ValueError, match=r"the output of sample 0 depends on sample 5 of the same batch"
    ):
        fit(Leaking(), batches, GradCheckOnce(leaks=True))


def test_a_batch_that_is_reshaped_the_wrong_way_is_found() -> None:
    class Reshaped(Network):
        def forward(self, x: Any) -> Any:
            return self.last(self.first(x.t().reshape(6, 4)))

    with pytest.raises(ValueError, match=r"depends on sample \d of the same batch"):
        fit(Reshaped(), [torch.randn(6, 4)], GradCheckOnce(leaks=True))


def test_batch_norm_in_training_is_no_leak(batches: list[Any]) -> None:
    assert fit(Network(), batches, GradCheckOnce(leaks=True)).progress.steps == 3


def test_without_being_asked_nobody_looks_for_leaks(batches: list[Any]) -> None:
    assert fit(Leaking(), batches, GradCheckOnce(missing=False)).progress.steps == 3


class Words(nn.Module):
    """Whole numbers in: what embeddings make of them is differentiated by."""

    trainer: Any = None

    def __init__(self, *, leaks: bool) -> None:
        super().__init__()
        self.embed, self.places = nn.Embedding(10, 3), nn.Embedding(5, 3)
        self.head = nn.Linear(3, 1)
        self.leaks = leaks

    def forward(self, tokens: Any) -> Any:
        hidden = self.embed(tokens) + self.places(torch.arange(tokens.shape[1]))
        return self.head(hidden - hidden.mean(0 if self.leaks else 1, keepdim=True))

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self(batch["tokens"]).square().mean()

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_whole_numbers_are_followed_through_embeddings() -> None:
    batches = [{"tokens": torch.randint(10, (4, 5))}]

    def check() -> GradCheckOnce:
        return GradCheckOnce(leaks=True, inputs=lambda batch: batch["tokens"])

    fit(Words(leaks=False), batches, check())
    with pytest.raises(ValueError, match="depends on sample"):
        fit(Words(leaks=True), batches, check())


@pytest.mark.parametrize(
    ("batch", "inputs", "message"),
    [
        (
            {"tokens": torch.ones(4, 5).long()},
            None,
            r"a mapping with the keys tokens\. Pass inputs=",
        ),
        ({"tokens": torch.ones(1, 5).long()}, lambda b: b["tokens"], r"fewer than two"),
        ({"tokens": torch.ones(4, 5).long()}, lambda b: b, r"fewer than two|calls Words"),
        (
            {"tokens": torch.ones(4, 5).long()},
            lambda b: (b["tokens"], 1),
            r"calls Words with .* Received TypeError",
        ),
    ],
)
def test_what_can_not_be_looked_at_is_an_error(batch: Any, inputs: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        fit(Words(leaks=False), [batch], GradCheckOnce(leaks=True, inputs=inputs))


# Leaving no trace


class Drawing(Network):
    """Draws from all generators, and changes and replaces buffers."""

    def __init__(self) -> None:
        super().__init__(nn.Sequential(Calling(Square), nn.Dropout(0.5)))
        self.register_buffer("count", torch.zeros(1))
        self.block[1][1].eval()

    def forward(self, x: Any) -> Any:
        self.count = self.count + 1
        return super().forward(x) * (1 + random.random()) + torch.rand(1)


class Shuffled:
    """A loader that draws its order from torch's generator, as a DataLoader does."""

    def __init__(self) -> None:
        self.data = torch.randn(24, 4, generator=torch.Generator().manual_seed(2))
        self.seen: list[int] = []

    def __len__(self) -> int:
        return 4

    def __iter__(self) -> Any:
        for rows in torch.randperm(24).split(6):
            self.seen += rows.tolist()
            yield self.data[rows]


def test_the_run_is_the_same_to_the_last_bit() -> None:
    def run(*callbacks: Callback) -> tuple[Any, ...]:
        program, loader = Drawing(), Shuffled()
        random.seed(3)
        torch.manual_seed(3)
        fit(program, loader, *callbacks, max_epochs=2)
        modes = [child.training for child in program.modules()]
        return program.state_dict(), loader.seen, modes, torch.get_rng_state(), random.getstate()

    plain = run()
    checked = run(GradCheckOnce(leaks=True, functions={Square: (torch.randn(4),)}, samples=3))

    assert all(torch.equal(plain[0][name], value) for name, value in checked[0].items())
    assert plain[1:3] == checked[1:3]
    assert torch.equal(plain[3], checked[3])
    assert plain[4] == checked[4]


def test_modules_are_let_go_of_also_where_nothing_is_computed(batches: list[Any]) -> None:
    class Failing(Network):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise RuntimeError("out of luck")

    program = Failing()
    with pytest.raises(RuntimeError, match="out of luck"):
        fit(program, batches, GradCheckOnce())

    assert not any(child._forward_hooks for child in program.modules())


def test_each_fit_is_looked_at(batches: list[Any]) -> None:
    check = GradCheckOnce()
    fit(Network(), batches, check)

    with pytest.raises(ValueError, match="received none"):
        fit(Forgetful(), batches, check)


def test_a_program_that_is_no_module_is_left_alone(scripted: Any, make_trainer: Any) -> None:
    trainer = make_trainer(GradCheckOnce(leaks=True), max_epochs=1)

    assert trainer.fit(scripted(), [0]).progress.steps == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"if_found": "rise"}, r"if_found is one of .*Did you mean 'raise'\?"),
        ({"samples": 0}, r"Received samples=0"),
        ({"modules": "first"}, r"Received the string 'first'\. Pass \['first'\]"),
    ],
)
def test_bad_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GradCheckOnce(**arguments)


def test_nothing_is_said_where_all_is_well(
    batches: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="lt_callbacks")

    fit(Network(), batches, GradCheckOnce(leaks=True))

    assert told(caplog) == []

"""What all ranks have, on every rank: two processes with gloo, against one that has all of it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn

from lt_module import LTModule

pytestmark = pytest.mark.timeout(60)


class Pair(NamedTuple):
    left: Any
    right: Any


class Contrast(LTModule):
    """Tells each sample from all samples of all ranks."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2, dtype=torch.float64)

    def loss(self, x: Tensor, everybody: Callable[[Tensor], Tensor]) -> Tensor:
        z = everybody(self.layer(x)).flatten(0, -2)
        return torch.logsumexp(z @ z.T, dim=1).mean()


def network() -> Contrast:
    torch.manual_seed(1)
    return Contrast()


SAMPLES = torch.linspace(-1, 1, 24, dtype=torch.float64).reshape(2, 4, 3)


def refusal(call: Callable[[], Any]) -> str:
    with pytest.raises(ValueError, match="the same shape and dtype on every rank") as refused:
        call()
    return str(refused.value)


def be(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    module = network()
    given = {"a": [torch.full((2,), rank), rank], "b": Pair("text", (rank + 0.5, None))}
    found = {"data": module.all_gather(given), "plain": module.all_gather(torch.ones(2, 0))}
    found["detached"] = module.all_gather(torch.ones(1, requires_grad=True)).requires_grad

    loss = module.loss(SAMPLES[rank], lambda z: module.all_gather(z, sync_grads=True))
    loss.backward()
    found |= {"loss": loss.detach(), "grad": module.layer.weight.grad}
    found["own group"] = module.all_gather(torch.tensor([rank]), group=dist.group.WORLD)
    found["refused"] = [
        refusal(lambda: module.all_gather(torch.ones(3 + rank, 2))),
        refusal(lambda: module.all_gather(torch.ones(4 - rank), sync_grads=True)),
        refusal(lambda: module.all_gather({"n": torch.ones(2), "x": [rank if rank else 0.5]})),
        refusal(lambda: module.all_gather({k: torch.ones(2) for k in ("ab", "ba")[rank]})),
        refusal(lambda: module.all_gather([torch.ones(2)] * (1 + rank))),
    ]
    found["afterwards"] = module.all_gather(rank)
    torch.save(found, f"{folder}/{rank}.pt", pickle_protocol=4)
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    folder = tmp_path_factory.mktemp("ranks")
    mp.start_processes(be, (str(folder),), nprocs=2, start_method="fork")
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in (0, 1)]


def test_each_tensor_is_stacked_over_ranks(found: list[Any]) -> None:
    for one in found:
        (stack, numbers), pair = one["data"]["a"], one["data"]["b"]
        assert stack.tolist() == [[0, 0], [1, 1]]
        assert numbers.tolist() == [0, 1]
        assert isinstance(pair, Pair)
        assert pair.left == "text"
        assert pair.right[0].tolist() == [0.5, 1.5]
        assert pair.right[1] is None
        assert one["plain"].shape == (2, 2, 0)
        assert one["own group"].tolist() == [[0], [1]]
        assert not one["detached"]


def test_ranks_that_differ_are_told_so_instead_of_being_ended(found: list[Any]) -> None:
    assert found[0]["refused"] == found[1]["refused"]
    uneven, graph, dtype, order, more = found[0]["refused"]
    assert "Received (3, 2) float32 on rank 0, and (4, 2) float32 on rank 1. Pad them" in uneven
    assert "Received (4,) float32 on rank 0, and (3,) float32 on rank 1." in graph
    assert "Received ['x'][0]: () float32 on rank 0, and ['x'][0]: () int64 on rank 1." in dtype
    assert "['a']: (2,) float32; ['b']: (2,) float32 on rank 0, and ['b']: (2,) f" in order
    assert "Received nothing else on rank 0, and [1]: (2,) float32 on rank 1." in more
    assert found[0]["afterwards"].tolist() == [0, 1]


def test_gradients_flow_back_as_in_one_process_with_all_samples(found: list[Any]) -> None:
    whole = network()
    loss = whole.loss(SAMPLES, lambda z: z)
    loss.backward()

    for one in found:
        torch.testing.assert_close(one["loss"], loss.detach(), rtol=1e-12, atol=0.0)
    mean = (found[0]["grad"] + found[1]["grad"]) / 2  # as data-parallel training takes it
    torch.testing.assert_close(mean, whole.layer.weight.grad, rtol=1e-12, atol=1e-15)


def test_one_process_gets_its_tensors_back() -> None:
    module, tensor = network(), torch.ones(2, requires_grad=True)
    found = module.all_gather({"x": tensor, "n": 3, "s": "text"}, sync_grads=True)

    assert found["x"] is tensor
    assert found["n"].tolist() == 3
    assert found["s"] == "text"


def test_several_ranks_without_a_process_group_are_refused() -> None:
    class Two:
        world_size = 2

    module = network()
    module.trainer = Two()
    with pytest.raises(RuntimeError, match="world of 2"):
        module.all_gather(torch.ones(1))

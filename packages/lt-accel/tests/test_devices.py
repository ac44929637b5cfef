from typing import Any

import pytest
import torch

from lt_accel.devices import choose_devices, described, devices_here

NONE = {"cpu": 1}
ONE = {"cpu": 1, "cuda": 1}
FOUR = {"cpu": 1, "cuda": 4}
MAC = {"cpu": 1, "mps": 1}


@pytest.mark.parametrize(
    ("accelerator", "devices", "here", "device", "reason"),
    [
        ("auto", "auto", NONE, "cpu", "cpu: no GPU visible to torch"),
        ("auto", "auto", ONE, "cuda:0", "cuda:0: one GPU visible"),
        ("auto", "auto", FOUR, "cuda:0", "cuda:0: 4 GPUs visible, this is the first"),
        ("auto", "auto", MAC, "mps", "mps: one GPU visible"),
        ("auto", "auto", {**MAC, **ONE}, "cuda:0", "cuda:0: one GPU visible"),
        ("auto", 1, NONE, "cpu", "cpu: no GPU visible to torch, devices=1"),
        ("auto", [2], FOUR, "cuda:2", "cuda:2: 4 GPUs visible, devices=[2]"),
        ("cpu", "auto", FOUR, "cpu", "cpu: accelerator='cpu'"),
        ("cpu", 1, NONE, "cpu", "cpu: accelerator='cpu', devices=1"),
        ("cpu", -1, NONE, "cpu", "cpu: accelerator='cpu', devices=-1"),
        ("cpu", "0", NONE, "cpu", "cpu: accelerator='cpu', devices='0'"),
        ("gpu", "auto", FOUR, "cuda:0", "cuda:0: accelerator='gpu', this is the first"),
        ("gpu", "0", ONE, "cuda:0", "cuda:0: accelerator='gpu', devices='0'"),
        ("gpu", "3,", FOUR, "cuda:3", "cuda:3: accelerator='gpu', devices='3,'"),
        ("gpu", "auto", MAC, "mps", "mps: accelerator='gpu'"),
        ("gpu", -1, ONE, "cuda:0", "cuda:0: accelerator='gpu', devices=-1"),
        ("cuda", "-1", ONE, "cuda:0", "cuda:0: accelerator='cuda', devices='-1'"),
        ("cuda", (1,), FOUR, "cuda:1", "cuda:1: accelerator='cuda', devices=(1,)"),
        ("xpu", "1", {"cpu": 1, "xpu": 2}, "xpu:0", "xpu:0: accelerator='xpu', devices='1'"),
        ("hpu", 1, {"cpu": 1, "hpu": 1}, "hpu:0", "hpu:0: accelerator='hpu', devices=1"),
    ],
)
def test_choices(accelerator: str, devices: Any, here: Any, device: str, reason: str) -> None:
    chosen = choose_devices(accelerator, devices, here, several=False)
    assert list(map(str, chosen.devices)) == [device]
    assert chosen.reason == reason


def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(ValueError, match="accelerator") as error:
        choose_devices("gpu", "auto", NONE, several=False)
    assert str(error.value) == (
        "accelerator='gpu' needs a GPU that torch can see. Devices here: cpu. "
        "Use accelerator='cpu' or 'auto'."
    )
    for kind in ("cuda", "mps", "xla", "hpu"):
        here = ONE if kind != "cuda" else {"cpu": 1, "cuda:0": 1}
        with pytest.raises(
            ValueError, match=f"'{kind}' needs a device of type '{kind}' .* here: cpu, cuda:0"
        ):
            choose_devices(kind, "auto", here, several=False)


@pytest.mark.parametrize("word", ["gpuu", "cuda:1", "tpu", "meta", ""])
def test_an_unknown_accelerator(word: str) -> None:
    with pytest.raises(ValueError, match="'auto', 'gpu' or a device type of torch") as error:
        choose_devices(word, "auto", NONE, several=False)
    assert f"Received accelerator={word!r}" in str(error.value)
    assert ("Did you mean 'gpu'?" in str(error.value)) is (word == "gpuu")


@pytest.mark.parametrize("word", [0, None, ["cpu"], torch.device("cpu")])
def test_an_accelerator_is_a_word(word: Any) -> None:
    with pytest.raises(TypeError, match="accelerator is a string"):
        choose_devices(word, "auto", NONE, several=False)


@pytest.mark.parametrize(
    ("accelerator", "devices", "here", "missing", "present"),
    [
        ("gpu", [3], ONE, "cuda:3", "cpu, cuda:0"),
        ("gpu", "0,1", ONE, "cuda:1", "cpu, cuda:0"),
        ("gpu", 2, ONE, "cuda:1", "cpu, cuda:0"),
        ("auto", [4], FOUR, "cuda:4", "cpu, cuda:0, cuda:1, cuda:2, cuda:3"),
        ("cpu", [3], FOUR, "cpu:3", "cpu, cuda:0, cuda:1, cuda:2, cuda:3"),
        ("mps", [1], MAC, "mps:1", "cpu, mps"),
    ],
)
def test_a_device_that_is_not_there(
    accelerator: str, devices: Any, here: Any, missing: str, present: str
) -> None:
    with pytest.raises(ValueError, match=f"there is no {missing}") as error:
        choose_devices(accelerator, devices, here, several=False)
    assert f"Received devices={devices!r}" in str(error.value)
    assert f"Devices here: {present}." in str(error.value)


@pytest.mark.parametrize(
    ("accelerator", "devices", "chosen", "reason"),
    [
        ("cpu", 2, ["cpu", "cpu"], "cpu for each of 2 processes: accelerator='cpu', devices=2"),
        ("cpu", "3", ["cpu"] * 3, "cpu for each of 3 processes: accelerator='cpu', devices='3'"),
        ("gpu", [1, 3], ["cuda:1", "cuda:3"], "cuda:1, cuda:3: accelerator='gpu', devices=[1, 3]"),
        ("auto", "0,1", ["cuda:0", "cuda:1"], "cuda:0, cuda:1: 4 GPUs visible, devices='0,1'"),
        (
            "auto",
            "auto",
            [f"cuda:{index}" for index in range(4)],
            "cuda:0, cuda:1, cuda:2, cuda:3: 4 GPUs visible, all of them",
        ),
        ("cpu", "auto", ["cpu"], "cpu: accelerator='cpu'"),
    ],
)
def test_several_devices(accelerator: str, devices: Any, chosen: list[str], reason: str) -> None:
    found = choose_devices(accelerator, devices, FOUR, several=True)
    assert list(map(str, found.devices)) == chosen
    assert found.reason == reason


@pytest.mark.parametrize("devices", [0, -2, "zero", "", "1.0", [], [0, 0], [-1], "0,x"])
def test_words_that_mean_nothing(devices: Any) -> None:
    with pytest.raises(ValueError, match="devices is 'auto', a count"):
        choose_devices("cpu", devices, NONE, several=False)


@pytest.mark.parametrize("devices", [1.0, True, ["0"], [True], {"a": 1}, None])
def test_words_of_the_wrong_type(devices: Any) -> None:
    with pytest.raises(TypeError, match="devices is 'auto', a count"):
        choose_devices("cpu", devices, NONE, several=False)


def test_this_machine_has_a_cpu() -> None:
    here = devices_here("hpu", "nonsense")
    assert here["cpu"] == 1
    assert all(count > 0 for count in here.values())
    assert described(here).startswith("cpu")
    assert here.get("cuda", 0) == torch.cuda.device_count()

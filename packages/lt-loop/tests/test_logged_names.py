"""What a method logs is read from its source."""

import functools
from typing import Any

from lt_loop.logged_names import logged_names


class Model:
    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.shared(batch, "train")
        self.log("lr", 0.1, prog_bar=True)
        self.log(value=1.0, name="keyword")
        self.trainer.log("through the trainer", 1.0)

    def shared(self, batch: Any, stage: str) -> None:
        self.log(f"{stage}_loss/{len(batch)}", 1.0)
        self.log(stage.upper(), 2.0)
        self.training_step(batch, 0)  # a circle

    def several(self) -> None:
        more = {"unknown": 1.0}
        self.log_dict({"a": 1.0, f"b{1}": 2.0, **more})
        self.log_dict(more)

    def nothing(self) -> None:
        print("log")  # noqa: T201

    @functools.lru_cache  # noqa: B019
    def wrapped(self) -> None:
        self.log("within", 1.0)

    log = log_dict = trainer = None


def names(method: str) -> list[str]:
    model: Any = Model()
    return logged_names(model, getattr(model, method))


def test_names_are_found_in_the_method_and_in_those_it_calls() -> None:
    assert names("training_step") == [
        "lr",
        "keyword",
        "through the trainer",
        "{stage}_loss/{len(batch)}",
        "{stage.upper()}",
    ]


def test_the_keys_of_a_dict_are_names() -> None:
    assert names("several") == ["a", "b{1}", "{more}"]


def test_a_method_that_logs_nothing_has_no_names() -> None:
    assert names("nothing") == []


def test_wrappers_are_looked_through() -> None:
    assert names("wrapped") == ["within"]


def test_nothing_is_known_without_a_source() -> None:
    scope: dict[str, Any] = {}
    exec("def training_step(self): self.log('hidden', 1.0)", scope)
    made = type("Made", (), {"training_step": scope["training_step"]})()

    assert logged_names(made, made.training_step) == []
    assert logged_names(made, len) == []

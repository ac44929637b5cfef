"""The estimator of docs/embed.md, taken from the page, before scikit-learn's own judge."""

import importlib.util
import inspect
import pickle
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.utils.estimator_checks import check_estimator

PAGE = Path(__file__).parent.parent / "docs" / "embed.md"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The Python blocks of the page as a module: a class is pickled by its module and name."""
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    file = tmp_path_factory.mktemp("page") / "embed_page.py"
    file.write_text("\n".join(blocks))
    spec = importlib.util.spec_from_file_location(file.stem, file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[file.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules[file.stem]


@pytest.mark.slow
def test_passes_every_check_of_scikit_learn(page: ModuleType) -> None:
    checks = check_estimator(page.TorchClassifier(), on_skip=None)  # raises at the first failure

    skipped = {check["check_name"] for check in checks if check["status"] == "skipped"}
    passed = {check["check_name"] for check in checks if check["status"] == "passed"}
    assert skipped <= {"check_array_api_input", "check_classifier_data_not_an_array"}  # pandas, xp
    assert len(passed) > 30


def test_is_short(page: ModuleType) -> None:
    assert len(inspect.getsource(page.TorchClassifier).splitlines()) < 60


def test_goes_on_with_its_momentum_after_a_pickle(page: ModuleType) -> None:
    x, y = page.images[:300], page.labels[:300]
    classifier = page.TorchClassifier(max_epochs=2, random_state=0).fit(x, y)

    loaded = pickle.loads(pickle.dumps(classifier))

    for one in (classifier, loaded):
        one.partial_fit(x, y)
    assert np.array_equal(loaded.predict_proba(x), classifier.predict_proba(x))
    anew = page.TorchClassifier(max_epochs=2, random_state=0).fit(x, y)
    assert not np.array_equal(anew.predict_proba(x), classifier.predict_proba(x))


def test_leaves_the_random_generators_alone(page: ModuleType) -> None:
    def drawn() -> tuple[Any, ...]:
        return random.random(), np.random.rand(), torch.rand(1).item()

    def seeded() -> None:
        random.seed(1), np.random.seed(1), torch.manual_seed(1)

    seeded()
    expected = drawn()
    seeded()

    classifier = page.TorchClassifier(max_epochs=2, random_state=0)
    classifier.fit(page.images[:100], page.labels[:100]).predict(page.images)

    assert drawn() == expected


def test_refuses_classes_it_has_not_seen(page: ModuleType) -> None:
    classifier = page.TorchClassifier(max_epochs=1)
    classifier.partial_fit(page.images[:50], page.labels[:50] % 2)

    with pytest.raises(ValueError, match="knows the classes"):
        classifier.partial_fit(page.images[:50], page.labels[:50])

"""`lt ckpt` at checkpoints in an object store."""

from pathlib import Path
from typing import Any

import pytest
import torch

from lt_checkpoint import FolderStore
from lt_cli.command import main


@pytest.fixture
def store(bucket: str) -> FolderStore:
    """One with two whole checkpoints and one that is not finished."""
    found = FolderStore(f"{bucket}/run")
    weights = {"layer.weight": torch.ones(3, 2)}
    for step in (1, 2):
        state = {"global_step": step, "epoch": 0, "state_dict": weights, "optimizer_states": []}
        found.save(state, f"{step}.ckpt")
    return found


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["ckpt", *words])
    out, err = capsys.readouterr()
    return int(code), out, err


def test_all_verbs(store: FolderStore, s3: Any, tmp_path: Path, capsys: Any) -> None:
    s3.pipe_file(f"{store.root}/3.ckpt/state.json", b"{}")
    code, out, err = run(capsys, "list", store.root)
    assert (code, err) == (0, "")
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [["1.ckpt", "1"], ["2.ckpt", "2"]]
    code, out, err = run(capsys, "verify", f"{store.root}/")
    assert (code, err) == (1, "")
    assert out.splitlines()[:2] == [f"whole   {store.root}/{step}.ckpt" for step in (1, 2)]
    assert "3.ckpt is damaged" in out.splitlines()[2]
    assert run(capsys, "verify", f"{store.root}/1.ckpt")[0] == 0
    with pytest.warns(UserWarning, match=r"3.ckpt is damaged .* Another one is used instead"):
        code, out, err = run(capsys, "show", f"{store.root}/last.ckpt")
    assert (code, err) == (0, "")
    assert "global_step: 2" in out
    assert "  layer.weight: torch.float32 (3, 2)" in out
    target = tmp_path / "out.ckpt"
    assert run(capsys, "export", f"{store.root}/1.ckpt", str(target)) == (0, "", "")
    assert torch.load(target)["global_step"] == 1


def test_what_is_wrong(store: FolderStore, bucket: str, server: Any, capsys: Any) -> None:
    code, _, err = run(capsys, "verify", f"{store.root}/7.ckpt")
    assert (code, err.count("\n")) == (2, 1)
    assert "What is in its folder: 1.ckpt, 2.ckpt." in err
    nothing = f"lt ckpt: there is no whole checkpoint in {bucket}/nowhere.\n"
    assert run(capsys, "list", f"{bucket}/nowhere") == (2, "", nothing)
    code, _, err = run(capsys, "show", store.root)
    assert code == 2
    assert f"which holds {store.root}/1.ckpt, {store.root}/2.ckpt." in err
    server.fail("GET", "list-type=2", 403, "AccessDenied")
    code, out, err = run(capsys, "verify", store.root)
    assert (code, out, err.count("\n")) == (2, "", 1), "neither whole nor damaged"
    assert "PermissionError" in err

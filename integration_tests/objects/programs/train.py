"""Train and save after every step into a store, as a script does that is started anew.

Given are the ``root``; ``saving``, the arguments of the callback; ``ballast``;
``trainer``, its arguments; and ``max_steps`` of the fits, one after another.
"""

import json
import sys
from typing import Any

import experiment

from lt_checkpoint import FolderStore, ModelCheckpoint

given: dict[str, Any] = json.loads(sys.argv[1])
# Small parts, so that an upload takes several.
store = FolderStore(given["root"], storage_options={"default_block_size": 5 << 20})
for steps in given["max_steps"]:
    keep = ModelCheckpoint(
        given["root"], "{step}", every_n_train_steps=1, store=store, **given.get("saving", {})
    )
    model = experiment.fit(
        keep,
        ckpt_path="last" if store.has_any() else None,
        store=store,
        ballast=given.get("ballast", 0),
        max_steps=steps,
        **given.get("trainer", {}),
    )

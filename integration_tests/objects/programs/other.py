"""What another process does with a store: the first argument says what."""

import json
import resource
import sys
from pathlib import Path

from lt_checkpoint import DamagedCheckpointError, FolderStore

given = json.loads(sys.argv[1])
store = FolderStore(given["root"])
for name in given.get("remove", ()):
    store.remove(name)
for name, step in given.get("save", {}).items():
    store.save({"global_step": step}, name)
if "memory" in given:
    store.list()  # by now all is imported
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + given["memory"], resource.RLIM_INFINITY))
for name in given.get("refused", ()):
    for way in (store.verify, store.load):
        try:
            way(name)
        except DamagedCheckpointError as error:
            sys.stdout.write(f"{error}\n")
        else:
            sys.exit(f"{name} was read")

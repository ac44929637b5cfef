"""An object store of S3's protocol: moto's, with a few faults that can be asked for.

It writes its port to standard output, and ends when its standard input does.

``PUT /-/rules`` takes a list of rules. The first whose ``method`` and ``part`` of the address fit a
request decides: ``"hang"`` never answers; a table is the answer, with ``status`` and ``body``.
``GET /-/hung`` tells how many requests hang.
"""

import json
import logging
import os
import sys
import threading
from typing import Any

from moto.moto_server.werkzeug_app import create_backend_app
from werkzeug.serving import make_server

rules: list[dict[str, Any]] = []
hung: list[str] = []
store = create_backend_app("s3")


def serve(environ: dict[str, Any], start: Any) -> Any:
    """Answer one request."""
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    if path == "/-/rules":
        rules[:] = json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
        return answer(start, 200, "")
    if path == "/-/hung":
        return answer(start, 200, str(len(hung)))
    address = f"{path}?{environ['QUERY_STRING']}"
    for rule in rules:
        if rule["method"] == method and rule["part"] in address:
            if rule["what"] == "hang":
                hung.append(address)
                threading.Event().wait()
            return answer(start, **rule["what"])
    return store(environ, start)


def answer(start: Any, status: int, body: str) -> list[bytes]:
    """Answer without the store."""
    text = body.encode()
    start(f"{status} -", [("Content-Type", "text/xml"), ("Content-Length", str(len(text)))])
    return [text]


def end_with_input() -> None:
    """End with whoever started this."""
    sys.stdin.read()
    os._exit(0)


logging.getLogger("werkzeug").setLevel(logging.ERROR)
threading.Thread(target=end_with_input, daemon=True).start()
server = make_server("127.0.0.1", 0, serve, threaded=True)
server.daemon_threads = True
sys.stdout.write(f"{server.port}\n")
sys.stdout.flush()
server.serve_forever()

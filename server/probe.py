"""Ask the server on this machine how it is: `python -m server.probe [/readyz]`. The exit status is the answer.

For health checks of containers, which have no curl; loads as little as it can, for it is run every few seconds.
"""

import os
import sys
from http.client import HTTPConnection, HTTPException

#: Seconds that an answer may take; /readyz waits five for the database.
PATIENCE = 6.0


def probe(path: str) -> int:
    """Whether a path answers 200: 0 if so, else 1, with what it answered on stdout."""
    port = int(os.environ.get("LOQUENT_PORT") or 8000)
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        print(response.read(1000).decode(errors="replace"))
    except (OSError, HTTPException) as error:
        print(error)
        return 1
    finally:
        connection.close()
    return 0 if response.status == 200 else 1


if __name__ == "__main__":
    sys.exit(probe(*(sys.argv[1:] or ["/healthz"])))

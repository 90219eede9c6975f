"""Whether the service in this container answers; for HEALTHCHECK, so that the image needs no curl."""

import http.client
import os
import sys


def main() -> int:
    """Ask `/health/live` on this machine.

    Returns:
        0 if it answers 200 within three seconds, else 1.
    """
    connection = http.client.HTTPConnection("127.0.0.1", int(os.environ.get("MMGREC_PORT", "8000")), timeout=3)
    try:
        connection.request("GET", "/health/live")
        return int(connection.getresponse().status != 200)
    except (OSError, http.client.HTTPException):
        return 1
    finally:
        connection.close()


if __name__ == "__main__":
    sys.exit(main())

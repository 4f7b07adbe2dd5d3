"""The health check of the images: exits 0 when the service in this container says that it takes events, else 1.

Standard library only, and nothing of Thymos is imported: it runs every few seconds, and must be cheap. What it prints
is what `docker inspect` shows: the findings of a service that is not ready.
"""

import http.client
import os
import sys

TIMEOUT_SECONDS = 3.0
ANSWER_BYTES_MAX = 4096


def ask(port: int) -> tuple[bool, str]:
    """Whether the service behind `port` of this machine is ready, and what it says."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", "/ready")
        answer = connection.getresponse()
        return answer.status == 200, answer.read(ANSWER_BYTES_MAX).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return False, f"no answer on port {port}: {error}"
    finally:
        connection.close()


def main() -> int:
    """The exit code that Docker wants."""
    ready, words = ask(int(os.environ.get("THYMOS_OBSERVABILITY__PORT") or "9000"))
    sys.stdout.write(words + "\n")
    return 0 if ready else 1


if __name__ == "__main__":
    raise SystemExit(main())

"""Whether the scheduler lives that starts what is due."""

from __future__ import annotations

from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urlsplit

from drills.status import places
from drills.status.report import Health, Judged
from fleet.model import Fleet

ANSWER_SECONDS = 3.0


def judge_scheduler(fleet: Fleet, *, answer_seconds: float = ANSWER_SECONDS) -> Iterator[Judged]:
    """Ask the server of `scheduler.api_url`, or the embedded one where one was ever started here.

    Any answer but an error of its own will do: what it keeps from strangers is no question here.
    """
    url = fleet.scheduler.api_url
    if url is None:
        if not places.prefect_home(fleet).is_dir():
            return
        url = f"http://127.0.0.1:{fleet.scheduler.port}/api"
    problem = _problem(url, answer_seconds)
    if problem is None:
        return
    hint = (
        "Start the service: backstay serve"
        if fleet.scheduler.api_url is None
        else f"Does its server run? curl -sS {url}/health"
    )
    message = f"{url} {problem}: nothing that is due will be started"
    yield Judged(Health.WARNING, "scheduler-down", "scheduler", message, hint)


def _problem(url: str, answer_seconds: float) -> str | None:
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.netloc, timeout=answer_seconds)
    try:
        connection.request("GET", f"{parts.path.rstrip('/')}/health")
        status = connection.getresponse().status
    except (OSError, HTTPException, ValueError) as error:
        return f"does not answer ({error or type(error).__name__})"
    finally:
        connection.close()
    return f"answers {status}" if status >= 500 else None

"""Sending a JSON document by HTTP. An address that holds a secret is never told."""

from __future__ import annotations

import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from urllib.error import HTTPError, URLError

from fleet.errors import ToolError


class _Stays(urllib.request.HTTPRedirectHandler):
    """Goes nowhere else: urllib asks there with a GET, without the document and with the credentials, and a
    page that asks somebody to log in would count as told.
    """

    def redirect_request(self, *_: object, **_more: object) -> None:
        return None


def post_json(
    whom: str,
    address: str,
    document: bytes,
    *,
    timeout_seconds: float,
    headers: Mapping[str, str] | None = None,
    is_anywhere: bool = True,
) -> None:
    """POST ``document``; any answer below 300 will do. ``is_anywhere``: by the proxy of the environment, if
    it has one, and where the answer sends us on; otherwise from here to that address alone.

    Raises ``ToolError``, whose message begins with ``whom`` and tells no address.
    """
    if not address.startswith(("http://", "https://")):
        raise ToolError(f"{whom} is no http:// or https:// address")
    told = {"Content-Type": "application/json", **(headers or {})}
    request = urllib.request.Request(address, document, told, method="POST")  # noqa: S310 (checked above)
    direct = () if is_anywhere else (urllib.request.ProxyHandler({}), _Stays())
    problem: str
    try:
        with urllib.request.build_opener(*direct).open(request, timeout=timeout_seconds):
            return
    except HTTPError as error:
        with error:
            problem = f"answered {error.code}"
    except URLError as error:
        problem = f"cannot be reached: {(getattr(error.reason, 'strerror', None) or 'no answer').lower()}"
    except (OSError, HTTPException) as error:
        problem = "gave no answer in time" if isinstance(error, TimeoutError) else "broke off"
    # Raised here and not above: the foreign error may hold the address, which is a secret.
    raise ToolError(f"{whom} {problem}")

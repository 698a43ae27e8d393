"""Download one file over http or https: bounded in size, time and redirects, patient with a busy server."""

from __future__ import annotations

import http.client
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from linkage import __version__
from linkage.errors import InputError
from linkage.tables import replacing

MAX_BYTES = 512 * 2**20
_TRIES = 4
_SECONDS = 30.0  # without a byte
_IN_ALL = 600.0  # for one file
_LONGEST_PAUSE = 60.0  # whatever a server asks for
_REDIRECTS = 5
_CHUNK = 2**16
_AGENT = f"linkage/{__version__} (reads scans for record linkage)"
_WORTH_ANOTHER_TRY = frozenset((408, 425, 429, 500, 502, 503, 504))


class DownloadClient:
    """A client; one request at a time.

    Args:
        pause: seconds before the second try; each further one waits twice as long.
    """

    def __init__(self, pause: float = 1.0) -> None:
        self._pause = pause
        self._opener = urllib.request.OpenerDirector()
        # No handler for file:, ftp: and data: URLs, to which a redirect might lead.
        for handler in (
            urllib.request.ProxyHandler(),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            _Redirects(),
        ):
            self._opener.add_handler(handler)

    def fetch(self, url: str, path: Path) -> None:
        """Write what is at a URL to `path`, whole or not at all.

        Raises:
            InputError: no http(s) URL, refused, too large, too slow, or cut off; the message is the reason.
        """
        pause = self._pause
        for left in reversed(range(_TRIES)):
            try:
                return self._try(web_url(url), path)
            except urllib.error.HTTPError as error:
                error.close()
                if error.code not in _WORTH_ANOTHER_TRY or not left:
                    raise InputError(f"the server answers {error.code} {error.reason}") from None
                asked = error.headers.get("Retry-After", "")
                time.sleep(min(max(pause, float(asked) if asked.isascii() and asked.isdigit() else 0), _LONGEST_PAUSE))
            except (OSError, http.client.HTTPException, ValueError) as error:
                if not left:
                    reason = getattr(error, "reason", None) or error
                    raise InputError(f"no answer ({' '.join(str(reason).split())[:160]})") from None
                time.sleep(pause)
            pause *= 2

    def _try(self, url: str, path: Path) -> None:
        request = urllib.request.Request(url, headers={"User-Agent": _AGENT, "Accept": "image/*,*/*;q=0.5"})
        end = time.monotonic() + _IN_ALL
        with replacing(path) as temporary, self._opener.open(request, timeout=_SECONDS) as response:
            promised = response.headers.get("Content-Length", "")
            size = 0
            with temporary.open("wb") as file:
                while chunk := response.read(_CHUNK):
                    size += len(chunk)
                    if size > MAX_BYTES:
                        raise InputError(f"larger than {MAX_BYTES // 2**20} MB")
                    if time.monotonic() > end:
                        raise InputError(f"took longer than {_IN_ALL:g} seconds")
                    file.write(chunk)
            if promised.isdigit() and size < int(promised):
                raise http.client.IncompleteRead(b"", int(promised) - size)


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = _REDIRECTS

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        return super().redirect_request(req, fp, code, msg, headers, web_url(newurl))


def web_url(url: str) -> str:
    """A URL as it can be asked for: http or https, everything else than ASCII escaped.

    Raises:
        InputError: it is none.
    """
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        host = None
    if not host or parts.scheme not in ("http", "https"):
        raise InputError(f"{url[:200]!r} is no http or https URL")
    return quote(url, safe="%/:=&?~#+!$,;'@()*[]")

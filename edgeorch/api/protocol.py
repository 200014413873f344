"""What a client hears that speaks no HTTP, or a method that HTTP does not have: a Status, too.

No handler sees such a request, and no authenticator: nothing but the fault is told.
"""

from __future__ import annotations

import re

from aiohttp import http_exceptions, web

from edgeorch.api import negotiation, statuses
from edgeorch.lib import json
from edgeorch.model import errors

_REQUEST_LINE = re.compile(r"b'[A-Z][A-Z-]* /")
"""How aiohttp quotes the line of a method that it does not know."""


class Handler(web.RequestHandler):
    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Ends the connection. Raises ConnectionError when an answer has begun already."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer had begun when it failed")
        if isinstance(exc, http_exceptions.BadHttpMethod) and _REQUEST_LINE.search(message or ""):
            error = statuses.method_not_allowed()
        elif status < 500:
            error = errors.bad_request("the request is not formed as HTTP asks")
        else:
            error = errors.internal("see the server's log")
        body = json.encode(error.status())
        answer = web.Response(status=error.code, body=body, content_type=negotiation.JSON)
        answer.force_close()
        return answer

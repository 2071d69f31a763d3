"""Kopf as the shell: process life, credentials, and the stream of AgentRuns as raw events.

Nothing else of Kopf is used. Its change handlers can be switched off by whoever writes the
object (they compare with an annotation of it), and its finalizers would keep a deleted run's cell
alive while the controller is down.
"""

import logging
from collections.abc import Callable
from typing import Any

import kopf

from anchorhold import names
from anchorhold.controller.view import Document

# Kopf would name itself after the user, and ours has no name in any image.
IDENTITY: Any = names.CONTROLLER
# Below the Pod's grace period, so that Kubernetes need not kill us.
EXIT_SECONDS = 25


class NoDiff(kopf.DiffBaseStorage):
    """Keeps no copy of the object to compare with.

    Raw events do not need one, and it is half of Kopf's cost.
    """

    def build(self, **_: object) -> kopf.BodyEssence:
        """Build nothing."""
        return kopf.BodyEssence({})

    def fetch(self, **_: object) -> kopf.BodyEssence:
        """Fetch nothing."""
        return kopf.BodyEssence({})

    def store(self, **_: object) -> None:
        """Store nothing."""


def registry(
    login: Callable[[], kopf.AiohttpSession],
    feed: Callable[[str | None, Document], None],
    stop: Callable[[], object],
) -> kopf.OperatorRegistry:
    """The only three things that Kopf does: log in, pass events on, and say when it ends.

    `stop` must end all tasks of ours: Kopf would wait five seconds for them, and then cancel them.
    """
    handlers = kopf.OperatorRegistry()

    @kopf.on.login(registry=handlers)
    async def _login(**_: Any) -> kopf.AiohttpSession:  # noqa: ANN401
        return login()

    @kopf.on.event(names.GROUP, names.VERSION, "agentruns", registry=handlers)
    async def _event(event: kopf.RawEvent, **_: Any) -> None:  # noqa: ANN401
        feed(event["type"], dict(event["object"]))

    @kopf.on.cleanup(registry=handlers)
    async def _cleanup(**_: Any) -> None:  # noqa: ANN401
        stop()

    return handlers


def settings() -> kopf.OperatorSettings:
    """Kopf, quiet: no peering, no scanning, no Events of its own, no annotations."""
    chosen = kopf.OperatorSettings()
    chosen.persistence.diffbase_storage = NoDiff()
    chosen.scanning.disabled = True
    chosen.peering.standalone = True
    chosen.posting.enabled = False
    chosen.networking.request_timeout = 30
    chosen.networking.connect_timeout = 5
    chosen.watching.server_timeout = 290
    chosen.watching.connect_timeout = 10
    chosen.process.ultimate_exiting_timeout = EXIT_SECONDS
    # Kopf keeps a task for each object that it saw lately, and waits for all of them at the end.
    chosen.queueing.idle_timeout = 0.1
    chosen.queueing.exit_timeout = 1.0
    return chosen


def quiet_logs() -> None:
    """JSON lines, of what we decide; Kopf would write one line for each event of each Pod."""
    kopf.configure(log_format=kopf.LogFormat.JSON)
    for name in ("kopf", "aiohttp.access"):
        logging.getLogger(name).setLevel(logging.WARNING)

"""Asks the canary whether it lives: a cell's silence would prove nothing if it did not."""

import asyncio

ASK_SECONDS = 5.0
ANSWER_SECONDS = 2.0


class Canary:
    """The canary at 'host:port', and whether it answered when it was asked last."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._host, self._port = host.strip("[]"), int(port)
        self.answers = False

    async def ask(self) -> None:
        """Ask once."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                _, writer = await asyncio.open_connection(self._host, self._port)
            writer.close()
        except (OSError, TimeoutError):
            self.answers = False
        else:
            self.answers = True

    async def watch(self) -> None:
        """Ask for ever; cancel it to stop."""
        while True:
            await asyncio.sleep(ASK_SECONDS)
            await self.ask()

"""An honest agent: does the same work again and again, and says how long each round took."""

import time


def work(seconds: float) -> None:
    """Each line: when a round began, and how long it took."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begun = time.monotonic()
        sum(number * number for number in range(40_000))
        print(f"{time.time():.2f} {time.monotonic() - begun:.5f}", flush=True)
        time.sleep(0.1)

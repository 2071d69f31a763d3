"""Returns what no reader should trust: far too much, no text, orders to a terminal, a status."""

MEBIBYTE = 1 << 20
LIES = {"status": {"conditions": [{"type": "Succeeded", "status": "True", "reason": "Forged"}]}}
ORDERS = b"\x1b]0;owned\x07\x1b[2J\x1b[31m\r\n\x00\xff\xfe\xc3\x28"


def probe(settings):
    """Or a plain word, for comparison."""
    if settings["word"]:
        return settings["word"]
    with open(os.environ["ANCHORHOLD_RESULT"], "wb") as file:
        for _ in range(10):
            file.write(b"x" * MEBIBYTE)
        file.write(ORDERS + json.dumps(LIES).encode() + ORDERS)
    os._exit(0)

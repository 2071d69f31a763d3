"""Prints the text of a PDF, page by page: `read_pdf.py [--pages 2-5] FILE`.

Standard library only. It reads what most programs write (PDF 1.x and 2.0 with FlateDecode, object
streams, simple and composite fonts with a ToUnicode map); it draws nothing and runs nothing.
"""

import argparse
import re
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# A file that unpacks to more than this is not one to read here.
MOST_BYTES = 64 * 2**20
DEPTH = 64
SPACES = b"\0\t\n\f\r "
TOKEN = re.compile(
    rb"(?:[\0\t\n\f\r ]|%[^\r\n]*)*"
    rb"(?P<token><<|>>|[\[\](]|<[0-9A-Fa-f\0\t\n\f\r ]*>|/[^\0\t\n\f\r ()<>\[\]{}/%]*"
    rb"|[^\0\t\n\f\r ()<>\[\]{}/%]+|[{})>])"
)
OBJECT = re.compile(rb"(?<!\d)(\d{1,9})[\0\t\n\f\r ]+(\d{1,5})[\0\t\n\f\r ]+obj\b")
ESCAPES = {b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"f": b"\f"}


class UnreadableError(Exception):
    """The file can't be read; the text says why."""


@dataclass(frozen=True)
class Reference:
    """Another object of the file."""

    number: int


class Name(str):
    """A name, as `/Page`."""

    __slots__ = ()


class Operator(bytes):
    """What is neither a value nor a name."""

    __slots__ = ()


@dataclass
class Reader:
    """Reads values, one after the other."""

    data: bytes
    at: int = 0

    def token(self) -> bytes | None:
        found = TOKEN.match(self.data, self.at)
        if found is None:
            return None
        self.at = found.end()
        return found["token"]

    def value(self, depth: int = 0) -> Any:  # noqa: ANN401
        """The next value; None at the end. Raises UnreadableError."""
        if depth > DEPTH:
            raise UnreadableError("values are nested too deeply")
        token = self.token()
        if token is None:
            return None
        if token == b"<<":
            return self.dictionary(depth)
        if token == b"[":
            return self.items(b"]", depth)
        if token == b"(":
            return self.string()
        return self.simple(token)

    def simple(self, token: bytes) -> Any:  # noqa: ANN401
        if token.startswith(b"/"):
            plain = re.sub(rb"#([0-9A-Fa-f]{2})", lambda m: bytes([int(m[1], 16)]), token[1:])
            return Name(plain.decode("latin-1"))
        if token.startswith(b"<"):
            digits = re.sub(rb"[^0-9A-Fa-f]", b"", token)
            return bytes.fromhex((digits + b"0" * (len(digits) % 2)).decode())
        if re.fullmatch(rb"[+-]?\d{1,15}", token):
            return self.number(int(token))
        try:
            return float(token)
        except ValueError:
            return Operator(token)

    def number(self, first: int) -> int | Reference:
        """A number, or the reference that it begins."""
        found = re.compile(rb"[\0\t\n\f\r ]+\d{1,5}[\0\t\n\f\r ]+R\b").match(self.data, self.at)
        if found is None:
            return first
        self.at = found.end()
        return Reference(first)

    def items(self, end: bytes, depth: int) -> list[Any]:
        found: list[Any] = []
        while (value := self.value(depth + 1)) is not None and value != Operator(end):
            found.append(value)
        return found

    def dictionary(self, depth: int) -> dict[str, Any]:
        flat = self.items(b">>", depth)
        return {str(k): v for k, v in zip(flat[::2], flat[1::2], strict=False)}

    def string(self) -> bytes:
        """A string in parentheses, which may nest."""
        found, depth = bytearray(), 1
        while self.at < len(self.data):
            char = self.data[self.at : self.at + 1]
            self.at += 1
            if char == b"\\":
                found += self.escaped()
                continue
            depth += (char == b"(") - (char == b")")
            if not depth:
                break
            found += char
        return bytes(found)

    def escaped(self) -> bytes:
        octal = re.compile(rb"[0-7]{1,3}").match(self.data, self.at)
        if octal is not None:
            self.at = octal.end()
            return bytes([int(octal[0], 8) & 0xFF])
        char = self.data[self.at : self.at + 1]
        self.at += 1
        if char == b"\r" and self.data[self.at : self.at + 1] == b"\n":
            self.at += 1
        return b"" if char in (b"\r", b"\n") else ESCAPES.get(char, char)


@dataclass
class Document:
    """The objects of a file, found by looking for them: a damaged table of them does not matter."""

    data: bytes
    objects: dict[int, Any] = field(default_factory=dict)
    streams: dict[int, bytes] = field(default_factory=dict)
    unpacked: int = 0

    def __post_init__(self) -> None:
        if not self.data[:1024].lstrip().startswith(b"%PDF-"):
            raise UnreadableError("it is no PDF")
        if re.search(rb"/Encrypt[\0\t\n\f\r ]+\d+[\0\t\n\f\r ]+\d+[\0\t\n\f\r ]+R", self.data):
            raise UnreadableError("it is encrypted")
        at = 0
        while found := OBJECT.search(self.data, at):
            at = self.keep(int(found[1]), found.end())
        for number in list(self.streams):
            if self.kind(self.objects[number]) == "ObjStm":
                self.unpack(number)

    def keep(self, number: int, at: int) -> int:
        """Take an object that begins here; returns where it ends."""
        reader = Reader(self.data, at)
        self.objects[number] = value = reader.value()
        self.streams.pop(number, None)
        begin = re.compile(rb"[\0\t\n\f\r ]*stream\r?\n").match(self.data, reader.at)
        if begin is None or not isinstance(value, dict):
            return max(reader.at, at)
        length = value.get("Length")
        end = begin.end() + length if isinstance(length, int) and length >= 0 else -1
        if end < 0 or not re.compile(rb"[\0\t\n\f\r ]*endstream").match(self.data, end):
            end = self.data.find(b"endstream", begin.end())
            end = len(self.data) if end < 0 else end
        self.streams[number] = self.data[begin.end() : end]
        return end

    def stream(self, number: int) -> bytes:
        """The content of a stream, if it is packed in a way that is known here."""
        filters = self.get(self.objects[number].get("Filter", []))
        data = self.streams.get(number, b"")
        for name in filters if isinstance(filters, list) else [filters]:
            if name not in ("FlateDecode", "Fl"):
                return b""
            unpacking = zlib.decompressobj()
            try:
                data = unpacking.decompress(data, MOST_BYTES - self.unpacked + 1)
            except zlib.error:
                return b""
            self.unpacked += len(data)
            if self.unpacked > MOST_BYTES:
                raise UnreadableError(f"it unpacks to more than {MOST_BYTES} bytes")
        return data

    def unpack(self, number: int) -> None:
        """Take the objects that lie in a stream; those of the file itself come first."""
        data, facts = self.stream(number), self.objects[number]
        first, count = self.get(facts.get("First")), self.get(facts.get("N"))
        if not isinstance(first, int) or not isinstance(count, int):
            return
        table = Reader(data[:first])
        for _ in range(min(count, len(data))):
            key, offset = table.value(), table.value()
            if not isinstance(key, int) or not isinstance(offset, int):
                return
            self.objects.setdefault(key, Reader(data, first + offset).value())

    def get(self, value: Any) -> Any:  # noqa: ANN401
        """What a value stands for."""
        for _ in range(DEPTH):
            if not isinstance(value, Reference):
                return value
            value = self.objects.get(value.number)
        return None

    def kind(self, value: Any) -> Any:  # noqa: ANN401
        return self.get(value.get("Type")) if isinstance(value, dict) else None

    def pages(self) -> Iterator[dict[str, Any]]:
        """The pages in their order; in that of the file if the tree of pages is damaged."""
        roots = [o for o in self.objects.values() if self.kind(o) == "Catalog"]
        tree = self.get(roots[-1].get("Pages")) if roots else None
        found = list(self.below(tree, {}, 0))
        yield from found or (o for o in self.objects.values() if self.kind(o) == "Page")

    def below(self, node: Any, given: dict[str, Any], depth: int) -> Iterator[dict[str, Any]]:  # noqa: ANN401
        """The pages of a part of the tree, with what they inherit."""
        if not isinstance(node, dict) or depth > DEPTH:
            return
        whole = {**{k: v for k, v in given.items() if k == "Resources"}, **node}
        kids = self.get(node.get("Kids"))
        if not isinstance(kids, list):
            yield whole
            return
        for kid in kids:
            yield from self.below(self.get(kid), whole, depth + 1)

    def text(self, page: dict[str, Any]) -> str:
        """What is written on a page."""
        contents = self.get(page.get("Contents"))
        parts = contents if isinstance(contents, list) else [page.get("Contents")]
        numbers = [p.number for p in parts if isinstance(p, Reference) and p.number in self.streams]
        resources = self.get(page.get("Resources")) or {}
        fonts = self.get(resources.get("Font")) if isinstance(resources, dict) else {}
        known = {name: self.font(self.get(font)) for name, font in (fonts or {}).items()}
        return written(b"\n".join(self.stream(number) for number in numbers), known)

    def font(self, facts: Any) -> "Font":  # noqa: ANN401
        """How a font's codes become text."""
        if not isinstance(facts, dict):
            return Font()
        wide = self.get(facts.get("Subtype")) == "Type0"
        mapping = facts.get("ToUnicode")
        if not isinstance(mapping, Reference) or mapping.number not in self.streams:
            return Font(2 if wide else 1)
        return Font(2 if wide else 1, read_map(self.stream(mapping.number)))


@dataclass(frozen=True)
class Font:
    """So many bytes a code, and what each code stands for."""

    width: int = 1
    codes: dict[int, str] = field(default_factory=dict)

    def decode(self, raw: bytes) -> str:
        codes = (raw[n : n + self.width] for n in range(0, len(raw), self.width))
        return "".join(self.one(int.from_bytes(code)) for code in codes)

    def one(self, code: int) -> str:
        if code in self.codes:
            return self.codes[code]
        return bytes([code]).decode("cp1252", "replace") if self.width == 1 else "\ufffd"


def read_map(data: bytes) -> dict[int, str]:
    """A ToUnicode map: what each code stands for."""
    reader, found, values = Reader(data), dict[int, str](), list[Any]()
    while (value := reader.value()) is not None:
        if not isinstance(value, Operator):
            values.append(value)
            continue
        for first, last, target in ranges(value, values):
            add(found, first, last, target)
        values = []
    return found


def ranges(operator: bytes, values: list[Any]) -> list[tuple[Any, Any, Any]]:
    """What a block of a map says: the first and the last code, and what they stand for."""
    if operator == b"endbfchar":
        return list(zip(values[::2], values[::2], values[1::2], strict=False))
    if operator == b"endbfrange":
        return list(zip(values[::3], values[1::3], values[2::3], strict=False))
    return []


def add(found: dict[int, str], first: Any, last: Any, target: Any) -> None:  # noqa: ANN401
    """One line of a map: a range of codes, and the first text or a list of texts."""
    if not isinstance(first, bytes) or not isinstance(last, bytes):
        return
    begin, end = int.from_bytes(first), min(int.from_bytes(last), int.from_bytes(first) + 0xFFFF)
    for place, code in enumerate(range(begin, end + 1)):
        if isinstance(target, list):
            raw = target[place] if place < len(target) else b""
        else:
            raw = target
        if not isinstance(raw, bytes) or not raw:
            continue
        text = raw.decode("utf-16-be", "replace")
        moved = 0 if isinstance(target, list) else place
        found[code] = text[:-1] + chr(min(ord(text[-1]) + moved, 0x10FFFF))


def written(content: bytes, fonts: dict[str, Font]) -> str:
    """The text that the operators of a page show, with a line where they move down."""
    reader, page, stack = Reader(content), Page(fonts), list[Any]()
    while (value := reader.value()) is not None:
        if not isinstance(value, Operator):
            stack.append(value)
            continue
        page.obey(value, stack)
        stack = []
        if value == b"BI":  # A picture among the operators.
            end = content.find(b"EI", reader.at)
            reader.at = len(content) if end < 0 else end + 2
    text = "\n".join(line.rstrip() for line in page.lines if line.strip())
    return "".join(c for c in text if c.isprintable() or c == "\n")


@dataclass
class Page:
    """What has been written on a page so far."""

    fonts: dict[str, Font]
    font: Font = Font()
    lines: list[str] = field(default_factory=lambda: [""])

    def obey(self, operator: bytes, stack: list[Any]) -> None:
        """Do what an operator says."""
        if operator == b"Tf" and len(stack) > 1:
            self.font = self.fonts.get(str(stack[-2]), Font())
        if operator in (b"'", b'"') or is_new_line(operator, stack):
            self.lines.append("")
        if operator in (b"Tj", b"'", b'"', b"TJ") and stack:
            self.lines[-1] += shown(stack[-1], self.font)


def shown(value: Any, font: Font) -> str:  # noqa: ANN401
    """The text of a string, or of a list of strings and gaps; a wide gap is a space."""
    if isinstance(value, bytes):
        return font.decode(value)
    if not isinstance(value, list):
        return ""
    return "".join(
        font.decode(part) if isinstance(part, bytes)
        else " " if isinstance(part, int | float) and part < -200  # noqa: PLR2004
        else ""
        for part in value
    )  # fmt: skip


def is_new_line(operator: bytes, stack: list[Any]) -> bool:
    """Whether what follows is written elsewhere than behind what was written."""
    if operator in (b"T*", b"BT", b"ET"):
        return True
    if operator in (b"Td", b"TD", b"Tm") and stack:
        return operator == b"Tm" or stack[-1] != 0
    return False


def wanted(text: str) -> range:
    """`3` or `2-5`, as page numbers."""
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def main() -> int:
    words = argparse.ArgumentParser(description="Print the text of a PDF, page by page.")
    words.add_argument("--pages", type=wanted, help="for instance 3 or 2-5; default: all")
    words.add_argument("file", type=Path)
    given = words.parse_args()
    empty = []
    try:
        document = Document(given.file.read_bytes())
        for number, page in enumerate(document.pages(), 1):
            if given.pages is None or number in given.pages:
                text = document.text(page)
                print(f"--- page {number} ---\n{text}")
                empty += [] if text else [number]
    except (OSError, UnreadableError) as error:
        print(f"{given.file}: {error}", file=sys.stderr)
        return 1
    if empty:
        pages = ", ".join(map(str, empty))
        print(f"{given.file}: no text on page {pages}: it may be a picture", file=sys.stderr)
    return 1 if empty else 0


if __name__ == "__main__":
    sys.exit(main())

"""Trained weights for travel: a safetensors file with one bit for each value of a tensor that holds only +1 and -1.

A packed file is a magic line, one line of JSON {"sha256", "size", "signs", "xz"}, and a body: the original's header
byte for byte, then its tensors in the order they lie there, those of `signs` as bits and the others as they are.
"""

import hashlib
import json
import lzma
from dataclasses import dataclass
from typing import Any

import numpy as np

from advgrad.errors import InputError

MAGIC = b"advgrad-weights-1\n"
ONE = {"F64": ("<u8", 0x3FF << 52), "F32": ("<u4", 0x3F800000), "F16": ("<u2", 0x3C00), "BF16": ("<u2", 0x3F80)}
LENGTH = 8  # bytes before a safetensors header: its size
SAMPLE = 2**20  # bytes on which compression is tried


@dataclass(frozen=True, kw_only=True)
class _Tensor:
    name: str
    dtype: str
    start: int  # of its bytes in the file
    end: int

    @property
    def values(self) -> int:
        return (self.end - self.start) // np.dtype(ONE[self.dtype][0]).itemsize


def _tensors(head: bytes) -> list[_Tensor]:
    """The tensors that a header (with its length) announces, in file order. ValueError: not a safetensors header."""
    try:
        raw: dict[str, Any] = json.loads(head[LENGTH:])
        found = [
            _Tensor(name=name, dtype=told["dtype"], start=len(head) + start, end=len(head) + end)
            for name, told in raw.items()
            if name != "__metadata__"
            for start, end in [told["data_offsets"]]
        ]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ValueError("no safetensors header") from None
    found.sort(key=lambda tensor: (tensor.start, tensor.end))
    ends = [len(head), *(tensor.end for tensor in found)]
    if any(tensor.start != before or tensor.end < before for tensor, before in zip(found, ends, strict=False)):
        raise ValueError("tensors overlap or leave gaps")
    return found


def _head(content: bytes) -> bytes:
    """The header of a file, with its length before it."""
    size = LENGTH + int.from_bytes(content[:LENGTH], "little")
    if not LENGTH < size <= len(content):
        raise ValueError("no safetensors header")
    return content[:size]


def _bits(values: np.ndarray, one: int) -> bytes | None:
    """One bit a value, 1 for -1, if every value is the bit pattern of +1 or -1."""
    minus = one | 1 << (8 * values.itemsize - 1)
    negative = values == minus
    return np.packbits(negative).tobytes() if bool((negative | (values == one)).all()) else None


def _floats(bits: bytes, tensor: _Tensor) -> bytes:
    code, one = ONE[tensor.dtype]
    negative = np.unpackbits(np.frombuffer(bits, np.uint8), count=tensor.values).astype(code)
    return (negative << (8 * np.dtype(code).itemsize - 1) | np.array(one, code)).astype(code).tobytes()


def pack(content: bytes) -> bytes:
    """A safetensors file's bytes, packed. InputError if it is none."""
    try:
        head = _head(content)
        tensors = _tensors(head)
        if len(content) != (tensors[-1].end if tensors else len(head)):
            raise ValueError("it has not the size that its header tells")
    except ValueError as error:
        raise InputError(f"weights to pack: not a safetensors file: {error}") from None
    signs, body = [], [head]
    for tensor in tensors:
        raw = content[tensor.start : tensor.end]
        bits = _bits(np.frombuffer(raw, ONE[tensor.dtype][0]), ONE[tensor.dtype][1]) if tensor.dtype in ONE else None
        if bits:  # nothing to gain for an empty tensor
            signs.append(tensor.name)
        body.append(bits or raw)
    plain = b"".join(body)
    squeezed = _squeezed(plain)
    told = {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content), "signs": signs}
    told["xz"] = squeezed is not None
    return MAGIC + json.dumps(told).encode() + b"\n" + (squeezed or plain)


def _squeezed(plain: bytes) -> bytes | None:
    """plain as xz if that saves a fifth; trained float32 values save a tenth, at half a second a megabyte."""
    middle = max(0, len(plain) - SAMPLE) // 2
    sample = plain[middle : middle + SAMPLE]
    if len(lzma.compress(sample, preset=1)) > 0.8 * len(sample):
        return None
    squeezed = lzma.compress(plain, preset=6)
    return squeezed if len(squeezed) < 0.8 * len(plain) else None


def _stretched(squeezed: bytes) -> bytes:
    """Inverse of `_squeezed`. LZMAError or ValueError: cut off, damaged, or followed by something."""
    stream = lzma.LZMADecompressor(lzma.FORMAT_XZ)
    plain = stream.decompress(squeezed)
    if not stream.eof or stream.unused_data:
        raise ValueError("they do not end where their xz stream does")
    return plain


def unpack(packed: bytes) -> bytes:
    """The bytes that `pack` was given, verified against their sha256. InputError: damaged, or not packed weights."""
    if not packed.startswith(MAGIC):
        raise InputError(f"packed weights: wants {MAGIC.decode().strip()!r} in the first line")
    line, _, body = packed[len(MAGIC) :].partition(b"\n")
    try:
        told = json.loads(line)
        content = _unpacked(_stretched(body) if told["xz"] else body, set(told["signs"]))
        if len(content) != told["size"] or hashlib.sha256(content).hexdigest() != told["sha256"]:
            raise ValueError("they are not what was packed")
    except (ValueError, KeyError, TypeError, lzma.LZMAError) as error:
        raise InputError(f"packed weights: damaged: {error}") from None
    return content


def _unpacked(body: bytes, signs: set[str]) -> bytes:
    head = _head(body)
    found, at = [head], len(head)
    for tensor in _tensors(head):
        short = tensor.name in signs
        size = -(-tensor.values // 8) if short else tensor.end - tensor.start
        raw = body[at : at + size]
        if len(raw) != size:
            raise ValueError("they end too early")
        found.append(_floats(raw, tensor) if short else raw)
        at += size
    if at != len(body):
        raise ValueError("bytes are left over")
    return b"".join(found)

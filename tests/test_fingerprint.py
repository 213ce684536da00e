"""The fingerprint of a checkpoint: other weights are another one, wherever they are."""

import json
import struct
from pathlib import Path

import pytest

from videorefer_plugin.models.fingerprint import fingerprint, tree_fingerprint

MB = 1 << 20
SIZES = {"small": 64, "connector": 4 * MB, "large": 60 * MB, "norm": 4096, "last": 2 * MB + 8}


def write_safetensors(path: Path, sizes: dict[str, int] = SIZES, dtype: str = "U8") -> dict[str, int]:
    """A file of tensors of zeros of these sizes; where in the file each of them begins."""
    header, begin = {"__metadata__": {"format": "pt"}}, 0
    for name, size in sizes.items():
        header[name] = {"dtype": dtype, "shape": [size], "data_offsets": [begin, begin + size]}
        begin += size
    text = json.dumps(header).encode()
    with open(path, "wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        stream.truncate(8 + len(text) + begin)
    return {name: 8 + len(text) + one["data_offsets"][0] for name, one in header.items() if name in sizes}


def change(path: Path, place: int, length: int) -> None:
    with open(path, "r+b") as stream:
        stream.seek(place)
        stream.write(b"\1" * length)


@pytest.mark.parametrize("name", SIZES)
def test_a_tensor_of_other_values_is_another_checkpoint(tmp_path, name):
    file = tmp_path / "model.safetensors"
    begins = write_safetensors(file)
    before, tree = fingerprint(tmp_path), tree_fingerprint(tmp_path)
    change(file, begins[name], SIZES[name])
    assert fingerprint(tmp_path) != before
    assert tree_fingerprint(tmp_path) != tree


@pytest.mark.parametrize("place", [0, 5 * MB, -(1 << 14)], ids=["first", "middle", "last"])
def test_a_large_file_of_another_kind_is_read_all_over(tmp_path, place):
    file = tmp_path / "model.bin"
    file.write_bytes(bytes(20 * MB))
    before = fingerprint(tmp_path)
    change(file, place % (20 * MB), MB if place >= 0 else 1)
    assert fingerprint(tmp_path) != before


def test_a_header_that_says_something_else_is_another_checkpoint(tmp_path):
    file = tmp_path / "model.safetensors"
    found = set()
    for dtype in ("U8", "I8"):
        write_safetensors(file, dtype=dtype)
        found.add(fingerprint(tmp_path))
    assert len(found) == 2


@pytest.mark.parametrize("begin", [b"\xff" * 8, struct.pack("<Q", 9) + b"no header", struct.pack("<Q", 2) + b"[]"])
def test_a_file_that_only_has_the_name_of_safetensors_has_a_fingerprint(tmp_path, begin):
    (tmp_path / "model.safetensors").write_bytes(begin + bytes(2 * MB))
    assert len(fingerprint(tmp_path)) == 16


def test_of_many_gigabytes_parts_are_read(tmp_path):
    """A file of 15 GB without content would take minutes as a whole; only its parts are read."""
    write_safetensors(tmp_path / "model.safetensors", {str(number): 512 * MB for number in range(30)})
    read = Path("/proc/self/io")
    if not read.exists():
        pytest.skip("needs the figures of Linux")
    before = bytes_read(read)
    fingerprint(tmp_path)
    assert bytes_read(read) - before < 600 * MB


def bytes_read(figures: Path) -> int:
    return int(figures.read_text().split("rchar:")[1].split()[0])

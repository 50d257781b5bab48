"""Files that are no plans, cut off or untrue about themselves, and texts that are not sound JSON, are refused with a reason."""

import json
import struct

import pytest

import handmade
from handmade import Refused, refused, two_products
from pycompress._pcx import lib


@pytest.mark.parametrize(
    "text,word",
    [
        ("", "too early"), ("[", "too early"), ("{", "string"), ('{"a"', "colon"), ('{"a":1', "comma"), ('{"a":1,}', "string"),
        ("[1,]", "no such value"), ("[1 2]", "comma"), ('{"a":1,"a":2}', "twice"), ('{"b":{"a":1,"c":2,"a":3}}', "twice"),
        ('{"a":1.5}', "integers"), ('{"a":1e3}', "integers"), ('{"a":01}', "no such value"), ('{"a":-}', "no such value"),
        ('{"a":9223372036854775808}', "64 bits"), ('{"a":-9223372036854775809}', "64 bits"), ('{"a":NaN}', "no such value"),
        ('{"a":nul}', "no such value"), ('{"a":tru', "no such value"), ('"\\x"', "escape"), ('"\\u12g4"', "hexadecimal"),
        ('"\\u12', "hexadecimal"), ('"\\ud800"', "surrogate"), ('"\\ud800\\u0041"', "surrogate"), ('"\\udc00"', "surrogate"),
        ('"\\u0000"', "NUL"), ('"a\nb"', "control"), ('"abc', "ends inside"), ("{} {}", "follows"), ("[" * 33, "too deep"),
        ("[" * 1000000, "too deep"), ('{"a":' * 40, "too deep"), ("[]", "no format"), ("3", "no format"), ("\ufeff{}", "no such value"),
    ],
)  # fmt: skip
def test_only_sound_json_is_read(text, word):
    refused(text, word)


@pytest.mark.parametrize(
    "raw", [b"\x80", b"\xc0\x80", b"\xe0\x80\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xff", b"\xc3", b"\xe2\x82"]
)
def test_text_must_be_utf8(raw):
    data = handmade.safetensors("{}", {}, lambda entries: json.dumps(entries).encode().replace(b"by hand", raw))
    with pytest.raises(Refused, match="UTF-8"):
        handmade.parse(data)


def test_names_and_escapes_of_every_length_are_read():
    name = 'é€😀"\\/\b\f\n\r\t ' + "x" * 300
    for escaped in (True, False):
        graph, tensors = two_products()
        tensors = {name if k == "w" else k: v for k, v in tensors.items()}
        graph["tensors"] = list(tensors)
        graph["programs"][0]["inputs"][0]["name"] = name
        entries = handmade.safetensors(
            json.dumps(graph, ensure_ascii=escaped),
            tensors,
            lambda e, a=escaped: json.dumps(e, ensure_ascii=a).encode(),
        )
        opened = handmade.parse(entries)
        assert handmade.ffi.string(lib.pcx_plan_input(opened.c, 0, 0).name).decode() == name


def entry(key, value):
    def change(entries):
        if value == "del":
            del entries["w"][key]
        else:
            entries["w"][key] = value

    return change


def header(text):
    return lambda entries: text


@pytest.mark.parametrize(
    "change,word",
    [
        (entry("dtype", "F31"), "dtype"), (entry("dtype", "f32"), "dtype"), (entry("dtype", 4), "dtype"),
        (entry("dtype", "del"), "dtype"), (entry("more", 1), "nothing else"), (entry("shape", "del"), "shape"),
        (entry("shape", [2, 2, 2, 2, 2, 2, 2, 2, 2]), "shape"), (entry("shape", [-1]), "negative"), (entry("shape", [2**62, 2**62]), "too large"),
        (entry("shape", [2**63 - 1, 4]), "too large"), (entry("shape", [3, 3]), "needs"), (entry("data_offsets", [0]), "data_offsets"),
        (entry("data_offsets", [0, 2**40]), "data_offsets"), (entry("data_offsets", [896, 0]), "data_offsets"), (entry("data_offsets", [-1, 895]), "data_offsets"),
        (entry("data_offsets", [4, 900]), "begins"), (entry("data_offsets", "del"), "data_offsets"),
        (lambda e: e.update(w=3), "nothing else"), (lambda e: e.update(__metadata__=[]), "__metadata__"), (lambda e: e.pop("__metadata__") and None, "__metadata__"),
        (lambda e: e["__metadata__"].pop("pycompress") and None, "pycompress"), (lambda e: e["__metadata__"].update(x=3), "string"),
        (lambda e: e.update(z={"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}), "begins"),
        (lambda e: e.pop("params") and None, "tensors are"), (header(b"[]"), "object"), (header(b"{}"), "__metadata__"),
        (header(b"{"), "string"), (header(b'{"w":{},"w":{}}'), "twice"), (header(b"\0" * 64), "JSON"),
    ],
)  # fmt: skip
def test_a_file_s_header_is_checked(change, word):
    with pytest.raises(Refused) as caught:
        handmade.parse(handmade.safetensors(*two_products(), header=change))
    assert word in str(caught.value), str(caught.value)


def test_a_file_cut_off_anywhere_is_refused(tmp_path):
    data = handmade.safetensors(*two_products())
    for end in [*range(0, 200), *range(200, len(data), 37), len(data) - 1]:
        with pytest.raises(Refused):
            handmade.parse(data[:end])
    with pytest.raises(Refused):
        handmade.parse(data + b"\0")


@pytest.mark.parametrize("length", [0, 1, 2**26 + 1, 2**32, 2**63, 2**64 - 1, 2**64 - 8])
def test_a_header_of_any_length_is_survived(length):
    with pytest.raises(Refused):
        handmade.parse(struct.pack("<Q", length) + handmade.safetensors(*two_products())[8:])


def test_files_that_are_none(tmp_path):
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    for path in (empty, tmp_path, tmp_path / "absent", "/dev/null"):
        with pytest.raises(Refused) as caught:
            handmade.load(path)
        assert caught.value.code == lib.PCX_IO

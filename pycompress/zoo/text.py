"""Networks of the zoo by a line of text, as users name them."""

from __future__ import annotations

import onnx

from . import build as build_named


def build(text: str) -> onnx.ModelProto:
    """The network that `text` names: ``mobilenetv2,width=0.5,resolution=128``.

    Raises
    ------
    ValueError
        If there is no such network or option, or a value is invalid.
    """
    name, *options = text.split(",")
    given = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals:
            raise ValueError(f"zoo:{text}: {option!r} must be NAME=VALUE, as in width=0.5")
        try:
            given[key] = _value(value)
        except ValueError:
            raise ValueError(f"zoo:{text}: {key} must be a number, true, false or none, got {value!r}") from None
    try:
        return build_named(name, **given)
    except TypeError as error:
        raise ValueError(f"zoo:{text}: {error}") from None


def _value(text: str):
    words = {"true": True, "false": False, "none": None}
    if text.lower() in words:
        return words[text.lower()]
    return float(text) if "." in text else int(text)

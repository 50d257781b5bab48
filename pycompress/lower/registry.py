"""Lowering functions by (domain, operator). Each takes (ctx, node) and returns a value or a list of values."""

from __future__ import annotations

from collections.abc import Callable

OPERATORS: dict[tuple[str, str], Callable] = {}
MICROSOFT = "com.microsoft"


def operator(*names: str, domain: str = ""):
    """Register the decorated function as the lowering of the operators `names`."""

    def add(function):
        for name in names:
            if (domain, name) in OPERATORS:
                raise KeyError(f"operator {name} is lowered twice")
            OPERATORS[domain, name] = function
        return function

    return add

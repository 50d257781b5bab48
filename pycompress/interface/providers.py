"""Execution providers: the only one here is the CPU's."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence

CPU = "CPUExecutionProvider"


def check_providers(providers, provider_options, stacklevel: int = 3) -> None:
    """Check the providers that a caller requests; the CPU runs the model in any case, as in onnxruntime's CPU package.

    Parameters
    ----------
    providers : sequence of str or (str, dict), or str, or None
        A provider that does not exist here is skipped with a UserWarning.
    provider_options : sequence of dict, or None
        One per provider; the CPU has none that change anything.

    Raises
    ------
    ValueError, TypeError
        If they have another form, or are of different lengths.
    """
    providers = [providers] if isinstance(providers, str) else providers
    if providers is not None and not isinstance(providers, Sequence):
        raise TypeError(f"providers must be a sequence of names or (name, options) pairs, got {providers!r}")
    names: list[str] = []
    for provider in providers or ():
        name = provider[0] if isinstance(provider, tuple) and len(provider) == 2 else provider
        if not isinstance(name, str) or (name is not provider and not isinstance(provider[1], Mapping)):
            raise ValueError(f"providers: each must be a name or a (name, options) pair, got {provider!r}")
        names.append(name)
    _check_options(names, providers or (), provider_options)
    for i, name in enumerate(names):
        if name in names[:i]:
            warnings.warn(f"Duplicate provider {name!r} encountered, ignoring.", stacklevel=stacklevel)
        elif name != CPU:
            warnings.warn(
                f"Specified provider {name!r} is not in available provider names. Available providers: {CPU!r}; "
                "the model runs on the CPU",
                stacklevel=stacklevel,
            )


def _check_options(names, providers, options) -> None:
    if options is None:
        return
    if not isinstance(options, Sequence) or not all(isinstance(o, Mapping) for o in options):
        raise TypeError(f"provider_options must be a sequence of dicts, got {options!r}")
    if names and len(options) != len(names):
        raise ValueError(f"provider_options: {len(options)} for {len(names)} providers; give one for each")
    if options and any(isinstance(p, tuple) for p in providers):
        raise ValueError("provider_options: options are given with the names in providers already")


def get_available_providers() -> list[str]:
    """``["CPUExecutionProvider"]``.

    Examples
    --------
    >>> import pycompress.ort as ort
    >>> ort.get_available_providers()
    ['CPUExecutionProvider']
    """
    return [CPU]


def get_all_providers() -> list[str]:
    """``["CPUExecutionProvider"]``: there are no optional others.

    Examples
    --------
    >>> import pycompress.ort as ort
    >>> ort.get_all_providers()
    ['CPUExecutionProvider']
    """
    return [CPU]


def get_device() -> str:
    """``"CPU"``.

    Examples
    --------
    >>> import pycompress.ort as ort
    >>> ort.get_device()
    'CPU'
    """
    return "CPU"

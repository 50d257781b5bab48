"""What a session tells about its model: ports, provenance, and dimensions that the caller fixes."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ..dtypes import BY_NUMPY


class NodeArg(NamedTuple):
    """An input or output of a model.

    Attributes
    ----------
    name : str
    shape : list of int, str or None
        A name or None for a dimension whose size is open.
    type : str
        ONNX's word, such as "tensor(float)".

    Examples
    --------
    >>> import pycompress
    >>> session = pycompress.InferenceSession(pycompress.zoo.mobilenetv1(width=0.25, resolution=32, classes=4))
    >>> session.get_outputs()[0]
    NodeArg(name='logits', shape=[1, 4], type='tensor(float)')
    """

    name: str
    shape: list[int | str | None]
    type: str


def type_word(dtype: np.dtype) -> str:
    """ONNX's word for a tensor's type, as in onnxruntime."""
    return f"tensor({BY_NUMPY[dtype.name].onnx})"


@dataclass(frozen=True)
class ModelMetadata:
    """Where a model comes from, and the metadata that its author added.

    Attributes
    ----------
    custom_metadata_map : dict of str to str
        The model's ``metadata_props``.
    producer_name, graph_name, domain, description, graph_description : str
    version : int
        The model's own version.

    Examples
    --------
    >>> import pycompress
    >>> session = pycompress.InferenceSession(pycompress.zoo.mobilenetv1(width=0.25, resolution=32, classes=4))
    >>> session.get_modelmeta().graph_name
    'mobilenetv1'
    """

    producer_name: str = ""
    graph_name: str = ""
    domain: str = ""
    description: str = ""
    graph_description: str = ""
    version: int = 0
    custom_metadata_map: dict[str, str] = field(default_factory=dict)


def of_model(proto) -> ModelMetadata:
    """The metadata of an onnx.ModelProto."""
    return ModelMetadata(
        proto.producer_name, proto.graph.name, proto.domain, proto.doc_string, proto.graph.doc_string,
        proto.model_version, {p.key: p.value for p in proto.metadata_props},
    )  # fmt: skip


def of_plan(plan) -> ModelMetadata:
    """The metadata that a plan kept: producer (with its version), graph, and ``metadata_props``."""
    kept = dict(plan.provenance)
    kept.pop("pycompress", None)
    named = {"producer_name": kept.pop("producer", ""), "graph_name": kept.pop("graph", "")}
    if plan.labels is not None:
        kept["labels"] = json.dumps(plan.labels)
    return ModelMetadata(**named, custom_metadata_map=kept)


def fix_dimensions(proto, sizes: dict[tuple[str, str], int] | None) -> None:
    """Give open dimensions of `proto`'s ports their sizes, by ("dim_param" or "denotation", word)."""
    if not sizes:
        return
    graph = proto.graph
    for port in (*graph.input, *graph.output, *graph.value_info):
        for d in port.type.tensor_type.shape.dim:
            for kind in ("dim_param", "denotation"):
                if not d.HasField("dim_value") and (kind, getattr(d, kind)) in sizes:
                    d.dim_value = sizes[kind, getattr(d, kind)]

"""A model as a picklable function of batches: arrays, columns or image files."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from . import images
from .batches import Batches, dtype_of
from .errors import InvalidArgument
from .session import InferenceSession, SessionOptions

ON_ERROR = ("raise", "skip", "report")
log = logging.getLogger(__name__)


class Predictor:
    """A model as a function of batches, for pipelines that spread work over threads, processes and machines.

    It is pickled as its path and options: each process opens the file by itself, at its first batch. Samples are run in
    batches that the model takes, so any number of them is a batch.

    Parameters
    ----------
    model : path
        An .onnx file or a plan (*.plan.safetensors).
    preprocess : dict, optional
        How images become inputs: ``mean``, ``std``, ``scale``, ``resize``, ``crop`` and ``layout`` as for ``pycompress
        run``, and ``size`` (height, width) for a model that leaves it open. A plan that preprocesses needs no mean and std.
    threads : int
        Of each process; default 1, since the pipeline runs as many processes as there are cores.
    top : int, optional
        Return the columns ``class``, ``p`` (softmax) and, where the classes have names, ``name`` of the best classes instead
        of the outputs: one value per sample if 1, else that many, best first.
    labels : sequence of str, optional
        Names of the classes; default: the model's own.
    files : str
        The column with paths of images, for a model with one input.
    on_error : "raise", "skip" or "report"
        What becomes of a file that cannot be read: an exception, a warning in the log and a missing row, or a row whose column
        ``error`` says why (it is empty in others) and whose outputs are NaN, -1, False or empty.

    Raises
    ------
    FileNotFoundError, ModelError, PlanError
        If there is no such model, or it cannot be run.
    TypeError, ValueError
        If an argument has the wrong type or value.

    Examples
    --------
    >>> import numpy as np
    >>> import pycompress
    >>> pycompress.compile(pycompress.zoo.mobilenetv1(width=0.25, resolution=32)).save("net.plan.safetensors")
    >>> predictor = pycompress.Predictor("net.plan.safetensors", top=1)
    >>> rows = predictor({"input": np.zeros((5, 3, 32, 32), np.float32), "id": np.arange(5)})
    >>> sorted(rows), rows["class"].shape
    (['class', 'id', 'p'], (5,))

    With Ray Data, each actor opens the model once:
    ``data.map_batches(pycompress.Predictor, fn_constructor_kwargs={"model": path}, batch_size=32, concurrency=2)``
    """

    def __init__(
        self,
        model: str | os.PathLike,
        *,
        preprocess: Mapping[str, object] | None = None,
        threads: int = 1,
        top: int | None = None,
        labels: Sequence[str] | None = None,
        files: str = "path",
        on_error: str = "raise",
    ):
        """Check the options and open the model; see the class."""
        if not isinstance(model, (str, os.PathLike)):
            raise TypeError(f"model must be a path, which other processes can open, got {type(model).__name__}")
        for name, value in (("threads", threads), ("top", top)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
        if on_error not in ON_ERROR:
            raise ValueError(f"on_error must be one of {', '.join(ON_ERROR)}, got {on_error!r}")
        self.model, self.threads, self.top, self.on_error = os.path.abspath(model), threads, top, on_error
        self.files, self.labels = str(files), None if labels is None else [str(x) for x in labels]
        self.preprocess = _checked(preprocess)
        self._lock, self._opened = threading.Lock(), None
        self._open()

    def __getstate__(self):
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def __setstate__(self, state):
        vars(self).update(state, _lock=threading.Lock(), _opened=None)

    def __repr__(self) -> str:
        return f"Predictor({self.model!r})"

    def _open(self) -> Batches:
        with self._lock:
            if self._opened is None:
                self._opened = Batches(InferenceSession(self.model, SessionOptions(intra_op_num_threads=self.threads)))
                self.labels = self.labels or self._opened.session.labels
            return self._opened

    def __call__(self, batch: Mapping[str, object] | np.ndarray | Sequence[str | os.PathLike]) -> dict[str, np.ndarray]:
        """The outputs for a batch, as columns.

        Parameters
        ----------
        batch : dict, array, or sequence of paths
            Columns by name: those that are inputs of the model, or paths of images in the column `files`; other columns are
            passed through. Or the only input; or paths of images.

        Returns
        -------
        dict of str to numpy.ndarray
            Columns with a row per sample.

        Raises
        ------
        ValueError
            If the batch does not hold the model's inputs, or a file is no image (unless `on_error` says otherwise).
        OSError
            If a file cannot be read (unless `on_error` says otherwise).
        """
        model = self._open()
        columns = self._columns(batch, [port.name for port in model.inputs])
        feed = {port.name: columns.pop(port.name) for port in model.inputs if port.name in columns}
        if feed or self.files not in columns:
            outputs = model.run({name: _array(x) for name, x in feed.items()})
            return columns | self._results(outputs)
        paths = [os.fspath(p) for p in columns[self.files]]
        samples, errors = self._read(paths, model)
        good = np.array([not e for e in errors], bool)
        inputs = np.concatenate(samples) if samples else self._no_image(model)
        results = self._results(model.run({model.inputs[0].name: inputs}))
        if self.on_error == "skip":
            columns = {name: np.asarray(x)[good] for name, x in columns.items()}
        elif self.on_error == "report":
            results = {name: _spread(x, good) for name, x in results.items()} | {"error": np.array(errors, str)}
        return columns | results

    def _columns(self, batch, inputs: list[str]) -> dict[str, object]:
        if isinstance(batch, Mapping):
            return dict(batch)
        if isinstance(batch, (str, os.PathLike)):
            raise TypeError("a batch is a sequence of paths: put a single one into a list")
        if not isinstance(batch, np.ndarray) and all(isinstance(p, (str, os.PathLike)) for p in batch):
            return {self.files: np.array([os.fspath(p) for p in batch], str)}
        if len(inputs) != 1:
            raise InvalidArgument(f"the model has inputs {inputs}: a batch is a dict of them")
        return {inputs[0]: batch}

    def _port(self, model: Batches):
        """(name, dtype, shape, Fit) of the image input."""
        if len(model.inputs) != 1:
            raise InvalidArgument(
                f"images are for a model with one input, and there are {[p.name for p in model.inputs]}"
            )
        (port,) = model.inputs
        options = dict(self.preprocess)
        size, how = options.pop("size", None), images.fit(options)
        shape = [1, *(d if isinstance(d, int) else None for d in port.shape[1:])]
        if size is not None and len(shape) == 4:
            at = 1 if how.layout == "nhwc" or how.layout is None and shape[1] not in images.MODES else 2
            shape[at : at + 2] = size
        dtype = dtype_of(port)
        if dtype == np.float32 and (how.mean is None or how.std is None):
            raise InvalidArgument(
                f"input {port.name!r} is float32: images need preprocess={{'mean': ..., 'std': ...}}, or a plan that "
                "preprocesses (pycompress.compile(model, preprocess=...))"
            )
        return port.name, dtype, shape, how

    def _read(self, paths: list[str], model: Batches) -> tuple[list[np.ndarray], list[str]]:
        """The samples of the readable files, and what is wrong with each file, empty if nothing is."""
        name, dtype, shape, how = self._port(model)
        images.image_port(name, dtype, shape, how.layout)  # what the model lacks is no fault of a file
        samples, errors = [], []
        for path in paths:
            try:
                samples.append(images.as_input(Path(path), name, dtype, shape, how))
                errors.append("")
            except (ValueError, OSError) as error:
                if self.on_error == "raise":
                    raise
                errors.append(str(error) if path in str(error) else f"{path}: {error}")
                if self.on_error == "skip":
                    log.warning("skipped %s", errors[-1])
        return samples, errors

    def _no_image(self, model: Batches) -> np.ndarray:
        _, dtype, shape, how = self._port(model)
        height, width, channels, layout = images.image_port("", dtype, shape, how.layout)
        return np.zeros((0, height, width, channels) if layout == "nhwc" else (0, channels, height, width), dtype)

    def _results(self, outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        if self.top is None:
            return outputs
        scores = [x for x in outputs.values() if x.ndim == 2]
        if not scores:
            raise InvalidArgument("top is for the scores of classes, float[n, classes], and no output is such")
        classes, shares = best(scores[0], self.top)
        columns = {"class": classes, "p": shares.astype(np.float32)}
        if self.labels is not None and len(self.labels) == scores[0].shape[1]:
            columns["name"] = np.array(self.labels, str)[classes]
        return {name: x[:, 0] for name, x in columns.items()} if self.top == 1 else columns


def best(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The `k` best classes of each row of `scores` with their softmax, best first; equal ones in their order."""
    exps = np.exp(scores.astype(np.float64) - scores.max(axis=1, keepdims=True))
    shares = exps / exps.sum(axis=1, keepdims=True)
    classes = np.argsort(-shares, axis=1, kind="stable")[:, :k]
    return classes, np.take_along_axis(shares, classes, axis=1)


def _checked(preprocess) -> dict[str, object]:
    options = dict(preprocess or {})
    if unknown := set(options) - {"size", *images.OPTIONS}:
        raise ValueError(f"preprocess: there is no {min(unknown)!r}; there are size, {', '.join(images.OPTIONS)}")
    size = options.get("size")
    if size is not None and not (len(np.atleast_1d(size)) == 2 and all(isinstance(d, int) and d > 0 for d in size)):
        raise ValueError(f"preprocess: size must be (height, width), got {size!r}")
    images.fit({name: value for name, value in options.items() if name != "size"})
    return options


def _array(x) -> np.ndarray:
    """A column as one array; pipelines hand out tensors as arrays of objects where they could not stack them."""
    x = np.asarray(x)
    if x.dtype == object and len({np.shape(row) for row in x}) == 1:
        x = np.stack(x)
    return x


def _spread(x: np.ndarray, good: np.ndarray) -> np.ndarray:
    """The rows of `x` at the places that are `good`, and rows of no value elsewhere."""
    empty = {"f": np.nan, "i": -1, "U": ""}.get(x.dtype.kind, 0)
    out = np.full((len(good), *x.shape[1:]), empty, x.dtype)
    out[good] = x
    return out

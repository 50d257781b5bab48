"""A network and data for tests of seconds: the digits of scikit-learn, and a perceptron."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch import nn  # noqa: E402

from pycompress.train.loop import Batch  # noqa: E402


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Digits:
    """Batches of 64 of 512 digits [n, 1, 8, 8]."""

    steps = 8

    def __init__(self, seed: int = 0):
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        self.x = torch.tensor(images[:1000] / 16, dtype=torch.float32).view(-1, 1, 8, 8)
        self.y = torch.tensor(labels[:1000])
        self.seed = seed

    def batches(self, epoch):
        order = torch.from_numpy(np.random.default_rng([self.seed, epoch]).permutation(512))
        for index in order.split(64):
            yield Batch(index, self.x[index], self.y[index])

    def accuracy(self, model):
        hit = model(self.x[512:]).argmax(1) == self.y[512:]
        return {"accuracy": hit.double().mean().item()}


@pytest.fixture(scope="session")
def digits():
    return Digits()


@pytest.fixture
def perceptron():
    def build(hidden=24, seed=0):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            dropped = nn.Dropout(0.1)  # so that a resumed run needs the random state, too
            return nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), dropped,
                                 nn.Linear(hidden, 10))  # fmt: skip

    return build


@pytest.fixture(scope="session")
def tiny():
    """A separable network for digits: float32[batch, 1, 8, 8] to ten logits."""
    from pycompress.zoo.builder import Builder

    b = Builder("tiny", resolution=8, batch=None, channels=1, smallest=8)
    x = b.conv(b.input(), "stem", 16, 3, act="relu")
    x = b.conv(x, "first.expand", 32, act="relu")
    x = b.conv(x, "first.depthwise", 32, 3, 2, 32, "relu")
    x = b.conv(x, "first.project", 16)
    x = b.conv(x, "head", 64, act="relu")
    return b.model(b.linear(b.pool(x), "classifier", 10, last=True))


@pytest.fixture(scope="session")
def trained_tiny(tiny, tmp_path_factory):
    """The file of the tiny network, trained on digits for a few epochs."""
    from pycompress.train import fit

    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("tiny") / "run"
    data = {"path": "digits", "validation": 200, "mean": [0.5], "std": [0.25]}
    fit(tiny, None, {"data": data, "fresh": True, "train": {"epochs": 12, "batch": 32}}, out=folder)
    return folder / "model.onnx"

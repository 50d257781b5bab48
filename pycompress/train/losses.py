"""What training minimises: labels, a teacher's outputs, a teacher's intermediate tensors.

Labels of -1 say that an image has none: it counts in the losses that follow a teacher and not in those that follow labels.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

UNLABELLED = -1


def cross_entropy(logits: Tensor, labels: Tensor, smoothing: float = 0.0) -> Tensor:
    """The mean cross entropy of the labelled images of a batch; 0 if no image has a label.

    Parameters
    ----------
    logits : float32[n, classes]
    labels : int64[n], -1 for none
    smoothing : float
        In [0, 1): the share of the target that is spread over all classes (Szegedy et al., arXiv:1512.00567).

    Returns
    -------
    Tensor
        float32, one number.

    Examples
    --------
    >>> logits = torch.tensor([[0.0, 0.0], [9.0, -9.0]])
    >>> round(float(cross_entropy(logits, torch.tensor([0, -1]))), 3)
    0.693
    """
    total = F.cross_entropy(logits, labels, ignore_index=UNLABELLED, label_smoothing=smoothing, reduction="sum")
    return total / (labels != UNLABELLED).sum().clamp(min=1)


def soft_targets(logits: Tensor, teacher: Tensor, temperature: float = 4.0) -> Tensor:
    """The divergence of the softened probabilities from the teacher's, times the squared temperature.

    The factor keeps the gradient's size independent of the temperature (Hinton, Vinyals and Dean, arXiv:1503.02531).

    Parameters
    ----------
    logits, teacher : float32[n, classes]
    temperature : float
        Above 0; both logits are divided by it.

    Returns
    -------
    Tensor
        float32, one number: the mean over the batch.

    Examples
    --------
    >>> same = torch.tensor([[1.0, 2.0, 3.0]])
    >>> float(soft_targets(same, same + 5))
    0.0
    """
    said, wanted = F.log_softmax(logits / temperature, 1), F.log_softmax(teacher / temperature, 1)
    return F.kl_div(said, wanted, log_target=True, reduction="batchmean") * temperature**2


def decoupled(
    logits: Tensor, teacher: Tensor, labels: Tensor, temperature: float = 4.0, alpha: float = 1.0, beta: float = 8.0
) -> Tensor:
    """Decoupled knowledge distillation (Zhao et al., arXiv:2203.08679).

    The divergence is split in two: of the target class against all others together (weight `alpha`), and among the
    others (weight `beta`), which soft targets weigh less the surer the teacher is. The target class is the label, or for
    an image without one the teacher's best class.

    Parameters
    ----------
    logits, teacher : float32[n, classes]
        At least 2 classes.
    labels : int64[n], -1 for none
    temperature, alpha, beta : float

    Returns
    -------
    Tensor
        float32, one number: the mean over the batch.

    Examples
    --------
    >>> same = torch.tensor([[1.0, 2.0, 3.0]])
    >>> float(decoupled(same, same, torch.tensor([2])))
    0.0
    """
    target = torch.where(labels == UNLABELLED, teacher.argmax(1), labels)
    hit = F.one_hot(target, logits.shape[1]).bool()
    said, wanted = logits / temperature, teacher / temperature
    binary = F.kl_div(_against_rest(said, hit), _against_rest(wanted, hit), log_target=True, reduction="batchmean")
    others = [F.log_softmax(x[~hit].view(len(x), -1), 1) for x in (said, wanted)]
    among = F.kl_div(*others, log_target=True, reduction="batchmean")
    return (alpha * binary + beta * among) * temperature**2


def _against_rest(logits: Tensor, hit: Tensor) -> Tensor:
    """The log probabilities [n, 2] of the target class and of all others together."""
    sure = F.log_softmax(logits, 1)
    rest = torch.logsumexp(sure.masked_fill(hit, -torch.inf), 1)
    return torch.stack([sure[hit], rest], 1)


def attention_transfer(student: Tensor, teacher: Tensor) -> Tensor:
    """The squared distance between the attention maps of two tensors (Zagoruyko and Komodakis, arXiv:1612.03928).

    A map is the mean of the squares over channels, at each place, divided by its norm over the image. Channels may
    differ; the teacher's map is resized where sizes do.

    Parameters
    ----------
    student, teacher : float32[n, channels, height, width]

    Returns
    -------
    Tensor
        float32, one number: the mean over the batch.

    Raises
    ------
    ValueError
        If a tensor is no image.

    Examples
    --------
    >>> x = torch.rand(2, 3, 4, 4)
    >>> float(attention_transfer(x, 2 * torch.cat([x, x], 1))) < 1e-9
    True
    """
    for who, x in (("student", student), ("teacher", teacher)):
        if x.dim() != 4:
            raise ValueError(f"attention transfer compares images, and the {who}'s tensor has shape {list(x.shape)}")
    maps = [x.square().mean(1, keepdim=True) for x in (student, teacher)]
    maps[1] = _resized(maps[1], student.shape[2:])
    near, far = (F.normalize(x.flatten(1)) for x in maps)
    return (near - far).square().sum(1).mean()


def _resized(x: Tensor, size) -> Tensor:
    return x if tuple(x.shape[2:]) == tuple(size) else F.interpolate(x, size, mode="bilinear", align_corners=False)


class Hints(nn.Module):
    """Hints (FitNets, Romero et al., arXiv:1412.6550): tensors of the student imitate tensors of the teacher.

    A learned 1x1 convolution for each pair, without which channels could not differ, maps the student's tensor to the
    teacher's channels. It belongs to training: the student is exported without it. The error is measured after each
    channel of the teacher was scaled to unit mean square, so that no channel and no pair outweighs the others.

    Parameters
    ----------
    pairs : {student's tensor: teacher's tensor}
    student, teacher : {tensor name: Tensor}
        An example of each, from which sizes are taken: [n, channels] or [n, channels, height, width].
    seed : int
        Of the adapters' weights.

    Raises
    ------
    ValueError
        If one tensor of a pair is an image and the other is not.

    Examples
    --------
    >>> small, large = {"a": torch.rand(2, 3, 8, 8)}, {"b": torch.rand(2, 5, 4, 4)}
    >>> hints = Hints({"a": "b"}, small, large)
    >>> bool(hints(small, large) > 0)
    True
    """

    def __init__(self, pairs: Mapping[str, str], student: Mapping, teacher: Mapping, seed: int = 0):
        super().__init__()
        self.pairs = dict(pairs)
        self.adapters = nn.ModuleList()
        random = torch.Generator().manual_seed(seed)
        for ours, theirs in self.pairs.items():
            near, far = student[ours], teacher[theirs]
            if near.dim() != far.dim() or near.dim() not in (2, 4):
                raise ValueError(
                    f"hint {ours!r}: the student's tensor has shape {list(near.shape)}, "
                    f"the teacher's {theirs!r} has {list(far.shape)}"
                )
            adapter = nn.Conv2d(near.shape[1], far.shape[1], 1)
            with torch.no_grad():
                adapter.weight.normal_(0, near.shape[1] ** -0.5, generator=random)
                adapter.bias.zero_()
            self.adapters.append(adapter)

    def forward(self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor]) -> Tensor:
        """The mean squared error, averaged over the pairs."""
        total = 0.0
        for (ours, theirs), adapter in zip(self.pairs.items(), self.adapters):
            near, far = (x if x.dim() == 4 else x[:, :, None, None] for x in (student[ours], teacher[theirs]))
            scale = far.square().mean((0, 2, 3), keepdim=True).clamp(min=1e-12).sqrt()
            total = total + F.mse_loss(adapter(near), _resized(far, near.shape[2:]) / scale)
        return total / max(len(self.pairs), 1)

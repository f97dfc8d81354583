"""Training by several processes as by one: gradients, and the statistics of batch normalisation, of all of a batch."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from resnest_core import distributed


def shared(model: nn.Module) -> nn.Module:
    """`model` as each process calls it, so that gradients become the mean of those of the processes.

    Its batch normalisations are replaced by synchronised ones.
    """
    if distributed.world() == 1:
        return model
    distributed.join()
    if next(model.parameters()).is_cuda:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    else:
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.__class__ = SynchronisedBatchNorm
    return DistributedDataParallel(model, forward_sync_buffers=False)


class SynchronisedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation of maps (N, C, H, W) by the statistics of all processes, whose N may differ.

    torch's own takes tensors on GPUs alone.
    """

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        kind, x = x.dtype, x.float() if x.dtype != torch.float64 else x  # half precision cannot count
        count = x.new_tensor([x.numel() // x.shape[1]])
        sums = _Total.apply(torch.cat([x.sum(dim=(0, 2, 3)), count]))
        n = sums[-1].detach()
        if n == 0:  # no process has anything, as a mask head without objects
            return super().forward(x).to(kind)
        centred = x - (sums[:-1] / n)[:, None, None]
        variance = _Total.apply(centred.square().sum(dim=(0, 2, 3))) / n
        self._keep(sums[:-1].detach() / n, variance.detach() * n / (n - 1))
        scale = self.weight * (variance + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(kind)

    @torch.no_grad()
    def _keep(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics towards those of a batch."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked.add_(1)


class _Total(torch.autograd.Function):
    """`distributed.total`; each process's part moves the losses of all, so that gradients are summed, too."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        return distributed.total(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return distributed.total(gradient)

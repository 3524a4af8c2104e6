# Training on a GPU, or shared by processes of one thread each. The operations of small
# models are too small to share among threads: these wait for one another most of the
# time, while processes meet once a step.
import os
import signal
import sys
import tempfile

import torch
import torch.distributed as dist
import torch.multiprocessing


def _worker(rank, count, meeting, function, arguments):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method=f'file://{meeting}', rank=rank, world_size=count)
    function(*arguments)


def device():
    return 'cuda' if torch.cuda.is_available() else 'cpu'


def placed(tensor):
    """The tensor where the training is; the GPU need not have stopped for it."""
    return tensor.pin_memory().to('cuda', non_blocking=True) if device() == 'cuda' else tensor


def run(count, function, *arguments):
    """function(*arguments) in each of `count` processes, or in this one where there is a
    GPU; returns when all have. Told to end, it ends them too."""
    if device() == 'cuda':
        torch.set_float32_matmul_precision('high')
        torch.backends.cudnn.benchmark = True
        if hasattr(torch.backends.cuda, 'enable_cudnn_sdp'):
            torch.backends.cuda.enable_cudnn_sdp(False)  # plans for milliseconds at each new length
        return function(*arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    with tempfile.TemporaryDirectory() as directory:
        meeting = os.path.join(directory, 'meeting')
        torch.multiprocessing.spawn(_worker, (count, meeting, function, arguments), count, daemon=True)


def rank():
    return dist.get_rank() if dist.is_initialized() else 0


def total(tensor):
    """The sum over the processes, in place."""
    if dist.is_initialized():
        dist.all_reduce(tensor)
    return tensor


def same(tensors):
    """Everyone gets the first process's."""
    for tensor in tensors if dist.is_initialized() else ():
        dist.broadcast(tensor, 0)


def average(parameters, clock_s):
    """Average the gradients; returns the average clock, so that all agree on it."""
    if not dist.is_initialized():
        return clock_s
    gradients = [p.grad for p in parameters]
    flat = torch.cat([g.flatten() for g in gradients] + [torch.tensor([clock_s])])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients] + [1])):
        gradient.copy_(part.view_as(gradient))
    return float(flat[-1])

"""The decorators of `calbatch.models.jit`, where kernels import them from."""

from calbatch.models.jit import inner_kernel, kernel

__all__ = ["inner_kernel", "kernel"]

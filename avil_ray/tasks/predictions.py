"""The classes predicted by a model's outputs."""

from __future__ import annotations

from torch import Tensor

from avil_ray.errors import UserError


def predicted_classes(outputs: Tensor, targets: Tensor, class_dimension: int | None) -> Tensor:
    """The predicted classes, in the targets' shape: the argmax, or the sign if each label has one logit."""
    if outputs.shape == targets.shape:
        return (outputs > 0).to(targets.dtype)
    return outputs.argmax(dim=_class_dimension(outputs, targets) if class_dimension is None else class_dimension)


def _class_dimension(outputs: Tensor, targets: Tensor) -> int:
    """The class dimension of the outputs, inferred from their shape; 1, as in PyTorch, if unclear.

    Raises
    ------
    UserError
        Both dimension 1 and the last one are possible.
    """
    shape, places = list(outputs.shape), {1 % outputs.ndim, outputs.ndim - 1}
    fitting = [one for one in places if shape[:one] + shape[one + 1 :] == list(targets.shape)]
    if len(fitting) > 1:
        hint = "give avil_ray.tasks.losses.CrossEntropy(class_dimension=…) as the loss, or a metric of your own"
        raise UserError(f"outputs {shape} may have their classes in dimension 1 or in the last; {hint}")
    return fitting[0] if fitting else 1

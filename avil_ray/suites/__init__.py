"""Built-in suites: each a target task, its auxiliaries, their data and a model.

Examples
--------
>>> import avil_ray as avil
>>> avil.suites.multimnist(target="left", target_labels=300, size=18).auxiliaries
('right', 'left_odd', 'left_large')
"""

from avil_ray.suites.glue import glue
from avil_ray.suites.images import images
from avil_ray.suites.multifashion import multifashion
from avil_ray.suites.multilabel import multilabel
from avil_ray.suites.multimnist import multimnist
from avil_ray.suites.nyuv2 import nyuv2
from avil_ray.suites.scenes import scenes
from avil_ray.suites.sentiment import sentiment
from avil_ray.suites.synthetic import synthetic
from avil_ray.suites.text import text

__all__ = [
    "glue",
    "images",
    "multifashion",
    "multilabel",
    "multimnist",
    "nyuv2",
    "scenes",
    "sentiment",
    "synthetic",
    "text",
]

import numpy as np

from avil_ray.suites.files.described import labels_line
from avil_ray.suites.files.labels import Labels


def test_labels_that_differ_in_case_alone_are_named():
    labels = Labels("classes", ("No", "no", "yes"), np.array([0, 1, 2, 2]))
    said = "head of 3 classes: yes 50.0 %, No 25.0 %, no 25.0 %; 'No' and 'no' differ only in case, but are two labels"
    assert labels_line(labels) == said


def test_nothing_is_said_of_other_labels():
    labels = Labels("classes", ("no", "yes"), np.array([0, 1]))
    assert labels_line(labels) == "head of 2 classes: no 50.0 %, yes 50.0 %"

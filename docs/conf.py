"""Sphinx's configuration: `make docs` builds these pages into `build/docs`, and any warning is an error."""

from __future__ import annotations

import sys
from dataclasses import fields, is_dataclass
from pathlib import Path

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

import generated  # noqa: E402  (its folder has just been added)

from avil_ray import Method, __version__  # noqa: E402

project, author = "avil_ray", "the avil_ray contributors"
version = release = __version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_generated"]

html_theme = "furo"
html_title = f"avil_ray {release}"
html_math_renderer = "mathml"
html_show_sourcelink = False
html_show_copyright = False

myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
# the page of results keeps its hand-made headings for now
suppress_warnings = ["myst.header"]

default_role = "py:obj"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
napoleon_google_docstring = False
napoleon_use_rtype = False
python_maximum_signature_line_length = 88


def formula(translator: HTML5Translator, node: nodes.math | nodes.math_block, *, block: bool) -> None:
    """Write a formula as MathML, which browsers show without scripts or a network."""
    shown = tex2mathml(node.astext(), as_block=block)
    translator.body.append(f'<div class="math">{shown}</div>' if block else shown)
    raise nodes.SkipNode


def options_only(
    app: Sphinx, kind: str, name: str, value: object, options: object, signature: str | None, returns: str | None
) -> tuple[str, str] | None:
    """A method's signature as the names of its options: their types and meanings are on the method's own page."""
    if not (isinstance(value, type) and issubclass(value, Method) and is_dataclass(value)):
        return None
    return f"({', '.join(['*', *(field.name for field in fields(value) if field.init)])})", ""


def setup(app: Sphinx) -> None:
    """Write the pages' generated parts, and make formulas readable offline."""
    generated.write(HERE / "_generated")
    app.connect("autodoc-process-signature", options_only)
    app.add_html_math_renderer(
        "mathml",
        inline_renderers=(lambda translator, node: formula(translator, node, block=False), None),
        block_renderers=(lambda translator, node: formula(translator, node, block=True), None),
    )

"""Settings of the documentation: Sphinx reads the Markdown pages of the whole repository where they are.

The root of the repository is the source folder, so that links between pages, links to code and paths of pictures are
the same on the site and in the repository.
"""

import importlib.metadata
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))  # the extensions beside this file

project = "dynamics"
author = "The dynamics authors"
copyright = author  # noqa: A001
release = version = importlib.metadata.version("dynamics")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
    "docstrings",
    "generated",
]
root_doc = "docs/index"
include_patterns = [
    *("docs/*.md", "docs/*/*.md", "experiments/*.md", "experiments/*/*.md", "configs/*.md", "dynamics/*.md"),
    *("CHANGELOG.md", "CONTRIBUTING.md"),
]
exclude_patterns = [".*", "site", "runs", "dist", "dynamics/templates", "docs/README.md", "**/__pycache__"]

# Pages are Markdown with formulas between dollar signs; headings can be linked as on GitHub.
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 4
myst_links_external_new_tab = False
html_math_renderer = "mathml"  # see docstrings.py: no script and no network

# Docstrings.
highlight_language = "none"  # of blocks in docstrings, which are formulas and lists
default_role = "literal"  # `name` in a docstring is code
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Capabilities", "params_style"), ("Attributes", "params_style")]
napoleon_use_rtype = False
add_module_names = False
toc_object_entries = False  # every class has a heading

html_theme = "furo"
html_title = f"dynamics {release}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_extra_path = ["extra"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"top_of_page_buttons": []}
copybutton_prompt_text = r"\$ "
copybutton_prompt_is_regexp = True

# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""Sphinx's settings for the site. `.ci/website.py` builds it: it lays out the sources, and runs Sphinx on them."""

import os

project = "linuxvirt.macvtap"
author = "linuxvirt.macvtap contributors"
copyright = f"{author}. GPL-3.0-or-later"  # noqa: A001
version = release = os.environ["MACVTAP_SITE_VERSION"]

extensions = ["myst_parser", "sphinx_antsibull_ext"]
root_doc = "README"
# Its text is in the licence's own form.
exclude_patterns = ["LICENSE"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}

# Links to headings, as they are on the pages in the repository.
myst_heading_anchors = 4
# The pages of plugins name some of Ansible's own, and the site is built without a network. They stay text. A link in a
# guide that leads nowhere is a warning of another kind, and stops the build.
suppress_warnings = ["ref.ref"]

html_theme = "furo"
html_title = f"linuxvirt.macvtap {release}"
html_static_path = ["_static"]
html_favicon = "_static/favicon.svg"
html_css_files = ["site.css"]
# The theme switches between light and dark. site.css has the colours of tables of options for both.
antsibull_ext_color_scheme = "none"
html_show_sphinx = False
html_copy_source = False
pygments_style = "ansible"
pygments_dark_style = "monokai"
html_theme_options = {"top_of_page_buttons": []}

"""Pictures from Vega-Lite specifications, drawn here: no browser, no script in the page, no network.

The work is done by `vl-convert`, which brings its own engine; it is the extra `report`.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from backend.errors import BadSetting

try:
    import vl_convert
except ImportError:  # the extra `report` is not installed
    vl_convert = None  # type: ignore[assignment,unused-ignore]

VEGA_LITE = "5.20"
"""The version the specifications are written for and drawn by."""
_NAMESPACE = re.compile(r' xmlns(?::\w+)?="[^"]*"')
_NAME = re.compile(r'(\bid="|url\(#|xlink:href="#)')


def check_charts() -> None:
    """Raises `BadSetting` saying what to install where nothing can be drawn."""
    if vl_convert is None:
        raise BadSetting("report: drawing its charts needs the extra `report`; wanted: pip install 'selvedge[report]'")


def draw_svg(specification: Mapping[str, Any], name: str) -> str:
    """An SVG element for a page; what it defines is named by `name`, so that several stand in one page.

    The specification must hold its data: nothing is fetched, from a file or from elsewhere.
    """
    drawn = vl_convert.vegalite_to_svg(orjson.dumps(specification).decode(), vl_version=VEGA_LITE, allowed_base_urls=[])
    drawn = drawn[drawn.index("<svg") :]
    # a page in HTML knows the namespaces; two pictures must not define the same name
    return _NAME.sub(lambda found: found.group(1) + name, _NAMESPACE.sub("", drawn))

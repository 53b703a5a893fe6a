"""Where the settings folder `conf/` is: inside the installed package, or at the top of the checkout."""

from __future__ import annotations

from pathlib import Path

from compose.errors import Rejected


def conf_folder() -> Path:
    """Return the folder that holds `model/`, `risk/` and the other groups of settings.

    The wheel carries a copy inside the package; in a checkout the folder lies beside it.

    Raises:
        Rejected: `settings-invalid` when neither is there.
    """
    package = Path(__file__).resolve().parent
    places = (package / "conf", package.parent / "conf")
    for place in places:
        if (place / "model").is_dir():
            return place
    raise Rejected(
        "settings-invalid",
        subject="conf/",
        expected=f"a folder with model/ in it at {places[0]} or {places[1]}",
        got="neither",
        fix="reinstall compose, or run it from a complete checkout",
    )

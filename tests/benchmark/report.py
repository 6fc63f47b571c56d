# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright (c) linuxvirt.macvtap contributors
"""The figures as a table, as JSON and as a plot."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import platform
import subprocess
import typing as t

from plot import plot

if t.TYPE_CHECKING:
    from figures import Figure
    from harness import Session

# Parts whose name says no unit are seconds.
_UNITS = (", MB", ", ×", ", ms", ", frames")
_VERSIONS = """
import importlib.metadata as m, json, platform, sys
def version(name):
    try:
        return m.version(name)
    except m.PackageNotFoundError:
        return None
packages = {"pyroute2": "pyroute2", "libvirt": "libvirt-python"}
print(json.dumps({"python": platform.python_version(), **{name: version(of) for name, of in packages.items()}}))
"""


def circumstances(session: Session) -> dict[str, t.Any]:
    """Return what the figures depend on."""
    versions = subprocess.run([session.python, "-c", _VERSIONS], check=True, capture_output=True, text=True).stdout
    iproute2 = subprocess.run(["ip", "-V"], check=True, capture_output=True, text=True).stdout
    import ansible.release

    return {
        "kernel": platform.release().split("-")[0],
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        **json.loads(versions),
        "ansible-core": ansible.release.__version__,
        "iproute2": iproute2.split("iproute2-")[-1].split(",")[0].strip(),
        "load before": round(os.getloadavg()[0], 2),
    }


def table(figures: t.Sequence[Figure]) -> str:
    rows = [("figure", "value", "target", "met", "rounds")]
    rows += [
        (f.what, _value(f), f.allowed, {None: "", True: "yes", False: "NO"}[f.met], str(f.rounds)) for f in figures
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in rows]
    lines += [f"not measured: {f.what}: {f.note}" for f in figures if f.value is None]
    return "\n".join(lines)


def parts(figure: Figure) -> str:
    """Return what the figure comes from, a line each."""
    lines = [f"{figure.what}: {_value(figure)}" + (f" ({figure.note})" if figure.note else "")]
    lines += [f"    {name}: {value:.3f}{'' if name.endswith(_UNITS) else ' s'}" for name, value in figure.parts.items()]
    return "\n".join(lines)


def save(module: str, figures: t.Sequence[Figure], about: t.Mapping[str, t.Any], directory: pathlib.Path) -> None:
    """Write the module's JSON and SVG."""
    directory.mkdir(parents=True, exist_ok=True)
    listed = [{**_rounded(dataclasses.asdict(figure)), "met": figure.met} for figure in figures]
    text = json.dumps({"measured_with": about, "figures": listed}, indent=2, ensure_ascii=False)
    (directory / f"{module}.json").write_text(text + "\n", encoding="utf-8")
    (directory / f"{module}.svg").write_text(plot(figures), encoding="utf-8")


def _value(figure: Figure) -> str:
    return "–" if figure.value is None else f"{figure.value:.2f} {figure.unit}"


def _rounded(value: t.Any) -> t.Any:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return value

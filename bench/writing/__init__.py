"""The report: from one file of raw measurements to ``reports/`` and a table in README.md."""

import json
from pathlib import Path

from bench import readme as project
from bench.writing import front, losses, pages, plots
from bench.writing.numbers import DAGGER, Raw
from bench.writing.tables import EXPLAINED
from fastnn.files import write_atomically

RAW = "report.json"


def write(raw: Raw, folder: Path, readme: Path | None = None) -> None:
    """Write the raw measurements, all pages and plots; fill the project's README if given.

    All is made before anything is written, and each file is whole or the old one; plots that an
    earlier run drew and this one cannot are removed.
    """
    drawn = plots.draw(raw)
    texts = {f"{name}.md": make(raw, set(drawn)) for name, make in
             {**pages.PAGES, **losses.PAGES}.items()}  # fmt: skip
    texts["README.md"] = front.readme(raw, set(drawn), folder)
    texts[RAW] = json.dumps(raw, indent=1) + "\n"
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    for name, content in drawn.items():
        write_atomically(folder / "plots" / name, content)
    for name, text in texts.items():
        write_atomically(folder / name, text.encode())
    for name in plots.PLOTS:
        for old in (folder / "plots").glob(f"{name}-*.png"):
            if old.name not in drawn:
                old.unlink()
    if readme is not None:
        table = front.headline(raw)
        if DAGGER in table:
            table += "\n" + EXPLAINED.replace("](noise.md)", "](reports/noise.md)")
        project.fill("headline", table, by="report", path=readme)

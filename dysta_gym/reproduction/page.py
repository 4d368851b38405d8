"""The page that sets the paper's claims beside what is found: its templates, filled in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from dysta_gym.files import write_text
from dysta_gym.reproduction import charges
from dysta_gym.reproduction.claims import Claim, judge
from dysta_gym.reproduction.context import Context, Deployment, Findings, Item, Result
from dysta_gym.reproduction.formats import FILTERS, unwrapped
from dysta_gym.reproduction.published import published
from dysta_gym.reproduction.why import why
from dysta_gym.tables import markdown


def write_page(
    path: Path, made: Mapping[str, Result], items: Mapping[str, Item], context: Context,
    out: Path, format: str,
) -> None:  # fmt: skip
    """Write the page of what was made to ``path``; pictures are linked from ``out``."""
    templates = _templates()
    folder = Path(os.path.relpath(out, path.parent))
    findings = {name: result.findings for name, result in made.items()}
    claims = judge(made)
    charged = context.folder is None and "departures" in made
    page = templates.get_template("page.md.j2").render(
        **_head(context, folder),
        claims=[_claim(templates, claim) for claim in claims],
        published=published(claims, made),
        why=why(made) if any(claim.verdict != "holds" for claim in claims) else {},
        sections=[
            {
                **_section(templates, items[name], findings),
                "picture": (folder / f"{name}.{format}").as_posix(),
                "shown": format == "png",
            }
            for name in made
        ],
        charges=charges.measured(out) if charged else None,
    )
    write_text(path, unwrapped(page) + "\n")


def _templates() -> Environment:
    """The words of the page; a name that a template is not given is an error."""
    templates = Environment(
        loader=PackageLoader("dysta_gym.reproduction"),
        undefined=StrictUndefined,
        autoescape=False,  # Markdown
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,  # or text after an include would go on its last line
    )
    templates.filters.update({each.__name__: each for each in FILTERS})
    templates.globals["markdown"] = lambda head, rows: markdown(head, rows, words=len(head))
    return templates


def _head(context: Context, folder: Path) -> dict[str, Any]:
    """What is said before all else: of the traces, the workloads and the seeds."""
    deployments = context.deployments.values()
    return {
        "ours": context.folder is None,
        "traces": context.folder,
        "fast": context.fast,
        "workloads": [_workload(deployment) for deployment in deployments],
        "requests": sorted({context.requests or each.scenario.requests for each in deployments}),
        "seeds": len(context.seeds),
        "pictures": folder,
    }


def _workload(deployment: Deployment) -> dict[str, Any]:
    store = deployment.scenario.store()
    return {
        "name": deployment.scenario.name,
        "models": store.models,
        "accelerator": deployment.scenario.charge.model.name,
        "traces": len(store.traces),
        "mean_s": store.mean_isolated_s("train"),
        "offered": deployment.offered,
        "main": deployment.main,
    }


def _claim(templates: Environment, claim: Claim) -> dict[str, Any]:
    """A claim in words, which its template sets."""
    said = templates.get_template(f"claims/{claim.name}.md.j2").make_module(dict(claim.numbers))
    paper, here, criterion, readings = (
        unwrapped(getattr(said, name)) for name in ("paper", "here", "criterion", "readings")
    )
    return {
        "row": [paper, here, f"**{claim.verdict}**"],
        "paper": paper,
        "criterion": criterion,
        "readings": readings,
    }


def _section(
    templates: Environment, item: Item, findings: Mapping[str, Findings]
) -> dict[str, str]:
    """What the page says of an item: its heading, the paper's word and ours."""
    kind = item.name.rstrip("0123456789")
    numbers = item.section(findings[item.name], findings)
    return {
        "name": item.name,
        "heading": item.heading or f"{kind.capitalize()} {item.name[len(kind) :]}",
        "title": item.title,
        "paper": item.paper,
        "text": templates.get_template(f"{item.name}.md.j2").render(numbers),
    }

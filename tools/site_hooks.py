"""Adds pages and files from outside docs/ to the site that mkdocs builds.

README.md becomes the first page. Links from the documents to files of the repository become links to copies in the
site.
"""

import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parent.parent

# The page's address in the site, and the file in the repository that it is made of.
PAGES = {
    "index.md": "README.md",
    "CONTRIBUTING.md": "CONTRIBUTING.md",
    "CHANGELOG.md": "CHANGELOG.md",
    "lseg_ros/weights/lseg_mini.md": "lseg_ros/weights/lseg_mini.md",
    "lseg_ros/weights/lseg_mini_street.md": "lseg_ros/weights/lseg_mini_street.md",
}
_LINK = re.compile(r"(\]\()([^)#\s]+)(#[^)]*)?(\))")


def on_files(files: Files, config: Any) -> Files:
    """Adds the pages outside docs/ and the files that any page links to."""
    for page, source in PAGES.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / source)))
    linked = {target for source in _sources(config) for target in _targets(source)}
    for target in sorted(linked):
        path = target.relative_to(ROOT).as_posix()
        if target.is_file() and path not in PAGES.values() and not path.startswith("docs/"):
            files.append(File.generated(config, path, abs_src_path=str(target)))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Rewrites links between files of the repository to links between pages of the site."""
    source = Path(page.file.abs_src_path)
    here = Path(page.file.src_uri).parent

    def rewritten(link: re.Match[str]) -> str:
        before, target, anchor, after = link.groups()
        if "://" in target:
            return link[0]
        path = (source.parent / target).resolve().relative_to(ROOT).as_posix()
        if path.endswith("/") or (ROOT / path).is_dir():
            return link[0]
        address = next((page for page, made_of in PAGES.items() if made_of == path), path.removeprefix("docs/"))
        up = "../" * len(here.parts)
        return f"{before}{up}{address}{anchor or ''}{after}"

    return _LINK.sub(rewritten, markdown)


def _sources(config: Any) -> list[Path]:
    return [ROOT / source for source in PAGES.values()] + sorted(Path(config["docs_dir"]).glob("*.md"))


def _targets(source: Path) -> list[Path]:
    links = _LINK.findall(source.read_text(encoding="utf-8"))
    return [(source.parent / target).resolve() for _, target, _, _ in links if "://" not in target]
